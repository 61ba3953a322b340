"""How many of a class's labels a role gets. Alone in a file: what looks through folders knows no split."""


def validation_seats(asked: int, labeled: int | None, images: int) -> int:
    """How many of a class's `images` with a label validate, where rare classes give fewer than are `asked` for.

    As many as that, if `labeled` ones (None: as many again) are left to learn from; or else at most half of them.
    """
    return asked if images - asked >= (asked if labeled is None else labeled) else min(asked, images // 2)
