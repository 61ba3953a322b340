"""What a regression run is made of: frozen, typed and closed like the pipeline's config, whose sections it shares."""

from typing import Annotated, Literal

from pydantic import Field

from semisup.config import (
    EarlyStoppingConfig,
    OptimizerConfig,
    RuntimeConfig,
    ScheduleConfig,
    Section,
    TrackingConfig,
)
from semisup.config.sections.base import BatchSize, Dropout, Epochs, Name, nothing_or, rule

FEWEST_TRAINING_ROWS = 20  # fewer than twice the ten features: the linear regression beside the network means nothing
FEWEST_VALIDATION_ROWS = 10  # early stopping would follow noise


class RegressionDataConfig(Section):
    """Where the rows come from."""

    name: Literal["diabetes"] = "diabetes"
    """Data set. `diabetes` is embedded: 442 patients, 10 measurements, the disease's progression after a year."""

    @property
    def root(self) -> None:
        """Embedded data have no folder."""
        return


class RegressionSplitConfig(Section):
    """Rows drawn by the seed; the test rows are the same for ever and not among them."""

    train_rows: Annotated[int, Field(ge=FEWEST_TRAINING_ROWS)] | None = None
    """Training rows; unset: all that are left beside the validation rows."""
    validation_rows: Annotated[int, Field(ge=FEWEST_VALIDATION_ROWS)] = 70
    """Rows that early stopping watches; never trained on."""


class RegressionModelConfig(Section):
    """A multilayer perceptron with ReLU."""

    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=4_096)], ...], Field(max_length=20)] = (64, 32)
    """Units of each hidden layer; none: linear regression by gradient descent."""
    dropout: Dropout = 0.0
    """Dropout probability after each hidden layer; never on the output."""
    batch_norm: bool = False
    """Batch normalization before each ReLU."""


class RegressionStoppingConfig(EarlyStoppingConfig):
    """Keep the weights of the epoch with the least validation loss; stop once nothing improves."""

    keep: Literal["best"] = "best"
    """The weights of the epoch of least validation loss."""
    monitor: Literal["loss"] = "loss"
    """Validation loss: regression has no accuracy."""
    min_delta: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Smallest fall of the loss that counts as an improvement, in variances of the training targets."""


class DisturbValueConfig(Section):
    """DisturbValue: normal noise on a random part of each batch's targets. A `rate` or `scale` of 0 turns it off."""

    rate: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Percent of the targets that are disturbed, drawn anew for every batch."""
    scale: Annotated[float, Field(ge=0), nothing_or(1e-6, 100)] = 0.1
    """Standard deviation of the noise, in standard deviations of the training targets."""


class RegressionTrainConfig(Section):
    """How the network learns."""

    epochs: Epochs = 300
    """Most epochs; early stopping may end sooner."""
    batch_size: BatchSize = 32
    """Rows per step."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    early_stopping: RegressionStoppingConfig = RegressionStoppingConfig()
    disturb_value: DisturbValueConfig = DisturbValueConfig()

    @rule
    def _milestones_lie_within_the_epochs(self) -> None:
        self.schedule.check_milestones(self.epochs)


class RegressionConfig(Section):
    """Everything that decides a regression run."""

    task: Literal["regression"] = "regression"
    """What tells a config of this kind from a pipeline's."""
    name: Name = "diabetes"
    """Name of the run; unset in a file: the file's name."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of every random choice: split, initial weights, batches, dropout, noise, bootstrap."""
    data: RegressionDataConfig = RegressionDataConfig()
    split: RegressionSplitConfig = RegressionSplitConfig()
    model: RegressionModelConfig = RegressionModelConfig()
    train: RegressionTrainConfig = RegressionTrainConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    tracking: TrackingConfig = TrackingConfig()

    @rule
    def _batch_norm_needs_two_rows(self) -> None:
        if self.model.batch_norm and self.train.batch_size == 1:
            raise ValueError(
                "model.batch_norm=true, but train.batch_size=1 has no variance to normalize by; "
                "use at least 2, or no batch normalization"
            )
