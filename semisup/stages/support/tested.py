"""How a model looks at test images, in every evaluation alike."""

from torch import Tensor, nn

from semisup.config import PipelineConfig
from semisup.data.datasets import ImageSet
from semisup.data.rows import Images
from semisup.pipeline.log import StageLog
from semisup.stages.support.features import Part, looked_at
from semisup.system.randomness import derive_seed
from semisup.training.predict import predict_views


def predict_tested(model: nn.Module, images: Images, config: PipelineConfig) -> Tensor:
    """Softmax probabilities (N, C), the mean over `evaluate.test_time.views` views of each image.

    Every model of a config sees the same views.
    """
    return predict_views(model, images, config.evaluate.test_time, seed=derive_seed(config.seed, "test views")).exp()


def shown_in_tests(
    model: nn.Module, images: ImageSet, part: Part, config: PipelineConfig, log: StageLog
) -> tuple[nn.Module, Tensor]:
    """As :func:`semisup.stages.support.features.looked_at`; but of several views there are no features."""
    if config.evaluate.test_time.views > 1:
        return model, images.images
    return looked_at(config, model, images, part, log)
