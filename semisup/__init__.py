"""Semi-supervised pseudo-labelling for images: targets, policies, training, evaluation and the stages made of them."""

__version__ = "0.1.0"
