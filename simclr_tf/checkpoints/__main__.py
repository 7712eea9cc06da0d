"""The command line: see `python -m simclr_tf.checkpoints --help`."""

import argparse
import sys
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from simclr_tf import checkpoints
from simclr_tf.checkpoints.convert import FORMATS, convert, require_destination
from simclr_tf.checkpoints.description import Description
from simclr_tf.checkpoints.loading import network_of
from simclr_tf.checkpoints.rescale import convolution_norms
from simclr_tf.checkpoints.restore import PARTS
from simclr_tf.checkpoints.stored_network import StoredNetwork, description
from simclr_tf.checkpoints.torch_layouts import ASKED
from simclr_tf.errors import UserError
from simclr_tf.exit_status import exit_status

SHOWN = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m simclr_tf.checkpoints",
        description="Show what a checkpoint holds, or write it in another format.",
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="what --checkpoint of run.py accepts, of ours or others"
    )
    parser.add_argument(
        "--to",
        nargs=2,
        metavar=("FORMAT", "DEST"),
        help=f"write the network; formats are {', '.join(FORMATS)}",
    )
    parser.add_argument(
        "--rescale_v1_weights",
        action="store_true",
        help="divide convolution weights by 16.8 before writing, for SimCLRv1's checkpoints",
    )
    parser.add_argument(
        "--ft_proj_selector",
        type=int,
        help="the layer of the projection head that feeds the supervised head, for fine-tuned "
        "checkpoints that do not say it; 0 is its input, h",
    )
    parser.add_argument(
        "--layout",
        choices=list(ASKED),
        help="for PyTorch files that do not say it, such as the backbones of Barlow Twins and "
        "VICReg: the network is torchvision's, trained on images less the mean of ImageNet",
    )
    given = vars(parser.parse_args(arguments))
    return exit_status(lambda: _run(**given))


def _run(source: str, to: Sequence[str] | None, layout: str | None, **options: Any) -> int:
    if to is not None:
        require_destination(*to)
    elif options["rescale_v1_weights"] or options["ft_proj_selector"] is not None:
        raise UserError(
            "--rescale_v1_weights and --ft_proj_selector change what is written. Give --to, or "
            "leave them out."
        )
    stored = checkpoints.read(source, layout=layout)
    if to is None:
        print(table(source, stored))
        return 0
    network = network_of(stored, source, **options)
    origin = f"{stored.kind} {source}"
    about = Description(
        network.architecture,
        stored.step,
        stored.image_size,
        origin,
        stored.class_names,
        stored.data,
        stored.method,
    )
    convert(network, *to, about)
    print(f"Converted the {origin} to {to[0]}: {to[1]}.")
    return 0


def table(source: str, stored: StoredNetwork) -> str:
    """What a checkpoint holds, one fact a line."""
    rows = {"found": f"{stored.kind} {source}"} | description(stored.architecture)
    if stored.note:
        rows["note"] = stored.note
    rows["step"] = "not known" if stored.step is None else stored.step
    if stored.image_size:
        rows["image size"] = stored.image_size
    for part, words in PARTS.items():
        arrays = {p: a for p, a in stored.arrays.items() if p.startswith(f"{part}/")}
        if arrays:
            rows[f"{words}, numbers"] = _numbers(arrays)
    norms = list(convolution_norms(stored.arrays).values())
    if norms:
        rows["convolution norms"] = (
            f"median {np.median(norms):.3g}, from {min(norms):.3g} to {max(norms):.3g} times those "
            "at initialisation" + (", like SimCLRv1's" if stored.looks_like_v1() else "")
        )
    lists = {
        "missing": [variable.path for variable in stored.missing()],
        "unused": stored.unused,
        "ignored": stored.ignored,
    }
    rows |= {name: _some(names) for name, names in lists.items() if names}
    return "\n".join(f"{name:<26}{value}" for name, value in rows.items())


def _numbers(arrays: dict[str, np.ndarray]) -> str:
    moving = sum(a.size for path, a in arrays.items() if "/moving_" in path)
    trainable = sum(a.size for a in arrays.values()) - moving
    return f"{trainable:,} trainable" + (f", {moving:,} moving averages" if moving else "")


def _some(names: Collection[str]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)}: {', '.join(list(names)[:SHOWN])}{more}"


if __name__ == "__main__":
    sys.exit(main())
