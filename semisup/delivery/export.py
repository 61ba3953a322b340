"""Pseudo-labels as a data set for other tools: a table, a folder for each class, or tasks for Label Studio."""

import errno
import json
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import pandas as pd

from semisup.delivery.chosen import PSEUDO, Report
from semisup.delivery.labels_file import CONTROL
from semisup.delivery.names import safe_name
from semisup.delivery.sent import Sent, Sources
from semisup.delivery.tables import check_out
from semisup.errors import UserError
from semisup.system.own_files import aside

MARK = "semisup-export.json"
"""Says that a folder was written here, and may be written over."""
NOT_LINKABLE = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES})
IMAGES = "images"


def export_imagefolder(
    chosen: pd.DataFrame, sources: Sources, out: Path, *, link: bool, force: bool, about: dict[str, Any]
) -> Report:
    """`<class>/<file>`, as torchvision's ImageFolder and `data.name: folder` read it.

    Links are hard ones, or symbolic where the file system allows no others; images that are in no file of their own
    are written. Names are those of :func:`safe_name`.

    Raises:
        UserError: as in :func:`folder_written` and :class:`Sources`.
    """
    report = Report()
    with folder_written(out, sources.root, force=force, about=about) as aside:
        for sent in sources(chosen):
            label = str(chosen["label"].iloc[sent.row])
            folder = aside / safe_name(label)
            folder.mkdir(exist_ok=True)
            report.symbolic_links += _put(sent, folder, link=link)
            report.images += 1
            report.classes[label] += 1
    return report


def export_labelstudio(
    chosen: pd.DataFrame, sources: Sources, out: Path, *, force: bool, about: dict[str, Any]
) -> Report:
    """A folder with `tasks.json` to be imported into Label Studio, and `labels.xml`, the project's labeling interface.

    Pseudo-labels are predictions with score and model version, labeled images annotations. Addresses are those of
    Label Studio's local files, which serves them as :func:`served_images` says.
    """
    with folder_written(out, sources.root, force=force, about=about) as aside:
        root, class_names = sources.served_root(chosen["path"]), sources.facts.class_names
        return write_labelstudio(chosen, sources(chosen), aside, class_names, root)


class Served(NamedTuple):
    """What Label Studio has to be told so that its tasks have pictures."""

    document_root: Path
    """Its LOCAL_FILES_DOCUMENT_ROOT, which addresses are relative to."""
    storage: Path
    """Of a storage of the project, of type Local Files: what is in none is not served, and the document root itself can
    be none."""

    @property
    def advice(self) -> str:
        """What to type and click, in two lines."""
        root = shlex.quote(f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={self.document_root}")
        return (
            f"  env LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true {root} label-studio\n"
            f"  and give its project, below Settings, Cloud Storage, the Local Files storage {self.storage}"
        )


def served_images(root: Path | None, out: Path) -> Served:
    """Where the pictures of an export to `out` are: below the root of one's own images, or written there."""
    storage = root.resolve() if root is not None else out.resolve() / IMAGES
    return Served(storage.parent, storage)


def write_labelstudio(
    chosen: pd.DataFrame, images: Iterable[Sent], folder: Path, class_names: Sequence[str], root: Path | None
) -> Report:
    """The two files of :func:`export_labelstudio`, and what images are in no file of their own, into a folder."""
    report, storage = Report(), served_images(root, folder).storage
    (folder / "labels.xml").write_text(labeling_interface(class_names, reasons="reason" in chosen), encoding="utf-8")
    with (folder / "tasks.json").open("w", encoding="utf-8") as file:
        for sent in images:
            row = chosen.iloc[sent.row]
            path = row["path"]
            if sent.file is None:
                storage.mkdir(exist_ok=True)
                path = _free(storage, sent.name).name
                (storage / path).write_bytes(sent.content)
            file.write(",\n" if report.images else "[\n")
            json.dump(labelstudio_task(f"{storage.name}/{path}", row), file, ensure_ascii=False, allow_nan=False)
            report.images += 1
            report.classes[row["label"]] += 1
        file.write("\n]\n")
    return report


def labelstudio_task(path: str, row: "pd.Series[Any]") -> dict[str, Any]:
    """One task, as Label Studio imports it, of a row of :func:`semisup.delivery.chosen.choose`.

    `path` is relative to the document root of :class:`Served`. A `reason`, why a person is asked, goes with the image.
    """
    answer: dict[str, Any] = {
        "from_name": CONTROL,
        "to_name": "image",
        "type": "choices",
        "value": {"choices": [row["label"]]},
    }
    task: dict[str, Any] = {"data": {"image": f"/data/local-files/?d={quote(path)}", "id": row["id"]}}
    if "reason" in row:
        task["data"]["reason"] = row["reason"]
    if row["source"] != PSEUDO:
        return task | {"annotations": [{"result": [answer]}]}
    score = float(row["confidence"])
    return task | {"predictions": [{"model_version": row["teacher"], "score": score, "result": [answer]}]}


def labeling_interface(class_names: Sequence[str], *, reasons: bool = False) -> str:
    """Label Studio's interface of a project: one class for each image, and why it is asked about if tasks say it."""
    reason = '  <Text name="reason" value="$reason"/>\n' if reasons else ""
    choices = "".join(f"    <Choice value={quoteattr(name)}/>\n" for name in class_names)
    return (
        '<View>\n  <Image name="image" value="$image" maxWidth="480px"/>\n'  # classes are in sight below it
        f"{reason}"
        f'  <Choices name="{CONTROL}" toName="image" choice="single" required="true" showInline="true">\n'
        f"{choices}  </Choices>\n</View>\n"
    )


def check_folder(out: Path, root: Path | None, *, force: bool) -> None:
    """Make sure that a folder can be written there.

    Raises:
        UserError: as in :func:`check_out`; it is among one's own images, or there is one that was not written here.
    """
    check_out(out, force=force)
    check_outside(out, root)
    if out.exists():
        _check_ours(out)


def check_outside(out: Path, root: Path | None) -> None:
    """Make sure that a run does not find what is written among its images.

    Raises:
        UserError: it would.
    """
    if root is not None and out.resolve().is_relative_to(root.resolve()):
        raise UserError(f"--out {out} is inside data.root={root}: the next run would take it for images; name another")


def _check_ours(out: Path) -> None:
    """Make sure that all in a folder was written here, and is as it was then."""
    problem = f"--out {out} was not written by semisup, so --force does not delete it; name another"
    try:
        written = json.loads((out / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(problem) from None
    if not isinstance(written, dict) or "written" not in written:
        raise UserError(f"--out {out} is of an earlier version, which did not say what is its own; name another folder")
    foreign = [name for name, stamp in _stamps(out).items() if name != MARK and written["written"].get(name) != stamp]
    if foreign:
        more = f" and {len(foreign) - 1:,} more" if len(foreign) > 1 else ""
        raise UserError(
            f"--out {out} holds files that semisup did not write, or that were changed since: "
            f"{foreign[0]}{more}; --force would delete them, so move them away, or name another folder"
        )


def _stamps(folder: Path) -> dict[str, list[int]]:
    """Every file below a folder, and every folder without one: its size, and when it was changed."""
    stamps = {}
    for parent, folders, files in os.walk(folder):
        for name in files if files or folders else [""]:
            path = Path(parent, name)
            about = path.lstat()
            stamps[path.relative_to(folder).as_posix()] = [about.st_size, about.st_mtime_ns] if name else []
    return stamps


@contextmanager
def folder_written(out: Path, root: Path | None, *, force: bool, about: dict[str, Any]) -> Iterator[Path]:
    """A folder to write to, which has its name when the block ends well, and is not there when it does not.

    Raises:
        UserError: as in :func:`check_folder`, or it cannot be written.
    """
    unfinished, old = aside(out.absolute()), aside(out.absolute(), "old")
    check_folder(out, root, force=force)  # now: what a killed command had moved away may be back
    out = out.absolute()
    try:
        unfinished.mkdir()
        yield unfinished
        mark = json.dumps(about | {"written": _stamps(unfinished)}, indent=2) + "\n"
        (unfinished / MARK).write_text(mark, encoding="utf-8")
        if out.exists():
            _check_ours(out)  # much may have been put there meanwhile
            out.rename(old)
        unfinished.rename(out)
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror or error}; name another folder") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if old.is_dir() and not out.exists():
            old.rename(out)  # the new one could not take its place
        shutil.rmtree(old, ignore_errors=True)


def _put(sent: Sent, folder: Path, *, link: bool) -> Literal[0, 1]:
    """The image in a folder under a name that nobody has there; 1 where it had to be a symbolic link."""
    file = _free(folder, sent.name)
    if not link or sent.file is None:
        file.write_bytes(sent.content)
        return 0
    try:
        file.hardlink_to(sent.file)
    except OSError as error:
        if error.errno not in NOT_LINKABLE:
            raise
        file.symlink_to(sent.file)
        return 1
    return 0


def _free(folder: Path, name: str) -> Path:
    file, number = folder / name, 1
    while file.exists() or file.is_symlink():
        number += 1
        file = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
    return file
