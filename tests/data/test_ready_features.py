"""Ready-made features: every image gets its own vector, and a table that is wrong is one clear line."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semisup.config import DataConfig, PipelineConfig
from semisup.data.own_images.vectors import order_digest, read_vectors
from semisup.errors import UserError

PATHS = ["a/1.png", "a/2.png", "b/3.png"]
IDS = [f"{path}@0123456789ab" for path in PATHS]
VECTORS = np.arange(12, dtype=np.float64).reshape(3, 4)


def data(file, **more):
    return DataConfig(name="folder", root=file.parent, features=file, **more)


def lists(file, paths=PATHS, vectors=VECTORS):
    pd.DataFrame({"path": paths, "vector": list(vectors)}).to_parquet(file)
    return file


def columns(file):
    pd.DataFrame(VECTORS, columns=list("wxyz")).assign(path=PATHS).to_parquet(file)
    return file


def fixed(file):
    table = {"path": PATHS, "vector": pa.FixedSizeListArray.from_arrays(VECTORS.astype(np.float16).ravel(), 4)}
    pq.write_table(pa.table(table), file)
    return file


@pytest.mark.parametrize("write", [lists, columns, fixed])
def test_a_table_gives_the_vector_of_each_path_however_it_is_written(tmp_path, write):
    found = read_vectors(data(write(tmp_path / "v.parquet")), IDS)
    np.testing.assert_array_equal(found.numpy(), VECTORS.astype(np.float32))


@given(order=st.permutations(range(3)), asked=st.permutations(range(3)))
def test_neither_the_order_of_the_rows_nor_rows_of_other_images_matter(tmp_path_factory, order, asked):
    place = tmp_path_factory.mktemp("v")
    paths, vectors = [PATHS[row] for row in order] + ["c/4.png"], [*VECTORS[list(order)], np.full(4, np.nan)]
    file = lists(place / "v.parquet", paths, vectors)
    found = read_vectors(data(file), [IDS[row] for row in asked])
    np.testing.assert_array_equal(found.numpy(), VECTORS[list(asked)])


@given(order=st.permutations(range(3)))
def test_the_rows_of_an_array_are_those_of_the_manifest_as_they_are_written_there(tmp_path_factory, order):
    place = tmp_path_factory.mktemp("v")
    written = [["./a/1.png", "a/2.png", "x/../b/3.png"][row] for row in order]
    pd.DataFrame({"path": written, "label": "l"}).to_csv(place / "m.csv", index=False)
    np.save(place / "v.npy", VECTORS[list(order)])
    found = read_vectors(data(place / "v.npy", manifest=place / "m.csv"), IDS)
    np.testing.assert_array_equal(found.numpy(), VECTORS)


def test_the_order_of_a_manifest_counts_for_an_array_and_for_no_table(tmp_path):
    pd.DataFrame({"path": PATHS, "label": "l"}).to_csv(tmp_path / "m.csv", index=False)
    pd.DataFrame({"path": PATHS[::-1], "label": "l"}).to_csv(tmp_path / "other.csv", index=False)
    digests = {
        order_digest(data(tmp_path / file, manifest=tmp_path / table))
        for file in ("v.npy", "v.parquet")
        for table in ("m.csv", "other.csv")
    }
    assert len(digests) == 3
    assert "" in digests


def bad(vectors, *, kind="parquet", paths=PATHS):
    def write(place):
        file = place / f"v.{kind}"
        if kind == "npy":
            np.save(file, vectors, allow_pickle=True)
            pd.DataFrame({"path": PATHS, "label": "l"}).to_csv(place / "m.csv", index=False)
        else:
            lists(file, paths, vectors)
        return file

    return write


def text(place, name="v.parquet"):
    (place / name).write_text("not a table")
    return place / name


def table(place, **columns):
    pd.DataFrame(columns).to_parquet(place / "v.parquet")
    return place / "v.parquet"


def changed(row, value):
    vectors = VECTORS.copy()
    vectors[row, 1] = value
    return vectors


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (bad(VECTORS[:2], paths=PATHS[:2]), "no vector of 'b/3.png'; add a row"),
        (bad(VECTORS, paths=["x", "y", "z"]), "no vector of 'a/1.png', nor of 2 others; it has for example 'x'"),
        (bad(VECTORS, paths=["a/1.png", "a/1.png", "b/3.png"]), "two vectors of 'a/1.png'; keep one"),
        (bad(changed(1, np.nan)), "the vector of 'a/2.png' has NaN or infinity in it; compute"),
        (bad(changed(2, np.inf)), "the vector of 'b/3.png' has NaN or infinity in it; compute"),
        (bad(changed(0, 1e300)), "the vector of 'a/1.png' has NaN or infinity in it; compute"),
        (bad(np.full((3, 4), np.nan)), "'a/1.png' has NaN or infinity in it, and so have 2 others"),
        (bad([[1.0, 2.0], [1.0], [1.0, 2.0]]), "'a/2.png' has 1 numbers, and that of 'a/1.png' has 2"),
        (bad([[], [1.0], [1.0]]), "'a/1.png' has 0 numbers"),
        (bad([["1"], ["2"], ["3"]]), "lists of string; they have to hold numbers"),
        (bad([1.0, 2.0, 3.0]), "holds double; it has to hold lists of numbers"),
        (lambda place: table(place, file=PATHS, vector=list(VECTORS)), "no column 'path'; it has 'file', 'vector'"),
        (lambda place: table(place, path=PATHS), "no column 'vector', and there is no other column"),
        (lambda place: table(place, path=PATHS, x=1.0, name="n"), "column 'name' holds"),
        (lambda place: table(place, path=[], vector=[]), "has no rows"),
        (text, "cannot be read as Parquet"),
        (lambda place: place / "none.parquet", "does not exist; name a Parquet or .npy file"),
        (bad(VECTORS[:2], kind="npy"), "has 2 rows, and data.manifest="),
        (bad(VECTORS[0], kind="npy"), "is an array of 4 float64; it has to have a row of numbers for each image"),
        (bad(np.array(["a", "b", "c"])[:, None], kind="npy"), "it has to have a row of numbers for each image"),
        (bad(np.array([None] * 3), kind="npy"), "cannot be read"),
        (bad(changed(1, np.nan), kind="npy"), "the vector of 'a/2.png' has NaN"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line_that_names_the_image(tmp_path, write, said):
    file = write(tmp_path)
    manifest = tmp_path / "m.csv" if file.suffix == ".npy" else None
    with pytest.raises(UserError) as error:
        read_vectors(data(file, manifest=manifest), IDS)
    line = str(error.value)
    assert line.startswith(f"data.features={file}")
    assert said in line
    assert "\n" not in line


def test_a_damaged_array_is_one_line(tmp_path):
    file = text(tmp_path, "v.npy")
    pd.DataFrame({"path": PATHS, "label": "l"}).to_csv(tmp_path / "m.csv", index=False)
    with pytest.raises(UserError, match="cannot be read"):
        read_vectors(data(file, manifest=tmp_path / "m.csv"), IDS)


# --- the config -------------------------------------------------------------------------------------------------------

FOLDER = {"name": "folder", "root": "photos", "features": "v.parquet"}


def test_features_stand_for_the_network_that_nobody_names():
    config = PipelineConfig.model_validate({"recipe": "graph", "data": FOLDER})
    assert (config.model.name, config.model.train) == ("features", "probe")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"data": {"name": "digits", "features": "v.parquet"}}, "use name: folder"),
        ({"data": FOLDER | {"features": "v.csv"}}, "has to end with .parquet or .pq or .npy"),
        ({"data": FOLDER | {"features": "v.npy"}}, "name a manifest with the same rows, or use Parquet"),
        ({"data": FOLDER, "model": {"name": "efficientnet_lite0"}}, "use model.name: features, or leave one"),
        ({"data": FOLDER, "recipe": "steps", "model": {"train": "head"}}, "trains a network; use recipe: graph"),
        ({"model": {"name": "features"}}, "data.features is unset"),
        ({"data": FOLDER, "evaluate": {"compound": True}}, "evaluate.compound asks a network"),
        (
            {"data": FOLDER, "evaluate": {"test_time": {"views": 3, "augment": {"shift": 0.1}}}},
            "evaluate.test_time.views asks a network",
        ),
        ({"data": FOLDER, "model": {"mirror": True}}, "model.mirror asks a network"),
    ],
)
def test_what_does_not_go_with_ready_made_features_says_the_way_out(sections, said):
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        PipelineConfig.model_validate({"recipe": "graph"} | sections)
