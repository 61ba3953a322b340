"""Commands that train something else than one pipeline, or a part of one."""

CHAPTER = "Train more"
