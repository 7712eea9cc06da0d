"""Losses of a batch whose number of images is known in the step alone."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import losses
from simclr_tf.devices import replicas
from simclr_tf.errors import UserError

N, WIDTH = 6, 5
A, B = np.float32(np.random.default_rng(0).normal(size=(2, N, WIDTH)))
BOTH = np.concatenate([A, B])
VIEWS = np.stack([A, B, A - B], axis=1)
LOSSES = {
    "barlow_twins": (losses.barlow_twins, (A, B)),
    "byol": (losses.byol, (A, B)),
    "info_nce": (lambda a, b: losses.info_nce(a, b, B)[0], (A, B)),
    "instance_softmax": (losses.instance_softmax, (A,)),
    "margin_triplet": (lambda h: losses.margin_triplet(h, 0.8, "semi_hard", "both"), (BOTH,)),
    "nce": (lambda scores: losses.nce(scores, 10, WIDTH - 1, 10.0), (A,)),
    "nt_logistic": (losses.nt_logistic, (BOTH,)),
    "nt_xent": (lambda h: losses.nt_xent_with_metrics(h)[0], (BOTH,)),
    "simsiam": (losses.simsiam, (A, B)),
    "swapped_prediction": (
        lambda scores: losses.swapped_prediction(
            scores, tf.stack([losses.sinkhorn(scores[:, i]) for i in (0, 1)], axis=1)
        ),
        (VIEWS,),
    ),
    "vicreg": (lambda a, b: losses.vicreg(a, b)[0], (A, B)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_is_that_of_a_batch_whose_number_is_known(name):
    loss, rows = LOSSES[name]
    shapes = [tf.TensorSpec((None, *r.shape[1:]), tf.float32) for r in rows]
    found = tf.function(loss, input_signature=shapes)(*map(tf.constant, rows))
    np.testing.assert_allclose(found, loss(*map(tf.constant, rows)), rtol=1e-6)


def test_tiles_need_the_number():
    tiled = lambda h: losses.nt_xent_with_metrics(h, implementation="tiled")[0]  # noqa: E731
    loss = tf.function(tiled, autograph=False)
    with pytest.raises(UserError, match=r"static number of rows.* shape \(None, 5\)"):
        loss.get_concrete_function(tf.TensorSpec((None, WIDTH), tf.float32))


def test_several_replicas_need_the_number(monkeypatch):
    monkeypatch.setattr(replicas, "num_replicas", lambda: 2)
    gathered = tf.function(lambda rows: replicas.gather(rows), autograph=False)
    with pytest.raises(UserError, match=r"static number of rows.* shape \(None, 5\)"):
        gathered.get_concrete_function(tf.TensorSpec((None, WIDTH), tf.float32))
