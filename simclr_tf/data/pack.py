"""Pack an image folder into a data set that is read faster; --help lists the flags.

    python -m simclr_tf.data.pack FOLDER OUT --shorter_side=512

Every image is decoded once and shown upright, and the splits and classes of the folder are kept.
What comes out is a data set of TensorFlow Datasets, and --dataset=OUT reads it. The same command
goes on after it was killed. docs/data.md tells more.
"""

import dataclasses
import shlex

from simclr_tf import cli
from simclr_tf.data.folder_splits import FOLDERS
from simclr_tf.data.packing import pack
from simclr_tf.flag import LARGEST_SEED, check_ranges, flag


@dataclasses.dataclass(frozen=True)
class Pack:
    """What is packed, and how."""

    shorter_side: int | None = flag(
        None,
        "Pixels that the shorter side of an image has at most; larger images are scaled. By "
        "default none is.",
        at_least=1,
    )
    holdout_fraction: float = flag(
        0.1,
        "Share of every class that becomes the split `validation` when the folder has no splits.",
        above=0,
        below=1,
    )
    split_seed: int = flag(
        0, "Seed of the choice of what is held out.", at_least=0, at_most=LARGEST_SEED
    )
    labels: str = flag(
        FOLDERS,
        "Where the classes come from: `folders`, which classes are named after; `none`, for images "
        "at any depth; or a CSV file with a line FILE,CLASS for each image.",
    )
    max_bad_images: int = flag(
        100,
        "How many files that cannot be decoded are left out before the program stops.",
        at_least=0,
    )


@dataclasses.dataclass(frozen=True)
class PackConfig:
    """The flags of this program."""

    pack: Pack = Pack()


def program(folder: str, out: str, config: PackConfig, given: frozenset[str]) -> int:
    """Pack a folder and say what became of it; returns the exit status."""
    check_ranges(config)
    packed = pack(folder, out, **dataclasses.asdict(config.pack))
    splits = ", ".join(f"{name} {count:,}" for name, count in packed.images.items())
    print(
        f"Packed {sum(packed.images.values()):,} images ({splits}), {packed.unchanged:,} of them "
        f"as their files have them. Files left out: {len(packed.left_out):,}. Read them with "
        f"--dataset={shlex.quote(out)}."
    )
    return 0


def main() -> None:
    cli.run(program, PackConfig, about=__doc__, argument="FOLDER OUT")


if __name__ == "__main__":
    main()
