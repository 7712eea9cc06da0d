"""A toy encoder for tests that are not about the encoder, built and traced in a second or two.

    python toy.py run.py FLAGS    runs run.py with the toy in ResNet-18's place

It is the ResNet of the package with a single block, in group 4, so that h has 512 numbers and
freezing works. The fixture `toy_encoder` of conftest.py puts it there for a module of tests, and
`training.start` then starts programs with it too. The block has few channels inside; formats of
checkpoints, which know how many there are, hold the toy of `wide_toy_encoder`.
"""

import contextlib
import pathlib
import runpy
import sys
from collections.abc import Iterator
from unittest import mock

sys.path.append(str(pathlib.Path(__file__).parent.parent))

from simclr_tf.models.blocks import BasicBlock
from simclr_tf.models.resnet import DEPTHS, ResNet

TOY = (False, (0, 0, 0, 1))
CONVOLUTIONS = 4  # of the stem, and of the block and its shortcut; ResNet-18 has 21


class NarrowBlock(BasicBlock):
    """A basic block with 64 channels inside: a seventh of its weights and of its work."""

    def __init__(self, filters: int, **kwargs):
        super().__init__(filters, **kwargs)
        self.convolution1.filters = 64  # read when the layer is built


@contextlib.contextmanager
def in_place_of_resnet_18(block: type[BasicBlock] = NarrowBlock) -> Iterator[None]:
    """Networks of depth 18 are toys in this context."""
    module = sys.modules[ResNet.__module__]
    with mock.patch.dict(DEPTHS, {18: TOY}), mock.patch.object(module, "BasicBlock", block):
        yield


def command(program: str) -> list[str]:
    """How to start a program of this project, with the toy where this process has it."""
    toy = [__file__] if DEPTHS[18] == TOY else []
    return [sys.executable, *toy, program]


if __name__ == "__main__":
    del sys.argv[0]
    with in_place_of_resnet_18():
        runpy.run_path(sys.argv[0], run_name="__main__")
