"""A manifest may lie anywhere, and so may its images: they are those of the folder they were put there from."""

import json
import os
import shutil
import socket
import sys

import fsspec
import numpy as np
import pandas as pd
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from semisup.config import DataConfig, PipelineConfig
from semisup.config.files import load_config
from semisup.data.own_images import own_images
from semisup.data.own_images.folders import places
from semisup.data.own_images.folders.manifest import read_manifest
from semisup.data.own_images.images import listing_of
from semisup.data.own_images.remote import bucket as bucket_module
from semisup.data.own_images.survey import survey, write_config
from semisup.data.own_images.vectors import read_vectors
from semisup.delivery.sent import Sources
from semisup.errors import UserError
from tests.data.packed import facts, files
from tests.mistakes import user_mistake
from tests.web import Web

pytestmark = pytest.mark.usefixtures("impatient")
LINES = "photos.jsonl"
EVERYWHERE = ["photos.csv", "photos.parquet", LINES]


def rows_of(photos, prefix="", suffix=lambda path: path):
    """A row for each file, as a manifest has it: (path, label, role)."""
    return [
        (f"{prefix}{suffix(path)}", label or "", {"test": "test", "unlabeled": "unlabeled"}.get(path.split("/")[0], ""))
        for path, label, _ in files(photos)
    ]


def write(rows, file, columns=("path", "label", "role")):
    """In the format that the name says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows, columns=list(columns))
    match file.suffix:
        case ".csv":
            table.to_csv(file, index=False)
        case ".parquet":
            table.to_parquet(file)
        case _:
            lines = ({key: value for key, value in row.items() if value} for row in table.to_dict("records"))
            file.write_text("\n\n".join(map(json.dumps, lines)) + "\n")
    return file


@pytest.fixture
def bucket(photos, s3):
    """The photographs in `s3://photos/a`."""
    return s3.put(photos, "photos", "a")


@pytest.fixture
def web(photos, tmp_path):
    """The photographs on a server of the web, below `/photos`; the folder is the test's own."""
    shutil.copytree(photos, tmp_path / "web/photos")
    with Web(tmp_path / "web").serving() as server:
        yield server


def same(own, other):
    """Equal to the last pixel, in the same order, under the same ids, so that stages of one stand for the other's."""
    assert facts(own) == facts(other)
    assert (own.pool.ids, own.test.ids) == (other.pool.ids, other.test.ids)
    assert torch.equal(own.pool.images, other.pool.images)
    assert own.pool_digest == other.pool_digest


def error_of(opened, *place, **keys) -> str:
    with user_mistake() as told:
        opened("folder", *place, **keys)
    return str(told.value)


# --- the same as the folder -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_manifest_beside_its_images_in_a_bucket_is_the_folder_with_those_files(name, photos, s3, opened, tmp_path):
    shutil.copytree(photos, tmp_path / "made")
    write(rows_of(photos), tmp_path / "made" / name)
    url = s3.put(tmp_path / "made", "photos", "a")
    folder = opened("folder", photos, cache=tmp_path / "other")
    same(opened("folder", manifest=f"{url}/{name}"), folder)


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_manifest_here_names_images_of_a_bucket_by_whole_addresses_or_below_the_url(
    name, photos, bucket, opened, tmp_path
):
    folder = opened("folder", photos, cache=tmp_path / "other")
    below, whole = tmp_path / "below" / name, tmp_path / "whole" / name
    same(opened("folder", bucket, manifest=write(rows_of(photos), below)), folder)
    same(opened("folder", bucket, manifest=write(rows_of(photos, f"{bucket}/"), whole)), folder)
    own = opened("folder", manifest=whole)
    assert facts(own) == facts(folder)
    assert own.pool.ids == tuple(f"{bucket}/{name}" for name in folder.pool.ids)
    assert torch.equal(own.pool.images, folder.pool.images)


def test_a_manifest_of_the_web_is_the_folder_and_names_may_hold_what_addresses_escape(photos, web, opened, tmp_path):
    odd = {"labeled/cat/00.jpg": "labeled/cat/0 #0?%41.jpg"}
    (web.root / "photos/labeled/cat/00.jpg").rename(web.root / "photos" / odd["labeled/cat/00.jpg"])
    folder = opened("folder", web.root / "photos", cache=tmp_path / "other")
    write(rows_of(photos, suffix=lambda path: odd.get(path, path)), web.root / "photos/m.csv")
    same(opened("folder", manifest=f"{web.address}/photos/m.csv"), folder)


def test_images_of_one_manifest_may_lie_here_in_a_bucket_and_on_the_web(photos, bucket, web, opened, tmp_path):
    shutil.copytree(photos, tmp_path / "here")
    prefixes = ["", f"{bucket}/", f"{web.address}/photos/"]
    rows = [(f"{prefixes[number % 3]}{path}", *rest) for number, (path, *rest) in enumerate(rows_of(photos))]
    own = opened("folder", tmp_path / "here", manifest=write(rows, tmp_path / "m.csv"))
    assert facts(own) == facts(opened("folder", photos))
    listing = listing_of(DataConfig(name="folder", root=tmp_path / "here", manifest=tmp_path / "m.csv"))
    here = [listing.contents.file(number) for number in range(len(listing))]
    assert sum(file is not None for file in here) == 16


@pytest.mark.parametrize("above", [1, 10**6], ids=["folders listed", "each asked for"])
def test_what_a_listing_says_of_versions_is_what_each_object_says(
    *, above, photos, bucket, opened, bodies, monkeypatch
):
    """So a manifest that grows past the border reads nothing anew, nor what a bucket without a manifest has read."""
    opened("folder", bucket)
    bodies.clear()
    monkeypatch.setattr(places, "LISTED_FROM", above)
    write(rows_of(photos), photos.parent / "same.csv")
    opened("folder", bucket, manifest=photos.parent / "same.csv")
    assert bodies == []


def test_pseudo_labels_are_those_of_the_folder(photos, bucket, stage_runner, tmp_path, one_thread):
    table = write(rows_of(photos), tmp_path / "m.jsonl")
    labels = []
    for place in ({"root": photos}, {"url": bucket, "manifest": table}):
        config = PipelineConfig.model_validate(
            {
                "data": {"name": "folder", "size": 16, "cache": tmp_path / "cache"} | place,
                "split": {"labeled_per_class": "all", "validation_per_class": 2},
                "model": {"name": "small_cnn", "width": 0.25},
                "baseline": {"epochs": 2, "batch_size": 8},
                "pseudo_label": {"threshold": 0.3},
            }
        )
        out = tmp_path / ("bucket" if "url" in place else "folder")
        folders = stage_runner(config, out, ("split", "baseline", "pseudo_label"))
        labels.append(pd.read_parquet(next(folders["pseudo_label"].glob("*.parquet"))))
    pd.testing.assert_frame_equal(*labels)
    assert len(labels[0]) == 12


def test_groups_vectors_and_what_goes_out_are_found_by_the_same_paths(photos, s3, opened, tmp_path):
    shutil.copytree(photos, tmp_path / "made")
    rows = [(*row, f"p{number // 4}") for number, row in enumerate(rows_of(photos))]
    write(rows, tmp_path / "made" / LINES, ("path", "label", "role", "patient"))
    manifest = f"{s3.put(tmp_path / 'made', 'photos')}/{LINES}"
    own = opened("folder", manifest=manifest, group="patient")
    numbers = {path: number for number, (path, *_) in enumerate(rows)}
    rows_of_pool = [numbers[name.rpartition("@")[0]] for name in own.pool.ids]
    assert own.units == tuple(f"group p{row // 4}" for row in rows_of_pool)
    vectors = np.arange(2.0 * len(rows)).reshape(-1, 2)
    np.save(tmp_path / "v.npy", vectors)
    data = DataConfig(name="folder", manifest=manifest, features=tmp_path / "v.npy", cache=tmp_path / "cache")
    assert np.array_equal(read_vectors(data, own.pool.ids).numpy(), vectors[rows_of_pool])
    chosen = pd.DataFrame({"id": own.pool.ids, "path": [name.rpartition("@")[0] for name in own.pool.ids]})
    data = data.model_copy(update={"features": None})
    sent = list(Sources(PipelineConfig(data=data), None)(chosen))
    contents = {path: content for path, _, content in files(photos)}
    assert [one.content for one in sent] == [contents[path] for path in chosen["path"]]


def test_of_mixed_places_nothing_is_said_to_lie_below_the_root(photos, bucket, tmp_path):
    """An export for Label Studio would else be written into the folder of one's own images."""
    shutil.copytree(photos, tmp_path / "here")
    data = DataConfig(name="folder", root=tmp_path / "here", manifest=write(rows_of(photos), tmp_path / "m.csv"))
    sources = Sources(PipelineConfig(data=data), None)
    assert sources.served_root(["a.jpg"]) == tmp_path / "here"
    assert sources.served_root(["a.jpg", f"{bucket}/b.jpg"]) is None


@pytest.mark.parametrize("beside", [True, False])
def test_init_writes_a_config_for_a_manifest_in_a_bucket(beside, photos, s3, tmp_path):
    shutil.copytree(photos, tmp_path / "made")
    write(rows_of(photos), tmp_path / "made" / "m.csv")
    url = s3.put(tmp_path / "made", "photos")
    manifest = f"{url}/m.csv" if beside else tmp_path / "made/m.csv"
    (tmp_path / "c.yaml").write_text(write_config(survey(url, manifest, tmp_path / "cache", lambda *_: None)))
    data = load_config(tmp_path / "c.yaml").data
    assert (data.name, data.url, data.manifest) == ("folder", url, manifest)
    assert len(own_images(data).pool) == 36


# --- read once, and again where it changed ----------------------------------------------------------------------------


def test_a_second_opening_reads_no_object_and_one_that_is_replaced_alone(
    *, photos, bucket, s3, opened, bodies, tmp_path
):
    table = write(rows_of(photos, f"{bucket}/"), tmp_path / "m.csv")
    first = opened("folder", manifest=table)
    assert len(bodies) == 48
    bodies.clear()
    same(opened("folder", manifest=table), first)
    assert bodies == []
    other = (photos / "unlabeled/00.jpg").read_bytes()
    s3.client.put_object(Bucket="photos", Key="a/labeled/cat/00.jpg", Body=other)
    assert opened("folder", manifest=table).pool.ids != first.pool.ids
    assert bodies == [("photos/a/labeled/cat/00.jpg", len(other))]


@pytest.mark.parametrize(
    ("says", "old", "read_again"),
    [({"ETag"}, False, 1), ({"Last-Modified"}, True, 1), ({"Last-Modified"}, False, 48), (set(), True, 48)],
    ids=["an ETag", "a time long past", "a time just now", "nothing"],
)
def test_of_the_web_a_changed_image_is_seen_whatever_the_server_says_of_versions(
    *, says, old, read_again, photos, web, opened, tmp_path
):
    """Where it says too little to be sure, content decides: all is read again."""
    web.says = frozenset(says)
    for number, path in enumerate(web.root.rglob("*.jpg")):
        os.utime(path, (10**9 + number, 10**9 + number) if old else None)  # a session's photographs grow old in it
    table = write(rows_of(photos, f"{web.address}/photos/"), tmp_path / "m.csv")
    first = opened("folder", manifest=table)
    smallest, *_, file = sorted(web.root.rglob("unlabeled/*.jpg"), key=lambda path: path.stat().st_size)
    other = smallest.read_bytes()
    file.write_bytes(other + bytes(file.stat().st_size - len(other)))  # another picture of the same size
    os.utime(file, (10**9 - 1, 10**9 - 1) if old else None)
    web.asked.clear()
    again = opened("folder", manifest=table)
    assert again.pool.ids != first.pool.ids
    assert len(web.bodies()) == read_again


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_an_object_that_is_not_there_is_a_broken_file_with_its_row_and_the_pack_is_made_once(
    *, photos, bucket, s3, web, opened, bodies, tmp_path
):
    rows = rows_of(photos, f"{bucket}/")
    rows[3] = (f"{web.address}/photos/none.jpg", *rows[3][1:])
    s3.client.delete_object(Bucket="photos", Key="a/labeled/cat/05.jpg")
    table = write(rows, tmp_path / "m.csv")
    for read in (46, 0):  # gone is gone: nothing is asked for it twice
        bodies.clear()
        own = opened("folder", manifest=table, max_broken=0.1)
        assert len(bodies) == read
        reasons = dict(own.broken.itertuples(index=False, name=None))
        assert reasons[rows[3][0]].endswith(f"row 4: {rows[3][0]} is not there")
        assert reasons[rows[5][0]].endswith(f"row 6: {rows[5][0]} is not there")
    assert f"{rows[5][0]} cannot be read: data.manifest={table}, row 6" in error_of(
        opened, manifest=table, max_broken=0.03
    )


def test_where_none_is_there_one_line_says_what_paths_are_relative_to(photos, bucket, opened, tmp_path):
    table = write(rows_of(photos), tmp_path / "m.csv")
    assert f"is in {bucket}/b; paths are relative to" in error_of(opened, f"{bucket}/b", manifest=table)
    assert "s3://nowhere" in error_of(opened, "s3://nowhere", manifest=table)
    assert "does not exist" in error_of(opened, manifest=f"{bucket}/m.csv")


def test_wrong_credentials_are_one_line_with_row_and_address(*, photos, bucket, s3, web, opened, tmp_path, monkeypatch):
    s3.guard()
    table = write(rows_of(photos, f"{bucket}/"), tmp_path / "m.csv")
    assert f"data.manifest={table}, row 1: {bucket}/labeled/cat/00.jpg may not be read" in error_of(
        opened, manifest=table
    )
    assert f"data.manifest={bucket}/m.csv may not be read" in error_of(opened, manifest=f"{bucket}/m.csv")
    web.password = "right"
    table = write(rows_of(photos, f"{web.address}/photos/"), tmp_path / "w.csv")
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    for password in ("", "wrong"):
        netrc.write_text(f"machine 127.0.0.1 login owner password {password}" if password else "")
        error = error_of(opened, manifest=table)
        assert "/photos/labeled/" in error
        assert "may not be read: 401" in error
        assert "~/.netrc" in error
    netrc.write_text("machine 127.0.0.1 login owner password right")
    assert len(opened("folder", manifest=table).pool) == 36


def test_servers_that_are_busy_or_silent_are_asked_again(photos, web, opened, tmp_path, monkeypatch):
    table = write(rows_of(photos, f"{web.address}/photos/"), tmp_path / "m.csv")
    web.busy = 3
    assert len(opened("folder", manifest=table).pool) == 36
    monkeypatch.setattr(bucket_module, "ANSWER", 0.5)
    web.silent = 1
    assert len(opened("folder", manifest=table, cache=tmp_path / "other").pool) == 36


def test_a_server_that_fails_for_good_is_one_line_with_row_and_address_and_what_was_read_stays(
    photos, web, opened, tmp_path, monkeypatch
):
    from semisup.data.own_images.decoded import building

    monkeypatch.setattr(building, "FILES_PER_PART", 16)
    monkeypatch.setattr(building, "WAITING", 1)
    table = write(rows_of(photos, f"{web.address}/photos/"), tmp_path / "m.csv")
    read = bucket_module.Bucket.read

    def until_it_fails(self, *place, **others):
        web.busy = 10**6 if len(web.bodies()) >= 32 else 0
        return read(self, *place, **others)

    with monkeypatch.context() as patched:
        patched.setattr(bucket_module.Bucket, "read", until_it_fails)
        error = error_of(opened, manifest=table)
    assert f"data.manifest={table}, row 33: {web.address}/photos/test/" in error
    assert "does not answer, asked 4 times: 503" in error
    web.busy = 0
    web.asked.clear()
    assert len(opened("folder", manifest=table).pool) == 36
    assert 0 < len(web.bodies()) < 48


def test_a_process_that_is_killed_goes_on_where_it_was(*, photos, bucket, opened, bodies, kill_midway, tmp_path):
    table = write(rows_of(photos, f"{bucket}/"), tmp_path / "m.csv")
    kill_midway("manifest", table, noted="read")
    own = opened("folder", manifest=table)
    assert len(own.pool) + len(own.test) == 48
    assert 0 < len(bodies) <= 48 - 32


@pytest.mark.parametrize(
    ("scheme", "module", "protocol", "extra"),
    [
        ("s3", "s3fs", "s3", "s3"),
        ("gs", "gcsfs", "gs", "gs"),
        ("az", "adlfs", "az", "az"),
        ("https", "fsspec.implementations.http", "https", "http"),
    ],
)
def test_a_missing_package_is_one_line_that_installs_it(
    *, scheme, module, protocol, extra, opened, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)  # it remembers
    table = write([("a.jpg", "cat", ""), (f"{scheme}://host/b.jpg", "dog", "")], tmp_path / "m.csv")
    error = error_of(opened, manifest=table)
    assert f"data.manifest={table}, row 2: {scheme}://host/b.jpg needs another package" in error
    assert error.endswith(f"type: pip install 'semisup[{extra}]'")


@pytest.mark.parametrize(
    ("path", "url", "word"),
    [
        ("file:///a.jpg", None, "row 2: 'file:///a.jpg' is a file of this machine"),
        ("https://me:secret@host/a.jpg", None, "row 2: https://host/a.jpg comes with credentials"),
        ("https://host/a.jpg?X-Amz-Signature=secret", None, "row 2: https://host/a.jpg comes with credentials"),
        ("http://me:secret@[h/a.jpg", None, "row 2: 'http://[h/a.jpg' is no URL (Invalid IPv6 URL); write"),
        ("zip://a.jpg::/missing.zip", None, "row 2: 'zip://a.jpg' has ::, which chains file systems; write"),
        ("https://host/a.jpg::file:///secret", None, "row 2: 'https://host/a.jpg' has ::"),
        ("abfss://me:secret@account.dfs.core.windows.net/a.jpg", None, "windows.net/a.jpg comes with credentials"),
        ("nothing://host/a.jpg", None, "row 2: nothing://host/a.jpg cannot be read"),
        ("../a.jpg", "s3://photos", "row 2: '../a.jpg' lies outside s3://photos"),
        ("/tmp/a.jpg", "s3://photos", "row 2: '/tmp/a.jpg' lies outside s3://photos"),
        ("../a.jpg", None, "row 2: '../a.jpg' lies outside data.root"),
    ],
)
def test_a_path_that_makes_no_sense_is_refused_before_anything_is_asked_for(path, url, word, opened, tmp_path):
    table = write([("b.jpg", "cat", ""), (path, "dog", "")], tmp_path / "m.csv")
    error = error_of(opened, url, manifest=table)
    assert word in error
    assert "secret" not in error


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"path": "a.jpg", "label": "cat"}\n{"path": ', "line 2 is no JSON"),
        ('["a.jpg", "cat"]', "line 1 is no object"),
        ('{"path": "a.jpg", "label": ["cat"]}', "column 'label' holds values of type list"),
        ('{"file": "a.jpg", "label": "cat"}', "no column 'path'"),
        ("", "no column 'path'"),
    ],
)
def test_json_lines_that_make_no_sense_are_refused_in_one_line(text, word, opened, tmp_path):
    (tmp_path / LINES).write_text(text)
    assert word in error_of(opened, manifest=tmp_path / LINES)


class Hosted(MemoryFileSystem):
    """A storage of which, as of FTP and Azure, one file system knows one server: a picture of its own on each."""

    protocol, cachable = "hosted", False

    def __init__(self, host, **options):
        super().__init__(**options)
        if host == "down":
            raise socket.gaierror(-2, "Name or service not known")
        self.host = host

    @staticmethod
    def _get_kwargs_from_urls(url):
        return {"host": url.partition("://")[2].partition("/")[0].rpartition("@")[2]}

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.partition("://")[2].partition("/")[2] if "://" in path else path

    def info(self, path, **_):
        return {"name": path, "size": len(self.host), "type": "file"}

    def cat_file(self, path, *_, **__):
        return self.host.encode()


def test_each_server_is_asked_for_its_own_images_and_one_that_is_down_is_one_line(opened, tmp_path):
    fsspec.register_implementation("hosted", Hosted, clobber=True)
    paths = ["hosted://one/a.jpg", "hosted://box@two/a.jpg", "hosted://one/b.jpg"]
    contents, _ = places.placed(paths, [1, 2, 3], tmp_path, "data.manifest=m.csv")
    assert [contents.read(number) for number in range(3)] == [b"one", b"two", b"one"]
    table = write([("b.jpg", "cat", ""), ("hosted://down/a.jpg", "dog", "")], tmp_path / "m.csv")
    assert "row 2: hosted://down/a.jpg cannot be read: [Errno -2] Name or service not known; use s3://" in error_of(
        opened, manifest=table
    )


def test_a_name_in_a_bucket_may_hold_two_colons(photos, s3, tmp_path):
    paths = ["a::b.jpg", "c.jpg"]
    for path in paths:
        (tmp_path / "made").mkdir(exist_ok=True)
        (tmp_path / "made" / path).write_bytes(path.encode())
    url = s3.put(tmp_path / "made", "photos")
    contents, _ = places.placed(paths, [1, 2], url, "data.manifest=m.csv")
    assert [contents.read(number) for number in range(2)] == [path.encode() for path in paths]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_json_end_where_they_end_and_each_whole_float_is_a_whole_number(end, tmp_path):
    odd = "a\u2028b\u2029c\x85d.jpg"
    rows = [{"path": odd, "label": 1}, {"path": "e.jpg", "label": 2.0}, {"path": "f.jpg", "label": 2.5}]
    rows += [{"path": "g.jpg", "label": "1.0"}, {"path": "h.jpg"}]
    text = end.join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / LINES).write_bytes(text.encode())
    table = read_manifest(tmp_path / LINES, "data.manifest")
    assert list(table["path"]) == [odd, "e.jpg", "f.jpg", "g.jpg", "h.jpg"]
    assert list(table["label"]) == ["1", "2", "2.5", "1.0", ""]
    (tmp_path / LINES).write_text(f"{text}{end}{{")
    with pytest.raises(UserError, match="line 6 is no JSON"):
        read_manifest(tmp_path / LINES, "data.manifest")


def test_numbers_of_json_are_labels_as_they_are_written(opened, tmp_path, photos):
    """A column with gaps would make floats of them."""
    rows = [{"path": path, "label": number % 2} for number, (path, *_) in enumerate(files(photos))]
    del rows[-1]["label"]
    shutil.copytree(photos, tmp_path / "here")
    (tmp_path / "here" / LINES).write_text("\n".join(map(json.dumps, rows)))
    assert opened("folder", manifest=tmp_path / "here" / LINES, test_share=0.3).pool.class_names == ("0", "1")
