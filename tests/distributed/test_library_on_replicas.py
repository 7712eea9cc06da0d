"""The library under a strategy of two replicas."""

import os
import pathlib
import subprocess
import sys

import pytest


@pytest.mark.thorough
def test_an_own_encoder_on_two_replicas():
    """Built outside of the scope it is refused; inside, `fit` and `features` work."""
    script = pathlib.Path(__file__).with_name("library_replicas.py")
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    refused, step = done.stdout.splitlines()
    assert refused.startswith("The encoder was built outside of strategy.scope()")
    assert step == "2"
