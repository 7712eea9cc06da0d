"""Trains a SavedModel where its maker's package is not to be found: `python fine_tune.py DIR`.

Prints a JSON line: losses before and after a gradient step, and how many of the trainable
variables have a finite gradient; how far the moving averages went.
"""

import json
import sys

import numpy as np
import tensorflow as tf

LEARNING_RATE = 1e-3


def main(directory: str) -> None:
    sys.modules["simclr_tf"] = None  # importing it fails, as where it is not installed
    model = tf.saved_model.load(directory)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 40, 30, 3), np.uint8)
    images = model.preprocess(pixels)
    labels = tf.range(8) % 3

    def loss():
        outputs = model(images, training=True)
        errors = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs["logits_sup"])
        return tf.reduce_mean(errors) + tf.reduce_mean(outputs["proj_head_output"] ** 2)

    averages = [v for v in model.variables if not v.trainable]
    before = [v.numpy() for v in averages]
    with tf.GradientTape() as tape:
        first = loss()
    gradients = tape.gradient(first, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(LEARNING_RATE * gradient)
    result = {
        "losses": [float(first), float(loss())],
        "trainable": len(gradients),
        "finite": sum(bool(np.isfinite(g).all()) for g in gradients),
        "averages": len(averages),
        "moved": sum(bool((a != v.numpy()).all()) for a, v in zip(before, averages, strict=True)),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
