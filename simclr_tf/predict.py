"""What a trained classifier says about every image of a folder or data set.

    python -m simclr_tf.predict SOURCE --dataset=... --output=FILE.csv

SOURCE is whatever --checkpoint of run.py accepts, with a supervised head. Each image is shown
as in evaluation and becomes a row of FILE.csv or FILE.jsonl, in the order of the data: its
number, its path where images are files, and its --top_k classes with their probabilities.
"""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

import tensorflow as tf

from simclr_tf import cli
from simclr_tf.data import pipeline
from simclr_tf.data.broken import naming_bad_images
from simclr_tf.data.sources import ImageDataset
from simclr_tf.errors import UserError
from simclr_tf.evaluation.trained import open_trained
from simclr_tf.flag import check_ranges, flag
from simclr_tf.models import Network
from simclr_tf.outputs import private_file, reason, require_file
from simclr_tf.paths import as_path
from simclr_tf.shown_images import ShownImages, open_images

Prediction = list[tuple[str, float]]  # class and probability, the most probable first
Write = Callable[[int, str | None, Prediction], Any]


@dataclasses.dataclass(frozen=True)
class Predictions(ShownImages):
    """Which images, and where the predictions go."""

    output: str | None = flag(
        None, "FILE.csv or FILE.jsonl; local, or a URL such as gs://. Written once it is complete."
    )
    top_k: int = flag(5, "How many classes are named for each image.", at_least=1)


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """The flags of this program."""

    predictions: Predictions = Predictions()


def predict(source: str, flags: Predictions) -> int:
    """Write the predictions, and return the number of images.

    Raises:
      UserError: something that was given cannot work.
    """
    output = as_path(flags.output or "")
    if output.suffix not in WRITERS:
        raise UserError(f"--output is FILE.csv or FILE.jsonl. Received: {flags.output}.")
    require_file(output, f"--output={output}")
    check_ranges(PredictConfig(flags))
    trained = open_trained(source)
    network = trained.network
    if network.supervised_head is None:
        raise UserError(f"{source} has no supervised head, so it tells no classes.")
    image_size = flags.image_size or trained.image_size
    network.require_size(image_size)
    dataset = open_images(trained, flags)
    rows = predictions(
        network,
        dataset,
        names=trained.class_names,
        image_size=image_size,
        batch_size=flags.batch_size,
        top_k=flags.top_k,
    )
    paths = dataset.file_names or [None] * dataset.num_examples
    try:
        with (
            private_file(output) as part,
            part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            write = WRITERS[output.suffix](file)
            for index, (path, row) in enumerate(zip(paths, rows, strict=True)):
                write(index, path, row)
    except OSError as error:
        raise UserError(
            f"--output={output} cannot be written: {reason(error)}. What was there before is "
            "kept; the same command starts again."
        ) from None
    return dataset.num_examples


def predictions(
    network: Network,
    dataset: ImageDataset,
    *,
    names: Sequence[str],
    image_size: int,
    batch_size: int,
    top_k: int,
) -> Iterator[Prediction]:
    """The most probable classes of every image, in the order of the data set.

    Args:
      network: with a supervised head.
      dataset: the images.
      names: of the classes.
      image_size: height and width of the images that the network is shown.
      batch_size: images at a time.
      top_k: how many classes; all of them when there are no more.
    """
    batches = pipeline.evaluation_dataset(dataset, batch_size=batch_size, image_size=image_size)
    with naming_bad_images(dataset):
        for images, _, weights in batches:
            logits = network.logits(images)[: int(tf.reduce_sum(weights))]
            values, indices = tf.math.top_k(tf.nn.softmax(logits), min(top_k, len(names)))
            for row, classes in zip(values.numpy().tolist(), indices.numpy(), strict=True):
                yield [(names[i], value) for i, value in zip(classes, row, strict=True)]


def _csv_writer(file: TextIO) -> Write:
    """Columns index, path, class_1, probability_1, class_2, ...

    Names that are no UTF-8 become the bytes that they are.
    """
    writer = csv.writer(file)

    def write(index, path, prediction):
        if index == 0:
            places = range(1, len(prediction) + 1)
            pairs = [f"{column}_{n}" for n in places for column in ("class", "probability")]
            writer.writerow(["index", "path", *pairs])
        cells = [cell for name, value in prediction for cell in (name, f"{value:.6f}")]
        writer.writerow([index, path, *cells])

    return write


def _json_writer(file: TextIO) -> Write:
    """One object a line: index, path, classes, probabilities.

    Bytes of names that are no UTF-8 become \\udc80 to \\udcff, as json.loads and os.fsencode
    expect them.
    """

    def write(index, path, prediction):
        classes, probabilities = zip(*prediction, strict=True)
        row = {"index": index, "path": path, "classes": classes, "probabilities": probabilities}
        file.write(json.dumps(row) + "\n")

    return write


WRITERS = {".csv": _csv_writer, ".jsonl": _json_writer}


def program(source: str, config: PredictConfig, given: frozenset[str]) -> int:
    """Write the predictions and say how many; returns the exit status."""
    flags = config.predictions
    print(f"Wrote {predict(source, flags):,} predictions to {flags.output}.")
    return 0


def main() -> None:
    cli.run(program, PredictConfig, about=__doc__, argument="SOURCE")


if __name__ == "__main__":
    main()
