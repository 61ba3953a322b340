"""Commands for pipelines that start by themselves."""

CHAPTER = "Keep it running"
