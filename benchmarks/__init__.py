"""Where the figures of README and docs come from. Each module is a command: ``python -m benchmarks.ROOM.NAME``."""
