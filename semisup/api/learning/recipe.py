"""How to train: what a user says, and what suits where nothing is said."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from semisup.api.policies import SelfTraining, facts_of
from semisup.budget import Budget
from semisup.config import BaselineConfig, JointConfig, TrainConfig
from semisup.config.files import validate_kind
from semisup.errors import UserError
from semisup.pseudo_labels import Policy

VECTOR_NETWORKS = ("mlp", "linear")
TEACHER_EPOCHS, PATIENCE = 150, 40
EPOCHS, RAMP = 60, 20
"""Of a student, without a budget; with one, in PARTS, of which the ramp takes a third."""
PARTS = 30
WEAK = {"rotation": 12, "shift": 0.1, "scale": 0.1, "shear": 0.1}
STRONG = {"rotation": 15, "shift": 0.1, "scale": 0.15, "shear": 0.2, "cutout": 0.28}
"""What the student sees of unlabeled images where labels are made at every step."""
MIXUP = 0.4
"""Of images, the teacher's too: with a hundred labels it is what keeps a network from being sure of everything."""
SAID_ELSEWHERE = ("method", "start", "budget")
POLICY_KEYS = {"teacher", "view"}
EXAMPLES = {"settings": '{"batch_size": 64}', "settings['policy']": '{"teacher": "self"}'}


@dataclass(frozen=True)
class Recipe:
    """How to train."""

    joint: JointConfig
    teacher: BaselineConfig
    network: str
    width: float
    dropout: float | None
    device: torch.device
    validation_fraction: float | None


def recipe(
    policy: Policy | SelfTraining,
    *,
    images: bool,
    network: str | None,
    width: float,
    dropout: float | None,
    budget: str | None,
    device: str,
    validation_fraction: float | None,
    settings: Mapping[str, Any] | None,
) -> Recipe:
    """What is said, and what suits where nothing is.

    Raises:
        UserError: one of the settings is none of the section `joint`, or breaks a rule of it.
    """
    joint = _joint(policy, images=images, budget=budget, settings=_section("settings", settings))
    shared = {name: getattr(joint, name) for name in TrainConfig.model_fields}
    stopping = joint.early_stopping.model_copy(update={"monitor": "loss"})  # a teacher must be sure, not only right
    shared |= {"early_stopping": stopping} | ({} if budget else {"epochs": max(TEACHER_EPOCHS, joint.epochs)})
    if network is None:
        network = "small_cnn" if images else "mlp"
    if not images and network not in VECTOR_NETWORKS:
        raise UserError(f"network={network!r}, but X holds feature vectors; use {' or '.join(VECTOR_NETWORKS)}")
    return Recipe(joint, BaselineConfig(**shared), network, width, dropout, _device(device), validation_fraction)


def _joint(policy: Policy | SelfTraining, *, images: bool, budget: str | None, settings: dict[str, Any]) -> JointConfig:
    for key in SAID_ELSEWHERE:
        if key in settings:
            raise UserError(f"settings[{key!r}] is no setting here; say it by policy= or budget=")
    told = _section("settings['policy']", settings.get("policy"))
    if foreign := next((key for key in told if key not in POLICY_KEYS), None):
        raise UserError(f"settings['policy'][{foreign!r}] is said by the policy itself, such as FixMatch(0.95)")
    values: dict[str, Any] = {
        "epochs": EPOCHS,
        "ema_decay": 0.98,
        "early_stopping": {"monitor": "accuracy", "patience": PATIENCE},
        "epoch_over": "unlabeled",
    }
    trainings = policy.rounds + 1 if isinstance(policy, SelfTraining) else 2
    single = not isinstance(policy, SelfTraining) and facts_of(policy).judges_single_images
    if images:
        values |= {"augment": WEAK, "mixup": {"alpha": MIXUP}, "mixup_pseudo_labels": not single}
    if not isinstance(policy, SelfTraining):
        told = {
            "teacher": "ema" if settings.get("ema_decay", True) else "self",
            "view": "clean" if facts_of(policy).view == "weak" else None,
        } | told
        values |= {"strong_augment": STRONG} if images and facts_of(policy).view == "weak" else {}
    if budget is not None:
        values |= {"budget": _part(budget, trainings), "epochs": _parts(budget, trainings)}
    values |= {key: value for key, value in settings.items() if key != "policy"} | {"policy": told}
    values.setdefault("ramp_end", min(RAMP, values["epochs"] // 3) if isinstance(values["epochs"], int) else 0)
    return validate_kind(JointConfig, values, "settings")


def _section(name: str, values: object) -> dict[Any, Any]:
    if values is not None and not isinstance(values, Mapping):
        raise UserError(f"{name}={values!r} is no dict of keys and values; use for example {EXAMPLES[name]}")
    return dict(values or {})


def _part(budget: str, trainings: int) -> str:
    """An equal part of a budget for each of several trainings."""
    try:
        whole = Budget.parse(str(budget))
    except ValueError as error:
        raise UserError(f"budget: {error}") from None
    if whole.unit == "steps":
        return f"{max(int(whole.amount) // trainings, 1)} steps"
    return f"{whole.amount / trainings:.6f}s" + (" wall" if whole.unit == "seconds" else "")


def _parts(budget: str, trainings: int) -> int:
    """Into how many epochs a part of a budget is cut: none is shorter than a step."""
    part = Budget.parse(_part(budget, trainings))
    return min(PARTS, int(part.amount)) if part.unit == "steps" else PARTS


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise UserError(f"device={name!r} is no device of torch's; use 'auto', 'cpu' or 'cuda'") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device={name!r}, but torch finds no CUDA device; use 'auto' or 'cpu'")
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, NotImplementedError):  # "meta" holds no numbers, others are not built in, or not plugged in
        raise UserError(f"device={name!r} cannot be used here; use 'auto', 'cpu' or 'cuda'") from None
    return device
