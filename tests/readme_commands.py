"""Runs what README.md does with photographs, on a folder of digits and in few steps.

    python tests/readme_commands.py

The commands are the README's, with flags behind them that make them short. The first one that fails
ends the program with its status.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

ROOT = pathlib.Path(__file__).resolve().parent.parent
IMAGES = 200
FOLDER = "photos"
# By program; of two flags of one name the last one counts.
SHORTER = {
    "run.py": ["--image_size=16", "--resnet_depth=18", "--train_batch_size=32"]
    + ["--train_steps=2", "--warmup_epochs=0"],
    "finetune.py": ["--train_batch_size=8", "--train_steps=2"],
}
LEFT = ("runs/photos/probe.json", "runs/photos/report.html", "photos.npz", "photos.csv")
LEFT += ("photos.safetensors", "runs/photos_linear/result.json", "runs/photos_10pct/result.json")


def commands() -> list[list[str]]:
    """The commands that name FOLDER, each as words with this Python in front."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines if FOLDER in line]
    return [short(found[1:]) for found in words if found[:1] == ["python"]]


def short(words: list[str]) -> list[str]:
    """A command with few steps; programs of the top folder by their paths."""
    program = words[0]
    if program == "-m":
        return [sys.executable, *words]
    return [sys.executable, str(ROOT / program), *words[1:], *SHORTER[program]]


def fill(folder: pathlib.Path) -> None:
    """Write the first digits as CLASS/NUMBER.png."""
    digits = load_digits()
    for i, (pixels, label) in enumerate(zip(digits.images[:IMAGES], digits.target)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).save(place / f"{i}.png")


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        fill(pathlib.Path(place, FOLDER))
        environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": place}
        for command in commands():
            print("$", shlex.join(command), flush=True)
            status = subprocess.run(command, cwd=place, env=environment).returncode
            if status:
                sys.exit(status)
        if missing := [name for name in LEFT if not pathlib.Path(place, name).is_file()]:
            sys.exit(f"The commands of the README left no {', '.join(missing)}.")


if __name__ == "__main__":
    main()
