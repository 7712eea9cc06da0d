"""Exported models: same numbers as in process, wherever and by whatever they are loaded."""

import io
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import toy
from PIL import Image
from prediction_log import prediction_log_class
from tensorflow.core.framework import tensor_pb2

from simclr_tf import checkpoints
from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.data.views import evaluation_view
from simclr_tf.errors import UserError
from simclr_tf.export import export_saved_model, keep_newest
from simclr_tf.export.servable import servable
from simclr_tf.models import Architecture, Network

pytestmark = pytest.mark.usefixtures("toy_encoder")

HERE = pathlib.Path(__file__).parent
TENSORFLOW = pathlib.Path(tf.__file__).parent
NAMES = ["cat", "dog", "größe"]
LARGE = 40  # images of this size are cropped before they are resized


def randomize(network):
    """Give every variable a value that matters to the outputs."""
    rng = np.random.default_rng(0)
    for path, variable in variable_paths(network).items():
        if path.endswith(("gamma", "moving_variance")):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif path.endswith(("beta", "moving_mean", "bias")):
            variable.assign(rng.normal(0, 0.1, variable.shape))


def images(number, height=32, width=32):
    return np.random.default_rng(number).integers(0, 256, (number, height, width, 3), np.uint8)


def encoded_images():
    """Eight images: JPEG, and PNG in RGB, grey, RGBA and 16 bits, of several sizes."""
    sizes = [(32, 32), (50, 40), (17, 64), (90, 30), (32, 31), (64, 64), (8, 8), (120, 100)]
    pixels = [images(1, *size)[0] for size in sizes]
    alpha = np.concatenate([pixels[3], pixels[3][..., :1]], axis=-1)
    encoded = [tf.io.encode_jpeg(p) for p in pixels[:2]] + [tf.io.encode_png(pixels[2])]
    encoded += [tf.io.encode_png(alpha), tf.io.encode_png(pixels[4][..., :1])]
    encoded += [tf.io.encode_png(pixels[5].astype(np.uint16) * 256), tf.io.encode_jpeg(pixels[6])]
    return [e.numpy() for e in [*encoded, tf.io.encode_png(pixels[7])]]


def views_of(encoded, image_size):
    decoded = [tf.io.decode_image(e, channels=3, expand_animations=False) for e in encoded]
    return tf.stack([evaluation_view(image, image_size) for image in decoded])


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def run_elsewhere(command, directory, **kwargs):
    """Run a program in an empty directory, without this project on its path."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=directory, env=environment, text=True, capture_output=True, **kwargs
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def network():
    made = Network(Architecture(18, cifar_stem=True, num_classes=3, ft_proj_selector=1))
    randomize(made)
    return made


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    directory = tmp_path_factory.mktemp("exported") / "models" / "7"
    card = {"step": 7, "source": "a test"}
    export_saved_model(network, directory, image_size=32, class_names=NAMES, card=card)
    return directory


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(str(exported))


@pytest.fixture(scope="module")
def headless():
    """A network without heads, with activations in bfloat16, and partly frozen."""
    architecture = Architecture(18, cifar_stem=True, projector=())
    made = Network(architecture, activations="bfloat16")
    randomize(made)
    made.encoder.freeze(2)
    return made


@pytest.fixture(scope="module")
def loaded_headless(headless, tmp_path_factory):
    directory = tmp_path_factory.mktemp("headless") / "1"
    export_saved_model(headless, directory, image_size=LARGE)
    return tf.saved_model.load(str(directory))


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_encoded_images_are_classified(network, loaded, batch):
    encoded = encoded_images()[:batch]
    logits = network.logits(views_of(encoded, 32)).numpy()

    answer = loaded.signatures["serving_default"](image_bytes=tf.constant(encoded))

    close(answer["logits"], logits)
    close(answer["probabilities"], tf.nn.softmax(logits))
    assert answer["class_indices"].numpy().tolist() == logits.argmax(-1).tolist()
    expected = [NAMES[i].encode() for i in logits.argmax(-1)]
    assert answer["classes"].numpy().tolist() == expected


def test_encoded_images_are_embedded(network, loaded):
    encoded = encoded_images()
    answer = loaded.signatures["embedding"](image_bytes=tf.constant(encoded))
    close(answer["embedding"], network.features(views_of(encoded, 32)))


def test_a_palette_is_looked_up(loaded):
    image = Image.fromarray(images(1, 40, 60)[0]).quantize(20)
    buffer = io.BytesIO()
    image.save(buffer, "BMP")
    shown = evaluation_view(tf.constant(np.asarray(image.convert("RGB"))), 32)
    close(loaded.preprocess(tf.constant([buffer.getvalue()]))[0], shown)


@pytest.mark.slow
def test_photographs_are_turned_upright(network, loaded, tmp_path):
    """Orientation 6: the first row is shown at the right. Models may leave it as it is."""
    jpeg = tf.io.encode_jpeg(images(1, 40, 60)[0], quality=95).numpy()
    tiff = b"MM\0*\0\0\0\x08" + b"\0\1" + b"\x01\x12\0\3\0\0\0\1\0\6\0\0" + bytes(4)
    exif = b"\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff
    photograph = tf.constant([jpeg[:2] + exif + jpeg[2:]])
    stored = tf.io.decode_jpeg(jpeg)
    upright = evaluation_view(tf.image.rot90(stored, k=3), 32)
    close(loaded.preprocess(photograph)[0], upright)
    answer = loaded.signatures["embedding"](image_bytes=photograph)
    close(answer["embedding"], network.features(upright[tf.newaxis]))

    export_saved_model(network, tmp_path / "1", image_size=32, class_names=NAMES, upright=False)
    as_stored = tf.saved_model.load(str(tmp_path / "1"))
    close(as_stored.preprocess(photograph)[0], evaluation_view(stored, 32))


@pytest.mark.parametrize("batch, height, width", [(1, 32, 32), (3, 50, 20), (8, 24, 40)])
def test_pixels_of_both_types_are_preprocessed(network, loaded, batch, height, width):
    pixels = images(batch, height, width)
    expected = network.logits(tf.stack([evaluation_view(p, 32) for p in pixels]))

    close(loaded.signatures["images"](images=tf.constant(pixels))["logits"], expected)
    floats = tf.constant(pixels / np.float32(255))
    close(loaded.signatures["images_float"](images=floats)["logits"], expected)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_features_and_projection_are_the_networks(network, loaded, batch):
    views = tf.constant(images(batch) / np.float32(255))
    close(loaded.signatures["features"](images=views)["features"], network.features(views))
    projection = loaded.signatures["projection"](images=views)["projection"]
    close(projection, network.projections(views)[-1])


def test_endpoints_have_the_originals_names(network, loaded):
    views = tf.constant(images(3) / np.float32(255))
    expected = network.encoder.endpoints(views)
    names = ["proj_head_input", "proj_head_layer1", "proj_head_layer2", "proj_head_output"]
    expected |= dict(zip(names, network.projections(views), strict=True))
    expected["logits_sup"] = network.logits(views)

    for endpoints in (loaded.signatures["endpoints"](images=views), loaded(views)):
        assert endpoints.keys() == expected.keys()
        for name, values in expected.items():
            close(endpoints[name], values)


@pytest.mark.slow
def test_without_a_supervised_head_the_answer_is_the_embedding(headless, loaded_headless):
    encoded = encoded_images()
    float32 = Network(headless.architecture)
    for path, variable in variable_paths(float32).items():
        variable.assign(variable_paths(headless)[path])
    expected = float32.features(views_of(encoded, LARGE))

    answer = loaded_headless.signatures["serving_default"](image_bytes=tf.constant(encoded))

    assert answer.keys() == {"embedding"}
    close(answer["embedding"], expected)


@pytest.mark.thorough
def test_missing_heads_and_frozen_layers(loaded_headless):
    assert not {"projection", "logits"} & set(loaded_headless.signatures)
    outputs = loaded_headless.signatures["endpoints"].structured_outputs
    assert not {name for name in outputs if name.startswith(("proj", "logits"))}
    # Convolutions, and gamma and beta of each one's batch norm.
    assert len(loaded_headless.trainable_variables) == 3 * toy.CONVOLUTIONS
    assert not hasattr(loaded_headless, "labels")


def test_a_cut_projection_head_has_no_z():
    architecture = Architecture(
        18, cifar_stem=True, kept_proj_layers=1, ft_proj_selector=1, num_classes=2
    )
    _, signatures = servable(Network(architecture), 32, ["a", "b"], upright=True)
    assert "projection" not in signatures
    outputs = signatures["endpoints"].structured_outputs
    assert {"proj_head_input", "proj_head_layer1", "logits_sup"} <= outputs.keys()
    assert "proj_head_output" not in outputs


def test_corrupt_bytes_fail_alone(loaded):
    serve = loaded.signatures["serving_default"]
    good = tf.constant(encoded_images()[:3])
    before = serve(image_bytes=good)["logits"]
    for corrupt in (b"", b"no image", good[0].numpy()[:100]):
        with pytest.raises(tf.errors.InvalidArgumentError):
            serve(image_bytes=tf.constant([good[1].numpy(), corrupt]))
    close(serve(image_bytes=good)["logits"], before)


def test_labels_and_model_card_are_assets(network, exported, loaded):
    assert (exported / "assets/labels.txt").read_text(encoding="utf-8").split() == NAMES
    assert loaded.labels.asset_path.numpy().decode() == str(exported / "assets/labels.txt")
    card = json.loads(tf.io.read_file(loaded.model_card.asset_path).numpy())
    assert Architecture.from_json(card["architecture"], "the card") == network.architecture
    assert (card["step"], card["source"], card["image_size"]) == (7, "a test", 32)
    assert card["signatures"].keys() == loaded.signatures.keys()
    assert card["signatures"]["images"]["inputs"] == {
        "images": {"dtype": "uint8", "shape": [None, None, None, 3]}
    }
    assert card["signatures"]["features"]["outputs"] == {
        "features": {"dtype": "float32", "shape": [None, 512]}
    }


def test_every_signature_is_warmed_up(exported, loaded):
    records = tf.data.TFRecordDataset(str(exported / "assets.extra/tf_serving_warmup_requests"))
    requests = [
        prediction_log_class().FromString(record.numpy()).predict_log.request for record in records
    ]
    assert {r.model_spec.signature_name for r in requests} == set(loaded.signatures)
    for request in requests:
        inputs = {e.key: tensor_pb2.TensorProto.FromString(e.value) for e in request.inputs}
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in inputs.items()}
        outputs = loaded.signatures[request.model_spec.signature_name](**inputs)
        assert {len(values) for values in outputs.values()} == {1}


@pytest.mark.slow
def test_fine_tuning_without_the_project(network, exported, tmp_path):
    result = json.loads(
        run_elsewhere([sys.executable, HERE / "fine_tune.py", exported], tmp_path).splitlines()[-1]
    )
    assert result["trainable"] == result["finite"] == len(network.trainable_variables)
    assert result["averages"] == result["moved"] == len(network.non_trainable_variables)
    assert result["losses"][1] < result["losses"][0]


def signature_tensors(directory, signature):
    """Names of a signature's inputs and outputs in the graph."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(directory))
    found = graph.signature_def[signature]
    return {name: info.name for name, info in [*found.inputs.items(), *found.outputs.items()]}


@pytest.mark.thorough
def test_the_c_api_gives_the_same_numbers(network, exported, tmp_path):
    tensors = signature_tensors(exported, "serving_default")
    encoded = encoded_images()
    paths = [tmp_path / str(i) for i in range(len(encoded))]
    for path, content in zip(paths, encoded, strict=True):
        path.write_bytes(content)
    (corrupt := tmp_path / "corrupt").write_bytes(b"no image")
    batches = [paths[:1], [paths[0], corrupt], paths[:3], paths]
    request = {
        "library": str(TENSORFLOW / "libtensorflow_cc.so.2"),
        "directory": str(exported),
        "input": tensors["image_bytes"],
        "output": tensors["probabilities"],
        "batches": [[str(path) for path in batch] for batch in batches],
    }
    output = run_elsewhere([sys.executable, HERE / "c_api.py"], tmp_path, input=json.dumps(request))
    results = json.loads(output.splitlines()[-1])

    expected = tf.nn.softmax(network.logits(views_of(encoded, 32)))
    for result, batch in zip(results, (1, None, 3, 8), strict=True):
        if batch is None:
            assert result == 3  # INVALID_ARGUMENT
        else:
            close(result, expected[:batch])


@pytest.mark.slow
def test_saved_model_cli(network, exported, tmp_path):
    pixels = images(3, 20, 50)
    np.save(tmp_path / "pixels.npy", pixels)
    cli = pathlib.Path(sys.executable).with_name("saved_model_cli")
    options = ["--tag_set=serve", "--signature_def=images", "--inputs=images=pixels.npy"]
    run_elsewhere([cli, "run", "--dir", exported, *options, "--outdir=."], tmp_path)
    expected = network.logits(tf.stack([evaluation_view(p, 32) for p in pixels]))
    close(np.load(tmp_path / "logits.npy"), expected)


def test_an_existing_version_is_left_alone(network, tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(UserError, match="exists already"):
        export_saved_model(network, tmp_path / "1", image_size=32)
    assert os.listdir(tmp_path / "1") == []


def test_nothing_is_left_of_an_export_that_fails(network, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("disk full")

    empty = tf.train.Checkpoint(), {}
    monkeypatch.setattr("simclr_tf.export.saved_model.servable", lambda *_: empty)
    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(RuntimeError):
        export_saved_model(network, tmp_path / "1", image_size=32)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_names_that_are_no_utf8_are_served_as_bytes(network, tmp_path):
    names = ["caf\udce9", "größe", "a\nb"]
    export_saved_model(network, tmp_path / "1", image_size=32, class_names=names)
    assert (tmp_path / "1/assets/labels.txt").read_bytes() == "caf?\ngröße\na b\n".encode().replace(
        b"?", b"\xe9"
    )
    assert checkpoints.read(tmp_path / "1").class_names == tuple(names)
    serve = tf.saved_model.load(str(tmp_path / "1")).signatures["images"]
    answer = serve(images=tf.constant(images(8)))
    served = [os.fsencode(names[i]) for i in answer["class_indices"].numpy()]
    assert answer["classes"].numpy().tolist() == served


def test_every_class_needs_a_name(network, tmp_path):
    with pytest.raises(UserError, match="each of the 3 classes.*Received: 2"):
        export_saved_model(network, tmp_path / "1", image_size=32, class_names=["a", "b"])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("keep, left", [(0, {"9", "10", "100"}), (2, {"10", "100"}), (5, None)])
def test_the_newest_versions_are_kept(tmp_path, keep, left):
    left = left or {"9", "10", "100"}
    for name in ("9", "10", "100", "notes"):
        (tmp_path / name / "variables").mkdir(parents=True)
    keep_newest(tmp_path, keep)
    assert set(os.listdir(tmp_path)) == left | {"notes"}
