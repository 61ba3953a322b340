"""All figures of speed beside their goals: `make bench`, and the quick ones in under three minutes: `make bench-quick`.

    python -m benchmarks.suite [--quick] [NAME …]

Each part is a module of its own that can be run alone. Nothing else should run on the machine: parts that can measure
time on the processor, and the others time on the wall, side against side in turns. `results/` keeps the figures, and
the table shows them beside those kept before and marks what is worse than every turn of those; the quick ones are
shown and not kept.
"""

import sys

from benchmarks.commands import looks, peak_memory, start_up
from benchmarks.output import Figure, publish_figures, show_figures, worse_than_before
from benchmarks.reading import large_jpegs
from benchmarks.speed import fine_tuning, gpu, inference, processes, pseudo_label_pass, step_overhead

PARTS = {
    "step_overhead": step_overhead.measure,
    "fine_tuning": fine_tuning.measure,
    "inference": inference.measure,
    "pseudo_label_pass": pseudo_label_pass.measure,
    "large_jpegs": large_jpegs.measure,
    "processes": processes.measure,
    "start_up": start_up.measure,
    "looks": looks.measure,  # where an earlier build is at hand
    "peak_memory": peak_memory.measure,
    "gpu": gpu.measure,  # nothing, where there is none
}
LONG = {"start_up", "looks", "peak_memory"}  # no part of the quick ones, unless named


def main() -> None:
    """Measure every part, or those that are named."""
    quick = "--quick" in sys.argv
    names = [name for name in sys.argv[1:] if name != "--quick"]
    if unknown := set(names) - PARTS.keys():
        sys.exit(f"no part {unknown.pop()!r}; there are {', '.join(PARTS)}")
    figures: dict[str, list[Figure]] = {}
    worse: list[str] = []
    for name, measure in PARTS.items():
        if (names and name not in names) or (quick and name in LONG and not names):
            continue
        figures[name] = measure(quick=quick)
        worse += worse_than_before(name, figures[name])
        if figures[name]:
            (show_figures if quick else publish_figures)(name, figures[name])
    missed = [figure.what for of_part in figures.values() for figure in of_part if not figure.met]
    count = sum(map(len, figures.values()))
    for found, what in ((missed, "goals missed"), (worse, "worse than every turn kept before")):
        print(f"{len(found)} of {count} {what}" + "".join(f"\n  {name}" for name in found))


if __name__ == "__main__":
    main()
