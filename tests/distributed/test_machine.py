"""What run.json says of the machine."""

import os
import platform
from unittest import mock

import tensorflow as tf

from simclr_tf.devices.machine import machine


def test_the_machine_in_words():
    words = machine()
    assert f"{os.cpu_count()} CPU cores ({platform.machine()})" in words
    assert f"TensorFlow {tf.__version__}, Python {platform.python_version()}" in words


def test_gpus_are_named_and_counted():
    gpus = [mock.Mock(device_type="GPU")] * 3
    names = iter([{"device_name": "A"}, {}, {"device_name": "A"}])
    with (
        mock.patch.object(tf.config, "list_physical_devices", lambda kind: gpus),
        mock.patch.object(tf.config.experimental, "get_device_details", lambda device: next(names)),
    ):
        assert machine().startswith("2 A, 1 GPU, ")
