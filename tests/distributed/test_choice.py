"""Which strategy is chosen, and how a TPU is set up; with stand-ins where there is no hardware."""

import json
import types
import urllib.error

import numpy as np
import pytest
import recipes
import tensorflow as tf

from simclr_tf.data import datasets, pipeline
from simclr_tf.devices import hosts, strategies
from simclr_tf.errors import LostHostError, UserError
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import parts

TWO_WORKERS = json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 0}})
ONE_WORKER = json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"index": 0}})


@pytest.fixture
def chosen(monkeypatch):
    """Chooses with stand-ins for the hardware; returns the name of what was made."""
    for variable in ("TF_CONFIG", "TPU_NAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(strategies, "_tpu_strategy", lambda *given: ("tpu", *given))
    monkeypatch.setattr(strategies, "_multi_worker_strategy", lambda c: ("multi_worker", c))
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda devices: ("mirrored", *devices))

    def choose(*args, environment=None, gpus=0, **kwargs):
        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)
        names = {"GPU": [f"GPU:{i}" for i in range(gpus)], "CPU": ["CPU:0"]}
        devices = {k: [types.SimpleNamespace(name=n) for n in v] for k, v in names.items()}
        monkeypatch.setattr(tf.config, "list_logical_devices", devices.get)
        made = strategies.choose_strategy(*args, **kwargs)
        return ("one",) if made is tf.distribute.get_strategy() else made

    return choose


def test_auto_takes_what_it_finds(chosen):
    assert chosen() == ("one",)
    assert chosen(gpus=1) == ("one",)
    assert chosen(gpus=2) == ("mirrored", "GPU:0", "GPU:1")
    assert chosen(environment={"TF_CONFIG": ONE_WORKER}) == ("one",)
    assert chosen(environment={"TF_CONFIG": TWO_WORKERS}, gpus=2) == ("multi_worker", "auto")
    assert chosen(tpu_name="pod", tpu_zone="z", gcp_project="p") == ("tpu", "pod", "z", "p")
    assert chosen(environment={"TPU_NAME": "local"}) == ("tpu", None, None, None)


def test_use_tpu_asks_for_one_or_forbids_it(chosen):
    assert chosen(use_tpu=True) == ("tpu", None, None, None)
    assert chosen(use_tpu=False, tpu_name="pod") == ("one",)
    assert chosen(use_tpu=False, environment={"TPU_NAME": "local"}, gpus=2)[0] == "mirrored"
    with pytest.raises(UserError, match="--use_tpu=True contradicts --strategy=mirrored"):
        chosen("mirrored", use_tpu=True)
    with pytest.raises(UserError, match="--use_tpu=False contradicts --strategy=tpu"):
        chosen("tpu", use_tpu=False)


def test_a_chosen_strategy_is_taken(chosen):
    assert chosen("one", gpus=4) == ("one",)
    assert chosen("mirrored") == ("mirrored", "CPU:0")
    assert chosen("multi_worker", communication="ring") == ("multi_worker", "ring")
    assert chosen("tpu", tpu_name="grpc://10.0.0.2:8470") == (
        "tpu",
        "grpc://10.0.0.2:8470",
        None,
        None,
    )


@pytest.mark.parametrize(
    "flags, expected",
    [
        ({"master": "grpc://10.0.0.2:8470"}, "grpc://10.0.0.2:8470"),
        ({"master": "grpc://10.0.0.2:8470", "tpu_name": "pod"}, "pod"),
    ],
)
def test_flags_reach_the_tpu(chosen, flags, expected):
    zone = {"tpu_zone": "europe-west4-a", "gcp_project": "mine"}
    tf_devices = chosen()  # puts the stand-ins in place
    assert tf_devices == ("one",)
    made = parts.make_strategy(configuration.from_dict(flags | zone))
    assert made == ("tpu", expected, "europe-west4-a", "mine")


def test_a_broken_tf_config_is_one_line(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{")
    with pytest.raises(UserError, match="TF_CONFIG is not JSON"):
        strategies.choose_strategy()
    monkeypatch.delenv("TF_CONFIG")
    with pytest.raises(UserError, match="needs the environment variable TF_CONFIG"):
        strategies.choose_strategy("multi_worker")


@pytest.mark.parametrize("communication", ["auto", "ring", "nccl"])
def test_communication_reaches_the_strategy(monkeypatch, communication):
    monkeypatch.setenv("TF_CONFIG", TWO_WORKERS)
    made = {}
    monkeypatch.setattr(
        tf.distribute, "MultiWorkerMirroredStrategy", lambda **given: made.update(given)
    )
    config = configuration.from_dict({"strategy": "multi_worker", "communication": communication})
    parts.make_strategy(config)
    assert made["communication_options"].implementation.value == communication.upper()


class FakeTPU:
    """Stands for Cloud's interface: notes the calls, and has two hosts of four cores."""

    def __init__(self, monkeypatch):
        self.calls = []
        cluster_resolver = tf.distribute.cluster_resolver
        monkeypatch.setattr(cluster_resolver, "TPUClusterResolver", self._noted("resolver"))
        monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", self._noted("connect"))
        monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", self._noted("initialize"))
        monkeypatch.setattr(tf.distribute, "TPUStrategy", self._noted("strategy"))

    def _noted(self, name):
        def call(*args, **kwargs):
            self.calls.append((name, *args, kwargs))
            return self if name == "strategy" else f"the {name}"

        return call

    def distribute_datasets_from_function(self, function):
        contexts = [tf.distribute.InputContext(2, i, 8) for i in range(2)]
        return [function(context) for context in contexts]


@pytest.mark.slow
def test_a_tpu_is_connected_initialised_and_fed_by_host(monkeypatch):
    tpu = FakeTPU(monkeypatch)
    strategy = strategies.choose_strategy(tpu_name="pod", tpu_zone="z", gcp_project="p")
    assert tpu.calls == [
        ("resolver", {"tpu": "pod", "zone": "z", "project": "p"}),
        ("connect", "the resolver", {}),
        ("initialize", "the resolver", {}),
        ("strategy", "the resolver", {}),
    ]
    digits = datasets.load("digits", "train")

    def batches(host, number):
        return pipeline.training_dataset(
            digits, recipes.simclr(8), batch_size=16, seed=0, host_index=host, num_hosts=number
        )

    (views, labels) = next(iter(batches(0, 1)))
    fed = strategies.distribute_batches(strategy, batches)
    assert len(fed) == 2
    for host, dataset in enumerate(fed):
        # Shapes are static, and the data never end: XLA has to know both.
        view = tf.TensorSpec((2, 8, 8, 3), tf.float32)
        assert dataset.element_spec == ((view, view), tf.TensorSpec((2,), tf.int64))
        assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
        for replica, (replica_views, replica_labels) in enumerate(dataset.take(4)):
            rows = slice(2 * (4 * host + replica), 2 * (4 * host + replica) + 2)
            np.testing.assert_array_equal(replica_labels, labels[rows])
            np.testing.assert_array_equal(replica_views[1], views[1][rows])


@pytest.mark.parametrize("kind", [ValueError, urllib.error.URLError])  # off Google Cloud
def test_a_tpu_that_is_not_there_is_one_line(monkeypatch, kind):
    def refuse(**_):
        raise kind("Please provide a TPU Name to connect to.\nmore")

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", refuse)
    with pytest.raises(UserError, match="--tpu_name=None: .*Please provide a TPU Name to connect"):
        strategies.choose_strategy("tpu")


def test_hosts_with_other_images_are_refused(monkeypatch):
    several = hosts.Hosts(tf.distribute.get_strategy())
    several.require_same(lambda: 3, "alone")
    several.number = 2
    monkeypatch.setattr(several, "_gathered", lambda value: np.array([3, value]))
    several.require_same(lambda: 3, "the same")
    with pytest.raises(UserError, match="other images"):
        several.require_same(lambda: 4, "other images")


def test_a_lost_host_is_named_where_there_are_several(monkeypatch):
    error = tf.errors.UnavailableError(None, None, "Socket closed\nmore")
    with (
        pytest.raises(tf.errors.UnavailableError),
        hosts.name_lost_host(tf.distribute.get_strategy()),
    ):
        raise error
    monkeypatch.setattr(hosts, "Hosts", lambda strategy: types.SimpleNamespace(number=2))
    with pytest.raises(LostHostError, match="gone.*UnavailableError"), hosts.name_lost_host(None):
        raise error


@pytest.mark.parametrize(
    "cpuinfo, emulated",
    [
        ("processor : 0\nflags\t\t: fpu avx512f avx512bw\n", True),
        ("processor : 0\nflags\t\t: fpu avx512f avx512_bf16\n", False),
        ("processor : 0\nflags\t\t: fpu amx_bf16 amx_tile\n", False),
        ("processor : 0\nFeatures\t: fp asimd\n", False),
    ],
)
def test_bfloat16_is_known_to_be_emulated(tmp_path, monkeypatch, cpuinfo, emulated):
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    assert strategies.emulates_bfloat16(str(file)) == emulated
    assert not strategies.emulates_bfloat16(str(tmp_path / "none"))
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind] * (kind == "GPU"))
    assert not strategies.emulates_bfloat16(str(file))


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        "3",
        "{",
        "\udcff",
        '{"cluster": []}',
        '{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": [1, 2]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": []}',
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": "0"}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "boss", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": ["worker"], "index": 0}}',
    ],
)
def test_a_malformed_tf_config_is_one_line(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    for name in ("auto", "multi_worker"):
        with pytest.raises(UserError, match="TF_CONFIG"):
            strategies.choose_strategy(name)


def test_a_task_without_type_is_one_line(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", TWO_WORKERS)
    with pytest.raises(UserError, match="TF_CONFIG.*TensorFlow says that"):
        strategies.choose_strategy("multi_worker")


def test_jobs_that_train_nothing_are_left_out(chosen):
    cluster = {"worker": ["a:1", "b:1"], "evaluator": ["c:1"]}
    text = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 1}})
    assert chosen(environment={"TF_CONFIG": text}) == ("multi_worker", "auto")
