"""Which machine a run is on, in words."""

import collections
import os
import platform

import tensorflow as tf


def machine() -> str:
    """The devices and the versions, such as "1 NVIDIA H100, 16 CPU cores, TensorFlow 2.15.1"."""
    devices = [
        tf.config.experimental.get_device_details(device).get("device_name", device.device_type)
        for device in tf.config.list_physical_devices("GPU")
    ]
    counted = [f"{number} {name}" for name, number in collections.Counter(devices).items()]
    return ", ".join(
        [
            *counted,
            f"{os.cpu_count()} CPU cores ({platform.machine()})",
            f"TensorFlow {tf.__version__}",
            f"Python {platform.python_version()}",
        ]
    )
