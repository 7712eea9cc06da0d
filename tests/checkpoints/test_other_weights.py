"""Weights that others trained with PyTorch: every layout, and files that are wrong or hostile."""

import dataclasses
import json
import os
import pickle
import sys
import types

import numpy as np
import pytest
import recorded
import tensorflow as tf
import torchvision_resnet as plain
import training

import simclr_tf
from simclr_tf import checkpoints
from simclr_tf.checkpoints import layout, restore, torch_names
from simclr_tf.checkpoints.__main__ import main
from simclr_tf.checkpoints.loading import load_stored_into
from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.errors import UserError
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import finetuning
from simclr_tf.export import export_saved_model
from simclr_tf.models import Architecture, Dense, Network
from simclr_tf.models.resnet import DEPTHS

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGES = recorded.random_images()[:2]


@dataclasses.dataclass(frozen=True)
class Released:
    """What the official code of a method keeps in a file.

    Attributes:
      encoder: what the names of the encoder begin with.
      head: modules of the projection head, see `torchvision_resnet.head`.
      projector: the same as ours.
      methods: whose layout it is said to be.
      others: names of what is there besides, with shapes.
      deviation: of the images.
    """

    encoder: str
    head: tuple[tuple[str, str, int], ...]
    projector: tuple[Dense, ...]
    methods: str
    others: dict[str, tuple[int, ...]]
    deviation: tuple[float, float, float] = DEVIATION

    def state(self) -> dict[str, np.ndarray]:
        encoder = {f"{self.encoder}{n}": a for n, a in plain.values(plain.shapes()).items()}
        head = plain.values(plain.head_shapes(self.head), seed=1)
        return encoder | head | plain.values(self.others.items(), seed=2)


def dense(units, bias, norm, relu=True):
    return Dense(units, bias=bias, norm=norm, relu=relu)


BIASED, BARE = "linear", "linear without bias"
MOCO = {"encoder_k.conv1.weight": (64, 3, 7, 7), "queue": (12, 7), "queue_ptr": (1,)}
RELEASED = {
    "moco_v1": Released(
        "encoder_q.",
        ((BIASED, "encoder_q.fc", 12),),
        (dense(12, True, False, relu=False),),
        "MoCo and CLSA",
        MOCO | {"encoder_k.fc.weight": (12, 2048)},
    ),
    "moco_v2": Released(
        "encoder_q.",
        (
            (BIASED, "encoder_q.fc.0", 20),
            ("relu", "", 0),
            (BIASED, "encoder_q.fc.2", 12),
        ),
        (dense(20, True, False), dense(12, True, False, relu=False)),
        "MoCo and CLSA",
        MOCO | {"encoder_k.fc.0.weight": (20, 2048)},
    ),
    "simsiam": Released(
        "encoder.",
        (
            (BARE, "encoder.fc.0", 24),
            ("norm", "encoder.fc.1", 24),
            ("relu", "", 0),
            (BARE, "encoder.fc.3", 20),
            ("norm", "encoder.fc.4", 20),
            ("relu", "", 0),
            (BIASED, "encoder.fc.6", 16),
            ("norm alone", "encoder.fc.7", 16),
        ),
        (
            dense(24, False, True),
            dense(20, False, True),
            Dense(16, bias=True, center=False, scale=False, relu=False),
        ),
        "SimSiam",
        {
            "predictor.0.weight": (8, 16),
            "predictor.1.running_mean": (8,),
            "predictor.3.bias": (16,),
        },
    ),
    "barlow_twins": Released(
        "backbone.",
        (
            (BARE, "projector.0", 24),
            ("norm", "projector.1", 24),
            ("relu", "", 0),
            (BARE, "projector.3", 20),
            ("norm", "projector.4", 20),
            ("relu", "", 0),
            (BARE, "projector.6", 16),
        ),
        (dense(24, False, True), dense(20, False, True), dense(16, False, False, relu=False)),
        "Barlow Twins and VICReg",
        {"bn.running_mean": (16,), "bn.running_var": (16,), "bn.num_batches_tracked": ()},
    ),
    "vicreg": Released(
        "backbone.",
        (
            (BIASED, "projector.0", 24),
            ("norm", "projector.1", 24),
            ("relu", "", 0),
            (BIASED, "projector.3", 20),
            ("norm", "projector.4", 20),
            ("relu", "", 0),
            (BARE, "projector.6", 16),
        ),
        (dense(24, True, True), dense(20, True, True), dense(16, False, False, relu=False)),
        "Barlow Twins and VICReg",
        {},
    ),
    "swav": Released(
        "",
        (
            (BIASED, "projection_head.0", 24),
            ("norm", "projection_head.1", 24),
            ("relu", "", 0),
            (BIASED, "projection_head.3", 12),
        ),
        (dense(24, True, True), dense(12, True, False, relu=False)),
        "SwAV",
        {"prototypes.weight": (30, 12)},
        (0.228, 0.224, 0.225),
    ),
}


def written(path, state, wrapper=""):
    library = pytest.importorskip("safetensors.numpy")
    library.save_file({f"{wrapper}{name}": array for name, array in state.items()}, path)
    return path


def values_of(network):
    return {path: v.numpy() for path, v in restore.variable_paths(network).items()}


def close(actual, expected, tolerance=1e-4):
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, atol=tolerance * np.abs(expected).max())


@pytest.fixture
def shallow(monkeypatch):
    """ResNet-50 with one block in each group: all kinds of layers, in a third of the time."""
    monkeypatch.setitem(DEPTHS, 50, (True, (1, 1, 1, 1)))
    monkeypatch.setattr(plain, "BLOCKS", (1, 1, 1, 1))


@pytest.fixture
def of_depth(request):
    """The network that the parameter names: "whole", or "shallow"."""
    if request.param == "shallow":
        request.getfixturevalue("shallow")


MARKS = {"swav": (), "moco_v1": pytest.mark.thorough}  # the others are slow


@pytest.mark.parametrize(
    ("name", "of_depth"),
    [
        pytest.param(
            name,
            "whole" if name == "moco_v2" else "shallow",
            marks=MARKS.get(name, pytest.mark.slow),
        )
        for name in RELEASED
    ],
    indirect=["of_depth"],
)
def test_released_weights_compute_what_their_own_network_does(name, of_depth, tmp_path):
    released = RELEASED[name]
    state = released.state()
    file = written(tmp_path / "net.safetensors", state, wrapper="module.")
    stored = checkpoints.read(file)
    assert stored.architecture == Architecture(
        50,
        projector=released.projector,
        input_mean=MEAN,
        input_deviation=released.deviation,
        pool_padding="symmetric",
    )
    assert stored.kind == f"PyTorch weights in the layout of {released.methods}"
    assert (stored.unused, stored.missing(), stored.note) == ((), [], None)
    assert {n for n in stored.ignored if not n.endswith("num_batches_tracked")} == {
        n for n in released.others if not n.endswith("num_batches_tracked")
    }

    network = simclr_tf.load(file)
    torchvision = {n.removeprefix(released.encoder): array for n, array in state.items()}
    h = plain.features(torchvision, IMAGES, MEAN, released.deviation)
    close(network.features(IMAGES), h)
    close(network.encoder(IMAGES), h)
    close(network.projections(IMAGES)[-1], plain.head(state, released.head, h))
    # An odd size after the stem, where both ways to pad agree.
    odd = IMAGES[:, :50, :58]
    close(network.features(odd), plain.features(torchvision, odd, MEAN, released.deviation))


def backbone():
    """torchvision's names and nothing else, with a classifier."""
    shapes = [*plain.shapes(), ("fc.weight", (3, 2048)), ("fc.bias", (3,))]
    return plain.values(iter(shapes))


@pytest.mark.slow
def test_a_plain_backbone_is_what_the_user_says(shallow, tmp_path, capsys):
    state = backbone()
    file = written(tmp_path / "resnet50.safetensors", state)
    assert main([str(file)]) == 0
    shown = capsys.readouterr().out
    assert "note " in shown and "--layout=torchvision --to simclr_tf" in shown
    assert "does not say what its images were" in shown and "\ninput" not in shown

    plainly = simclr_tf.load(file)
    assert "note: " in capsys.readouterr().err
    assert plainly.architecture == Architecture(50, projector=(), num_classes=3)
    expected = plain.features(state, IMAGES, MEAN, DEVIATION)
    assert np.abs(plainly.features(IMAGES) - expected).max() > 0.05 * np.abs(expected).max()

    own, back = tmp_path / "own", tmp_path / "back.safetensors"
    assert main([str(file), "--layout=torchvision", "--to", "simclr_tf", str(own)]) == 0
    assert main([str(own), "--to", "torch", str(back)]) == 0
    assert main([str(own)]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and "note" not in printed.out
    assert (
        "input                     images less (0.485, 0.456, 0.406) over (0.229, 0.224, 0.225), "
        "max pooling padded on each side" in printed.out
    )
    assert json.loads((tmp_path / "back.json").read_text())["architecture"]["input_mean"] == [
        0.485,
        0.456,
        0.406,
    ]
    network = simclr_tf.load(own)
    close(network.features(IMAGES), expected)
    close(network.logits(IMAGES), expected @ state["fc.weight"].T + state["fc.bias"])
    for stored in (checkpoints.read(back), checkpoints.read(file, layout="torchvision")):
        assert (stored.architecture, stored.note) == (network.architecture, None)
        for path, array in values_of(network).items():
            np.testing.assert_array_equal(stored.arrays[path], array, err_msg=path)


@pytest.mark.slow
def test_an_export_takes_images_in_0_to_1(wide_toy_encoder, tmp_path):
    architecture = Architecture(
        18, projector=(), input_mean=MEAN, input_deviation=DEVIATION, pool_padding="symmetric"
    )
    network = Network(architecture)
    restore.assign(network, recorded.random_arrays(layout.network_variables(architecture)))
    export_saved_model(network, tmp_path / "1", image_size=64)
    served = tf.saved_model.load(str(tmp_path / "1"))
    expected = network.features(IMAGES)
    answer = served.signatures["features"](tf.constant(IMAGES))
    close(answer["features"], expected)
    close(simclr_tf.load(tmp_path / "1").features(IMAGES), expected)
    restore.assign(plainly := Network(Architecture(18, projector=())), values_of(network))
    assert np.abs(plainly.features(IMAGES) - expected).max() > 0.05 * np.abs(expected).max()


def test_the_layout_is_asked_for_only_where_nothing_says_it(shallow, tmp_path, capsys):
    state = RELEASED["swav"].state()
    swav = written(tmp_path / "swav.safetensors", state)
    assert_refused(capsys, [swav, "--layout=torchvision"], "has the layout of SwAV")
    bare = written(tmp_path / "bare.safetensors", backbone())
    (tmp_path / "bare.json").write_text("{}")
    assert_refused(capsys, [bare, "--layout=torchvision"], "bare.json says what", "Leave out")
    assert_refused(capsys, [tmp_path, "--layout=torchvision"], ".pth.tar. Leave it out")
    with pytest.raises(UserError, match="A layout is one of torchvision. Received: keras"):
        simclr_tf.load(swav, layout="keras")


class Tensor:
    """As much of a tensor of PyTorch as is asked of one."""

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    def numpy(self):
        return self.array


@pytest.fixture
def torch_reads(monkeypatch):
    """A PyTorch that reads what the test says; how it was asked is in `asked`."""

    def reads(content):
        def load(file, **asked):
            standing.asked = asked
            return content

        standing = types.SimpleNamespace(load=load)
        monkeypatch.setitem(sys.modules, "torch", standing)
        return standing

    return reads


def tensors(state, wrapper=""):
    return {f"{wrapper}{name}": Tensor(array) for name, array in state.items()}


@pytest.mark.parametrize(
    ("name", "nested", "ending"),
    [("moco_v2", "state_dict", ".pth.tar"), ("vicreg", "model", ".pth"), ("swav", None, ".pt")],
)
def test_state_dicts_are_found_in_what_training_code_saves(
    name, nested, ending, shallow, tmp_path, torch_reads
):
    released = RELEASED[name]
    content = tensors(released.state(), "module.")
    beside = {"epoch": 200, "optimizer": {"state": {}}}
    torch = torch_reads({nested: content} | beside if nested else content)
    (tmp_path / f"net{ending}").touch()
    stored = checkpoints.read(tmp_path / f"net{ending}")
    assert torch.asked == {"map_location": "cpu", "weights_only": True}
    assert stored.architecture.projector == released.projector
    assert (stored.missing(), stored.unused) == ([], ())
    assert beside.keys() <= set(stored.ignored) or not nested


def test_a_head_that_is_not_known_is_left_out(shallow, tmp_path, capsys):
    state = RELEASED["moco_v2"].state()
    state["encoder_q.fc.3.weight"] = state.pop("encoder_q.fc.2.weight")
    state["encoder_q.fc.3.bias"] = state.pop("encoder_q.fc.2.bias")
    file = written(tmp_path / "net.safetensors", state)
    stored = checkpoints.read(file)
    assert stored.architecture.projector == () and stored.missing() == []
    assert set(stored.unused) == {n for n in state if n.startswith("encoder_q.fc.")}
    assert main([str(file)]) == 0
    shown = capsys.readouterr().out
    assert "no projection head" in shown and "unused                    4: encoder_q.fc" in shown


def test_half_precision_is_read_and_other_types_are_not(shallow, tmp_path):
    state = backbone()
    halves = {n: a.astype(np.float16) if a.ndim else a for n, a in state.items()}
    halves["fc.bias"] = np.zeros((), np.float32)
    halves["fc.weight"] = np.zeros((3, 2048), np.int64)
    stored = checkpoints.read(written(tmp_path / "half.safetensors", halves))
    assert {a.dtype for a in stored.arrays.values()} == {np.dtype(np.float32)}
    assert stored.missing() == [] and set(stored.unused) == {"fc.bias", "fc.weight"}


def assert_refused(capsys, arguments, *parts):
    assert main([str(argument) for argument in arguments]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1, printed
    for part in parts:
        assert part in printed


def test_wrong_files_are_refused_in_one_line(shallow, tmp_path, capsys):
    file = tmp_path / "net.safetensors"
    file.write_text("These are no weights.\n")
    assert_refused(capsys, [file], str(file), "cannot be read")
    whole = written(tmp_path / "whole.safetensors", RELEASED["moco_v1"].state())
    file.write_bytes(whole.read_bytes()[:1_000_000])
    assert_refused(capsys, [file], "truncated")
    written(file, {"blocks.0\nattn": np.ones((3, 3), np.float32)}, "module.")
    assert_refused(capsys, [file], "no ResNet with torchvision's names", r"blocks.0\nattn")
    missing = RELEASED["simsiam"].state()
    missing["encoder.layer2.0.bn2.gamma"] = missing.pop("encoder.layer2.0.bn2.weight")
    written(file, missing)
    assert_refused(
        capsys,
        [file, "--to", "simclr_tf", tmp_path / "own"],
        "1 of its variables are missing (encoder/groups/1/0/norm2/gamma)",
        "SimSiam",
    )
    other = {n: a[:48] if a.ndim else a for n, a in backbone().items()}
    assert_refused(capsys, [written(file, other)], str(file), "belong to no ResNet")
    pickled = tmp_path / "pretrain_res50x1.pkl"
    pickled.touch()
    assert_refused(capsys, [pickled], "would run the code in it", "BYOL", ".safetensors")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"net": {"conv1.weight": Tensor(np.ones(3))}}, "under state_dict or model. It holds net."),
        ({"state_dict": {"conv1.weight": 5, 7: 7}}, "no state dict"),
        ({"state_dict": {}}, "It holds dict."),
        ([Tensor(np.ones(3))], "It holds list."),
        ({"conv1.weight": Tensor(np.broadcast_to(np.float32(1), (10**9, 3, 7, 7)))}, "refused"),
    ],
)
def test_what_is_no_state_dict_is_refused_in_one_line(content, said, tmp_path, capsys, torch_reads):
    (tmp_path / "net.pth").touch()
    torch_reads(content)
    assert_refused(capsys, [tmp_path / "net.pth"], "net.pth", said)


def test_the_projection_head_may_be_named_by_numbers_without_end(shallow, tmp_path):
    state = backbone() | {f"projection_head.{9**9}.linear.weight": np.ones((2, 2), np.float32)}
    assert checkpoints.read(written(tmp_path / "a.safetensors", state)).architecture.projector == ()


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def test_pickles_that_would_run_code_are_refused(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    mark, file = str(tmp_path / "ran"), tmp_path / "net.pth"
    torch.save({"state_dict": {"conv1.weight": torch.ones(3), "x": Hostile(mark)}}, file)
    assert_refused(capsys, [file], "is refused", "posix.mkdir", "could run code")
    file.write_bytes(pickle.dumps(Hostile(mark)))
    assert_refused(capsys, [file], "is refused")
    torch.save(torch.nn.Linear(2, 2), file)
    assert_refused(capsys, [file], "is refused", "torch.nn.modules.linear.Linear")
    torch.save({"conv1.weight": torch.ones(1).expand(10**6, 3, 7, 7)}, file)
    assert_refused(capsys, [file], "is refused", "fewer numbers than conv1.weight")
    torch.save({"conv1.weight": torch.ones(64, 3, 7, 7)}, file)
    file.write_bytes(file.read_bytes()[:20_000])
    assert_refused(capsys, [file], "truncated")
    for text in ("These are no weights.\n", "hello, no weights.\n"):
        file.write_text(text)
        assert_refused(capsys, [file], "is refused: it is no file of PyTorch")
    file.write_bytes(b"")
    assert_refused(capsys, [file], "cannot be read")
    assert not os.path.exists(mark)


@pytest.mark.slow
def test_training_goes_on_from_them_with_their_input(wide_toy_encoder, tmp_path, capsys):
    """Weights of others become a part of runs: pretraining, going on, fine-tuning."""
    own = Architecture(18, cifar_stem=True, projector=(Dense(16, relu=False, norm=False),))
    state = torch_names.to_torch(recorded.random_arrays(layout.network_variables(own)), own)
    state["fc.weight"] = state.pop("projection_head.0.linear.weight")
    file = written(tmp_path / "moco.safetensors", state, "module.encoder_q.")
    stored = checkpoints.read(file)
    assert stored.architecture == dataclasses.replace(
        own, input_mean=MEAN, input_deviation=DEVIATION, pool_padding="symmetric"
    )
    start = {"checkpoint": str(file), "variable_schema": "(?!.*head)"}
    assert training.run(tmp_path / "run", **start, train_steps=1) == 0
    assert "images less (0.485, 0.456, 0.406)" in capsys.readouterr().out
    found = RunDirectory(tmp_path / "run").architecture()
    assert found.input == stored.architecture.input and found.projector != own.projector
    file.unlink()
    assert training.run(tmp_path / "run", **start, train_steps=2) == 0
    run = checkpoints.read(tmp_path / "run")
    config = configuration.from_dict({"train_mode": "finetune", "checkpoint": str(file)})
    assert finetuning.architecture_of(config, 10, source=run).input == found.input

    with pytest.raises(UserError, match="images less .* this one images as they are"):
        load_stored_into(Network(own), stored, file)
