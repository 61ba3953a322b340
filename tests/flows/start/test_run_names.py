"""How runs are called: short in lists, whole on their own pages."""

import pytest

from flows.start.run_names import MOST_LETTERS, all_set, briefly, briefly_again, run_name, still_set, tags_of
from semisup.config import PipelineConfig


def test_a_name_tells_what_was_set_and_can_change_a_result():
    overrides = ["seed=3", "runtime.threads=1", "data.root=photos", "joint.alpha_final=0.5", "name=other"]
    assert briefly(overrides) == "data.root=photos joint.alpha_final=0.5"
    config = PipelineConfig.model_validate({"seed": 3, "joint": {"alpha_final": 0.5}})
    assert run_name(config, ["seed=3", "joint.alpha_final=0.5"]) == "digits-seed3 joint.alpha_final=0.5"
    assert run_name(PipelineConfig(), [], "-ensemble") == "digits-seed0-ensemble"


@pytest.mark.parametrize("key", ["data.annotations", "pseudo_label.teacher", "model.weights", "data.manifest"])
def test_runs_with_other_annotations_teachers_or_files_are_told_apart(key):
    assert briefly([f"{key}=one"]) != briefly([f"{key}=other"])


def test_what_the_config_holds_no_longer_is_not_told():
    config = PipelineConfig.model_validate({"rounds": 3, "joint": {"alpha_final": 0.5}})
    overrides = ["rounds=2", "joint.alpha_final=0.5", "rounds=3", "rounds=many", "gone.key=1"]
    assert still_set(config, overrides) == ["joint.alpha_final=0.5", "rounds=3"]
    assert still_set(config, None) == []
    assert tags_of(still_set(config, ["rounds=2"])) == {}


def test_a_key_that_was_set_by_its_name_of_before_is_told_by_that_of_today():
    data = {"name": "folder", "root": "photos", "annotations": "mine.csv"}
    config = PipelineConfig.model_validate({"data": data})
    assert still_set(config, ["data.answers=mine.csv", "data.answers=others.csv"]) == ["data.annotations=mine.csv"]


def test_of_a_key_that_was_set_twice_the_last_value_counts():
    assert briefly(["rounds=2", "joint.epochs=5", "rounds=3"]) == "rounds=3 joint.epochs=5"


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_an_ellipsis_stands_for_what_was_set_first_and_what_fits_is_whole(count):
    overrides = [f"joint.key_{number}=0.5" for number in range(count)]
    whole = " ".join(overrides)
    said = briefly(overrides)
    assert len(said) <= MOST_LETTERS
    assert said.endswith(overrides[-1])
    assert said == whole if len(whole) <= MOST_LETTERS else whole.endswith(said.removeprefix("… "))


def test_a_single_value_that_is_long_is_cut_at_its_end():
    assert briefly([f"joint.method={'a' * 99}"]) == f"joint.method={'a' * 99}"[: MOST_LETTERS - 1] + "…"


@pytest.mark.parametrize("overrides", [["joint.method=a b"], ["x='"], ["data.group={a}/…", "rounds=2"], []])
def test_what_the_store_has_is_as_brief_as_what_was_typed(overrides):
    assert briefly_again(all_set(overrides)) == briefly(overrides)


def test_what_somebody_has_cut_is_shown_as_it_is():
    assert briefly_again("joint.method='ab") == "joint.method='ab"


def test_a_name_is_one_line_and_holds_no_login():
    assert briefly(["joint.method=a\nb"]) == "joint.method=a b"
    for said in (briefly(["model.name=https://me:secret@host/x"]), all_set(["data.url=https://me:secret@host/x"])):
        assert "secret" not in said
