"""Memory of `semisup run` on 1,000,000 images of 3×64×64, stage by stage: of a first run, and of a second one, which
knows the roles of the first, when some thousand images have joined them.

The images are smooth random blobs and are written as a decoded pack straight away, with links to files of one byte in
place of a million photos: decoding and the search for copies are not part of this. The net is light and the trainings
have 20 steps, so that it is the tables and the passes over all images that count. Needs 26 GB below `--folder`, and
makes the folder `store` in it anew.

The system counts two kinds of memory: anonymous, which is the process's own, and mapped files (libraries, the pack),
which it takes back when it wants. Both together are the resident memory.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from benchmarks.output import publish
from semisup.data.own_images.decoded.checksums import checksum, remember_verified, seal
from semisup.data.own_images.decoded.pack import COLUMNS, FILES, LOCK, POOL, TEST, Pack, pack_name, settings_key
from semisup.data.own_images.decoded.seen import remember, write_sealed
from semisup.data.own_images.folders.listing import list_images
from semisup.data.own_images.images import no_test
from semisup.data.own_images.reading.decode import Target
from semisup.data.own_images.reading.duplicates import RULE
from semisup.pipeline.specs import STAGES
from semisup.system.own_files import mark

TARGET = Target(64, 64, "crop", "rgb")
CLASSES, LABELED, TESTED, FOLDERS = 10, 150, 1000, 100
LATER = Path("photos", "unlabeled", "later")
"""What joins the others before the second run: as many images as are in another folder of unlabeled ones."""
STAGES_RUN = ("split", "baseline", "pseudo_label", "joint", "keep", "labels", "evaluate")
MOST_LINKS = 60_000  # of one file, on the usual file systems
SETTINGS = {
    "data.name": "folder",
    "data.size": "64",
    "split.labeled_per_class": "100",
    "split.validation_per_class": "20",
    "model.width": "0.25",
    "baseline.epochs": "2",
    "baseline.budget": "20 steps",
    "pseudo_label.threshold": "0.1",
    "joint.epochs": "2",
    "joint.budget": "20 steps",
    "promote.enabled": "false",
    "tracking.system_metrics": "false",
    "runtime.threads": "1",
    "runtime.device": "cpu",
}


def main() -> None:
    """Make what is not there yet, run the pipeline, print and save its peaks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1_000_000)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if not (folder / "photos").exists():
        make_files(folder, arguments.images)
    if (folder / "million.yaml").exists():  # of a benchmark before
        shutil.rmtree(folder / "store", ignore_errors=True)
    rows = []
    for run in ("first", "second"):
        shutil.rmtree(folder / LATER, ignore_errors=True)
        if run == "second":
            make_links(folder / LATER, arguments.images // FOLDERS)
        make_pack(folder)
        peaks_of_parts = dict(watched(folder))
        if peaks_of_parts.keys() != {"before", *STAGES_RUN}:
            raise SystemExit(f"the {run} run made {', '.join(peaks_of_parts)} alone; look at {folder / 'store'}")
        rows += [
            {"run": run, "part": part} | {f"{kind}, GB": value / 1e9 for kind, value in peaks.items()}
            for part, peaks in peaks_of_parts.items()
        ]
    publish("million", rows, f"{arguments.images:,} images; most memory of the process in each part; goal: below 2 GB")


def make_files(folder: Path, images: int) -> None:
    """`labeled/`, `test/` and `unlabeled/` with links to files of one byte, whose bytes nobody will read."""
    parts = {f"labeled/class{label}": LABELED for label in range(CLASSES)}
    parts |= {f"test/class{label}": TESTED for label in range(CLASSES)}
    rest = images - CLASSES * (LABELED + TESTED)
    parts |= {f"unlabeled/{number:03}": rest // FOLDERS for number in range(FOLDERS)}
    for part, count in parts.items():
        make_links(folder / "photos" / part, count)


def make_links(place: Path, count: int) -> None:
    """A folder with so many links to files of one byte."""
    place.mkdir(parents=True)
    for number in range(count):
        if number % MOST_LINKS == 0:
            source = place / f"{number:07}.jpg"
            source.write_bytes(b"x")
        else:
            os.link(source, place / f"{number:07}.jpg")


def make_pack(folder: Path) -> None:
    """What decoding would have left, if it is not there yet, and that no two images are copies."""
    listing = list_images(folder / "photos")
    shas = [hashlib.sha256(path.encode()).hexdigest()[:32] for path in listing.paths]
    test = listing.roles == "test"
    values = {"path": listing.paths, "size": listing.sizes, "changed": listing.changed, "sha": shas, "test": test}
    values |= {"row": np.where(test, np.cumsum(test) - 1, np.cumsum(~test) - 1), "width": 64, "height": 64}
    values |= {"mode": "RGB", "animated": False, "reason": "", "low": np.nan, "high": np.nan, "flat": False}
    table = pd.DataFrame(values | {"checksum": np.zeros(len(test), dtype=np.uint32)})[list(COLUMNS)]
    settings = folder / "cache" / settings_key(TARGET)
    settings.mkdir(parents=True, exist_ok=True)
    mark(folder / "cache")
    remember(settings, listing.place, table, time.time() + 10)
    pack = settings / pack_name(listing, np.array(shas, dtype="S32"), no_test)
    if (pack / LOCK).exists():
        return
    mark(pack)
    generator = torch.Generator().manual_seed(0)
    for name, side in ((POOL, ~test), (TEST, test)):
        table.loc[side, "checksum"] = np.array(_write_images(pack / name, int(side.sum()), generator), dtype=np.uint32)
    write_sealed(table, pack / FILES)
    aside = pack / "aside.npy"
    np.save(aside, np.arange(len(table)))
    seal(aside, pack / f"copies-{RULE}", ".npy")
    remember_verified(pack, Pack(pack, table, TARGET).blocks())
    (pack / LOCK).touch()


def _write_images(file: Path, count: int, generator: torch.Generator) -> list[int]:
    """Random images of large spots; their checksums."""
    checksums: list[int] = []
    with file.open("wb") as opened:
        for start in range(0, count, 4096):
            shape = (min(4096, count - start), 3, 6, 6)
            coarse = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).float()
            images = F.interpolate(coarse, TARGET.shape[1:], mode="bilinear").byte().numpy()
            checksums += [checksum(image.data.cast("B")) for image in images]
            opened.write(images.data)
    return checksums


def watched(folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Stage of a run, or "before" → its peaks in bytes: resident, anonymous, mapped."""
    config = folder / "million.yaml"
    config.write_text("{}\n")
    (folder / "store").mkdir(exist_ok=True)
    places = {"data.root": str(folder / "photos"), "data.cache": str(folder / "cache")}
    chosen = [word for key, value in (SETTINGS | places).items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-u", "-c", "from flows.cli import app; app()", "run", str(config), *chosen]
    process = subprocess.Popen(
        command, cwd=folder / "store", stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    peaks: dict[str, float] = {}
    threading.Thread(target=_sample, args=(process, peaks), daemon=True).start()
    assert process.stderr is not None
    for line in process.stderr:
        name, _, text = line.partition(":")
        if name in STAGES and text.strip().startswith("done"):
            yield name, _taken(peaks)
        elif "starting Prefect" in line:
            yield "before", _taken(peaks)
    if process.wait() != 0:
        raise SystemExit(f"the run ended with {process.returncode}")


def _taken(peaks: dict[str, float]) -> dict[str, float]:
    taken = dict(peaks)
    peaks.clear()
    return taken


def _sample(process: "subprocess.Popen[str]", peaks: dict[str, float]) -> None:
    kinds = {"VmRSS": "resident", "RssAnon": "anonymous", "RssFile": "mapped"}
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except FileNotFoundError:  # it has ended meanwhile
            return
        for name, _, words in (line.partition(":") for line in lines):
            if name in kinds:
                peaks[kinds[name]] = max(peaks.get(kinds[name], 0), 1024 * int(words.split()[0]))
        time.sleep(0.05)


if __name__ == "__main__":
    main()
