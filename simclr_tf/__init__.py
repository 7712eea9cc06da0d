"""SimCLR in TensorFlow: contrastive pretraining, evaluation, transfer and export."""

from simclr_tf import losses, models, optimizers
from simclr_tf.checkpoints import load

__all__ = ["load", "losses", "models", "optimizers"]
__version__ = "0.1.0"
