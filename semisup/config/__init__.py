"""What a run is made of: frozen, typed, and refusing every key it does not know.

Defaults < YAML file < ``--set key=value``. Only stages, flows and the command line see whole configs; the maths takes
plain arguments. Field docstrings are the documentation: Prefect's form and ``docs`` show them.
"""

from semisup.config.listing import describe_keys, flatten, former_keys, keys, sections_in
from semisup.config.pipeline import FEWEST_CALIBRATION_IMAGES, PipelineConfig
from semisup.config.sections.augment import AugmentConfig, ViewsConfig
from semisup.config.sections.base import NUMBER, SECTION, UNION_TAGS, WORD, Fraction, PositiveInt, Precision, Section
from semisup.config.sections.data import DataConfig, parse_bytes, resolve_base, resolve_data_root
from semisup.config.sections.evaluate import EvaluateConfig, PromoteConfig
from semisup.config.sections.joint import JointConfig, PolicyConfig
from semisup.config.sections.model import ChooseConfig, ModelConfig, ProbeConfig
from semisup.config.sections.pseudo_labels import (
    AlignmentConfig,
    CalibratedThreshold,
    PseudoLabelConfig,
    UncertaintyConfig,
    alignment_of,
)
from semisup.config.sections.runtime import RuntimeConfig, TrackingConfig
from semisup.config.sections.split import SplitConfig
from semisup.config.sections.teachers import CalibrateConfig, EnsembleConfig
from semisup.config.sections.training import (
    BaselineConfig,
    EarlyStoppingConfig,
    LabelSmoothingConfig,
    MixupConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)

__all__ = [
    "FEWEST_CALIBRATION_IMAGES",
    "NUMBER",
    "SECTION",
    "UNION_TAGS",
    "WORD",
    "AlignmentConfig",
    "AugmentConfig",
    "BaselineConfig",
    "CalibrateConfig",
    "CalibratedThreshold",
    "ChooseConfig",
    "DataConfig",
    "EarlyStoppingConfig",
    "EnsembleConfig",
    "EvaluateConfig",
    "Fraction",
    "JointConfig",
    "LabelSmoothingConfig",
    "MixupConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PipelineConfig",
    "PolicyConfig",
    "PositiveInt",
    "Precision",
    "ProbeConfig",
    "PromoteConfig",
    "PseudoLabelConfig",
    "RuntimeConfig",
    "ScheduleConfig",
    "Section",
    "SplitConfig",
    "TrackingConfig",
    "TrainConfig",
    "UncertaintyConfig",
    "ViewsConfig",
    "alignment_of",
    "describe_keys",
    "flatten",
    "former_keys",
    "keys",
    "parse_bytes",
    "resolve_base",
    "resolve_data_root",
    "sections_in",
]
