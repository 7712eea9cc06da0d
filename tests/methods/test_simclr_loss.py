"""Which implementation of the contrastive loss a method gets, and that both train the same."""

import pytest
import training

from simclr_tf.errors import UserError
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import pretraining

pytestmark = pytest.mark.usefixtures("toy_encoder")


def implementation(**flags):
    config = configuration.from_dict(training.SMALL | flags)
    method = pretraining.build(config, pretraining.architecture_of(config, 10), plan=None)
    return method.flags.loss_implementation


def test_the_flag_reaches_the_method():
    assert implementation() == "auto"
    assert implementation(loss_implementation="tiled") == "tiled"


def test_xla_takes_the_dense_one():
    assert implementation(jit_compile=True) == "dense"
    with pytest.raises(UserError, match="--loss_implementation=tiled cannot be compiled"):
        implementation(jit_compile=True, loss_implementation="tiled")


@pytest.mark.slow
def test_a_run_is_the_same_with_both(tmp_path):
    flags = {"train_steps": 2, "train_summary_steps": 1, "temperature": 0.5}
    for kind in ("dense", "tiled"):
        assert training.run(tmp_path / kind, loss_implementation=kind, **flags) == 0
    both = [training.rows(tmp_path / kind) for kind in ("dense", "tiled")]
    for dense, tiled in zip(*both, strict=True):
        for name in ("contrast_loss", "contrast_acc", "contrast_entropy", "total_loss"):
            assert tiled[name] == pytest.approx(dense[name], rel=1e-4), name
