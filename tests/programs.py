"""Programs that tests start and that may be left behind when a test fails."""

import subprocess

STARTED: list[subprocess.Popen] = []


def kill_what_is_left() -> None:
    """Kill what has not ended by itself; conftest.py does so after each test."""
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.communicate()
