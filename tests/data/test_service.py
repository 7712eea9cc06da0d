"""Batches that servers make are the batches that a host makes by itself."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import recipes
import tensorflow as tf
import training

from simclr_tf.data import datasets, pipeline
from simclr_tf.data.service import require_division, served_batches
from simclr_tf.errors import UserError

pytestmark = pytest.mark.usefixtures("rewritten_graphs")  # as servers do


@pytest.fixture(scope="module")
def servers():
    """Addresses of two servers, started as users start them."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "simclr_tf.data.service", "--port=0"],
            cwd=training.ROOT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    yield [server.stdout.readline().removeprefix("serving at ").strip() for server in running]
    for server in running:
        server.send_signal(signal.SIGINT)  # Ctrl-C
    try:
        assert [server.wait(20) for server in running] == [-signal.SIGINT] * 2
    finally:
        for server in running:
            server.kill()
            server.communicate()


def make_batches(part=0, parts=1):
    return pipeline.training_dataset(
        datasets.load("digits", "train"),
        recipes.simclr(8),
        batch_size=8,
        numbers=True,
        seed=3,
        start_step=2,
        host_index=part,
        num_hosts=parts,
    )


def assert_equal(found, expected):
    for one, two in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_batches_do_not_depend_on_the_servers(servers, number):
    addresses = ",".join(servers[:number])
    dataset = served_batches(make_batches, addresses)
    assert dataset.element_spec == make_batches().element_spec
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    for found, expected in zip(dataset.take(20), make_batches().take(20), strict=True):
        assert_equal(found, expected)


@pytest.mark.slow
def test_a_host_gets_its_part(servers):
    addresses = ",".join(servers)
    dataset = served_batches(make_batches, addresses, host_index=1, num_hosts=2)
    for found, expected in zip(dataset.take(5), make_batches(1, 2).take(5), strict=True):
        assert_equal(found, expected)


@pytest.mark.thorough
def test_a_run_with_the_flag(toy_encoder, servers, tmp_path):
    flags = {"train_steps": 2, "train_summary_steps": 1, "temperature": 0.5}
    assert training.run(tmp_path / "alone", **flags) == 0
    assert training.run(tmp_path / "served", data_service=servers[0], **flags) == 0
    alone, served = (training.rows(tmp_path / name) for name in ("alone", "served"))
    assert [row["total_loss"] for row in served] == [row["total_loss"] for row in alone]


@pytest.mark.parametrize("address", ["localhost:5050", "grpc://a:1,b:1", ""])
def test_addresses_of_another_form_are_refused(address):
    with pytest.raises(UserError, match="grpc://HOST:PORT, with commas between"):
        served_batches(make_batches, address)


@pytest.mark.parametrize(
    ("servers", "hosts", "message"),
    [
        ("a:1", 1, "grpc://HOST:PORT, with commas between. Received: 'a:1'"),
        ("grpc://a:1,grpc://b:1,grpc://c:1", 1, "among the 3 servers of --data_service. Give 9"),
        ("grpc://a:1,grpc://b:1", 3, "among the 2 servers of --data_service and 3 hosts. Give 12"),
    ],
)
def test_what_cannot_be_served_is_found_before_a_run_begins(servers, hosts, message):
    with pytest.raises(UserError, match=message):
        require_division(servers, 8, hosts)
    require_division("grpc://a:1,grpc://b:1", 8, 2)


@pytest.mark.thorough
def test_a_batch_has_to_be_divisible(servers):
    with pytest.raises(UserError, match="8 images cannot be divided among 3"):
        served_batches(make_batches, ",".join([servers[0]] * 3))
