"""Fixtures for all tests, and the release of the memory that a test has used.

TensorFlow is imported where it is needed, and so not by the process that only hands out tests.
"""

import gc
import os
import shutil
import tempfile
import time

from simclr_tf import start

start.take_onednn()  # as programs do, before TensorFlow is imported
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()  # what is remembered of folders, of programs too

import programs  # noqa: E402
import pytest  # noqa: E402

# Files whose tests take longest, which begin first: no worker waits for another at the end.
LONGEST = (
    *("test_every_method", "test_pipeline", "test_hosts", "test_recorded_steps", "test_experiment"),
    *("test_originals", "test_study", "test_formats", "test_inputs", "test_library_on_replicas"),
)


def pytest_collection_modifyitems(items):
    """Put the tests of LONGEST in front; all others stay in their order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


def pytest_collection_finish():
    """Leave what was imported out of garbage collections, which are quick after that.

    Graphs are executed as they are written, see `graphs.py`.
    """
    import graphs

    gc.collect()
    gc.freeze()
    graphs.rewrite(False)


def pytest_unconfigure():
    """Forget what was remembered of folders."""
    shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


@pytest.fixture(scope="module")
def rewritten_graphs():
    """TensorFlow rewrites graphs in this module, as it does for users."""
    import graphs

    graphs.rewrite(True)
    yield
    graphs.rewrite(False)


@pytest.fixture(scope="session")
def last_collection():
    """A list of one number: the CPU seconds of this process when garbage was last collected."""
    return [time.process_time()]


@pytest.fixture(scope="session")
def gradients_at_first():
    """The gradients that TensorFlow knows before a test, a set of names."""
    from tensorflow.python.framework import ops

    return set(ops.gradient_registry.list())


@pytest.fixture(autouse=True)
def memory_is_released(last_collection, gradients_at_first):
    """Forget the networks and graphs of a test.

    TensorFlow registers the gradient of every call of a function with a gradient of its own, and
    these keep the graph of the training step, and so the network, for as long as the process lives.
    """
    from tensorflow.python.framework import ops

    yield
    for name in set(ops.gradient_registry.list()) - gradients_at_first:
        del ops.gradient_registry._registry[name]
    if time.process_time() - last_collection[0] > 6:  # before that there is little to collect
        gc.collect()
        last_collection[0] = time.process_time()


@pytest.fixture(autouse=True)
def no_program_is_left():
    """Kill the runs that a test has started and not waited for."""
    yield
    programs.kill_what_is_left()


@pytest.fixture(scope="module")
def toy_encoder():
    """Networks of depth 18 are toys in this module, see toy.py."""
    import toy

    with toy.in_place_of_resnet_18():
        yield


@pytest.fixture(scope="module")
def wide_toy_encoder():
    """They are toys that formats of checkpoints hold."""
    import toy

    from simclr_tf.models.blocks import BasicBlock

    with toy.in_place_of_resnet_18(BasicBlock):
        yield
