"""CMC: the planes of an image's colours find each other in banks."""

import dataclasses
import itertools
from typing import Any

from simclr_tf.data.recipe import View, torchvision_view
from simclr_tf.errors import UserError
from simclr_tf.flag import flag
from simclr_tf.methods import instdisc
from simclr_tf.models.colors import SCALES, planes_of


@dataclasses.dataclass(frozen=True)
class PlaneFlags:
    """Views that are planes of one crop."""

    color_space: str = flag("lab", "Colour space whose planes are the views.", choices=SCALES)
    planes: str = flag(
        "0-12",
        "Planes of each view, 0 to 2, with dashes between: 0-12 are L and ab, 0-1-2 three views.",
    )
    view_width: float = flag(
        1.0,
        "Multiplies the channels of the blocks of each encoder, not of its stem; 0.5 is CMC's "
        "narrow form.",
        at_least=1 / 64,
        at_most=64,
    )


def fields_of_planes(flags: PlaneFlags) -> dict[str, Any]:
    """The fields of `Architecture` for an encoder of each view.

    Raises:
      UserError: there are no such planes, or they are one view.
    """
    groups = planes_of(flags.planes)
    if len(groups) < 2:
        raise UserError(
            "--planes has two views or more, with dashes between, such as 0-12. "
            f"Received: {flags.planes}."
        )
    return {
        "encoder": "lab",
        "color_space": flags.color_space,
        "plane_groups": groups,
        "view_width": flags.view_width,
    }


def plane_view(size: int, flip: bool = True) -> View:
    """CMC's one crop, whose colours stay as they are.

    Args:
      size: height and width, in pixels.
      flip: whether half of the views are flipped.
    """
    return torchvision_view(
        size,
        area=(0.08, 1.0),
        flip_probability=0.5 if flip else 0.0,
        jitter_probability=0.0,
        grayscale_probability=0.0,
        blur_probability=0.0,
    )


@dataclasses.dataclass(frozen=True)
class Flags(PlaneFlags, instdisc.Flags):
    """CMC: its views, each with an encoder and a bank, its negatives and its loss."""

    negatives: int = flag(
        16_384,
        "Rows of other images that each image is compared with, drawn anew in every step; 0 "
        "compares with all images.",
        at_least=0,
        at_most=2**24,
    )
    graph: str = flag(
        "full",
        "Of more than two views: compare each with each, or the first, as the core, with all.",
        choices=("full", "core"),
    )


class CMC(instdisc.InstDisc):
    """Contrastive multiview coding (arXiv 1906.05849, section 3).

    All views are planes of one crop. A view is compared with the bank of another view, and the
    other with the view's: the loss adds up both directions of all pairs.
    """

    Flags = Flags
    DEFAULTS = {
        **instdisc.InstDisc.DEFAULTS,
        "learning_rate": 0.06,
        "train_epochs": 240,
        "schedule_milestones": "120,160,200",
    }
    metrics_of = {
        "bank_loss": "the loss of telling images apart, of all pairs of views",
        "bank_acc": "share of views for which their image's own row is as similar as any that it "
        "is compared with",
        "spread": "how far the embeddings of the first view differ in a batch",
    }

    @classmethod
    def recipe(cls, flags, view):
        return (plane_view(view.image_size, flags.flip),)

    @classmethod
    def encoder_fields(cls, flags):
        return fields_of_planes(flags)

    @property
    def comparisons(self):
        views = range(len(planes_of(self.flags.planes)))
        pairs = itertools.combinations(views, 2)
        if self.flags.graph == "core":
            pairs = [(0, view) for view in views[1:]]
        return tuple(direction for i, j in pairs for direction in ((i, j), (j, i)))
