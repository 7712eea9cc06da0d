"""Embeddings of every image of a folder or data set, for use elsewhere.

    python -m simclr_tf.features SOURCE --dataset=... --output=FILE.npz

SOURCE is whatever --checkpoint of run.py accepts. Each image is shown as in evaluation, and h,
its label and its path are written: to FILE.npz, or, when --output is a directory, to TFRecord
files in it. The same command goes on after it was killed. docs/checkpoints.md tells more.
"""

import dataclasses
import zlib

from simclr_tf import cli
from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.data.broken import naming_bad_images
from simclr_tf.errors import UserError
from simclr_tf.evaluation.embeddings import read_about, require_output, write_embeddings
from simclr_tf.evaluation.trained import open_trained
from simclr_tf.flag import check_ranges, flag
from simclr_tf.models import Network
from simclr_tf.shown_images import ShownImages, open_images


@dataclasses.dataclass(frozen=True)
class Features(ShownImages):
    """Which images, and where their embeddings go."""

    output: str | None = flag(
        None, "FILE.npz, or a directory for TFRecord files; local, or a URL such as gs://."
    )


@dataclasses.dataclass(frozen=True)
class FeaturesConfig:
    """The flags of this program."""

    features: Features = Features()


def extract(source: str, flags: Features) -> str:
    """Write the embeddings, and return what there is to say about it.

    Raises:
      UserError: something that was given cannot work.
    """
    if not flags.output:
        raise UserError("--output is missing: give FILE.npz, or a directory for TFRecord files.")
    check_ranges(FeaturesConfig(flags))
    earlier = read_about(flags.output) or {}
    require_output(flags.output)
    trained = open_trained(source)
    network = trained.network
    print(trained.stored.found(source), flush=True)
    image_size = flags.image_size or trained.image_size
    network.require_size(image_size)
    dataset = open_images(trained, flags, known_bad=earlier.get("skipped_files"))
    with naming_bad_images(dataset):
        written = write_embeddings(
            network,
            dataset,
            flags.output,
            image_size=image_size,
            batch_size=flags.batch_size,
            about={
                "weights": _checksum(network),
                "dataset": flags.dataset,
                "data_dir": flags.data_dir,
                "split": flags.split,
                "labels": flags.labels,
                "image_size": image_size,
            },
        )
    n, width = dataset.num_examples, network.architecture.feature_dim
    if not written:
        return f"Nothing to do: {flags.output} holds the embeddings of all {n:,} images."
    return f"Wrote {n:,} embeddings of {width:,} numbers to {flags.output}."


def _checksum(network: Network) -> str:
    """Tells weights apart."""
    value = 0
    for variable in variable_paths(network).values():
        value = zlib.crc32(variable.numpy().tobytes(), value)
    return f"{value:08x}"


def program(source: str, config: FeaturesConfig, given: frozenset[str]) -> int:
    """Write the embeddings and say so; returns the exit status."""
    print(extract(source, config.features))
    return 0


def main() -> None:
    cli.run(program, FeaturesConfig, about=__doc__, argument="SOURCE")


if __name__ == "__main__":
    main()
