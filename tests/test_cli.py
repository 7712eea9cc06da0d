"""From fields to flags and back; what the command line answers to mistakes."""

import errno
import os
import runpy
import subprocess
import sys

import pytest
import tensorflow as tf
from absl import flags
from commands import ROOT, parsed

from simclr_tf import cli, start
from simclr_tf.errors import NonFiniteLossError, UserError
from simclr_tf.exit_status import exit_status
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment.config import ExperimentConfig, FinetuneConfig
from simclr_tf.flag import flag_fields, to_dict
from simclr_tf.flag_files import with_paths_of_recipes
from simclr_tf.transfer.program import TransferConfig

FIELDS = [field for _, field in flag_fields(ExperimentConfig) if field.name != "method"]


def other_value(field):
    """A value that the flag may have and that is not its default."""
    if field.metadata["choices"]:
        return next(c for c in field.metadata["choices"] if c != field.default)
    if isinstance(field.default, bool):
        return not field.default
    if isinstance(field.default, int | float):
        return field.default + 3
    return {"use_tpu": True, "label_seed": 3, "min_crop_area": 0.5}.get(field.name, "something")


@pytest.fixture
def command_line(monkeypatch):
    """`cli.parser` on fresh flags in the place of the process's own."""

    def parse(*arguments):
        values = flags.FlagValues()
        cli.define_flags(ExperimentConfig, values)
        monkeypatch.setattr(cli.flags, "FLAGS", values)
        return cli.parser(ExperimentConfig)(["run.py", *arguments])

    return parse


def test_no_flag_has_two_fields():
    names = [field.name for field in FIELDS]
    assert len(names) == len(set(names))


def test_every_field_is_documented():
    assert all(field.metadata["help"].endswith(".") for field in FIELDS)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_flag_reaches_its_field_and_no_other(field):
    config, given = parsed(f"--{field.name}={other_value(field)}")
    values = to_dict(config)
    defaults = to_dict(ExperimentConfig())
    assert values == defaults | {field.name: other_value(field)}
    assert type(values[field.name]) is type(other_value(field))
    assert given == {field.name}


def test_a_configuration_survives_the_way_to_a_dictionary_and_back():
    values = {field.name: other_value(field) for field in FIELDS}
    config = configuration.from_dict(values)
    assert to_dict(config) == values | {"method": "simclr"}
    assert configuration.from_dict(to_dict(config)) == config


def test_given_flags_are_those_on_the_command_line_and_in_flag_files(tmp_path):
    recipe = tmp_path / "recipe.cfg"
    recipe.write_text("# a comment\n// another\n\n--seed=0\n--variable_schema=(?!a|b)\n")
    config, given = parsed(f"--flagfile={recipe}", "--nohidden_norm")
    # A flag that was given its default counts as given.
    assert given == {"seed", "variable_schema", "hidden_norm"}
    assert config.train.variable_schema == "(?!a|b)"
    assert parsed()[1] == frozenset()


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        ("--mode=evaluate", "<train|eval|train_then_eval>"),
        ("--resnet_depth=20", "18, 34, 50, 101, 152, 200"),
        ("--train_steps=many", "--train_steps=many"),
        ("--learning_rate=fast", "--learning_rate=fast"),
        ("--use_blur=perhaps", "perhaps"),
        ("--train_batchsize=64", "Did you mean: train_batch_size"),
        ("--flagfile=configs/no_such_recipe.cfg", "no_such_recipe.cfg"),
    ],
)
def test_a_wrong_flag_is_one_line_and_status_2(command_line, capsys, argument, answer):
    with pytest.raises(SystemExit) as stopped:
        command_line(argument)
    assert stopped.value.code == 2
    written = capsys.readouterr()
    (line,) = written.err.splitlines()
    assert line.startswith("error: ") and answer in line
    assert written.out == ""


def test_right_flags_leave_what_is_no_flag(command_line):
    assert command_line("--seed=3", "runs/digits") == ["run.py", "runs/digits"]


@pytest.mark.parametrize("size", (10, 10**6))  # what is printed last waits in a buffer
def test_a_program_whose_output_nobody_reads_ends_silently(monkeypatch, capsys, size):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert exit_status(lambda: print("x" * size)) == 141
    assert capsys.readouterr().err == ""


def test_a_broken_connection_is_not_the_output():
    with pytest.raises(BrokenPipeError):
        exit_status(raising(BrokenPipeError()))


def test_exit_status(capsys):
    def user_error():
        raise UserError("The batch is too large.\n  Give a smaller one.")

    def diverged():
        raise NonFiniteLossError("The loss became nan at step 3.")

    def bug():
        raise KeyError("a fault of the program is not hidden")

    assert exit_status(lambda: 143) == 143
    assert exit_status(user_error) == 2
    assert exit_status(diverged) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: The batch is too large. Give a smaller one.",
        "error: The loss became nan at step 3.",
    ]
    with pytest.raises(KeyError):
        exit_status(bug)


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ([], None),
        (["--protocol=transfer"], "transfer"),
        (["--checkpoint", "runs/one", "--nouse_blur", "--protocol", "transfer"], "transfer"),
        (["--protocol=linear", "--flagfile={recipe}"], "transfer"),
        (["--flagfile={recipe}", "--protocol=linear"], "linear"),
        (["--flagfile=missing", "--protocol=linear"], None),
    ],
)
def test_the_value_of_one_flag_before_the_others_are_known(tmp_path, arguments, value):
    recipe = tmp_path / "recipe.cfg"
    recipe.write_text("--seed=1\n--protocol=transfer\n")
    arguments = [argument.format(recipe=recipe) for argument in arguments]
    assert cli.value_of("protocol", ["finetune.py", *arguments]) == value


def test_flags_can_be_defined_again_as_a_notebook_does():
    values = flags.FlagValues()
    for config_class in (ExperimentConfig, TransferConfig, FinetuneConfig, ExperimentConfig):
        cli.define_flags(config_class, values)
        values(["run.py", "--seed=5", "--model_dir=runs/one"])
        names = {field.name for _, field in flag_fields(config_class)}
        assert names == {flag.name for flag in values.flags_by_module_dict()["simclr_tf.cli"]}
    assert cli.read_flags(ExperimentConfig, values).train.seed == 5


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("pretrain", ["--dataset=digits"], "--model_dir is missing"),
        ("finetune", ["--protocol=linear"], "--protocol=linear needs --checkpoint"),
        ("finetune", ["--protocol=transfer"], "--model_dir is missing: give the directory of the"),
        ("transfer", [], "--model_dir is missing: give the directory of the sweep"),
        ("probe", [], "give one RUN_DIR, and flags"),
        ("features", ["one", "two"], "give one SOURCE, and flags"),
        ("report", [], "give RUN_DIR..., and flags"),
        ("study", [], "give one study"),
        ("predict", ["runs/nothing", "--output=x.txt"], "--output is FILE.csv or FILE.jsonl"),
    ],
)
def test_a_program_as_console_command_as_module_and_by_path(capsys, name, arguments, answer):
    """Each runs twice in one process, as in a notebook."""
    by_path = {"pretrain": "run.py", "finetune": "finetune.py"}.get(name)
    for run in (
        getattr(start, name),
        getattr(start, name),
        lambda: runpy.run_module(f"simclr_tf.{name}", run_name="__main__", alter_sys=True),
        *([lambda: runpy.run_path(str(ROOT / by_path), run_name="__main__")] if by_path else []),
    ):
        with pytest.raises(SystemExit) as stopped, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [name, *arguments])
            run()
        assert stopped.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and answer in line


def test_recipes_of_the_package_have_names(command_line, capsys, tmp_path):
    name = "--flagfile=recipe:cifar10"
    for arguments in ([name], ["-flagfile=recipe:cifar10"], ["--flagfile", "recipe:cifar10"]):
        assert parsed(*with_paths_of_recipes(arguments)) == parsed(
            f"--flagfile={ROOT}/configs/cifar10.cfg"
        )
        assert command_line(*arguments, "--train_epochs=7") == ["run.py"]
        assert (cli.flags.FLAGS.train_batch_size, cli.flags.FLAGS.train_epochs) == (512, 7)
    assert cli.value_of("method", ["run.py", "--flagfile=recipe:cifar10_moco"]) == "moco"
    assert with_paths_of_recipes(["--", name]) == ["--", name]
    assert with_paths_of_recipes(["recipe:cifar10"]) == ["recipe:cifar10"]


@pytest.mark.parametrize(
    ("given", "answer"),
    [("cifar_10", "Did you mean: cifar10"), ("zzzzzz", "There are cifar10, "), ("", "There are ")],
)
def test_an_unknown_recipe_names_the_nearest(command_line, capsys, given, answer):
    with pytest.raises(SystemExit) as stopped:
        command_line(f"--flagfile=recipe:{given}")
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"recipe:{given}" in line and answer in line
    assert cli.value_of("method", ["run.py", f"--flagfile=recipe:{given}"]) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bytes(range(256)), "no text file"),
        (b"--flagfile={itself}\n", ""),
        (b"--seed=1\xff\n", "no text file"),
    ],
)
def test_flag_files_of_another_kind_are_one_line(command_line, tmp_path, capsys, content, said):
    recipe = tmp_path / "recipe.cfg"
    recipe.write_bytes(content.replace(b"{itself}", bytes(recipe)))
    for path in (recipe, tmp_path):
        try:
            command_line(f"--flagfile={path}")
            stopped = None
        except SystemExit as error:
            stopped = error.code
        lines = capsys.readouterr().err.splitlines()
        if path == recipe:
            assert len(lines) <= 1 and said in "".join(lines)
            assert stopped == 2 or not said
        else:  # a folder
            assert stopped == 2 and "Is a directory" in lines[-1]
        assert cli.value_of("protocol", ["finetune.py", f"--flagfile={path}"]) is None


def test_a_command_line_that_is_not_utf_8_is_one_line(command_line, capsys):
    with pytest.raises(SystemExit) as stopped:
        command_line("--model_dir=runs/" + os.fsdecode(b"caf\xe9"))
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "has to be UTF-8 text" in line and r"runs/caf\xe9" in line


def raising(error):
    def program():
        raise error

    return program


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "runs/a/run.json.part"), "run.json.part"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "quota"),
        (PermissionError(errno.EACCES, "Permission denied", "runs/a"), "runs/a"),
        (OSError(errno.ENOTCONN, "Transport endpoint is not connected", "mnt/a"), "mnt/a"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "runs/b"), "runs/b"),
        (
            tf.errors.ResourceExhaustedError(None, None, "ckpt-3_temp; No space left on device"),
            "ckpt-3_temp",
        ),
        (tf.errors.UnavailableError(None, None, "bucket\nis away"), "bucket is away"),
        (RuntimeError("x.h5: No space left on device"), "x.h5"),
    ],
)
def test_a_full_disk_is_one_line_that_says_what_is_safe(capsys, error, said):
    assert exit_status(raising(error)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line
    assert "What was complete before is safe" in line and "the same command goes on" in line


def test_too_little_memory_and_an_interruption_are_one_line(capsys):
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when\nallocating a tensor")
    assert exit_status(raising(error)) == 2
    assert exit_status(raising(KeyboardInterrupt())) == 130
    memory, interrupted = capsys.readouterr().err.splitlines()
    assert "too little memory: OOM when allocating a tensor Give smaller batches" in memory
    assert interrupted.startswith("error: Interrupted. What was saved is complete")


@pytest.mark.parametrize(
    "error",
    [
        OSError("no number"),
        FileNotFoundError(errno.ENOENT, "a fault of the program"),
        tf.errors.InvalidArgumentError(None, None, "shapes"),
        RuntimeError("a bug"),
    ],
)
def test_other_errors_are_not_hidden(error):
    with pytest.raises(type(error)):
        exit_status(raising(error))


@pytest.mark.parametrize(
    ("options", "module"),
    [
        (["-m", "simclr_tf.transfer.program"], "transfer.program"),
        (["-um", "simclr_tf.nothing"], "nothing"),
        (["-msimclr_tf.nothing"], "nothing"),
    ],
)
def test_a_part_that_is_no_program_does_not_end_with_status_0(options, module):
    command = [sys.executable, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"simclr_tf.{module} is no program" in done.stderr and len(done.stderr.splitlines()) == 1


def test_programs_of_others_that_import_this_package_run(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "__init__.py").write_text("import simclr_tf\n")
    (tmp_path / "theirs" / "train.py").write_text("print('trained')\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "theirs.train"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "trained\n", "")


@pytest.mark.parametrize(
    ("argument", "said"),
    [("--overwrite", "the same command without --overwrite goes on"), ("--seed=1", "command goes")],
)
def test_a_command_that_overwrites_begins_anew(monkeypatch, capsys, argument, said):
    monkeypatch.setattr(sys, "argv", ["run.py", argument])
    exit_status(raising(KeyboardInterrupt()))
    assert said in capsys.readouterr().err
