"""TensorFlow Lite and ONNX: the commands of docs/serving.md give the numbers of the network."""

import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from commands import ROOT

from simclr_tf.backend import keras
from simclr_tf.export import export_saved_model
from simclr_tf.models import Architecture, Network

pytestmark = pytest.mark.usefixtures("toy_encoder")

ARCHITECTURE = Architecture(18, cifar_stem=True, num_classes=3)
IMAGES = np.random.default_rng(0).uniform(size=(3, 32, 32, 3)).astype(np.float32)
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    network = Network(ARCHITECTURE)
    for variable in network.variables:
        noise = np.random.default_rng(0).normal(0, 0.05, variable.shape)
        variable.assign(variable + tf.cast(noise, variable.dtype))
    kernel = network.supervised_head.kernel
    kernel.assign(np.random.default_rng(1).normal(0, 0.2, kernel.shape))
    return network


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    """The directory in which docs/serving.md finds exported/simclr/1."""
    place = tmp_path_factory.mktemp("formats")
    export_saved_model(network, place / "exported/simclr/1", image_size=32)
    return place


def code_of(heading, language):
    """The first block of code below a heading of docs/serving.md."""
    text = (ROOT / "docs/serving.md").read_text().partition(f"\n## {heading}\n")[2]
    return textwrap.dedent(re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)[1])


@pytest.fixture(scope="module")
def lite(exported):
    """A TensorFlow Lite interpreter of the model that the code of the document writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(exported)
        exec(code_of("TensorFlow Lite", "python"), {})
    return tf.lite.Interpreter(str(exported / "simclr.tflite"))


@pytest.mark.thorough
def test_tensorflow_lite_computes_features_and_logits(network, lite):
    features, logits = (lite.get_signature_runner(name) for name in ("features", "logits"))
    np.testing.assert_allclose(
        features(images=IMAGES)["features"], network.features(IMAGES), **TOLERANCE
    )
    np.testing.assert_allclose(logits(images=IMAGES)["logits"], network.logits(IMAGES), **TOLERANCE)
    for values in (network.features(IMAGES), network.logits(IMAGES)):
        assert np.std(values, axis=0).max() > 1e-3  # they tell images apart


@pytest.fixture(scope="module")
def onnx(exported):
    """onnxruntime and the directory in which the commands of the document were run."""
    for package in ("onnxruntime", "tf2onnx"):
        pytest.importorskip(package, reason=f"{package} is optional: pip install '.[onnx]'")
    import onnxruntime

    commands = code_of("ONNX", "").replace("python ", f"{sys.executable} ")
    subprocess.run(["bash", "-ec", commands], cwd=exported, check=True, capture_output=True)
    return onnxruntime, exported


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["features", "logits"])
def test_onnx_computes_features_and_logits(network, onnx, name):
    onnxruntime, place = onnx
    session = onnxruntime.InferenceSession(place / f"{name}.onnx")
    for batch in (IMAGES, IMAGES[:1]):
        (found,) = session.run([name], {"images": batch})
        np.testing.assert_allclose(found, getattr(network, name)(batch), **TOLERANCE)
