"""What has changed in a folder since an earlier split of it, in counts for people."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semisup.data.growing import contents_of, known_roles
from semisup.data.split import PRECEDENCE, ROLES_WITH_LABELS, Role, Split

Counts = Mapping[str, int]
"""Role → images."""


@dataclass(frozen=True)
class Changes:
    """An earlier split against this one, image by image, by content: a new name is no change."""

    added: Counts
    """By their role now."""
    vanished: Counts
    """By their role before; those that cannot be read any more are among them."""
    newly_labeled: Counts
    """Unlabelled before and with a label now, by their role now; a hidden label that is drawn now counts, too."""
    held_back: Counts
    """By their role before, which kept them out of training: they lie now where they would be learnt from."""
    new_classes: Sequence[str]
    vanished_classes: Sequence[str]

    @property
    def any(self) -> bool:
        """Is there something to tell?"""
        return any(bool(value) for value in vars(self).values())

    def warnings(self) -> list[str]:
        """What may be a mistake, one line each."""
        lines = []
        if self.vanished:
            lines.append(f"{_told(self.vanished)} of the split before have vanished, or cannot be read any more")
        if self.held_back:
            lines.append(
                f"{_told(self.held_back)} of the split before lie now where they would be learnt from, and are left "
                "out; to learn from them, draw all roles anew with another seed or name"
            )
        for classes, what in ((self.new_classes, "new"), (self.vanished_classes, "gone")):
            if classes:
                lines.append(f"classes that are {what} since the split before: {', '.join(classes)}")
        return lines

    def notes(self) -> list[str]:
        """What was to be expected of a folder that grows, one line each."""
        told = {"new": self.added, "newly labelled": self.newly_labeled}
        return [f"{what} since the split before: {_told(counts)}" for what, counts in told.items() if counts]

    def markdown(self) -> str:
        """A page with all of it."""
        lines = [f"- {line}" for line in (*self.warnings(), *self.notes())]
        return "\n".join(["# Since the split before", "", *(lines or ["- nothing has changed"])]) + "\n"


def changes_between(
    before: Split,
    now: Split,
    present: Sequence[str],
    classes: tuple[Sequence[str], Sequence[str]],
    *,
    without_role: Iterable[str] = (),
    memory: Mapping[str, Role] | None = None,
) -> Changes:
    """What has changed; `present` are the ids of all readable images, `classes` those of before and of now.

    `without_role` are ids of images that were there before and had no role, `memory` what else was known of contents.
    """
    old, new = (known_roles(split) for split in (before, now))
    here, removed = set(contents_of(present)), set(contents_of(without_role))
    labeled = (*ROLES_WITH_LABELS, "test")
    return Changes(
        added=_counted(role for content, role in new.items() if content not in old and content not in removed),
        vanished=_counted(role for content, role in old.items() if content not in here),
        newly_labeled=_counted(
            role for content, role in new.items() if old.get(content) == "unlabeled" and role in labeled
        ),
        held_back=_counted(
            role
            for content, role in {**(memory or {}), **old}.items()
            if content in here and content not in new and role in PRECEDENCE
        ),
        new_classes=sorted({*classes[1]} - {*classes[0]}),
        vanished_classes=sorted({*classes[0]} - {*classes[1]}),
    )


def of_the_same_folder(before: Split, present: Sequence[str]) -> bool:
    """Have they any image in common?"""
    return bool(np.isin(contents_of(before.table["id"]), contents_of(present)).any())


def _counted(roles: Iterable[Role]) -> Counts:
    return dict(sorted(Counter(roles).items()))


def _told(counts: Counts) -> str:
    return f"{sum(counts.values()):,} images ({', '.join(f'{count:,} {role}' for role, count in counts.items())})"
