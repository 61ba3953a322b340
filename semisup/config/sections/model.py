"""The network."""

from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, field_validator

from semisup.config.families import FAMILIES, JOINT, READY_MADE, FamilyFacts, family_of, networks_in
from semisup.config.sections.base import Dropout, Precision, Section, rule
from semisup.config.sections.training import a_time
from semisup.wording import counted

Train: TypeAlias = Literal[
    "all",
    "head",
    "probe",
    "auto",
    "last_1",
    "last_2",
    "last_3",
    "last_4",
    "last_5",
    "last_6",
    "last_7",
    "last_8",
    "last_9",
]

InverseRegularization: TypeAlias = Annotated[float, Field(ge=1e-4, le=1e6)]


class ProbeConfig(Section):
    """`model.train: probe`: its logistic regressions. C is scikit-learn's: small values keep them simple."""

    baseline_c: InverseRegularization | None = None
    """C of the baseline. Unset: chosen on labeled images that are held out in turn."""
    student_c: InverseRegularization = 3.0
    """C of the student. Held-out labels cannot choose it, for the pseudo-labels know them."""


class ChooseConfig(Section):
    """`model.train: auto`: how much may be spent on comparing."""

    budget: Annotated[str, BeforeValidator(a_time)] = "5 min"
    """CPU time for training more of the network than a probe, in three folds of the labels: the last two blocks, all of
    it, and a small network from random weights. What does not fit, by the time of its first steps, is named and left
    out. A probe and the graph take seconds and are always compared."""


class ModelConfig(Section):
    """The network; the baseline and the student are built alike."""

    name: str = "small_cnn"
    """`small_cnn` (fast, for digits), `paired_cnn` (its convolutions doubled), `pooled_cnn` (for photographs),
    `seed_cnn`, `vgg_small`, `resnet18_small`, `efficientnet_lite0` and the larger `efficientnet_lite2` (pretrained on
    ImageNet, their weights are installed), `torchvision:NAME` for any torchvision classifier, or `timm:NAME` for any
    network of timm, such as `timm:vit_small_patch14_dinov2`, with or without the weights' tag. `features`: none, see
    `data.features`. With `train: probe` or `auto` also several pretrained ones, their features side by side, with `+`
    between their names: `efficientnet_lite0+efficientnet_lite2`."""
    width: Annotated[float, Field(ge=0.05, le=16)] = 1.0
    """Multiplies the number of channels, of this project's own networks."""
    dropout: Dropout | None = None
    """Dropout probability, of this project's own networks; unset: the model's own default."""
    batch_norm: bool | None = None
    """Batch normalization, of this project's own networks; unset: the model's own default."""
    deskew: bool = False
    """Shear every image upright and center it, by its intensity moments: for bright strokes on a black ground."""
    whiten: bool = False
    """`pooled_cnn`: its first filters are not learned, but whiten the patches of the data set's images."""
    weights: Annotated[str, Field(min_length=1)] | None = None
    """Begin with these weights, all but those of the last layer: a file with a state dict (torch's, or safetensors), of
    a `torchvision:NAME` or `timm:NAME` the name of their own, such as `DEFAULT`, or of the latter `hf-hub:OWNER/NAME`.
    Unset: the installed ones of `efficientnet_lite0` and `efficientnet_lite2`, random ones of the others. Of networks
    side by side those that have no installed ones begin with these."""
    download: bool = False
    """Fetch torchvision's or timm's weights where they are not in the cache. Nothing is ever downloaded without it."""
    train: Train = "all"
    """`all`: fine-tune the whole network. `head`: the last layer alone (a linear probe); all below it keeps its
    pretrained weights, and without augmentation its features are computed once and kept in `data.cache`. `last_1` to
    `last_9`: the last blocks (stages; of a vision transformer single blocks) and what follows them. `probe`: a logistic
    regression on principal components of the features, solved to its optimum in seconds, without steps. `auto`: a
    probe, or more of the network where held-out labels say that this is better (`choose.budget`)."""
    kept_views: Annotated[int, Field(ge=0, le=100)] = 0
    """With `train: head` or `last_N`, and augmentation: so many views of each image are drawn once, and what the frozen
    part of the network makes of them is kept in `data.cache`; training then takes seconds on a CPU. 0: a new view at
    every step, which the whole network looks at."""
    mirror: bool = False
    """With `train: probe` or `auto`: the features of an image are the mean of its own and its mirror image's, and views
    to train on may be mirrored. Not for letters."""
    center_crop: Annotated[int, Field(ge=8, le=4_096)] | None = None
    """With `train: probe` or `auto`, and your own images: the probe's network sees so many pixels of the shorter side,
    fewer than `data.size` has. The features of an image are then the mean of two views: all of it, resized to that, and
    its center of that size, where details stay as large as they are; with `mirror`, the center is mirrored, in place
    of all of it. Unset: the network sees images as they are."""
    precision: Precision = "auto"
    """With `train: probe` or `last_N`: what the frozen part of the network computes in on a CPU for what is kept.
    `auto`: bfloat16 where the processor has it (AVX512-BF16, AMX), which takes half the time, else float32."""
    normalize: Literal["data", "imagenet"] | None = None
    """Mean and deviation that images are normalized by: those of the data set, or those that the network's weights of
    ImageNet want. Unset: where there are pretrained weights, those that an earlier run trained them with, else
    ImageNet's. Pretrained networks see a gray image as three equal channels, unless the weights are of an earlier run
    on gray ones."""

    @field_validator("name")
    @classmethod
    def _networks_side_by_side_are_different_ones(cls, name: str) -> str:
        names = [each.strip() for each in networks_in(name)]
        if len(names) > 1 and ("" in names or READY_MADE in names or len({*names}) < len(names)):
            raise ValueError(
                f"{name!r}: {JOINT} stands between the names of different networks, such as "
                f"efficientnet_lite0{JOINT}efficientnet_lite2"
            )
        return JOINT.join(names)

    @rule
    def _networks_side_by_side_stay_as_they_are(self) -> None:
        if len(self.parts) > 1 and not self.chooses and self._is_known:
            raise ValueError(
                f"train={self.train!r}, but name={self.name!r} joins the features of "
                f"{counted(len(self.parts), 'network')}, which "
                "are not trained; use train: probe (recipe: graph), or name one network"
            )
        if self.weights is not None and not any(part.weights for part in self.parts):
            raise ValueError(
                f"weights={self.weights!r}, but each of name={self.name!r} begins with its installed ones; leave "
                "weights out, or name one network"
            )

    @rule
    def _only_one_network_whitens(self) -> None:
        if self.whiten and self.name.rpartition(":")[2] not in self.family.whitening:
            raise ValueError(f"whiten=true, but name={self.name!r} has no such option; use name: pooled_cnn")

    @rule
    def _only_a_pretrained_body_is_frozen(self) -> None:
        if self.train != "all" and not self.pretrained and self._is_known:
            without = next(part.name for part in self.parts if not part.pretrained)
            raise ValueError(
                f"train={self.train!r}, but weights is unset, and {without} has none installed; name pretrained "
                "weights, or networks that have them (efficientnet_lite0, efficientnet_lite2), or leave train out"
            )
        if self.download and self.weights is None:
            raise ValueError("download=true, but weights is unset; name pretrained weights, or leave download out")
        if self.weights is not None and self.whiten:
            raise ValueError(
                "whiten=true would overwrite the first filters of weights; use false, or leave weights out"
            )

    @property
    def parts(self) -> "tuple[ModelConfig, ...]":
        """Each of the networks alone."""
        names = networks_in(self.name)
        if len(names) == 1:
            return (self,)
        each = [self.model_copy(update={"name": name}) for name in names]
        return tuple(part.model_copy(update={"weights": None}) if part._has_installed else part for part in each)

    @property
    def family(self) -> FamilyFacts:
        """What is known of the network's family; of one that does not exist, or of several networks, nothing."""
        named = "" if JOINT in self.name else family_of(self.name)
        return FAMILIES[named] if named in FAMILIES else FamilyFacts()

    @property
    def _is_known(self) -> bool:
        """Is there such a network? Of one that there is not nothing else is said: whoever builds it names those that
        are near, and those of large packages with a colon in their names are known only then.
        """
        return all(":" in name or name in FAMILIES[family_of(name)].names() for name in networks_in(self.name))

    @property
    def _has_installed(self) -> bool:
        return self.name.rpartition(":")[2] in self.family.installed

    @property
    def pretrained(self) -> bool:
        """Does the network, or each of several, begin with weights that somebody else trained?"""
        return all(part.weights is not None or part._has_installed for part in self.parts)

    @property
    def of_photographs(self) -> bool:
        """Is it a network of somebody else's, with the weights that it was pretrained with?"""
        return self.pretrained and not self.family.has_options

    @property
    def chooses(self) -> bool:
        """Is there a stage `choose`, which holds labels out in turn?"""
        return self.train in {"probe", "auto"}

    @property
    def last_blocks(self) -> int:
        """How many blocks learn; 0: it is not decided by blocks."""
        return int(self.train.removeprefix("last_")) if self.train.startswith("last_") else 0

    @property
    def imagenet(self) -> bool:
        """Are images normalized by the figures of ImageNet?"""
        return self.normalize == "imagenet" or (self.normalize is None and self.pretrained)
