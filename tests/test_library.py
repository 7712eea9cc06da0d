"""Pretraining without flags, for people who write Keras."""

import contextlib
import importlib
import json
import pathlib
import re
import threading

import notebook
import numpy as np
import pytest
import tensorflow as tf
import training as runs

import simclr_tf
from simclr_tf import checkpoints, library
from simclr_tf.backend import keras
from simclr_tf.checkpoints.convert import ENCODER_FILE
from simclr_tf.data import own_images
from simclr_tf.data.recipe import View
from simclr_tf.errors import UserError
from simclr_tf.methods import SimCLR

pytestmark = pytest.mark.usefixtures("toy_encoder")

DOCS = pathlib.Path(__file__).parent.parent / "docs"
NOT_SETTINGS = {"dataset", "eval_split", "checkpoint_steps", "train_summary_steps"}
SETTINGS = {name: value for name, value in runs.SMALL.items() if name not in NOT_SETTINGS}
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)


def tiny_encoder(size=None):
    return keras.Sequential(
        [
            keras.Input((size, size, 3)),
            keras.layers.Conv2D(6, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
        ],
        name="tiny",
    )


def tiny(images=PIXELS, **settings):
    """SimCLR on an own encoder, of 5 steps, which are 2 epochs of 40 images."""
    values = {"image_size": 8, "train_batch_size": 16, "train_steps": 5, "warmup_epochs": 0.0}
    values |= {"encoder": tiny_encoder(), "proj_out_dim": 4, "num_proj_layers": 1}
    return simclr_tf.Pretraining(images, **values | settings)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of run.py with the settings."""
    path = tmp_path_factory.mktemp("runs") / "run"
    assert runs.run(path) == 0
    return path


@pytest.fixture(scope="module")
def trained():
    """A training of own images in two calls of fit, and what these returned."""
    keras.utils.set_random_seed(0)
    training = tiny((PIXELS, np.arange(40) % 3))
    start = training.network.get_weights()
    histories = [training.fit(epochs=1, verbose=0), training.fit(verbose=0)]
    return training, histories, start


@pytest.mark.slow
def test_a_thread_trains_as_run_py_does_while_another_trains_too(run_dir):
    keras.utils.set_random_seed(0)
    images = simclr_tf.open_images("digits")
    like_the_run = simclr_tf.Pretraining(images, **SETTINGS)
    other = tiny()
    threads = [
        threading.Thread(target=training.fit, kwargs={"verbose": 0})
        for training in (like_the_run, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (int(like_the_run.method.step), int(other.method.step)) == (6, 5)
    expected = simclr_tf.load(run_dir)
    for found, wanted in zip(like_the_run.network.weights, expected.weights, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_fit_makes_the_planned_steps_and_reports_each_epoch(trained):
    """5 steps in 2 epochs: 3 and 2."""
    training, histories, _ = trained
    assert (training.plan.train_steps, training.epochs, training.steps_per_epoch) == (5, 2, 3)
    assert int(training.method.step) == 5
    assert [history.epoch for history in histories] == [[0], [1]]
    for history in histories:
        assert history.history.keys() == set(training.method.metric_names)
    with pytest.raises(UserError, match="finished, at step 5 of 5"):
        training.fit()


def test_as_many_epochs_as_are_said():
    """19 steps in 9 epochs are 3 steps each, which 7 epochs have."""
    training = tiny(train_batch_size=20, train_steps=0, train_epochs=9)
    assert training.plan.train_steps == 19
    assert (training.epochs, training.steps_per_epoch) == (7, 3)


def test_logs_are_means_of_their_own_epoch(trained):
    """The same again, step by step."""
    _, (first, second), start = trained
    training = tiny((PIXELS, np.arange(40) % 3))
    training.network.set_weights(start)
    training.compile()
    rows = []
    for batch in training.batches().take(5):
        training.method.reset_means()
        row = training.method.train_step(batch)
        rows.append(float(row["contrast_loss"]))
    assert first.history["contrast_loss"][0] == pytest.approx(np.mean(rows[:3]), abs=1e-4)
    assert second.history["contrast_loss"][0] == pytest.approx(np.mean(rows[3:]), abs=1e-4)


def test_features_and_probe(trained):
    training, *_ = trained
    encoder = training.network.encoder
    features, labels = training.features(PIXELS[:9])
    np.testing.assert_allclose(features, encoder(PIXELS[:9] / np.float32(255)), atol=1e-5)
    assert list(labels) == [-1] * 9
    # Bright and dark images are told apart by any encoder.
    pixels = np.concatenate([PIXELS // 8, 255 - PIXELS // 8])
    told = pixels, np.repeat([0, 1], 40)
    assert library.probe(training.network, told, told, 8) == {
        "linear_probe_top_1_accuracy": 1.0,
        "knn_top_1_accuracy": 1.0,
    }
    with pytest.raises(UserError, match="A probe needs labels, and own images have none"):
        library.probe(training.network, told, PIXELS, 8)
    more = pixels, np.arange(80) % 5
    with pytest.raises(UserError, match="of 2 classes, and the unseen ones are of 5"):
        library.probe(training.network, told, more, 8)


def test_an_encoder_of_one_size_is_shown_no_other():
    network = tiny(encoder=tiny_encoder(8)).network
    told = PIXELS, np.arange(40) % 2
    for show in (
        lambda: library.features_of(network, PIXELS, 16),
        lambda: library.probe(network, told, told, 16),
    ):
        with pytest.raises(UserError, match="takes images of 8x8, and 16x16 are shown"):
            show()


def test_a_probe_knows_classes_by_their_names(trained):
    training, *_ = trained
    pixels = np.concatenate([PIXELS // 8, 255 - PIXELS // 8])
    numbers = np.repeat([0, 1], 40)
    told = own_images.own_images((pixels, numbers), class_names=["dark", "bright"])
    other = own_images.own_images((pixels, 2 - numbers), class_names=["none", "bright", "dark"])
    unseen = own_images.own_images((pixels[40:], 0 * numbers[40:]), class_names=["bright"])
    assert set(library.probe(training.network, told, unseen, 8).values()) == {1.0}
    with pytest.raises(UserError, match="Only the data have 'none'; only the model has none"):
        library.probe(training.network, told, other, 8)


def test_an_encoder_that_does_not_say_its_input_takes_the_size_that_is_shown():
    layers = [keras.layers.Conv2D(6, 3), keras.layers.Flatten()]
    training = tiny(encoder=keras.Sequential(layers))
    assert training.network.image_shape == (8, 8)
    assert training.network.features(PIXELS / np.float32(255)).shape == (40, 216)
    with pytest.raises(UserError, match=r"takes no images \(1, 8, 8, 3\) of float32: .*dimension"):
        tiny(encoder=keras.Sequential([keras.layers.Conv2D(6, 9)]))


def test_executions_of_several_steps_end_with_the_plan():
    """The second of 2 epochs has 2 steps."""
    training = tiny(steps_per_execution=3)
    with pytest.raises(UserError, match="steps_per_execution=3 leads past step 5.* divisor of 2"):
        training.fit()
    assert int(training.method.step) == 0


def test_what_is_saved_is_loaded_by_us_and_by_keras(trained, tmp_path):
    training, *_ = trained
    path, images = tmp_path / "saved", PIXELS / np.float32(255)
    training.save(path)
    stored = checkpoints.read(path)
    assert (stored.step, stored.image_size, stored.method) == (5, 8, "simclr")
    loaded = simclr_tf.load(path)
    np.testing.assert_array_equal(loaded.logits(images), training.network.logits(images))
    encoder = keras.models.load_model(path / ENCODER_FILE)
    features = training.network.features(images)
    np.testing.assert_allclose(encoder(images), features, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="exists"):
        training.save(path)


def test_what_is_saved_remembers_how_its_data_were_opened(tmp_path):
    images = simclr_tf.open_images("digits", split_seed=7)
    simclr_tf.Pretraining(images, "byol", **SETTINGS_OF_BYOL).save(tmp_path / "saved")
    stored = checkpoints.read(tmp_path / "saved")
    assert (stored.data.dataset, stored.data.split_seed, stored.step) == ("digits", 7, 0)
    assert stored.class_names == tuple("0123456789")
    assert not (tmp_path / "saved" / ENCODER_FILE).exists()


SETTINGS_OF_BYOL = {
    name: value for name, value in SETTINGS.items() if name not in ("num_proj_layers", "use_blur")
} | {"proj_hidden_dim": 8}


def test_defaults_are_those_of_the_method():
    training = tiny(method="simsiam", num_proj_layers=2, proj_out_dim=8, predictor_dim=4)
    training.compile()
    assert training.method.optimizer.name.lower().startswith("sgd")
    assert training.plan.peak_learning_rate == pytest.approx(0.05 * 16 / 256)
    assert training.recipe[0].colors == "blend"


@pytest.mark.slow
def test_an_optimizer_of_keras():
    training = tiny()
    training.compile("adam")
    before = training.network.encoder.weights[0].numpy()
    training.method.train_step(next(iter(training.batches())))
    step = training.network.encoder.weights[0].numpy() - before
    assert np.mean(np.isclose(np.abs(step), 0.001, rtol=0.02)) > 0.9  # Adam's first


class OfAnotherKeras:
    """What TensorFlow's own Keras cannot use."""


def test_objects_of_another_keras_are_said_in_one_line(trained):
    training = tiny()
    for optimizer in (OfAnotherKeras(), "adamm"):
        with pytest.raises(UserError, match="one of simclr_tf.backend.keras, or its name") as error:
            training.compile(optimizer)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="Callbacks .*Received: test_library.OfAnotherKeras"):
        training.fit(callbacks=[OfAnotherKeras()])


def test_a_constant_rate_is_that_of_the_optimizer_and_not_of_the_plan():
    """The predictor of SimSiam moves as all do, or at the peak of the schedule that was given."""
    training = tiny(method="simsiam", num_proj_layers=2, proj_out_dim=8, predictor_dim=4)
    method = training.method
    kernel = method.predictor.trainable_variables[0]
    training.compile("adam")
    assert method.rate_factor(kernel) is None
    falling = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 0.1])
    training.compile(keras.optimizers.SGD(falling))
    factors = []
    for _ in range(3):
        method.optimizer.apply_gradients([(tf.zeros_like(kernel), kernel)])
        factors.append(float(method.rate_factor(kernel)))
    assert factors == pytest.approx([1, 1, 5])
    assert method.rate_factor(training.network.encoder.weights[0]) is None


@pytest.mark.slow
def test_a_recipe_of_the_users_own():
    view = View(8, area=(0.5, 1.0), jitter_probability=0.0, grayscale_probability=0.0)
    training = tiny(recipe=(view, view))
    assert training.recipe == (view, view)
    views, *_ = next(iter(training.batches()))
    assert [tuple(v.shape) for v in views] == [(16, 8, 8, 3)] * 2
    with pytest.raises(UserError, match="simclr learns from 2 .* Received: a recipe of 1"):
        tiny(recipe=(view,))


@pytest.mark.slow
def test_under_a_strategy():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        training = tiny()
    training.fit(epochs=1, verbose=0)
    assert int(training.method.step) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "simcrl"}, "There is no method 'simcrl'. .* Did you mean: simclr"),
        ({"temperatur": 1.0}, "simclr has no setting 'temperatur' here. Did you mean: temperature"),
        ({"model_dir": "runs"}, "simclr has no setting 'model_dir' here"),
        ({"queue_size": 8}, "simclr has no setting 'queue_size' here"),
        ({"resnet_depth": 18}, "resnet_depth is for ResNets. Leave it out"),
        ({"micro_batch_size": 8}, "micro_batch_size is for ResNets"),
        ({"temperature": "0.1"}, "temperature has another type. Received: '0.1'"),
        ({"temperature": -1.0}, "temperature is above 0. Received: -1"),
        ({"train_batch_size": 1}, "train_batch_size is at least 2"),
        ({"train_batch_size": 64}, "there are 40 images"),
        (
            {"encoder": tiny_encoder(12)},
            "takes images of 12x12, and 8x8 are shown. Give image_size=12",
        ),
    ],
)
def test_what_cannot_work_is_said_in_one_line(settings, message):
    with pytest.raises(UserError, match=message) as error:
        tiny(**settings)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_fine_tuning_goes_on_from_an_own_encoder(trained, tmp_path):
    training, *_ = trained
    training.save(tmp_path / "saved")
    source = {"checkpoint": str(tmp_path / "saved"), "protocol": "linear"}
    assert runs.finetune(tmp_path / "tuned", **source) == 0
    tuned = simclr_tf.load(tmp_path / "tuned")
    assert tuned.architecture.num_classes == 10
    for found, before in zip(tuned.encoder.weights, training.network.encoder.weights, strict=True):
        np.testing.assert_array_equal(found, before)
    with pytest.raises(UserError, match="resnet_depth=18, but the checkpoint has an encoder of K"):
        runs.finetune(tmp_path / "other", resnet_depth=18, **source)


def test_what_the_documents_name_exists_and_the_notebook_was_executed():
    page, path = (DOCS / "library.md").read_text(), DOCS / "pretrain.ipynb"
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    for source in [*blocks, *notebook.code_cells(path)]:
        compile(source, "a block", "exec")
    named = re.findall(r"simclr_tf((?:\.\w+)+)", page + "".join(notebook.code_cells(path)))
    for name in set(named):
        found = simclr_tf
        for part in name.split(".")[1:]:
            with contextlib.suppress(ImportError):
                importlib.import_module(f"{getattr(found, '__name__', '')}.{part}")
            found = getattr(found, part)
    cells = json.loads(path.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    kinds = {output["output_type"] for output in outputs}
    assert kinds == {"stream", "display_data", "execute_result"}  # and no error
    assert path.stat().st_size < 300_000


def test_the_face_of_the_package():
    for name in simclr_tf.__all__:
        assert simclr_tf.__getattr__(name) is getattr(simclr_tf, name)
    assert callable(simclr_tf.__getattr__("export").export_saved_model)
    assert simclr_tf.Pretraining is library.Pretraining
    assert simclr_tf.open_images is library.open_images
    images = own_images.own_images(PIXELS)
    assert library.image_dataset(images) is images
    assert isinstance(tiny(images).method, SimCLR)


@pytest.mark.parametrize("option", ["jit_compile", "steps_per_execution"])
def test_compile_takes_no_settings_of_the_training(option):
    with pytest.raises(UserError, match=f"{option} follows from the settings of Pretraining"):
        tiny().compile(**{option: 1})


def test_fit_takes_no_numbers_of_steps():
    with pytest.raises(UserError, match="steps_per_epoch follows from the settings"):
        tiny().fit(steps_per_epoch=1)
