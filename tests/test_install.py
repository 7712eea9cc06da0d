"""What pip installs: the recipes and the console commands, each of which is a program."""

import configparser
import shutil
import subprocess
import sys
import zipfile

import pytest
from commands import ROOT

import simclr_tf
from simclr_tf import start

RECIPES = sorted(path.name for path in (ROOT / "configs").glob("*.cfg"))


def commands_of(text):
    """The console commands of a configuration, and what each calls."""
    parsed = configparser.ConfigParser()
    parsed.read_string(text)
    (section,) = (name for name in ("options.entry_points", "console_scripts") if name in parsed)
    if section == "options.entry_points":
        lines = parsed[section]["console_scripts"].split("\n")
        return dict(line.replace(" ", "").split("=") for line in lines if line)
    return dict(parsed[section])


def test_every_command_calls_a_program():
    commands = commands_of((ROOT / "setup.cfg").read_text())
    assert len(commands) >= 9
    for command, called in commands.items():
        module, _, name = called.partition(":")
        program = getattr(start, name)
        assert (command, module) == (f"simclr-{name}", "simclr_tf.start")
        (relative,) = program.args
        assert program.func is start.run
        assert relative.removesuffix(".__main__") in simclr_tf._PROGRAMS


@pytest.mark.slow
def test_a_wheel_has_the_recipes_and_the_commands(tmp_path):
    source = tmp_path / "source"  # a copy, because pip leaves its work in what it builds
    for folder in ("simclr_tf", "configs"):
        shutil.copytree(ROOT / folder, source / folder, symlinks=True)
    for file in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, source]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (points,) = (name for name in names if name.endswith("/entry_points.txt"))
        commands = commands_of(archive.read(points).decode())
        archive.extractall(tmp_path / "site")
    prefix = "simclr_tf/configs/"
    assert sorted(n.removeprefix(prefix) for n in names if n.startswith(prefix)) == RECIPES
    assert commands == commands_of((ROOT / "setup.cfg").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "simclr_tf.pretrain", "--flagfile=recipe:digits"],
        cwd=tmp_path / "site",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "error: --model_dir is missing" in done.stderr
