"""What runs leave goes to a bucket and comes back from there, with MLflow's store anywhere else."""

from pathlib import Path

import mlflow
import pytest

from semisup.errors import StoreUnavailableError
from semisup.tracking.places.failures import store_failures
from semisup.tracking.tracker import Tracker


@pytest.fixture
def in_a_bucket(store, s3, monkeypatch):
    """An experiment whose artifacts lie at s3://runs/here."""
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3.address)
    s3.client.create_bucket(Bucket="runs")
    client = mlflow.tracking.MlflowClient(tracking_uri=f"sqlite:///{store}/mlflow.db")
    client.create_experiment("tests", artifact_location="s3://runs/here")
    return Tracker.open("tests", Path.cwd())


@pytest.fixture
def out(tmp_path):
    """What a stage left: bytes, a name with a blank."""
    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)
    (out / "a.bin").write_bytes(bytes(range(256)))
    (out / "figures" / "two words.txt").write_text("b", encoding="utf-8")
    return out


def test_the_files_of_a_run_lie_in_the_bucket_and_come_back_with_the_same_bytes(in_a_bucket, out, s3, tmp_path):
    with in_a_bucket.run("a", {}) as run:
        run.log_outputs(out)
    listed = s3.client.list_objects_v2(Bucket="runs", Prefix=f"here/{run.id}/artifacts/")["Contents"]
    assert {of["Key"].partition("/artifacts/")[2] for of in listed} >= {"a.bin", "figures/two words.txt"}
    assert in_a_bucket.local_artifacts(run.id) is None
    back = in_a_bucket.artifacts(run.id, tmp_path / "scratch")
    for file in out.rglob("*.*"):
        assert (back / file.relative_to(out)).read_bytes() == file.read_bytes()
    assert in_a_bucket.file(run.id, "a.bin", tmp_path).read_bytes() == bytes(range(256))


def test_a_bucket_that_takes_no_artifacts_is_one_line(in_a_bucket, out, s3):
    s3.client.delete_bucket(Bucket="runs")
    with (
        pytest.raises(StoreUnavailableError) as told,
        store_failures("sqlite:///m.db"),
        in_a_bucket.run("a", {}) as run,
    ):
        run.log_outputs(out)
    assert "check MLFLOW_S3_ENDPOINT_URL" in str(told.value)
    assert "\n" not in str(told.value)
