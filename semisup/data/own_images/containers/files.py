"""Which files or objects are containers: those at `data.root` or `data.url`, or below it."""

import os
from collections.abc import Sequence
from pathlib import Path

from semisup.config import DataConfig, resolve_data_root
from semisup.data.own_images.remote.bucket import Bucket, Object
from semisup.errors import UserError


def existing_root(data: DataConfig) -> Path:
    """`data.root`, a file or a folder.

    Raises:
        UserError: it is not set, or is not there.
    """
    root = resolve_data_root(data)
    if root is None:
        raise UserError(f"data.root is not set, nor is SEMISUP_DATA_ROOT; name the file or folder of {data.name}")
    root = root.expanduser()
    if not root.exists():
        raise UserError(f"data.root={root} does not exist; name the file or folder with your images")
    return root


def files_within(root: Path, extensions: frozenset[str], what: str) -> list[Path]:
    """The root itself, or all files of these extensions below it, sorted; hidden ones are left out.

    Raises:
        UserError: there are none.
    """
    if root.is_file():
        return [root]
    found = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in extensions
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not found:
        raise UserError(f"data.root={root} holds no {what} ({' '.join(sorted(extensions))}); name another folder")
    return found


def objects_within(data: DataConfig, extensions: frozenset[str], what: str) -> tuple[Bucket, list[Object]]:
    """The bucket of `data.url` and all that is in it, sorted by path.

    Raises:
        UserError: nothing in it has any of these extensions, it is not there, must not be read or does not answer.
    """
    assert data.url is not None
    bucket = Bucket.at(data.url)
    objects = bucket.objects()
    if not objects_of(objects, extensions):
        raise UserError(f"data.url={data.url} holds no {what} ({' '.join(sorted(extensions))}); name another prefix")
    return bucket, objects


def objects_of(objects: Sequence[Object], extensions: frozenset[str]) -> list[Object]:
    """Those with one of the extensions."""
    return [of for of in objects if os.path.splitext(of.path)[1].lower() in extensions]
