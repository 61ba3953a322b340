"""The command: run one or several studies and save what came out."""

import argparse
import os
import time
from pathlib import Path

from benchmarks.output import publish
from benchmarks.studies import certificate, compound, ensembles, imbalance, pseudo_labels, supervised
from benchmarks.studies.study import run
from semisup.errors import UserError

STUDIES = {
    study.name: study
    for module in (supervised, imbalance, pseudo_labels, certificate, ensembles, compound)
    for study in module.studies()
}


def main() -> None:
    """Print and save a table for each study."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies", description="Techniques on and off.")
    parser.add_argument("names", nargs="*", help="studies, or beginnings of their names")
    parser.add_argument("--list", action="store_true", help="list them and end")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="processes, with one CPU thread each")
    parser.add_argument("--data-root", type=Path, default=None, help="folder of MNIST's files, or SEMISUP_DATA_ROOT")
    arguments = parser.parse_args()
    chosen = [study for name, study in STUDIES.items() if any(name.startswith(start) for start in arguments.names)]
    if arguments.list or not chosen:
        for name, study in STUDIES.items():
            print(f"{name:28} {study.question}")
        return
    root = arguments.data_root or (Path(os.environ["SEMISUP_DATA_ROOT"]) if "SEMISUP_DATA_ROOT" in os.environ else None)
    for study in chosen:
        started = time.perf_counter()
        try:
            rows = run(study, arguments.seeds, root, arguments.workers)
        except UserError as error:
            raise SystemExit(f"error: {error}; here: --data-root") from None
        note = f"{study.question} {arguments.seeds} seeds, mean ± standard deviation, %; [95 % interval, paired]"
        publish(f"study_{study.name}", rows, f"{note}; {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
