"""Configs that differ in a few keys, and the steps that a config has by default."""

from typing import Any

from semisup.config import PipelineConfig
from semisup.pipeline.plan import plan

STEPS = tuple(step.name for step in plan(PipelineConfig()))
"""Those of a pipeline with the defaults, in their order."""


def changed(config: PipelineConfig, **sections: Any) -> PipelineConfig:
    """The config with some keys of some sections (or whole values) replaced."""
    values = config.model_dump(mode="json")
    for name, value in sections.items():
        values[name] = values[name] | value if isinstance(value, dict) else value
    return PipelineConfig.model_validate(values)
