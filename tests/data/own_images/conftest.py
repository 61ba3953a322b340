"""A folder of photographs, opened as a new process would, wherever it lies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from semisup.config import DataConfig
from semisup.data.own_images import forget, own_images
from semisup.data.own_images.remote import bucket as bucket_module
from semisup.data.own_images.remote.bucket import Bucket
from tests.data.packed import make_photos


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three roles, 48 files of two sizes."""
    return make_photos(tmp_path_factory.mktemp("own") / "photos")


@pytest.fixture
def opened(tmp_path):
    """Opens a source as a new process would, with a cache of the test's own."""

    def of(name, place=None, **keys):
        forget()
        where = {"url" if "://" in str(place) else "root": place} if place is not None else {}
        values = {"name": name, "size": 32, "cache": tmp_path / "cache"} | where | keys
        return own_images(DataConfig.model_validate(values))

    yield of
    forget()


@pytest.fixture
def kill_midway(tmp_path):
    """Opens a folder in a process that kills itself once 32 images are decoded, with the cache that `opened` has.

    `key` says where the images are, `place` its value; `noted` has to be part of what is noted when it dies.
    """

    def of(key, place, noted=""):
        script = (
            "import os, signal, sys\n"
            "from semisup.config import DataConfig\n"
            "from semisup.data.own_images import own_images\n"
            "from semisup.data.own_images.decoded import building\n"
            "building.FILES_PER_PART = 16\n"
            "key, place, noted, cache = sys.argv[1:]\n"
            "def say(done, of, note):\n"
            "    if done >= 32 and noted in note:\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
            "own_images(DataConfig(**{'name': 'folder', key: place, 'size': 32, 'cache': cache}), say)\n"
        )
        command = [sys.executable, "-c", script, key, str(place), noted, str(tmp_path / "cache")]
        killed = subprocess.run(command, env=dict(os.environ), capture_output=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()

    return of


@pytest.fixture
def bodies(monkeypatch):
    """(key, bytes) of all that is read of objects, in order."""
    read, original = [], Bucket.read

    def counted(self, key, *piece, **others):
        content = original(self, key, *piece, **others)
        read.append((key, len(content)))
        return content

    monkeypatch.setattr(Bucket, "read", counted)
    return read


@pytest.fixture
def impatient(monkeypatch):
    """No test waits for what fails."""
    monkeypatch.setattr(bucket_module, "WAITS", (0.0, 0.0, 0.0))
