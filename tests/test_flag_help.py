"""What --help prints."""

import importlib
import re
import sys

import commands
import pytest

from simclr_tf import finetune, pretrain
from simclr_tf.experiment.config import ExperimentConfig, FinetuneConfig
from simclr_tf.flag import flag_fields
from simclr_tf.flag_help import help_text
from simclr_tf.predict import PredictConfig
from simclr_tf.transfer.program import TransferConfig


@pytest.mark.parametrize(
    "config_class", [ExperimentConfig, FinetuneConfig, TransferConfig, PredictConfig]
)
def test_every_flag_is_there_once_with_its_default(config_class):
    text = help_text(config_class, "What it is for.\nMore.")
    assert text.startswith("What it is for.\nMore.\n\n")
    found = re.findall(r"^  --(?:\[no\])?(\w+)(?:=(\S*))?", text, re.MULTILINE)
    shown = dict(found)
    assert len(shown) == len(found)
    fields = {field.name: field for _, field in flag_fields(config_class)}
    assert shown.keys() == fields.keys()
    for name, value in shown.items():
        default = fields[name].default
        assert value == ("" if default is None else str(default)), name
    assert max(map(len, text.splitlines())) <= 200


def test_the_method_s_flags_come_first_with_choices_and_ranges():
    text = help_text(ExperimentConfig, "")
    assert text.index("--temperature") < text.index("--dataset")
    assert "  --proj_head_mode=nonlinear  (one of none, linear, nonlinear)\n" in text
    assert "  --temperature=0.1  (above 0)\n" in text
    assert "  --[no]hidden_norm=True\n" in text
    assert "  --holdout_fraction=0.1  (in (0, 1))\n" in text


def test_defaults_of_a_method_are_shown_in_place_of_the_flags_own(monkeypatch, capsys):
    shown = {}
    for program, word in ((pretrain, "--method=moco"), (finetune, "--protocol=linear")):
        monkeypatch.setattr(sys, "argv", ["program", word, "--help"])
        with pytest.raises(SystemExit) as status:
            program.main()
        assert status.value.code == 0
        shown[word] = capsys.readouterr().out
    for text in ("--optimizer=sgd  (", "--learning_rate=0.03", "--weight_decay=0.0001"):
        assert f"  {text}" in shown["--method=moco"]
    assert "  --[no]global_bn=False\n" in shown["--method=moco"]
    for text in ("--optimizer=momentum  (", "--fine_tune_after_block=4  (", "--train_epochs=90"):
        assert f"  {text}" in shown["--protocol=linear"]


@pytest.mark.parametrize("word", ["--help", "-h", "--helpshort"])
def test_help_ends_a_program_well(word, capsys):
    with pytest.raises(SystemExit) as status:
        commands.parse(word, "--method=simclr")
    assert status.value.code == 0
    assert "--train_batch_size=512" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "called"),
    [
        ("features", "SOURCE"),
        ("predict", "SOURCE"),
        ("probe", "RUN_DIR"),
        ("report", "RUN_DIR"),
        ("study", "NAME --study_dir"),
        ("data.pack", "FOLDER OUT"),
    ],
)
def test_help_says_how_a_program_is_called(module, called):
    about = importlib.import_module(f"simclr_tf.{module}").__doc__
    text = help_text(ExperimentConfig, about)
    assert re.search(rf"python -m simclr_tf.{module} .*{called}", text)
