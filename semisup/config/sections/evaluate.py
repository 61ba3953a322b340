"""What is asked of the finished models, and what becomes of the better one."""

from typing import Annotated

from pydantic import AfterValidator, Field

from semisup.config.sections.augment import ViewsConfig
from semisup.config.sections.base import Section, no_way_up


class EvaluateConfig(Section):
    """What is asked of the models on the test images besides their accuracy."""

    test_time: ViewsConfig = ViewsConfig()
    compound: bool = False
    """Also superpose test images of two different classes, and score whether the two likeliest classes are theirs."""


class PromoteConfig(Section):
    """The better model becomes the champion of a registered model."""

    enabled: bool = True
    """Decide at the end of the pipeline whether the student becomes champion."""
    model: Annotated[str, Field(pattern=r"^[\w .-]+$", max_length=200), AfterValidator(no_way_up)] | None = None
    """Registered model in MLflow; unset: the name of the pipeline."""
