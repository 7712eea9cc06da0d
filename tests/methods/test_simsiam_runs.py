"""A run of SimSiam whose learning rate begins at 0, in which its predictor waits for a step."""

import numpy as np
import pytest
import tensorflow as tf
import training


@pytest.mark.slow
@pytest.mark.usefixtures("rewritten_graphs")
def test_the_predictor_begins_to_move_after_the_first_step(tmp_path):
    """With a network in which TensorFlow rewrites sums to save memory."""
    flags = {"method": "simsiam", "warmup_epochs": 0.02, "proj_out_dim": 2048, "image_size": 8}
    flags |= {"train_steps": 3, "train_summary_steps": 1, "checkpoint_steps": 1}
    assert training.run(tmp_path / "run", **flags) == 0
    losses = [row["simsiam_loss"] for row in training.rows(tmp_path / "run")]
    assert len(losses) == 3 and np.isfinite(losses).all()
    readers = [tf.train.load_checkpoint(str(tmp_path / "run" / f"ckpt-{i}")) for i in (1, 2, 3)]
    kernels = [
        name
        for name in readers[0].get_variable_to_shape_map()
        if "/predictor/" in name and name.endswith("kernel/.ATTRIBUTES/VARIABLE_VALUE")
    ]
    assert kernels
    for name in kernels:
        first, second, third = (reader.get_tensor(name) for reader in readers)
        assert np.any(second != first) and np.any(third != second)
