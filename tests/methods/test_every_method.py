"""What holds for every method of METHODS, and for one that only tests know."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import commands
import every_method
import numpy as np
import pytest
import tensorflow as tf
import training
from every_method import IMAGES, LABELS, NAMES

import simclr_tf
from simclr_tf.errors import UserError
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import method_flags, parts, protocols
from simclr_tf.experiment.inputs import open_inputs
from simclr_tf.flag import flag_fields
from simclr_tf.methods import METHODS

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.usefixtures("toy_encoder")


@pytest.fixture(scope="module", autouse=True)
def registered():
    """The method of the tests is one of METHODS for the duration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "example", every_method.Example)
        yield


# One with negatives, one with a queue, one with views of several sizes. CI runs all.
BY_DEFAULT = ("simclr", "moco", "example")


def marks(name, by_default, thorough=()):
    """How long a method's tests may be waited for."""
    if name in by_default:
        return ()
    return pytest.mark.thorough if name in thorough else pytest.mark.slow


EACH = [pytest.param(n, marks=marks(n, BY_DEFAULT, NAMES)) for n in NAMES]


@pytest.fixture(scope="module", params=EACH)
def name(request):
    """All tests of a method follow each other, so that they share what is built of it."""
    return request.param


# For what hardly depends on the method; the others are slow.
def by_default(*names, thorough=()):
    """For these methods by default, thorough for some others, slow for the rest."""
    params = [pytest.param(n, marks=marks(n, names, thorough)) for n in NAMES]
    return pytest.mark.parametrize("name", params, indirect=True)


in_slices_or_not = by_default("simclr", thorough=["moco"])
# Nothing, a queue and a twin, a bank; the others keep no more.
kinds_of_state = by_default("simclr", thorough=["moco", "instdisc"])
# Those of which there is a run anyway.
with_a_run = by_default("simclr", thorough=["moco", "instdisc", "example"])


def labelled_batch(name, seed=0):
    """Views, labels and numbers, as the pipeline gives them."""
    views = tuple(map(tf.constant, every_method.views_of(name, seed)))
    return views, tf.constant(LABELS), tf.range(IMAGES, dtype=tf.int64)


def arrays(variables):
    return [variable.numpy() for variable in variables]


def steps(method, step, data, count):
    """The losses of training steps on the same batch, without those of the probe and of decay."""
    losses = []
    for _ in range(count):
        method.reset_means()
        values = step(data)
        others = values["supervised_loss"] + values["weight_decay"]
        losses.append(float(values["total_loss"] - others))
    return losses


@pytest.fixture(scope="module")
def untrained(name):
    """A method, and what it computed of a batch at once and eagerly."""
    method = every_method.build(name)
    computed = method.values_and_gradients(*labelled_batch(name))
    return method, computed, arrays(method.non_trainable_variables)


@pytest.fixture(scope="module")
def trained(name):
    """A method after forty steps: its variables at first and after five, and all losses."""
    method = every_method.build(name)
    variables = [*method.trained_variables, *method.non_trainable_variables]
    step, data = tf.function(method.train_step), labelled_batch(name)
    first = arrays(variables)
    losses = steps(method, step, data, 5)
    fifth = arrays(variables)
    losses += steps(method, step, data, 35)
    return method, list(zip(variables, first, fifth, strict=True)), losses


@by_default(*NAMES)
def test_its_flags_and_metrics_are_documented(name):
    method = METHODS[name]
    fields = dataclasses.fields(method.Flags)
    assert fields and all(field.metadata["help"].endswith(".") for field in fields)
    assert method.Flags.__doc__ and method.metrics_of and all(method.metrics_of.values())
    shared = {f.name for g, f in flag_fields(configuration.ExperimentConfig) if g != "method"}
    assert method.DEFAULTS.keys() <= shared
    assert not shared & {field.name for field in fields}


@by_default(*NAMES)
def test_it_has_a_recipe_for_the_digits(name):
    path = every_method.recipe_file(name)
    config = commands.config_of(f"--flagfile={path}")
    assert (config.train.method, config.data.dataset) == (name, "digits")


@by_default(thorough=["example"])
def test_its_views_have_the_sizes_of_its_recipe(name):
    config = every_method.config_of(name)
    recipe = every_method.recipe_of(config)
    assert recipe[0].size == config.view.image_size
    dataset = parts.open_training_dataset(configuration.from_dict({"dataset": "digits"}))
    # As many as in the run below, for which its program of views is not compiled again.
    batches = parts.training_batches(config, dataset, recipe, batch_size=IMAGES, numbers=True)
    views, labels, numbers = next(iter(batches))
    assert [view.shape for view in views] == [(IMAGES, v.size, v.size, 3) for v in recipe]
    assert labels.shape == (IMAGES,)
    assert numbers.dtype == tf.int64 and len(set(numbers.numpy())) == IMAGES


def test_five_steps_change_all_that_is_trained(trained):
    method, variables, _ = trained
    factor = method.rate_factor or (lambda variable: None)
    for variable, first, fifth in variables:
        rate = factor(variable)
        if rate is None or float(rate) > 0:
            assert np.any(fifth != first), variable.name
    decayed = {id(v) for v in method.decayed_variables}
    assert decayed <= {id(v) for v in method.trained_variables}


def test_no_gradient_reaches_what_is_not_trained(name, untrained):
    method, *_ = untrained
    views, labels, numbers = labelled_batch(name)
    trained = {id(v) for v in method.trained_variables}
    others = [v for v in method.trainable_variables if id(v) not in trained]
    with tf.GradientTape() as tape:
        embeddings = method.embed(views)
        loss, _ = method.batch_loss(embeddings | {"numbers": numbers}, labels)
    assert tape.gradient(loss, others) == [None] * len(others)
    assert all(rows.shape[0] == IMAGES for rows in embeddings.values())
    assert {rows.dtype for rows in embeddings.values()} == {tf.float32}


def test_the_probe_sends_nothing_into_the_encoder(name, untrained):
    method, *_ = untrained
    views, labels, numbers = labelled_batch(name)
    head = {id(v) for v in method.network.supervised_head.trainable_variables}
    body = [v for v in method.trained_variables if id(v) not in head]
    with tf.GradientTape() as tape:
        embeddings = method.embed(views) | {"numbers": numbers}
        alone, _ = method.objective(embeddings)
        both, values = method.batch_loss(embeddings, labels)
        probe = both - alone
    assert float(values["supervised_loss"]) > 0
    for gradient in tape.gradient(probe, body, unconnected_gradients="zero"):
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))


def test_the_loss_falls_on_the_same_views(trained):
    _, _, losses = trained  # the first ones fill a queue
    assert np.mean(losses[-3:]) < np.mean(losses[8:11])


@in_slices_or_not
def test_one_slice_equals_the_plain_step(name, untrained):
    if not METHODS[name].sliceable:
        with pytest.raises(UserError, match="cannot embed a batch in slices"):
            every_method.build(name, micro_batch_size=IMAGES)
        return
    _, (embeddings, values, gradients), moved = untrained
    sliced = every_method.build(name, micro_batch_size=IMAGES)
    others = tf.function(sliced.values_and_gradients)(*labelled_batch(name))
    assert embeddings.keys() == others[0].keys() and values.keys() == others[1].keys()
    for key, rows in embeddings.items():
        np.testing.assert_allclose(others[0][key], rows, rtol=1e-4, atol=1e-5)
    for key, value in values.items():
        assert float(others[1][key]) == pytest.approx(float(value), rel=1e-5, abs=1e-6), key
    for gradient, other in zip(gradients, others[2], strict=True):
        scale = max(np.abs(gradient).max(), 1e-2)  # some are 0 but for rounding
        np.testing.assert_allclose(other, gradient, rtol=0, atol=1e-4 * scale)
    for a, b in zip(moved, arrays(sliced.non_trainable_variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "tolerance"),
    [
        ({"jit_compile": True}, 1e-4),
        ({"recompute": True}, 1e-4),
        ({"mixed_precision": "bfloat16"}, 0.05),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_of_the_step_change_no_loss(name, option, tolerance):
    data, losses = labelled_batch(name), []
    for flags in ({}, option):
        method = every_method.build(name, **flags)
        assert method.network.activations == flags.get("mixed_precision", "float32")
        assert method.network.encoder.recompute == flags.get("recompute", False)
        if hasattr(method, "order_of_keys"):  # XLA would draw others
            method.order_of_keys = lambda i, number: tf.range(number)[::-1]
        if hasattr(method, "draw_negatives"):
            method.draw_negatives = lambda number: tf.reshape(tf.range(20 * number), [-1, 20]) % 160
        if hasattr(method, "draw_jigsaws"):
            drawn = np.random.default_rng(0).uniform(size=(IMAGES, 9, 3))
            method.draw_jigsaws = lambda number, drawn=drawn: tf.constant(drawn, tf.float32)
        step = tf.function(method.train_step, jit_compile=flags.get("jit_compile"))
        for _ in range(3):
            method.reset_means()
            losses.append(float(step(data)["total_loss"]))
    assert np.isfinite(losses).all()
    np.testing.assert_allclose(losses[3:], losses[:3], rtol=tolerance, atol=tolerance)


# One for each kind of what replicas exchange: all embeddings, shuffled ones, correlations, scores,
# rows of a bank, and what an example does.
MOVED_BY_ROUNDING = 1e-6  # a weight, in two steps
ON_REPLICAS = ("simclr", "example")
THOROUGH_ON_REPLICAS = ("moco", "barlow_twins", "swav", "instdisc")
OTHERS_ON_REPLICAS = tuple(n for n in NAMES if n not in ON_REPLICAS + THOROUGH_ON_REPLICAS)


@pytest.fixture(scope="module")
def of_replicas(tmp_path_factory):
    """The folder of what 1 and 2 replicas compute, of many methods at once; of each kind once."""
    folders = {}

    def folder_of(name, kind):
        groups = ON_REPLICAS, THOROUGH_ON_REPLICAS, OTHERS_ON_REPLICAS
        group = next(group for group in groups if name in group)
        if (group, kind) in folders:
            return folders[group, kind]
        folder, programs = tmp_path_factory.mktemp("replicas"), []
        for count in ("1", "2"):
            program = str(HERE / "every_method_replicas.py")
            command = [sys.executable, program, str(folder), count, kind, *group]
            environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
            programs.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
        for program in programs:
            _, errors = program.communicate(timeout=900)
            assert program.returncode == 0, errors.decode()[-3000:]
        folders[group, kind] = folder
        return folder

    return folder_of


@by_default(*ON_REPLICAS, thorough=THOROUGH_ON_REPLICAS)
@pytest.mark.parametrize("kind", ["usual", pytest.param("unusual", marks=pytest.mark.slow)])
def test_two_replicas_equal_one(name, kind, of_replicas):
    """With the usual batch statistics of the method: those of all replicas, or of each.

    With statistics of each replica: one with groups of the same images.
    """
    one, two = (np.load(of_replicas(name, kind) / f"{name}-{count}.npz") for count in (1, 2))
    assert set(one) == set(two) and len(one) > 10
    ordered = () if every_method.is_global(name, kind) else ("rows", "next_row")  # by the images
    moved = {}
    for key in [key for key in one if not key.partition(" ")[2].startswith(ordered or "-")]:
        largest = np.abs(one[key]).max()
        tolerance = 5e-4 * max(largest, 1e-2)  # small ones are sums of larger ones
        if key.startswith("moved"):  # by rounding alone where batch norm takes an offset away
            moved[key] = largest
            tolerance = 2e-2 * largest + MOVED_BY_ROUNDING
        np.testing.assert_allclose(two[key], one[key], rtol=0, atol=tolerance, err_msg=key)
    kernels = [largest for key, largest in moved.items() if key.endswith("kernel:0")]
    assert len(kernels) > 3 and min(kernels) > 10 * MOVED_BY_ROUNDING


RUN = {name: every_method.SMALL[name] for name in every_method.SMALL.keys() - {"warmup_epochs"}}
RUN |= {"train_steps": 4, "checkpoint_steps": 2}


def run_flags(name):
    return RUN | every_method.SMALL_OF.get(name, {}) | {"method": name}


FINE = {"protocol": "linear", "mode": "train", "image_size": None}
FEW = np.random.default_rng(0).uniform(size=(2, 12, 12, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def finished(name, tmp_path_factory):
    """The directory of a run of four steps."""
    directory = tmp_path_factory.mktemp("runs") / name
    assert training.run(directory, **run_flags(name)) == 0
    return directory


def checkpoint_of(directory):
    """All numbers of the last checkpoint of a run."""
    reader = tf.train.load_checkpoint(str(directory / "ckpt-4"))
    found = {key: np.asarray(reader.get_tensor(key)) for key in reader.get_variable_to_shape_map()}
    return {key: array for key, array in found.items() if array.dtype.kind in "fi"}


@kinds_of_state
def test_a_run_that_goes_on_in_the_middle_is_the_same(name, finished, tmp_path):
    whole = checkpoint_of(finished)
    directory = shutil.copytree(finished, tmp_path / "run")
    for file in directory.glob("ckpt-4.*"):  # as after a kill at the step before
        file.unlink()
    assert training.run(directory, **run_flags(name)) == 0
    again = checkpoint_of(directory)
    assert again.keys() == whole.keys()
    for key, array in whole.items():
        # Graphs of other runs may add up in another order: the last digit of a value.
        np.testing.assert_allclose(again[key], array, rtol=1e-6, atol=1e-9, err_msg=key)


@with_a_run
def test_it_can_be_loaded(name, finished):
    network = simclr_tf.load(str(finished))
    features = network.features(FEW)
    assert features.shape == (2, network.encoder.feature_dim) and np.isfinite(features).all()
    projector = METHODS[name].projector(every_method.config_of(name).method)
    width = len(network.architecture.channels) * projector[-1].units
    assert network.projections(FEW)[-1].shape == (2, width)
    rows = training.rows(finished)
    assert set(METHODS[name].metrics_of) <= rows[-1].keys()


@by_default(thorough=["simclr"])
def test_it_is_exported(name, finished, tmp_path):
    directory = shutil.copytree(finished, tmp_path / "run")
    assert training.run(directory, exported=True, **run_flags(name)) == 0  # nothing else to do
    exported = simclr_tf.load(str(directory / "saved_model" / "4"))
    features = simclr_tf.load(str(directory)).features(FEW)
    np.testing.assert_allclose(exported.features(FEW), features, rtol=1e-5, atol=1e-6)


def fine_tuned(directory, **flags):
    """What finetune.py makes of the flags and of the checkpoint of a run; trains nothing."""
    own = {"checkpoint": str(directory), "model_dir": str(directory.with_name("not there"))}
    values = training.FINETUNING | FINE | own | flags
    values = {name: value for name, value in values.items() if value is not None}
    config = configuration.from_dict(values, configuration.FinetuneConfig)
    config = protocols.complete(config, frozenset(values))
    return open_inputs(config, frozenset(values))


@with_a_run
def test_fine_tuning_takes_the_method_from_the_run(name, finished):
    inputs = fine_tuned(finished)
    assert inputs.config.train.method == name
    assert inputs.source.architecture == training.RunDirectory(finished).architecture()
    other = next(other for other in METHODS if other != name)
    with pytest.raises(UserError, match=f"--method={other} contradicts --checkpoint=.*={name}"):
        fine_tuned(finished, method=other)


@by_default(thorough=["simclr", "moco"])
def test_fine_tuning_stores_the_method_of_the_run_and_goes_on(name, finished, tmp_path, capsys):
    flags = FINE | {"checkpoint": str(finished), "model_dir": tmp_path / "fine", "train_steps": 1}
    assert training.finetune(**flags) == 0
    stored = training.RunDirectory(tmp_path / "fine").config()
    own = dataclasses.asdict(METHODS[name].Flags())
    assert {key: stored[key] for key in ("method", *own)} == {"method": name} | own
    capsys.readouterr()
    # The class of flags is that of the method in run.json, or of the default; other versions
    # remembered the default method's values of flags that both have.
    for method, other in ((name, {}), (None, {}), (name, {"temperature": 0.123})):
        known = {key: value for key, value in other.items() if key in own}
        (tmp_path / "fine" / "run.json").write_text(json.dumps(stored | known))
        assert training.finetune(**flags, method=method) == 0
        assert "Nothing to do" in capsys.readouterr().out


@with_a_run
def test_a_command_has_the_flags_of_one_method(name, finished):
    argv = ["run.py", "--mode=eval", f"--model_dir={finished}"]
    base = configuration.ExperimentConfig
    assert method_flags.asked_for(argv, base) is configuration.config_class(name)
    chosen = method_flags.asked_for(["run.py", f"--method={name}"], base)
    assert chosen is configuration.config_class(name)
    others = method_flags.flags_of_others(chosen)
    own = {field.name for field in dataclasses.fields(METHODS[name].Flags)}
    assert not own & others.keys()
    foreign = {f.name for m in METHODS.values() for f in dataclasses.fields(m.Flags)} - own
    assert others.keys() == foreign and all(re.match("--method=", o) for o in others.values())


def test_the_flag_of_another_method_is_refused(capsys):
    with pytest.raises(SystemExit) as status:
        commands.parse("--method=simclr", "--queue_size=3")
    assert status.value.code == 2
    shown = capsys.readouterr().err
    assert re.search("--queue_size is a flag of .*--method=example", shown)
    assert shown.count("\n") == 1
