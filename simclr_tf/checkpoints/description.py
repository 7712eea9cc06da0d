"""The JSON file beside a file of weights, which says what the weights belong to.

NAME.weights.h5, NAME.safetensors, NAME.pt, NAME.pth and NAME.pth.tar have NAME.json beside them;
what was converted to our own format has converted.json in its directory.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from simclr_tf.checkpoints.run_directory import write_json
from simclr_tf.errors import UserError
from simclr_tf.json_files import Kinds, check_entries, read_object
from simclr_tf.models import Architecture
from simclr_tf.paths import AnyPath, as_path

KERAS_ENDING = ".weights.h5"
KERAS_MODEL_ENDING = ".keras"  # which describes itself
CONVERTED_DESCRIPTION = "converted.json"
TORCH_ENDINGS = (".safetensors", ".pt", ".pth", ".pth.tar")


NOTHING = type(None)
_DATA: Kinds = {
    "dataset": str,
    "data_dir": (str, NOTHING),
    "holdout_fraction": float,
    "split_seed": int,
    "upright": bool,
    "labels": str,
}
_ENTRIES: Kinds = {
    "step": (int, NOTHING),
    "image_size": (int, NOTHING),
    "source": (str, NOTHING),
    "class_names": (list, NOTHING),
    "data": (dict, NOTHING),
    "method": (str, NOTHING),
}


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """How a run opened its data, which whoever opens them for its network has to repeat.

    The defaults are those of `datasets.load`, for data of which no run is known.

    Attributes:
      dataset, data_dir: which data they were.
      holdout_fraction, split_seed: which of the images were held out.
      upright: whether photographs were turned as their EXIF orientation says.
      labels: where those of an image folder came from.
    """

    dataset: str
    data_dir: str | None
    holdout_fraction: float = 0.1
    split_seed: int = 0
    upright: bool = True
    labels: str = "folders"

    @classmethod
    def of_run(cls, stored: Mapping[str, Any]) -> "TrainingData":
        """What the run.json of a run directory says of it; see `RunDirectory.config`."""
        return cls(**{field.name: stored[field.name] for field in dataclasses.fields(cls)})


@dataclasses.dataclass(frozen=True)
class Description:
    """What is known about weights besides their architecture; all of it may be unknown.

    Attributes:
      architecture: of the network.
      step: training steps done.
      image_size: pixels of the images that it was trained on.
      source: where it comes from, in words.
      class_names: of the supervised head, by its outputs.
      data: how its run opened the training data.
      method: which --method of pretraining it comes from.
    """

    architecture: Architecture
    step: int | None = None
    image_size: int | None = None
    source: str | None = None
    class_names: tuple[str, ...] | None = None
    data: TrainingData | None = None
    method: str | None = None


def description_path(path: str) -> AnyPath:
    """The JSON file that belongs to a file of weights."""
    for ending in (KERAS_ENDING, *TORCH_ENDINGS):
        path = path.removesuffix(ending)
    return as_path(path + ".json")


def write_description(path: str, description: Description) -> None:
    """Write the JSON file that belongs to the weights at `path`."""
    write_json(description_path(path), dataclasses.asdict(description))


def read_description(path: str) -> Description | None:
    """Read the JSON file that belongs to the weights at `path`; None when there is none.

    Raises:
      UserError: the file is damaged.
    """
    file = description_path(path)
    return parse_description(file) if file.is_file() else None


def parse_description(file: AnyPath) -> Description:
    """Read a JSON file with an `architecture`; entries that mean nothing here are left out.

    Raises:
      UserError: it is damaged.
    """
    try:
        values = read_object(file, {"architecture": dict})
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"There is no file {file}.") from None
    return description_from(values, str(file))


def description_from(values: Mapping[str, Any], source: str) -> Description:
    """The description with these JSON values.

    Args:
      values: with an `architecture`.
      source: the file, for messages.

    Raises:
      UserError: they are damaged.
    """
    check_entries({name: None for name in _ENTRIES} | dict(values), _ENTRIES, source)
    names, data = values.get("class_names"), values.get("data")
    if data is not None:
        data = {"labels": "folders"} | data  # earlier versions had no others
        check_entries(data, _DATA, source)
        data = TrainingData(**{name: data[name] for name in _DATA})
    return Description(
        Architecture.from_json(values["architecture"], source),
        values.get("step"),
        values.get("image_size"),
        values.get("source"),
        None if names is None else tuple(names),
        data,
        values.get("method"),
    )
