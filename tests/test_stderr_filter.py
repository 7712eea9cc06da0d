"""Which lines of TensorFlow's C++ part a program shows, and that nothing else is lost."""

import os
import pty
import signal
import subprocess
import sys

import pytest
from commands import ROOT

BEGIN = """if True:
    import os, subprocess, sys
    from simclr_tf.stderr_filter import filter_stderr
    filter_stderr()
    shown = lambda line: os.write(2, line)
"""
FATAL = b"F0000 00:00:1795783109.271373 5154 cpu.cc:20] Check failed: no AVX\n"


def stderr_of(code, status=0):
    """What a program that begins with the filter leaves on the standard error."""
    done = subprocess.run([sys.executable, "-c", BEGIN + code], cwd=ROOT, capture_output=True)
    assert done.returncode == status
    return done.stderr


@pytest.mark.parametrize(
    "line",
    [
        b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
        b"I0000 00:00:1795783109.271373    5154 port.cc:153] oneDNN custom operations are on.\n",
        b"W0000 00:00:1795783109.271373 5154 gpu_device.cc:2344] Cannot dlopen some libraries.\n",
    ],
)
def test_information_and_warnings_of_abseil_are_left_out(line):
    assert stderr_of(f"    shown({line + b'kept' + line!r})") == b"kept" + line


def test_errors_and_what_is_not_known_are_shown():
    lines = [
        FATAL.replace(b"F", b"E", 1),
        FATAL,
        b"I1127 12:41:33.484802 140 train.py:33] a line of ours\n",
        b"W1127 12:41:33.484802 140 image_folder.py:33] Cannot decode a.png\n",
        b"WARNING: something else\n",
        b"\xff no line break",
    ]
    assert stderr_of(f"    shown({b''.join(lines)!r})") == b"".join(lines)


def test_the_last_words_of_a_crash_are_shown():
    code = f"    shown({b'I0000 00:00:1.0 1 a.cc:1] x' + os.linesep.encode() + FATAL!r})\n"
    assert stderr_of(code + "    os.abort()", -signal.SIGABRT) == FATAL


def test_python_and_other_processes_write_as_before():
    code = """
    print("of Python \\udcff", file=sys.stderr)
    subprocess.run(["sh", "-c", "echo of a process >&2"])
    raise KeyError("traceback")
    """
    found = stderr_of(code, 1).splitlines()
    assert b"of a process" in found and rb"of Python \udcff" in found
    assert b"KeyError: 'traceback'" in found


def test_python_sees_its_terminal():
    ours, theirs = pty.openpty()
    code = (
        BEGIN
        + "    print(sys.stderr.isatty(), sys.stderr.encoding == sys.stdout.encoding, os.isatty(2))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, text=True
    )
    os.close(ours)
    os.close(theirs)
    assert done.stdout.split() == ["True", "True", "False"]


def test_a_second_call_and_the_streams_of_others_change_nothing():
    code = """
    import io
    first = sys.stderr
    filter_stderr()
    kept = sys.stderr is first
    sys.stderr = of_others = io.StringIO()
    filter_stderr()
    first.write(f"{kept} {sys.stderr is of_others}")
    """
    assert stderr_of(code) == b"True True"


def test_without_processes_nothing_is_filtered():
    code = f"""if True:
    import os, subprocess, sys
    from simclr_tf.stderr_filter import filter_stderr
    sys.executable = "/nowhere/python"
    filter_stderr()
    os.write(2, {FATAL!r})
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stderr) == (0, FATAL)
