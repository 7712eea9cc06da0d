"""Trained networks as SavedModels: `python -m simclr_tf.export RUN_DIR OUT_DIR/VERSION`."""

from simclr_tf.export.saved_model import export_saved_model, keep_newest

__all__ = ["export_saved_model", "keep_newest"]
