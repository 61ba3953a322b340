"""Where the images that a manifest names lie: in files below its base, in a bucket or anywhere on the web."""

import os
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote, unquote

import numpy as np

from semisup.config.urls import fault_of, holds_credentials, is_url, without_credentials
from semisup.data.listing import Contents, Files
from semisup.data.own_images.folders.tree import Stamps, stamps_below
from semisup.data.own_images.reading.threads import worked_ahead
from semisup.data.own_images.remote.bucket import OF_ANY_PLACE, WEB, Bucket, Stamp
from semisup.data.own_images.remote.kept import tell
from semisup.errors import UserError

Base: TypeAlias = Path | str
"""What relative paths are relative to: a folder, or a URL, which is a text."""
LISTED_FROM = 8
"""Images named in one folder of a bucket, from which on it is listed in place of asking for each."""
ASKED_AT_ONCE = 16


def base_of(root: Base | None, manifest: Base | None) -> Base:
    """What all paths of a listing are relative to: its root, or the folder or prefix of its manifest."""
    if root is not None:
        return root if isinstance(root, str) else root.expanduser()
    assert manifest is not None, "a listing was made of one of them"
    return manifest.rpartition("/")[0] if isinstance(manifest, str) else manifest.expanduser().parent


def written_alike(paths: Iterable[str], base: Base) -> list[str]:
    """Paths that a person wrote, relative to the base, with slashes and without detours; URLs of other places stay."""
    if isinstance(base, str):
        return [_below_url(path, base) for path in paths]
    inside = os.path.realpath(base)
    return [
        path if is_url(path) else os.path.relpath(os.path.join(inside, path), inside).replace(os.sep, "/")
        for path in paths
    ]


def _below_url(path: str, base: str) -> str:
    if not is_url(path):
        return posixpath.normpath(path)
    if not path.startswith(f"{base}/"):
        return path
    rest = path.removeprefix(f"{base}/")
    if _scheme(base) not in WEB:
        return posixpath.normpath(rest)
    # On the web a name is written with escapes, and what follows a question mark is part of no name.
    return path if "?" in rest or "#" in rest else posixpath.normpath(unquote(rest))


def check_place(path: str, base: Base, said: str) -> None:
    """Make sure that a path as a person wrote it is one that may be read; `said` names its row.

    Raises:
        UserError: it leads out of the base, is no address, or one with credentials or of a file of this machine.
    """
    if is_url(path):
        return _check_address(path, said)
    if isinstance(base, str):
        if posixpath.isabs(path) or posixpath.normpath(path).startswith("../"):
            raise UserError(
                f"{said}: {path!r} lies outside {base}, which paths are relative to; write its whole address, or one "
                "below that"
            )
        return None
    inside = os.path.realpath(base)
    real = os.path.realpath(os.path.join(inside, path))
    if os.path.commonpath([real, inside]) != inside:
        raise UserError(f"{said}: {path!r} lies outside data.root={base}; name a root that holds all files")
    if "\\" in path and not os.path.exists(real):
        raise UserError(
            f"{said}: path {path!r} has backslashes, and there is no such file; write slashes between folders"
        )
    return None


def _check_address(path: str, said: str) -> None:
    scheme = _scheme(path)
    if scheme in {"file", "local"}:
        raise UserError(f"{said}: {path!r} is a file of this machine; write its path, without {scheme}://")
    if fault := fault_of(path):
        raise UserError(
            f"{said}: {without_credentials(path)!r} {fault}; write the address of one object, such as s3://bucket/1.jpg"
        )
    if holds_credentials(path):
        raise UserError(
            f"{said}: {without_credentials(path)} comes with credentials, which would stand in every record; write it "
            "without them, and set them in the environment"
        )


@dataclass(frozen=True, eq=False)
class Scattered:
    """Images of a manifest: files below its base, and objects.

    Attributes:
        root: the base where it is a folder, else "".
        addresses: (N,) URLs; None: it is a file below the root.
        said: (N,) how errors name the row of each and its address.
        stores: by what :func:`_server` says.
    """

    root: str
    paths: Sequence[str]
    addresses: Sequence[str | None]
    said: Callable[[int], str]
    stores: Mapping[str, Bucket]
    distant: bool = field(default=True, init=False)

    def read(self, number: int) -> bytes:
        """As in `Contents`.

        Raises:
            OSError: there is no such file or object.
            UserError: it must not be read, or its server does not answer.
        """
        address = self.addresses[number]
        if address is None:
            return Files(self.root, self.paths).read(number)
        store = self.stores[_server(address)]
        try:
            return store.read(store.key_of(address), said=self.said(number))
        except FileNotFoundError:
            raise OSError(f"{self.said(number)} is not there") from None

    def file(self, number: int) -> str | None:
        """As in `Contents`."""
        return Files(self.root, self.paths).file(number) if self.addresses[number] is None else None


def placed(paths: Sequence[str], rows: Sequence[int], base: Base, field: str) -> tuple[Contents, Stamps]:
    """Where the bytes of a manifest's paths (N,) lie, :func:`written_alike`, and their sizes and versions.

    `rows` (N,) count from 1, and `field` names the manifest, for errors.

    Raises:
        UserError: an object must not be asked for, or its server does not answer; no such kind of storage is known,
            or the package that reads it is not installed.
    """
    addresses = [_address(path, base) for path in paths]
    inside = "" if isinstance(base, str) else os.path.realpath(base)
    if not any(addresses):
        return Files(inside, paths), stamps_below(inside, paths)

    def said(number: int) -> str:
        return f"{field}, row {rows[number]}: {addresses[number]}"

    stores = dict[str, Bucket]()
    for number, address in enumerate(addresses):
        if address is not None and _server(address) not in stores:
            # A name below the base may hold what fsspec takes for an address within an address.
            place = address if is_url(paths[number]) or not isinstance(base, str) else base
            stores[_server(address)] = Bucket.at(place, said(number))
    contents = Scattered(inside, paths, addresses, said, stores)
    sizes, changed = np.full(len(paths), -1), np.zeros(len(paths), dtype=np.int64)
    near = [number for number, address in enumerate(addresses) if address is None]
    sizes[near], changed[near] = stamps_below(inside, [paths[number] for number in near])
    for number, stamp in _asked_for(contents):
        if stamp is not None:
            sizes[number], changed[number] = stamp
    return contents, (sizes, changed)


def _asked_for(contents: Scattered) -> list[tuple[int, Stamp | None]]:
    """What the servers say of each image that is an object, a folder at a time where that takes fewer questions."""
    folders = dict[tuple[str, str], list[tuple[int, str]]]()
    for number, address in enumerate(contents.addresses):
        if address is not None:
            server = _server(address)
            key = contents.stores[server].key_of(address)
            folders.setdefault((server, key.rpartition("/")[0]), []).append((number, key))
    tasks = list[tuple[str, str, list[tuple[int, str]]]]()
    for (server, folder), named in folders.items():
        together = server not in WEB and len(named) >= LISTED_FROM
        tasks += [(server, folder, named)] if together else [(server, "", [one]) for one in named]

    def ask(task: tuple[str, str, list[tuple[int, str]]]) -> list[tuple[int, Stamp | None]]:
        server, folder, named = task
        store, said = contents.stores[server], contents.said(named[0][0])
        if not folder:
            return [(number, store.stamp(key, said)) for number, key in named]
        found = store.stamps_in(folder, said)
        return [(number, found.get(key)) for number, key in named]

    answers = list[tuple[int, Stamp | None]]()
    total = sum(len(named) for *_, named in tasks)
    for answer in worked_ahead(ask, tasks, ASKED_AT_ONCE):
        answers += answer
        tell(len(answers), total, "addresses of the manifest asked for")
    return answers


def _address(path: str, base: Base) -> str | None:
    if is_url(path):
        return path
    if not isinstance(base, str):
        return None
    return f"{base}/{quote(path) if _scheme(base) in WEB else path}"


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def _server(url: str) -> str:
    """What one file system of fsspec stands for: a scheme, or one server of it, or account, that the URL names."""
    scheme, _, rest = url.partition("://")
    return scheme.lower() if scheme.lower() in OF_ANY_PLACE else f"{scheme.lower()}://{rest.partition('/')[0]}"
