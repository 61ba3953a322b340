"""Commands for what people take away, and for what they say about images."""

CHAPTER = "Use it"
