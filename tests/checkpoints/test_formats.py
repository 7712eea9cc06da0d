"""Everything that is read and written besides the original's files, and `load_into`."""

import dataclasses
import json
import subprocess
import sys

import commands
import h5py
import numpy as np
import pytest
import recorded
import tensorflow as tf
import training

from simclr_tf import checkpoints
from simclr_tf.backend import keras
from simclr_tf.checkpoints import layout, restore, torch_names
from simclr_tf.checkpoints.__main__ import main
from simclr_tf.checkpoints.contradictions import ENCODER_FLAGS, PROJECTION_FLAGS, contradictions
from simclr_tf.checkpoints.convert import _write_run_directory, convert
from simclr_tf.checkpoints.description import Description
from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.checkpoints.stored_network import description
from simclr_tf.errors import UserError
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import finetuning, pretraining
from simclr_tf.export import export_saved_model
from simclr_tf.export.__main__ import main as export_main
from simclr_tf.models import Architecture, Dense, Network, simclr_projector

SMALL = Architecture(
    18, cifar_stem=True, projector=simclr_projector(num_layers=2, out_dim=16), num_classes=3
)


def values(network):
    return {path: v.numpy() for path, v in restore.variable_paths(network).items()}


def same(found, expected):
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)


def write_run(path, network, step=7, image_size=28):
    training.write_run(path, network, step, image_size=image_size)


@pytest.fixture(scope="module")
def network():
    network = Network(SMALL)
    restore.assign(network, recorded.random_arrays(layout.network_variables(SMALL)))
    return network


@pytest.fixture(scope="module")
def written(network, tmp_path_factory):
    """One network in every format of ours: {name: path}."""
    root = tmp_path_factory.mktemp("formats")
    run = root / "run"
    write_run(run, network)
    export_saved_model(network, root / "saved" / "1", image_size=28, card={"step": 7})
    pytest.importorskip("safetensors")
    for to, name in (("simclr_tf", "own"), ("keras", "k.weights.h5"), ("torch", "t.safetensors")):
        assert main([str(run), "--to", to, str(root / name)]) == 0
    return {
        "run directory": run,
        "checkpoint of a run directory": run / "ckpt-7",
        "converted checkpoint": root / "own",
        "exported SavedModel": root / "saved" / "1",
        "Keras weights": root / "k.weights.h5",
        "PyTorch state dict": root / "t.safetensors",
    }


@pytest.mark.parametrize(
    "kind",
    [
        "run directory",
        "checkpoint of a run directory",
        "converted checkpoint",
        "exported SavedModel",
        "Keras weights",
        "PyTorch state dict",
    ],
)
def test_every_format_holds_the_same_network(written, network, kind):
    stored = checkpoints.read(written[kind])
    assert (stored.kind, stored.architecture, stored.step) == (kind, SMALL, 7)
    assert stored.image_size == 28
    assert stored.unused == stored.excluded == ()
    same(stored.arrays, values(network))
    without_heads = checkpoints.read(written[kind], "(?!global_step|head)")
    assert {path.split("/")[0] for path in without_heads.arrays} == {"encoder"}


def test_who_may_read_files_may_read_written_ones_too(written, tmp_path):
    (tmp_path / "plain").touch()
    mode = (tmp_path / "plain").stat().st_mode
    assert {written[kind].stat().st_mode for kind in ("Keras weights", "PyTorch state dict")} == {
        mode
    }


@pytest.mark.thorough
def test_a_saved_model_of_keras_is_read(network, tmp_path):
    network.save(tmp_path / "network.keras")
    stored = checkpoints.read(tmp_path / "network.keras")
    assert (stored.kind, stored.architecture, stored.step) == ("Keras model", SMALL, None)
    same(stored.arrays, values(network))
    same(values(checkpoints.load(tmp_path / "network.keras")), values(network))
    keras.Sequential([keras.layers.Dense(1, input_shape=(2,))]).save(tmp_path / "head.keras")
    (tmp_path / "no.keras").write_text("no archive")
    for name, said in (
        ("head.keras", "no simclr_tf.models.Network, such as an encoder alone"),
        ("no.keras", "cannot be read as a Keras model"),
        ("missing.keras", "There is no file"),
    ):
        with pytest.raises(UserError, match=said):
            checkpoints.read(tmp_path / name)


def test_a_converted_checkpoint_is_restored_by_tensorflow_alone(written, network):
    other = Network(SMALL)
    checkpoint = tf.train.Checkpoint(method=tf.train.Checkpoint(network=other))
    checkpoint.restore(f"{written['converted checkpoint']}/ckpt-7").assert_consumed()
    same(values(other), values(network))


@pytest.mark.slow
def test_from_the_original_to_pytorch_and_back_is_exact(tmp_path, capsys):
    pytest.importorskip("safetensors")
    original = recorded.unpack("original_tf2_r18", tmp_path)
    file = tmp_path / "net.safetensors"
    assert main([str(original), "--to", "torch", str(file)]) == 0
    assert "Converted the TF2 checkpoint" in capsys.readouterr().out
    stored, back = checkpoints.read(original), checkpoints.read(file)
    assert (back.architecture, back.step) == (stored.architecture, 2)
    same(back.arrays, stored.arrays)
    assert main([str(file), "--to", "simclr_tf", f"{tmp_path}/own"]) == 0
    same(values(checkpoints.load(tmp_path / "own")), stored.arrays)
    assert json.loads((tmp_path / "net.json").read_text())["source"].startswith("TF2 checkpoint")


NAMES = {  # what PyTorch calls it: (our path, shape there)
    "conv1.weight": ("encoder/stem/convolutions/0/kernel", (64, 3, 7, 7)),
    "bn1.running_var": ("encoder/stem/norms/0/moving_variance", (64,)),
    "layer1.0.downsample.0.weight": (
        "encoder/groups/0/0/shortcut/convolution/kernel",
        (256, 64, 1, 1),
    ),
    "layer2.0.downsample.1.bias": ("encoder/groups/1/0/shortcut/norm/beta", (512,)),
    "layer3.5.conv2.weight": ("encoder/groups/2/5/convolution2/kernel", (256, 256, 3, 3)),
    "layer4.2.bn3.weight": ("encoder/groups/3/2/norm3/gamma", (2048,)),
    "projection_head.0.linear.weight": ("projection_head/layers/0/dense/kernel", (2048, 2048)),
    "projection_head.2.bn.running_mean": ("projection_head/layers/2/norm/moving_mean", (128,)),
    "fc.weight": ("supervised_head/kernel", (7, 2048)),
    "fc.bias": ("supervised_head/bias", (7,)),
}
ATTENTION_NAMES = {
    "conv1.0.weight": ("encoder/stem/convolutions/0/kernel", (32, 3, 3, 3)),
    "conv1.4.weight": ("encoder/stem/norms/1/gamma", (32,)),
    "bn1.weight": ("encoder/stem/norms/2/gamma", (64,)),
    "layer1.0.downsample.2.weight": ("encoder/groups/0/0/shortcut/norm/gamma", (256,)),
    "layer1.1.conv2.conv.weight": (
        "encoder/groups/0/1/selective/convolution/kernel",
        (128, 64, 3, 3),
    ),
    "layer1.1.conv2.attn.fc_select.weight": (
        "encoder/groups/0/1/selective/excite/kernel",
        (128, 32, 1, 1),
    ),
    "layer4.0.se.fc1.bias": ("encoder/groups/3/0/attention/squeeze/bias", (128,)),
}


@pytest.mark.parametrize(
    ("architecture", "names"),
    [
        (Architecture(50, num_classes=7), NAMES),
        pytest.param(
            *(Architecture(50, sk_ratio=0.0625, se_ratio=0.25), ATTENTION_NAMES),
            marks=pytest.mark.thorough,
        ),
    ],
    ids=["plain", "attention"],
)
def test_names_and_layouts_of_pytorch(architecture, names):
    arrays = recorded.random_arrays(layout.network_variables(architecture))
    state = torch_names.to_torch(arrays, architecture)
    for name, (path, shape) in names.items():
        assert state[name].shape == shape
        expected = arrays[path]
        if expected.ndim == 4:
            assert state[name][5, 2, 0, 0] == expected[0, 0, 2, 5]
        elif expected.ndim == 2:
            assert state[name][5, 2] == expected[2, 5]
        else:
            np.testing.assert_array_equal(state[name], expected)
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    norms = [path for path in arrays if path.endswith("gamma")]
    assert len(counters) == len(norms)
    assert not state["projection_head.2.bn.bias"].any()
    assert len(state) == len(arrays) + len(counters) + 1


@pytest.mark.parametrize(
    "architecture",
    [
        SMALL,
        Architecture(18, projector=()),
        Architecture(18, sk_ratio=0.0625, cifar_stem=True),
        Architecture(50, sk_ratio=0.0625, se_ratio=0.25, width_multiplier=2, num_classes=4),
        Architecture(152, sk_ratio=0.0625, width_multiplier=3),
    ],
    ids=["r18", "r18_headless", "r18_deep_cifar", "r50_2x_sk_se", "r152_3x_sk"],
)
def test_pytorch_names_are_a_bijection(architecture):
    variables = layout.network_variables(architecture)
    arrays = {v.path: np.broadcast_to(np.float32(i), v.shape) for i, v in enumerate(variables)}
    names = [torch_names.torch_name(v.path, architecture) for v in variables]
    assert len(set(names)) == len(variables)
    state = {name: torch_names.outputs_first(arrays[v.path]) for name, v in zip(names, variables)}
    back, unknown = torch_names.from_torch(state)
    assert unknown == []
    assert {p: (a.shape, a.flat[0]) for p, a in back.items()} == {
        p: (a.shape, a.flat[0]) for p, a in arrays.items()
    }


@pytest.mark.slow
def test_the_layer_below_the_classifier_can_be_said(tmp_path):
    """A TF1 file does not tell it when that layer is as wide as h."""
    architecture = Architecture(
        18, cifar_stem=True, projector=simclr_projector(out_dim=16), num_classes=3
    )
    prefix, own = original_v1(architecture, tmp_path), f"{tmp_path}/own"
    assert main([prefix, "--ft_proj_selector=1", "--to", "simclr_tf", own]) == 0
    found = checkpoints.load(own)
    assert found.architecture == dataclasses.replace(architecture, ft_proj_selector=1)
    images = recorded.random_images()[:2]
    expected = found.supervised_head(found.projections(images)[1])
    np.testing.assert_allclose(found.logits(images), expected, rtol=1e-4, atol=1e-4)


def test_options_of_writing_are_refused_without_it(tmp_path, capsys):
    for option in ("--rescale_v1_weights", "--ft_proj_selector=0"):
        assert main([str(tmp_path), option]) == 2
        assert "change what is written. Give --to" in capsys.readouterr().err


def test_a_state_dict_without_description_is_understood(written, network, tmp_path):
    file = tmp_path / "bare.safetensors"
    file.write_bytes(written["PyTorch state dict"].read_bytes())
    stored = checkpoints.read(file)
    assert (stored.architecture, stored.step) == (SMALL, None)
    same(stored.arrays, values(network))


def test_a_step_that_is_not_known_stays_so(network, tmp_path):
    _write_run_directory(network, str(tmp_path), Description(network.architecture))
    assert checkpoints.read(tmp_path).step is None
    converted = Description(network.architecture, step=5)
    _write_run_directory(network, str(tmp_path / "known"), converted)
    assert checkpoints.read(tmp_path / "known").step == 5


def test_pytorch_files_in_bfloat16_are_read(written, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    state = safetensors.load_file(written["PyTorch state dict"])
    half = {n: a.astype(tf.bfloat16.as_numpy_dtype) for n, a in state.items() if a.ndim}
    safetensors.save_file(half, tmp_path / "a.safetensors")
    found = checkpoints.read(tmp_path / "a.safetensors").arrays
    whole = checkpoints.read(written["PyTorch state dict"]).arrays
    assert found.keys() == whole.keys()
    for name, array in found.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, whole[name], rtol=2**-8)


def test_a_projection_head_with_an_offset_at_its_end_is_refused(written, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    state = safetensors.load_file(written["PyTorch state dict"])
    state["projection_head.1.bn.bias"] += 1
    safetensors.save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"projection_head.1.bn.bias is not zero"):
        checkpoints.read(tmp_path / "a.safetensors")


@pytest.mark.slow
def test_a_head_whose_last_layers_were_cut_off_keeps_its_offset(tmp_path):
    kept = dataclasses.replace(SMALL, kept_proj_layers=1, ft_proj_selector=1)
    network = Network(kept)
    restore.assign(network, recorded.random_arrays(layout.network_variables(kept)))
    write_run(tmp_path / "run", network)
    pytest.importorskip("safetensors")
    file = f"{tmp_path}/cut.safetensors"
    assert main([f"{tmp_path}/run", "--to", "torch", file]) == 0
    assert checkpoints.read(file).architecture == kept
    same(values(checkpoints.load(file)), values(network))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("to", "name"),
    [
        ("torch", "a.safetensors"),
        pytest.param("keras", "a.weights.h5", marks=pytest.mark.slow),
        pytest.param("simclr_tf", "a", marks=pytest.mark.slow),
    ],
)
def test_heads_and_inputs_of_other_methods_go_there_and_back(to, name, tmp_path):
    pytest.importorskip("safetensors")
    last = Dense(8, bias=True, center=False, scale=False, relu=False)
    projector = (Dense(24, bias=True), Dense(bias=True, norm=False), last)
    architecture = Architecture(
        18,
        cifar_stem=True,
        projector=projector,
        input_mean=(0.485, 0.456, 0.406),
        input_deviation=(0.229, 0.224, 0.225),
        pool_padding="symmetric",
    )
    network = Network(architecture)
    restore.assign(network, recorded.random_arrays(layout.network_variables(architecture)))
    convert(network, to, f"{tmp_path}/{name}", Description(architecture))
    back = checkpoints.load(tmp_path / name)
    assert back.architecture == architecture
    same(values(back), values(network))


def test_the_tool_shows_what_a_checkpoint_holds(written, capsys):
    assert main([str(written["run directory"])]) == 0
    table = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    table = {name: value.strip() for name, value in table.items()}
    assert table["found"] == f"run directory {written['run directory']}"
    assert table["encoder"] == "ResNet-18 1x, CIFAR stem"
    assert table["projection head"] == "projection head of 2 layers to 16"
    assert table["supervised head"] == "supervised head of 3 classes"
    assert (table["step"], table["image size"]) == ("7", "28")
    # The count of the encoder is the original's: golden/parameter_counts.json.
    assert table["encoder, numbers"] == "11,173,056 trainable, 9,728 moving averages"
    # 512*512 + 2*512 + 512*16 + 16; 2 * (512 + 16). 512*3 + 3.
    assert table["projection head, numbers"] == "271,376 trainable, 1,056 moving averages"
    assert table["supervised head, numbers"] == "1,539 trainable"
    assert table["convolution norms"].startswith("median 1.2")  # sqrt(1.5)
    assert table["ignored"] == "1: save_counter"


def original_v1(architecture, directory):
    """A TF1 checkpoint with convolutions as large as SimCLRv1's."""
    variables = layout.network_variables(architecture)
    arrays = recorded.random_arrays(variables)
    values = {v.tf1: arrays[v.path] for v in variables}
    values = {n: np.float32(16.8) * v if "conv2d" in n else v for n, v in values.items()}
    prefix = str(directory / "model.ckpt-9")
    names = list(values)
    tensors = [values[name] for name in names]
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
    )
    return prefix


@pytest.mark.slow
def test_large_weights_are_reported_and_rescaled(tmp_path, network):
    headless = dataclasses.replace(SMALL, projector=(), num_classes=None)
    prefix = original_v1(headless, tmp_path)
    large, small = Network(headless), Network(headless)
    report = str(checkpoints.load_into(large, prefix))
    assert report.startswith(f"found: TF1 checkpoint {prefix}, ResNet-18 1x, CIFAR stem, no proj")
    assert "like SimCLRv1's" in report and "--rescale_v1_weights" in report
    report = str(checkpoints.load_into(small, prefix, rescale_v1_weights=True))
    assert "divided by 16.8" in report and "not as large" not in report
    path = "encoder/groups/1/0/convolution1/kernel"
    np.testing.assert_allclose(values(large)[path] / values(small)[path], 16.8, rtol=1e-5)
    images = recorded.random_images()[:2]
    expected = large.features(images).numpy()
    np.testing.assert_allclose(small.features(images), expected, atol=1e-5 * expected.max())
    same(values(checkpoints.load(prefix, rescale_v1_weights=True)), values(small))
    assert "like SimCLRv1's" not in checkpoints.read(prefix, "(?!base_model/conv2d)").found("")


@pytest.mark.thorough
@pytest.mark.parametrize("builder", [pretraining, finetuning])
def test_the_flag_reaches_both_kinds_of_training(written, builder, capsys):
    flags = {"checkpoint": str(written["run directory"]), "rescale_v1_weights": True}
    config = configuration.from_dict(training.SMALL | flags)
    method = builder.build(config, SMALL, None, checkpoints.read(written["run directory"]))
    assert "convolution weights are divided by 16.8" in capsys.readouterr().out
    loaded = values(method.network)
    path = "encoder/stem/convolutions/0/kernel"
    original = checkpoints.read(written["run directory"]).arrays[path]
    np.testing.assert_allclose(original / loaded[path], 16.8, rtol=1e-5)


def test_contradictions_name_both_values():
    stored = Architecture(
        18, cifar_stem=True, projector=simclr_projector(num_layers=2), sk_ratio=0.1
    )
    asked = Architecture(
        50, cifar_stem=False, projector=simclr_projector(num_layers=3), sk_ratio=0.1 + 1e-9
    )
    assert contradictions(asked, stored, ENCODER_FLAGS + PROJECTION_FLAGS) == [
        "--resnet_depth=50, but the checkpoint has 18",
        "--cifar_stem=false, but the checkpoint has the CIFAR stem",
        "--num_proj_layers=3, but the checkpoint has 2",
    ]
    assert contradictions(asked, stored, {"proj_out_dim", "sk_ratio"}) == []
    linear = dataclasses.replace(stored, projector=simclr_projector("linear", out_dim=4))
    assert contradictions(linear, linear, PROJECTION_FLAGS) == []
    assert contradictions(asked, linear, {"num_proj_layers"}) == []
    assert contradictions(linear, stored, PROJECTION_FLAGS) == [
        "--proj_head_mode=linear, but the checkpoint has nonlinear",
        "--proj_out_dim=4, but the checkpoint has 128",
    ]
    headless = dataclasses.replace(stored, projector=())
    assert contradictions(asked, headless, PROJECTION_FLAGS) == []
    assert contradictions(headless, stored, PROJECTION_FLAGS) == [
        "--proj_head_mode=none, but the checkpoint has nonlinear"
    ]


def test_contradictions_of_other_heads_are_said_in_words():
    byol = Architecture(projector=(Dense(4096, bias=True), Dense(256, norm=False, relu=False)))
    started = dataclasses.replace(
        byol, projector=tuple(dataclasses.replace(d, start="truncated") for d in byol.projector)
    )
    words = "dense to 4096 with bias, batch norm, ReLU; dense to 256"
    simclr = "dense as wide as the input, batch norm, ReLU; dense to 128, batch norm without offset"
    assert contradictions(started, byol, PROJECTION_FLAGS) == []
    # A file names the width of every layer.
    inside = (Dense(norm=False), Dense(2048, relu=False))
    named = (Dense(2048, norm=False), Dense(2048, relu=False))
    asked, stored = Architecture(projector=inside), Architecture(projector=named)
    assert contradictions(asked, stored, PROJECTION_FLAGS) == []
    wider = dataclasses.replace(asked, width_multiplier=2)
    assert len(contradictions(wider, stored, PROJECTION_FLAGS)) == 1
    other = Architecture(projector=simclr_projector(num_layers=2))
    assert contradictions(other, byol, ENCODER_FLAGS) == []
    assert contradictions(other, byol, {"proj_out_dim"}) == [
        f"a projection head of {simclr}, but the checkpoint has one of {words}"
    ]
    assert contradictions(byol, other, PROJECTION_FLAGS) == [
        f"a projection head of {words}, but the checkpoint has one of {simclr}"
    ]
    assert description(byol)["projection head"] == f"projection head of 2 layers ({words})"


@pytest.mark.slow
def test_other_flags_or_a_missing_head_are_refused(written, tmp_path):
    deep = Network(dataclasses.replace(SMALL, resnet_depth=34))
    with pytest.raises(UserError, match="--resnet_depth=34, but the checkpoint has 18"):
        checkpoints.load_into(deep, written["run directory"])
    headless = dataclasses.replace(SMALL, projector=(), num_classes=None)
    prefix = original_v1(headless, tmp_path)
    with pytest.raises(UserError, match="projection head cannot be loaded.*it has none"):
        checkpoints.load_into(Network(SMALL), prefix)
    report = checkpoints.load_into(Network(SMALL), prefix, "(?!.*head)")
    assert len(report.matched) == 105


def test_another_class_count_skips_the_supervised_head_and_says_so(written):
    five = Network(dataclasses.replace(SMALL, num_classes=5))
    report = str(checkpoints.load_into(five, written["run directory"]))
    assert "The supervised head (3 classes there, 5 here) is not loaded" in report
    assert "mismatched      2  supervised_head/kernel is (512, 3)" in report


def assert_refused(capsys, program, arguments, *parts):
    assert program([str(argument) for argument in arguments]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1, printed
    for part in parts:
        assert part in printed


def truncated(path, directory):
    copy = directory / path.name
    copy.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return copy


def test_what_cannot_be_read_is_said_in_one_line(written, tmp_path, capsys):
    assert_refused(capsys, main, [tmp_path], "no checkpoint in", str(tmp_path))
    assert_refused(capsys, main, [tmp_path / "no.weights.h5"], "no file")
    assert_refused(capsys, main, [tmp_path / "no.safetensors"], "no file")
    assert_refused(capsys, main, [truncated(written["PyTorch state dict"], tmp_path)], "truncated")
    keras = truncated(written["Keras weights"], tmp_path)
    assert_refused(capsys, main, [keras], "k.json beside it")
    (tmp_path / "k.json").write_bytes((written["Keras weights"].parent / "k.json").read_bytes())
    assert_refused(capsys, main, [keras], "cannot be read")
    (tmp_path / "k.json").write_text('{"architecture": {"depth": 5}}')
    assert_refused(
        capsys, main, [keras], "k.json describes a network that this version does not know"
    )
    run = tmp_path / "run"
    RunDirectory(run).claim({}, SMALL, False)
    assert_refused(capsys, main, [run], "has no checkpoint yet")
    for file in written["run directory"].glob("ckpt-7*"):
        truncated(file, run)
    assert_refused(capsys, main, [run / "ckpt-7"], "truncated or corrupt")


def test_keras_weights_that_lack_a_variable_are_refused(written, tmp_path, capsys):
    for name in ("k.weights.h5", "k.json"):
        (tmp_path / name).write_bytes((written["Keras weights"].parent / name).read_bytes())
    with h5py.File(tmp_path / "k.weights.h5", "a") as file:
        del file["supervised_head/vars/1"]
    assert_refused(capsys, main, [tmp_path / "k.weights.h5"], "cannot be read")


@pytest.mark.slow
def test_a_renamed_variable_is_named_from_every_program(tmp_path, capsys):
    headless = dataclasses.replace(SMALL, projector=(), num_classes=None)
    prefix = original_v1(headless, tmp_path)
    reader = tf.train.load_checkpoint(prefix)
    names = list(reader.get_variable_to_shape_map())
    renamed = [name.replace("conv2d_5/", "conv2d_five/") for name in names]
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=renamed,
        shape_and_slices=[""] * len(names),
        tensors=[reader.get_tensor(name) for name in names],
    )
    parts = ("1 of its variables are missing", "conv2d_five", "groups/0/1/convolution2/kernel")
    assert_refused(capsys, export_main, [prefix, tmp_path / "1"], *parts)
    assert_refused(capsys, main, [prefix, "--to", "simclr_tf", tmp_path / "own"], *parts)
    with pytest.raises(UserError, match=parts[0]):
        training.run(tmp_path / "run", train_mode="finetune", checkpoint=prefix)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == set()
    assert main([prefix]) == 0
    table = capsys.readouterr().out
    assert "missing                   1: encoder/groups/0/1/convolution2/kernel" in table
    assert "unused                    1: base_model/conv2d_five/kernel" in table


def test_what_cannot_be_written_is_said_in_one_line(written, tmp_path, capsys, monkeypatch):
    run = written["run directory"]
    assert_refused(capsys, main, [run, "--to", "onnx", "x"], "simclr_tf, torch, keras", "onnx")
    assert_refused(capsys, main, [run, "--to", "keras", "x.h5"], ".weights.h5", "x.h5")
    assert_refused(capsys, main, [run, "--to", "torch", "x.onnx"], ".safetensors or .pt or .pth")
    keras = written["Keras weights"]
    assert_refused(capsys, main, [run, "--to", "keras", keras], "exists already")
    (tmp_path / "file").touch()
    assert_refused(capsys, main, [run, "--to", "simclr_tf", tmp_path / "file/x"], "written")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for name, library in (("x.pt", "torch"), ("x.safetensors", "safetensors")):
        target = tmp_path / name
        assert_refused(capsys, main, [run, "--to", "torch", target], f"pip install {library}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_commands_of_the_document_parse():
    lines = commands.shell_lines((commands.ROOT / "docs" / "checkpoints.md").read_text())
    of_run = [words[2:] for words in lines if words[:2] == ["python", "run.py"]]
    assert [commands.config_of(*words).train.rescale_v1_weights for words in of_run] == [True]
    modules = {words[2] for words in lines if words[:2] == ["python", "-m"]}
    assert modules == {"simclr_tf.checkpoints", "simclr_tf.features"}


@pytest.mark.thorough
def test_the_tool_runs_as_a_program(tmp_path):
    command = [sys.executable, "-m", "simclr_tf.checkpoints", str(tmp_path)]
    done = subprocess.run(command, cwd=commands.ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: There is no checkpoint in")


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        ("file/1", "is not a directory"),
        ("1" * 300, "name too long"),
        (f"{'n' * 300}/1", "name too long"),
        ("old/1", "exists already"),
        ("links/1", "exists already"),
        ("links/1/1", "symbolic links"),
    ],
)
@pytest.mark.parametrize(
    "program",
    [lambda to: main(["absent", "--to", "simclr_tf", to]), lambda to: export_main(["absent", to])],
    ids=["convert", "export"],
)
def test_destinations_are_checked_before_anything_is_read(
    tmp_path, capsys, program, destination, message
):
    (tmp_path / "file").touch()
    (tmp_path / "old" / "1").mkdir(parents=True)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "1").symlink_to("1")
    assert program(f"{tmp_path}/{destination}") == 2
    printed = capsys.readouterr().err
    assert message in printed and "absent" not in printed and printed.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"file", "old", "links"}
