"""What has changed in a folder since an earlier split of it, in counts for people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semisup.data.roles.known_roles import Contents, KnownRoles, Roles, contents_of, is_among
from semisup.data.roles.split import PRECEDENCE, ROLES_WITH_LABELS, Split

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
    """Unlabeled before and with a label now, by their role now; a hidden label that is drawn now counts, too."""
    held_back: Counts
    """By their role before, which kept them out of training: they lie now where they would be learned from."""
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
            lines.append(f"{_told(self.vanished)} of the split before vanished, or cannot be read any more")
        if self.held_back:
            lines.append(
                f"{_told(self.held_back)} of the split before, now where training would learn from them: left out; to "
                "learn from them, draw all roles anew with another seed or name"
            )
        for classes, what in ((self.new_classes, "new"), (self.vanished_classes, "gone")):
            if classes:
                lines.append(f"classes that are {what} since the split before: {', '.join(classes)}")
        return lines

    def notes(self) -> list[str]:
        """What was to be expected of a folder that grows, one line each."""
        told = {"new": self.added, "newly labeled": self.newly_labeled}
        return [f"{what} since the split before: {_told(counts)}" for what, counts in told.items() if counts]

    def markdown(self) -> str:
        """A page with all of it."""
        lines = [f"- {line}" for line in (*self.warnings(), *self.notes())]
        return "\n".join(["# Since the split before", "", *(lines or ["- nothing has changed"])]) + "\n"


def changes_between(
    before: Split,
    now: Split,
    present: Contents,
    classes: tuple[Sequence[str], Sequence[str]],
    *,
    without_role: Sequence[str] = (),
    memory: KnownRoles | None = None,
) -> Changes | None:
    """What has changed, or None where nothing is there any more of what was before: that is quite another folder.

    `present` are the contents (N,) of all readable images, `classes` those of before and of now.
    `without_role` are ids of images that were there before and had no role, `memory` what else was known of contents.
    """
    old, here = KnownRoles.of_table(before.table), np.sort(present)
    still_here = is_among(old.contents, here)
    if not still_here.any():
        return None
    new, removed = KnownRoles.of_table(now.table), np.sort(contents_of(without_role))
    known = old if memory is None else memory.updated(old)
    was, labeled = old.roles_of(new.contents), new.in_roles((*ROLES_WITH_LABELS, "test"))
    held_back = known.in_roles(PRECEDENCE) & is_among(known.contents, here) & ~new.have(known.contents)
    return Changes(
        added=_counted(new.roles[(was == "") & ~is_among(new.contents, removed)]),
        vanished=_counted(old.roles[~still_here]),
        newly_labeled=_counted(new.roles[(was == "unlabeled") & labeled]),
        held_back=_counted(known.roles[held_back]),
        new_classes=sorted({*classes[1]} - {*classes[0]}),
        vanished_classes=sorted({*classes[0]} - {*classes[1]}),
    )


def _counted(roles: Roles) -> Counts:
    return dict(sorted(Counter(roles.tolist()).items()))


def _told(counts: Counts) -> str:
    total, kinds = sum(counts.values()), ", ".join(f"{count:,} {role}" for role, count in counts.items())
    return f"{total:,} image{'' if total == 1 else 's'} ({kinds})"
