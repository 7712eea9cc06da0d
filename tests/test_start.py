"""What a program prints before its work, and what it keeps others from printing."""

import logging
import os
import subprocess
import sys

import pytest
from absl import logging as absl_logging
from commands import ROOT

from simclr_tf import start

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
LOADING = "TensorFlow is loading, which takes some seconds."


@pytest.fixture
def prepared(monkeypatch):
    """`start.prepare` for a command line; what it changes is as before afterwards."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "matplotlib.font_manager")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    handler = absl_logging.get_absl_handler()
    filters = list(handler.filters)
    handler.filters.clear()
    monkeypatch.delenv(LEVEL, raising=False)
    monkeypatch.setattr(start, "filter_stderr", lambda: None)

    def prepare(*arguments):
        monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
        start.prepare()
        return os.environ[LEVEL], [logger.level for logger in loggers], handler.filters

    yield prepare
    handler.filters[:] = filters
    for logger, level in zip(loggers, levels):
        logger.setLevel(level)


def run(*command):
    """A finished process without a level of TensorFlow's log in its environment."""
    clean = {key: value for key, value in os.environ.items() if key != LEVEL}
    return subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True)


def test_the_first_line_comes_before_tensorflow_is_imported():
    code = "import sys; from simclr_tf import start; start.prepare(); "
    done = run(sys.executable, "-c", code + "print('tensorflow' in sys.modules)")
    assert (done.stderr, done.stdout) == (f"{LOADING}\n", "False\n")


@pytest.mark.parametrize(
    ("machine", "given", "left"),
    [("x86_64", None, "1"), ("AMD64", None, "1"), ("x86_64", "0", "0"), ("aarch64", None, None)],
)
def test_x86_processors_get_the_kernels_of_onednn(machine, given, left, monkeypatch):
    monkeypatch.setattr(start.platform, "machine", lambda: machine)
    monkeypatch.setattr(os, "environ", {} if given is None else {ONEDNN: given})
    start.take_onednn()
    assert os.environ.get(ONEDNN) == left


def test_programs_take_them_before_tensorflow_is_imported(monkeypatch):
    code = f"import os; from simclr_tf import start; start.prepare(); print(os.environ['{ONEDNN}'])"
    monkeypatch.setenv(ONEDNN, "0")
    assert run(sys.executable, "-c", code).stdout == "0\n"
    monkeypatch.delenv(ONEDNN)
    if start.platform.machine().lower() in ("x86_64", "amd64"):
        assert run(sys.executable, "-c", code).stdout == "1\n"


def test_a_program_may_have_no_standard_error():
    code = """if True:
        import sys
        from simclr_tf import start
        start.prepare()
        from absl import logging
        from tqdm import tqdm
        logging.warning("a line")
        print(list(tqdm([1])), sys.stderr.name, end="")
    """
    done = run("sh", "-c", '"$0" -c "$1" 2>&-', sys.executable, code)
    assert (done.returncode, done.stdout) == (0, f"[1] {os.devnull}")


@pytest.mark.slow
def test_compiling_and_warning_are_not_announced():
    code = """if True:
        import logging, sys
        from simclr_tf import start
        start.prepare()
        import tensorflow as tf
        tf.function(lambda x: x + 1, jit_compile=True)(tf.zeros(3))
        tf.get_logger().warning("of others")
        tf.get_logger().error("an error is shown")
        print("so is what comes after", file=sys.stderr)
    """
    first, error, after = run(sys.executable, "-c", code).stderr.splitlines()
    assert (first, after) == (LOADING, "so is what comes after")
    assert error.endswith("an error is shown")


def test_help_is_all_that_is_printed():
    done = run(sys.executable, "-m", "simclr_tf.pretrain", "--help")
    assert (done.returncode, done.stderr) == (0, f"{LOADING}\n")
    assert done.stdout.startswith("Pretrain, fine-tune and evaluate; --help lists the flags.\n\n")


def test_others_are_silent_where_nothing_asks_for_them(prepared):
    assert prepared("--seed=1") == ("3", [logging.ERROR] * 2, [start._concerns_people])
    assert prepared("--seed=1")[2] == [start._concerns_people]  # once, also in a notebook


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        (["--verbosity=0"], "0"),
        (["--verbosity", "1"], "0"),
        (["-v=-1"], "1"),
        (["--verbosity=1", "--seed=1", "--verbosity=-2"], "2"),
        (["--verbosity=-9"], "3"),
    ],
)
def test_verbosity_shows_what_others_say(prepared, arguments, level):
    assert prepared(*arguments) == (level, [logging.WARNING] * 2, [])


def test_a_level_in_the_environment_counts_first(prepared, monkeypatch):
    monkeypatch.setenv(LEVEL, "1")
    assert prepared()[0] == "1"
    assert prepared("--verbosity=0")[0] == "1"


@pytest.mark.parametrize(
    ("path", "level", "shown"),
    [
        (start.__file__, logging.INFO, True),
        ("/elsewhere/functional_saver.py", logging.INFO, False),
        ("/elsewhere/functional_saver.py", logging.WARNING, True),
        ("/elsewhere/functional_saver.py", logging.ERROR, True),
    ],
)
def test_the_log_has_our_lines_and_warnings(path, level, shown):
    record = logging.LogRecord("absl", level, path, 1, "text", (), None)
    assert start._concerns_people(record) is shown
