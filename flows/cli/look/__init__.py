"""Commands that read what is in the store, and change nothing."""

CHAPTER = "See what came of it"
