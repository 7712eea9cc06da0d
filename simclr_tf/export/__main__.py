"""The command line: see `python -m simclr_tf.export --help`."""

import argparse
import sys
from collections.abc import Sequence

from simclr_tf import checkpoints
from simclr_tf.checkpoints.loading import network_of
from simclr_tf.errors import UserError
from simclr_tf.exit_status import exit_status
from simclr_tf.export import export_saved_model
from simclr_tf.export.saved_model import require_new_version
from simclr_tf.labels import read_labels
from simclr_tf.paths import as_path


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m simclr_tf.export",
        description="Write a trained network as a SavedModel for TensorFlow Serving.",
    )
    parser.add_argument(
        "source", metavar="RUN_DIR", help="run directory, or a checkpoint of ours or the original's"
    )
    parser.add_argument(
        "directory", metavar="OUT_DIR/VERSION", help="where to; VERSION is a whole number"
    )
    parser.add_argument(
        "--image_size",
        type=int,
        help="height and width of the images it was trained on; a run directory knows it, "
        "otherwise 32 with the CIFAR stem and else 224",
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="names of the classes, one in each line; a run directory knows them",
    )
    given = vars(parser.parse_args(arguments))
    return exit_status(lambda: _export(**given))


def _export(source: str, directory: str, image_size: int | None, labels: str | None) -> int:
    target = as_path(directory)
    if not target.name.isdecimal():
        raise UserError(
            "The last part of OUT_DIR/VERSION must be a whole number: TensorFlow Serving loads no "
            f"other directories. Received: {directory}."
        )
    require_new_version(target)
    if image_size is not None and image_size < 1:
        raise UserError(f"--image_size is a whole number from 1. Received: {image_size}.")
    stored = checkpoints.read(source)
    known = stored.image_size
    if image_size and known and image_size != known:
        raise UserError(
            f"--image_size={image_size} contradicts {source}, which was trained with {known}."
        )
    class_names = (
        read_labels(as_path(labels), f"--labels={labels}") if labels else stored.class_names
    )
    network = network_of(stored, source)
    if labels and network.supervised_head is None:
        raise UserError(f"--labels names classes, and {source} has no classifier. Leave it out.")
    image_size = image_size or stored.shown_size
    export_saved_model(
        network,
        directory,
        image_size=image_size,
        class_names=class_names,
        upright=stored.upright,
        card=stored.about() | {"source": f"{stored.kind} {source}"},
    )
    print(f"Exported the {stored.kind} {source} for {image_size}x{image_size} to {directory}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
