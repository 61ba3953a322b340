"""The images of the configured data set, and whether they are still those of the split."""

from collections.abc import Sequence

from semisup.config import PipelineConfig
from semisup.data.datasets import ImageSet
from semisup.data.facts import DatasetFacts
from semisup.data.sources import source
from semisup.errors import UserError


def pool_of(config: PipelineConfig, facts: DatasetFacts | None = None) -> ImageSet:
    """The training images of the configured data set.

    Raises:
        UserError: they are others than the split's, which left these `facts`: someone changed the folder meanwhile.
    """
    images = source(config.data.name)
    if facts is not None and images.digest(config.data) not in {"", facts.digest}:
        raise _changed_meanwhile(config)
    return images.pool(config.data)


def images_for_test(config: PipelineConfig, ids: Sequence[str] | None = None) -> ImageSet:
    """The test images of the configured data set, with their labels.

    Raises:
        UserError: they are others than the split's, whose `ids` these are: someone changed the folder meanwhile.
    """
    test = source(config.data.name).test(config.data)
    if ids is not None and list(test.ids) != list(ids):
        raise _changed_meanwhile(config)
    return test


def ids_for_test(config: PipelineConfig) -> tuple[str, ...]:
    """The ids of the test images, without a look at their labels."""
    return source(config.data.name).ids_for_test(config.data)


def _changed_meanwhile(config: PipelineConfig) -> UserError:
    where = config.data.manifest or config.data.url or config.data.root or "its folder"
    return UserError(f"the images of data.name={config.data.name!r} in {where} changed after the split; run it again")
