"""Where the configured computing takes place, and by how many threads."""

import torch

from semisup.config import PipelineConfig

ALL_THREADS = torch.get_num_threads()
"""What torch starts with: an earlier run's `runtime.threads` must not decide a later run's bits."""


def pick_device(config: PipelineConfig) -> torch.device:
    """The configured device, and torch's CPU threads set as configured."""
    torch.set_num_threads(config.runtime.threads or ALL_THREADS)
    return configured_device(config)


def configured_device(config: PipelineConfig) -> torch.device:
    """The device alone: threads stay as a stage has set them."""
    if config.runtime.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.runtime.device)
