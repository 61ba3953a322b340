"""What a run is made of: frozen, typed, and refusing every key it does not know.

Defaults < YAML file < ``--set key=value``. Only stages, flows and the command line see whole configs; the maths takes
plain arguments. Field docstrings are the documentation: Prefect's form and ``docs`` show them.
"""

from semisup.config.augment import AugmentConfig, ViewsConfig
from semisup.config.base import NUMBER, SECTION, UNION_TAGS, WORD, Fraction, PositiveInt, Precision, Section
from semisup.config.data import WITHOUT_MIRROR_SYMMETRY, DataConfig, parse_bytes, resolve_data_root
from semisup.config.evaluate import EvaluateConfig, PromoteConfig
from semisup.config.joint import JointConfig, PolicyConfig
from semisup.config.listing import describe_keys, flatten, keys, sections_in
from semisup.config.model import ModelConfig, ProbeConfig
from semisup.config.pipeline import FEWEST_CALIBRATION_IMAGES, PipelineConfig
from semisup.config.pseudo_labels import CertifiedThreshold, PseudoLabelConfig, UncertaintyConfig
from semisup.config.runtime import RuntimeConfig, TrackingConfig
from semisup.config.split import SplitConfig
from semisup.config.teachers import CalibrateConfig, EnsembleConfig
from semisup.config.training import (
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
    "WITHOUT_MIRROR_SYMMETRY",
    "WORD",
    "AugmentConfig",
    "BaselineConfig",
    "CalibrateConfig",
    "CertifiedThreshold",
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
    "describe_keys",
    "flatten",
    "keys",
    "parse_bytes",
    "resolve_data_root",
    "sections_in",
]
