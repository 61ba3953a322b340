"""The pages of the documentation; `hooks` makes those parts of them that are generated."""
