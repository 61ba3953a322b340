"""Stage `labels`: the model that is kept labels every unlabeled image. These are the labels that a run stands for.

Of a method that labels at every step this is the only pass over all unlabeled images. Nobody learns from it: `export`,
`review` and the report speak of it. `calibrate` has the kept model's temperature and perhaps its certified threshold.
"""

from semisup.stages.pseudo_label import run

__all__ = ["run"]
