"""The default evaluation batch of 256 on 3 and 5 replicas: every image is shown once."""

import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from simclr_tf.data import datasets, pipeline, subsets


@pytest.mark.slow
@pytest.mark.parametrize(("replicas", "first_batch"), [(3, 258), (5, 260)])
def test_every_image_is_evaluated_once(replicas, first_batch):
    script = pathlib.Path(__file__).with_name("uneven.py")
    done = subprocess.run(
        [sys.executable, str(script), str(replicas)],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    whole, first = ([float(word) for word in line.split()] for line in done.stdout.splitlines())
    digits = datasets.load("digits", "test")
    batches = pipeline.evaluation_dataset(digits, batch_size=359, image_size=8)
    pixels = sum(tf.reduce_sum(tf.reduce_mean(images, axis=(1, 2))) for images, *_ in batches)
    labels = subsets.labels_of(digits)
    assert whole == [len(labels), labels.sum(), pytest.approx(float(pixels), rel=1e-5)]
    assert first[0] == first_batch  # rounded up to what the replicas divide
