import numpy as np
import tensorflow as tf

from simclr_tf.optimizers import l2_term


def test_value_and_gradient():
    matrix, vector = tf.Variable([[1.0, -2.0], [3.0, 0.5]]), tf.Variable([2.0])
    with tf.GradientTape(persistent=True) as tape:
        term = l2_term([matrix, vector], 0.1)
    np.testing.assert_allclose(term, 0.1 * (14.25 + 4) / 2, rtol=1e-6)
    for variable, gradient in [(v, tape.gradient(term, v)) for v in (matrix, vector)]:
        np.testing.assert_allclose(gradient, 0.1 * variable.numpy(), rtol=1e-6)


def test_half_precision_is_summed_in_float32():
    term = l2_term([tf.Variable(tf.ones([4096], tf.float16) * 100)], 1.0)
    assert term.dtype == tf.float32
    assert float(term) == 4096 * 100**2 / 2  # beyond the largest float16


def test_no_variables():
    assert float(l2_term([], 0.1)) == 0
