"""Images in a bucket are those of the folder they were made from; each byte is moved once, and nothing is lost."""

import json
import re
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from semisup.config import DataConfig
from semisup.config.files import validate
from semisup.data.own_images import forget, own_images
from semisup.data.own_images.containers.recognized import recognize_url
from semisup.data.own_images.decoded import cache as cache_module
from semisup.data.own_images.images import listing_of
from semisup.data.own_images.remote import bucket as bucket_module
from semisup.data.own_images.remote.bucket import Bucket
from semisup.data.own_images.survey import survey, write_config
from semisup.errors import UserError
from tests.data.corpus import encoded
from tests.data.packed import CLASSES, arrays, coco, facts, fiftyone, packed, parquet, saved, shards
from tests.mistakes import user_mistake
from tests.ports import free_port
from tests.s3 import Between

pytestmark = pytest.mark.usefixtures("impatient")
KINDS = [("folder", None), ("webdataset", shards), ("parquet", parquet)]
KINDS += [("coco", coco), ("fiftyone", fiftyone), ("arrays", arrays), ("parquet", saved)]
IDS = ["folder", "tars", "parquet", "coco", "fiftyone", "arrays", "arrow"]


@pytest.fixture
def made(photos, tmp_path):
    """The photographs as one of the KINDS, in a folder."""

    def of(make):
        return shutil.copytree(photos, tmp_path / "made") if make is None else make(photos, tmp_path / "made")

    return of


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_a_bucket_holds_the_very_images_ids_and_roles_of_the_folder(kind, made, s3, opened, tmp_path):
    name, make = kind
    root = made(make)
    url = s3.put(root, "photos", "a/b")
    local, remote = opened(name, root, cache=tmp_path / "other"), opened(name, url)
    assert facts(remote) == facts(local)
    assert (remote.pool.ids, remote.test.ids) == (local.pool.ids, local.test.ids)
    assert torch.equal(remote.pool.images, local.pool.images)
    assert remote.pool_digest == local.pool_digest  # so stages of the one stand for those of the other
    assert (
        torch.equal(remote.groups, local.groups)
        if torch.is_tensor(remote.groups)
        else (remote.groups.tolist() == local.groups.tolist())
    )


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_a_second_opening_reads_no_object(kind, made, s3, opened, bodies):
    name, make = kind
    url = s3.put(made(make), "photos")
    first = facts(opened(name, url))
    assert bodies
    bodies.clear()
    assert facts(opened(name, url)) == first
    assert bodies == []


def test_while_shards_are_fetched_somebody_is_told_how_far_it_is_and_later_runs_fetch_none(made, s3, tmp_path):
    root = made(shards)
    config = DataConfig(name="webdataset", url=s3.put(root, "photos"), size=(32, 32), cache=tmp_path / "cache")
    count = len(list(root.rglob("*.tar")))
    assert count > 1
    for expected in (list(range(1, count + 1)), []):
        forget()
        said: list[tuple[int, int, str]] = []
        own_images(config, lambda *words, said=said: said.append(words))
        assert [done for done, total, note in said if "bucket" in note and total == count] == expected
    forget()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[0] != "parquet"], ids=lambda kind: kind[0])
def test_every_byte_is_moved_once(kind, made, s3, opened, bodies):
    name, make = kind
    root = made(make)
    opened(name, s3.put(root, "photos"))
    assert sorted(bodies) == sorted(
        (f"photos/{path.relative_to(root).as_posix()}", path.stat().st_size) for path in root.rglob("*.*")
    )


def test_of_parquet_the_images_are_moved_once(s3, opened, bodies, tmp_path):
    """Footers, of 64 kB at most each, are looked at for the listing and for each row group."""
    noise = np.random.default_rng(0)
    rows = {
        "image": [encoded(noise.integers(0, 256, (200, 200, 3), dtype=np.uint8), "PNG") for _ in range(48)],
        "label": ["cat", "dog"] * 24,
    }
    file = tmp_path / "made" / "photos.parquet"
    file.parent.mkdir()
    pd.DataFrame(rows).to_parquet(file, row_group_size=16)
    opened("parquet", s3.put(file.parent, "photos"))
    assert sum(size for _, size in bodies) < file.stat().st_size + (3 + 1) * 2**17


def test_shards_beyond_the_caches_share_are_read_member_by_member(made, s3, opened, photos, bodies):
    root = made(shards)
    url = s3.put(root, "photos")
    largest = max(path.stat().st_size for path in root.rglob("*.tar"))
    own = opened("webdataset", url, cache_limit=f"{2.5 * largest / 1e6:.6f} MB", size=8)
    assert facts(own) == facts(opened("webdataset", root, size=8))
    sizes = [path.stat().st_size for path in root.rglob("*.tar")]
    assert sum(sizes) < sum(size for _, size in bodies) < 2 * sum(sizes)


def test_shards_that_stayed_go_when_others_need_the_room(made, s3, opened, tmp_path):
    opened("webdataset", s3.put(made(shards), "photos"))
    forget()
    kept = list((tmp_path / "cache" / cache_module.FETCHED).glob("*/body"))
    assert kept
    cache_module.Cache(tmp_path / "cache", 1).make_room(0)
    assert not any(file.exists() for file in kept)


def test_an_object_that_is_replaced_is_read_anew_and_no_other(made, s3, opened, bodies, photos):
    url = s3.put(made(None), "photos")
    before = opened("folder", url)
    other = (photos / "unlabeled/00.jpg").read_bytes()
    s3.client.put_object(Bucket="photos", Key="labeled/cat/00.jpg", Body=other)
    bodies.clear()
    after = opened("folder", url)
    assert bodies == [("photos/labeled/cat/00.jpg", len(other))]
    assert after.pool.ids != before.pool.ids


def test_the_tables_of_every_kind_are_read_again_where_they_change_and_nothing_else(
    s3, opened, bodies, photos, tmp_path
):
    url = s3.put(coco(photos, tmp_path / "made"), "photos")
    before = opened("coco", url)
    table = json.loads((tmp_path / "made/annotations/labeled.json").read_text())
    table["categories"] = [one | {"name": CLASSES[one["id"] % 2]} for one in table["categories"][:2]]  # swapped
    s3.client.put_object(Bucket="photos", Key="annotations/labeled.json", Body=json.dumps(table).encode())
    bodies.clear()
    after = opened("coco", url)
    assert [key for key, _ in bodies] == ["photos/annotations/labeled.json"]
    assert after.pool.ids == before.pool.ids
    known = before.pool.labels >= 0
    assert torch.equal(after.pool.labels[known], 1 - before.pool.labels[known])


def test_a_json_file_may_be_named_itself_and_images_lie_beside_it(s3, opened, photos, tmp_path):
    root = fiftyone(photos, tmp_path / "made")
    url = s3.put(root, "photos", "a")
    assert facts(opened("fiftyone", f"{url}/labels.json")) == facts(opened("fiftyone", root))
    assert recognize_url(f"{url}/labels.json") == "fiftyone"


def test_an_image_that_only_the_table_knows_is_broken(s3, opened, photos, tmp_path):
    url = s3.put(coco(photos, tmp_path / "made"), "photos")
    s3.client.delete_object(Bucket="photos", Key="images/unlabeled/03.jpg")
    assert opened("coco", url, max_broken=0.1).broken["path"].tolist() == ["images/unlabeled/03.jpg"]


@pytest.mark.parametrize(
    ("name", "key", "body", "word"),
    [
        ("coco", "a.json", b"{}", "data.url=s3://odd holds no COCO file"),
        ("coco", "a.json", b"[1", "data.url: s3://odd/a.json cannot be read"),
        ("fiftyone", "a.txt", b"", "data.url: s3://odd/labels.json does not exist"),
        ("fiftyone", "labels.json", b"{}", "data.url: s3://odd/labels.json has no 'labels'"),
        ("arrays", "a.txt", b"", "data.url=s3://odd holds no arrays"),
        ("arrays", "x.npy", b"none", "data.url: s3://odd/x.npy cannot be read"),
        ("arrays", "x.npz", b"none", "data.url: s3://odd/x.npz cannot be read"),
    ],
)
def test_a_damaged_object_is_one_line_that_names_it(name, key, body, word, *, s3, opened):
    s3.client.create_bucket(Bucket="odd")
    s3.client.put_object(Bucket="odd", Key=key, Body=body)
    assert word in error_of(opened, name, "s3://odd")


def test_one_object_may_be_named_itself(photos, s3, opened, tmp_path):
    (tmp_path / "tars").mkdir()
    file = packed(photos, tmp_path / "tars" / "photos.tar")
    url = s3.put(tmp_path / "tars", "photos")
    assert facts(opened("webdataset", f"{url}/photos.tar")) == facts(opened("webdataset", file))


def test_a_process_that_is_killed_in_mid_decoding_goes_on_where_it_was(made, s3, opened, bodies, kill_midway):
    url = s3.put(made(None), "photos")
    kill_midway("url", url)
    own = opened("folder", url)
    assert len(own.pool) + len(own.test) == 48
    assert 0 < len(bodies) <= 48 - 32


def test_an_object_that_is_gone_in_mid_run_is_a_broken_file_and_the_others_stay(made, s3, opened, monkeypatch):
    url = s3.put(made(None), "photos")
    listed = Bucket.objects

    def and_one_goes(self):
        objects = listed(self)
        s3.client.delete_object(Bucket="photos", Key="labeled/cat/03.jpg")
        return objects

    monkeypatch.setattr(Bucket, "objects", and_one_goes)
    own = opened("folder", url, max_broken=0.1)
    assert own.broken["path"].tolist() == ["labeled/cat/03.jpg"]
    assert "cannot be read" in own.broken["reason"].item()
    assert len(own.pool) == 35


def test_a_shard_that_is_replaced_while_it_is_fetched_is_one_line_and_the_next_run_has_it(
    made, s3, opened, monkeypatch, tmp_path
):
    url = s3.put(made(shards), "photos")
    shard, listed = tmp_path / "made" / "labeled-00000.tar", Bucket.objects
    other = (tmp_path / "made" / "labeled-00001.tar").read_bytes()

    def and_one_changes(self):
        objects = listed(self)
        s3.client.put_object(Bucket="photos", Key=shard.name, Body=other)
        return objects

    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "objects", and_one_changes)
        assert "labeled-00000.tar changed while it was read" in error_of(opened, "webdataset", url)
    s3.client.put_object(Bucket="photos", Key=shard.name, Body=shard.read_bytes())
    assert len(opened("webdataset", url).pool) == 36


def error_of(opened, name, url, **keys) -> str:
    with user_mistake() as told:
        opened(name, url, **keys)
    return str(told.value)


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_a_place_that_is_not_there_is_one_line(kind, s3, opened):
    name, _ = kind
    assert "data.url=s3://nowhere/a does not exist" in error_of(opened, name, "s3://nowhere/a")
    s3.client.create_bucket(Bucket="empty")
    assert re.match(r"data\.url(=|: )s3://empty/a", error_of(opened, name, "s3://empty/a"))


def test_a_wrong_key_is_one_line_and_the_right_one_is_read_with(made, s3, opened, monkeypatch):
    url = s3.put(made(None), "photos")
    name, secret = s3.guard()
    assert "may not be read" in error_of(opened, "folder", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", name)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "may not be read" in error_of(opened, "folder", url)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    assert len(opened("folder", url).pool) == 36


def test_no_key_at_all_is_one_line(s3, opened, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "set AWS_ACCESS_KEY_ID" in error_of(opened, "folder", "s3://photos")


def test_a_server_that_fails_is_asked_again_a_few_times(made, s3, opened, monkeypatch):
    url = s3.put(made(shards), "photos")
    with Between(s3.address, refusals=3)() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert len(opened("webdataset", url).pool) == 36


def test_a_server_that_is_gone_is_one_line_and_what_was_decoded_stays(made, s3, opened, monkeypatch, bodies):
    from semisup.data.own_images.decoded import building

    monkeypatch.setattr(building, "FILES_PER_PART", 16)
    monkeypatch.setattr(building, "WAITING", 1)
    url, read = s3.put(made(None), "photos"), Bucket.read

    def goes_away(self, key, start=None, end=None, said=""):
        if len(bodies) >= 32:
            self.files.client_kwargs["endpoint_url"] = f"http://127.0.0.1:{free_port()}"
            self.files.connect(refresh=True)
        return read(self, key, start, end, said)

    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "read", goes_away)
        error = error_of(opened, "folder", url)
    assert f"data.url={url} does not answer, asked 4 times" in error
    bodies.clear()
    assert len(opened("folder", url).pool) == 36
    assert len(bodies) < 48


def test_without_its_package_the_line_that_installs_it_is_said(opened, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)  # it remembers what it found
    assert "pip install 'semisup[s3]'" in error_of(opened, "folder", "s3://photos")
    assert "use s3://, gs://, az://, https:// or http://" in error_of(opened, "folder", "nothing://photos")


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (
            {"name": "folder", "root": "s3://photos/a"},
            "data.root holds 's3://photos/a', which is a URL; write data.url",
        ),
        ({"name": "mnist", "url": "s3://photos"}, "name='mnist' is read from a folder"),
        ({"name": "folder", "url": "s3://photos", "root": "photos"}, "both set"),
        ({"name": "folder", "url": "https://host/a.tar?X-Amz-Signature=secret"}, "set them in the environment"),
        ({"name": "folder", "manifest": "s3://key:secret@photos/a.csv"}, "set them in the environment"),
        ({"name": "folder", "url": "s3://key:secret@photos"}, "set them in the environment"),
        ({"name": "folder", "url": "photos"}, "data.url holds 'photos', which is no URL of a bucket"),
        ({"name": "folder", "url": "https://h/a.tar?sig=secret"}, "data.url holds https://h/a.tar with credentials"),
        (
            {"name": "folder", "url": "https://me:secret@[h/a"},
            "data.url holds 'https://[h/a', which is no URL (Invalid",
        ),
        (
            {"name": "folder", "manifest": "zip://a.csv::s3://b/a.zip"},
            "data.manifest holds 'zip://a.csv', which has ::",
        ),
        ({"name": "folder", "url": "abfss://me:secret@a.windows.net"}, "data.url holds abfss://a.windows.net with"),
        ({"name": "folder", "url": "file:///photos"}, "data.root"),
    ],
)
def test_urls_that_make_no_sense_are_refused(data, rule):
    with pytest.raises(UserError) as told:
        validate({"data": data}, source="test")
    assert rule in str(told.value)
    assert "secret" not in str(told.value)


def test_a_container_of_an_account_is_no_credential():
    url = "abfss://photos@account.dfs.core.windows.net/a"
    assert DataConfig(name="folder", url=url).url == url


def test_a_slash_at_the_end_names_the_same_place():
    assert DataConfig(name="folder", url="s3://photos/a/").url == "s3://photos/a"


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_init_says_what_it_found_and_writes_a_config_for_it(kind, made, s3, tmp_path):
    name, make = kind
    forget()
    url = s3.put(made(make), "photos", "a")
    text = write_config(survey(url, None, tmp_path / "cache", lambda *_: None))
    assert f"  name: {name}\n  url: {url}\n" in text
    forget()


def test_what_fsspec_lists_without_versions_is_read_each_time(made, tmp_path, opened, monkeypatch):
    """A server that says nothing of versions is never trusted to hold what it held."""
    import fsspec

    memory = fsspec.filesystem("memory")
    root = made(shards)
    for path in root.iterdir():
        memory.pipe(f"/photos/{path.name}", path.read_bytes())
    monkeypatch.setattr(bucket_module, "VERSIONS", ())
    first = opened("webdataset", "memory://photos")
    assert facts(first) == facts(opened("webdataset", root))
    listing = listing_of(DataConfig(name="webdataset", url="memory://photos", cache=tmp_path / "cache"))
    assert set(listing.changed.tolist()) == {bucket_module.NEVER_SURE}
    memory.rm("/photos", recursive=True)
