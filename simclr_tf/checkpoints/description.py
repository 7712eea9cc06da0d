"""The JSON file beside a file of weights, which says what the weights belong to.

NAME.weights.h5, NAME.safetensors, NAME.pt and NAME.pth have NAME.json beside them.
"""

import dataclasses
import json
from typing import Any

from simclr_tf.checkpoints.run_directory import write_json
from simclr_tf.errors import UserError
from simclr_tf.models import Architecture
from simclr_tf.paths import AnyPath, as_path

KERAS_ENDING = ".weights.h5"
TORCH_ENDINGS = (".safetensors", ".pt", ".pth")


@dataclasses.dataclass(frozen=True)
class Description:
    """What is known about weights: `source` in words; step and image_size may be unknown."""

    architecture: Architecture
    step: int | None = None
    image_size: int | None = None
    source: str | None = None


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
        values: dict[str, Any] = json.loads(file.read_text())
        architecture = Architecture(**values["architecture"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} should describe an architecture, and does not: {type(error).__name__}: {error}"
        ) from None
    return Description(
        architecture, values.get("step"), values.get("image_size"), values.get("source")
    )
