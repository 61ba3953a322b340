"""What is saved is what is loaded; nothing of anybody else's is written over, and nothing is half there."""

import json
import pickletools
import resource
import warnings

import numpy as np
import pandas as pd
import pytest

import semisup as ss
from semisup.api import saving


@pytest.fixture(scope="module")
def classifiers(digits):
    """Of every kind of model."""
    quick = {"budget": "20 steps", "width": 0.5, "random_state": 0}
    names = np.where(digits.partly == -1, "", np.array(["zero", "one", "two", "three"])[digits.partly])
    table = pd.DataFrame(digits.vectors).add_prefix("p")
    return {
        "graph": (ss.PseudoLabelClassifier(random_state=0).fit(table, digits.partly), table),
        "probe": (ss.PseudoLabelClassifier(random_state=0).fit(digits.vectors, digits.truth == 3), digits.vectors),
        "vectors": (
            ss.PseudoLabelClassifier(ss.Sharpened(ss.FixMatch(0.9), temperature=0.5), **quick).fit(
                digits.vectors, names
            ),
            digits.vectors,
        ),
        "images": (ss.PseudoLabelClassifier(**quick).fit(digits.images, names.astype(object)), digits.images),
    }


@pytest.mark.parametrize("kind", ["graph", "probe", "vectors", "images"])
def test_a_model_read_back_says_the_same_to_the_bit(kind, classifiers, tmp_path):
    classifier, rows = classifiers[kind]
    loaded = ss.load(classifier.save(tmp_path / "model"))
    assert (loaded.predict_proba(rows) == classifier.predict_proba(rows)).all()
    assert (loaded.predict(rows) == classifier.predict(rows)).all()
    assert loaded.classes_.dtype == classifier.classes_.dtype
    assert loaded.get_params() == classifier.get_params()
    pd.testing.assert_frame_equal(loaded.pseudo_labels_, classifier.pseudo_labels_)
    for name in ("labeled_iter_", "transduction_", "classes_"):
        assert (getattr(loaded, name) == getattr(classifier, name)).all(), name
    for name in ("history_", "termination_condition_", "n_features_in_", "n_validation_"):
        assert getattr(loaded, name) == getattr(classifier, name), name
    assert loaded._repr_html_() == classifier._repr_html_()
    ss.load(loaded.save(tmp_path / "again"))
    for file in (saving.ABOUT, saving.WEIGHTS):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "model" / file).read_bytes()


def test_a_folder_holds_json_and_safetensors_and_no_pickle(classifiers, tmp_path):
    folder = classifiers["images"][0].save(tmp_path / "model")
    assert {path.name for path in folder.iterdir()} == {"classifier.json", "weights.safetensors", "semisup.mark"}
    assert json.loads((folder / "classifier.json").read_text())["format"] == saving.FORMAT
    with pytest.raises(ValueError, match=r"unknown|exhausted|not"):
        list(pickletools.genops((folder / "weights.safetensors").read_bytes()))


def test_a_model_of_ours_is_replaced(classifiers, tmp_path):
    classifiers["graph"][0].save(tmp_path / "model")
    classifiers["images"][0].save(tmp_path / "model")
    assert ss.load(tmp_path / "model").image_shape_ == (1, 8, 8)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("theirs", ["file", "folder", "empty folder", "addition"])
def test_what_is_not_ours_stays_as_it_is(theirs, classifiers, tmp_path):
    place = tmp_path / "model"
    if theirs == "file":
        place.write_text("mine")
    elif theirs == "addition":
        classifiers["graph"][0].save(place)
        (place / "notes.txt").write_text("mine")
    else:
        place.mkdir()
        if theirs == "folder":
            (place / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ss.UserError, match="name another folder"):
        classifiers["images"][0].save(place)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_save_that_fails_leaves_the_model_that_was_there(classifiers, tmp_path):
    classifiers["graph"][0].save(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as on a full disk: the system refuses to write on
    try:
        with pytest.raises(ss.UserError, match="cannot be written: File too large"):
            classifiers["images"][0].save(tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_cannot_be_kept_is_said(digits, tmp_path):
    classifier = ss.PseudoLabelClassifier(random_state=np.random.RandomState(0), progress=print)
    classifier.fit(digits.vectors, digits.partly).save(tmp_path / "model")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert ss.load(tmp_path / "model").random_state is None
    assert sorted(str(warning.message).partition(",")[0] for warning in said) == [
        "progress was a builtin_function_or_method",
        "random_state was a RandomState",
    ]


def test_scalars_of_numpy_are_kept_as_numbers(digits, tmp_path):
    seed, fraction = np.random.default_rng(0).integers(100), np.float64(0.25)
    options = {"validation_fraction": fraction, "settings": {"batch_size": np.int64(16)}, "budget": "5 steps"}
    fitted = ss.PseudoLabelClassifier(ss.FixMatch(np.float32(0.5)), random_state=seed, **options)
    loaded = ss.load(fitted.fit(digits.vectors, digits.partly).save(tmp_path / "model"))
    assert loaded.get_params() == fitted.get_params()
    assert type(loaded.random_state) is int


@pytest.mark.parametrize("damage", ["nothing there", "no weights", "cut weights", "no json", "other keys", "newer"])
def test_a_damaged_model_is_one_line(damage, classifiers, tmp_path):
    folder = classifiers["graph"][0].save(tmp_path / "model")
    about, weights = folder / saving.ABOUT, folder / saving.WEIGHTS
    match damage:
        case "nothing there":
            folder = tmp_path / "elsewhere"
        case "no weights":
            weights.unlink()
        case "cut weights":
            weights.write_bytes(weights.read_bytes()[:1000])
        case "no json":
            about.write_text("{")
        case "other keys":
            about.write_text('{"format": 1}')
        case "newer":
            about.write_text(json.dumps(json.loads(about.read_text()) | {"format": 99, "semisup": "9.0"}))
    with pytest.raises(ss.UserError, match=r"^model ") as caught:
        ss.load(folder)
    assert "\n" not in str(caught.value)


def test_who_is_not_fitted_is_not_saved(tmp_path):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        ss.PseudoLabelClassifier().save(tmp_path / "model")
