"""What is said of files that are not as they should be."""

from pathlib import Path

from semisup.errors import UserError, in_one_line


def damaged(path: Path, why: str) -> UserError:
    """The file is not what it should be."""
    return UserError(f"{path} is damaged: {why}; delete it and download it again (data.download: true)")


def unreadable(path: Path, error: OSError) -> UserError:
    """The system does not let us read it."""
    return UserError(f"{path} cannot be read: {error.strerror}; make it readable, or set another data.root")


def download_failed(name: str, root: Path, error: Exception) -> UserError:
    """torchvision could not fetch it."""
    reason = in_one_line(error)  # torchvision's own words run over several lines
    return UserError(
        f"data.download=true: {name} could not be downloaded into {root} ({reason}); "
        "check the network, or fetch the files elsewhere and set data.root to their folder"
    )
