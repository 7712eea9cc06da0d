"""What TensorFlow's C++ part writes about its insides, kept from the standard error of a program.

Newer versions log information and warnings through Abseil, which asks no level of anybody as long
as TensorFlow loads, and version 2.15 so announces its compiler. What is not recognised is shown,
errors and the last words of a program that crashes among it: the filter is a process of its own.
"""

import os
import subprocess
import sys

_OTHERS = (
    r"[IW]0000 00:00:\d+\.\d+ +\d+ \S+:\d+\] |WARNING: All log messages before absl::InitializeLog"
)
_READER = """
import os, re, sys

others = re.compile(sys.argv[1].encode())
for line in sys.stdin.buffer:
    if not others.match(line):
        os.write(2, line)
"""


def filter_stderr() -> None:
    """Filter what this process and those that it starts write to file descriptor 2.

    Python's own `sys.stderr` keeps writing where it wrote, so that a progress bar knows its
    terminal. A `sys.stderr` that is not that of the process, a notebook's or one that was filtered
    before, is left alone. Where no process can be started, nothing is filtered.
    """
    if sys.stderr is not sys.__stderr__:
        return
    sys.stderr.flush()
    shown = os.dup(2)
    try:
        reader = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _READER, _OTHERS],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt from the keyboard is for the program
        )
    except OSError:
        os.close(shown)
        return
    os.dup2(reader.stdin.fileno(), 2)
    reader.stdin.close()
    encoding = sys.stderr.encoding
    sys.stderr = os.fdopen(shown, "w", buffering=1, encoding=encoding, errors="backslashreplace")
