"""Views that grow while a run trains: small ones cost less and teach most of what large ones do."""

import dataclasses
import re

from simclr_tf.data.recipe import LARGEST, SMALLEST, Recipe, scaled
from simclr_tf.errors import UserError
from simclr_tf.training.plan import Plan


@dataclasses.dataclass(frozen=True)
class Phase:
    """Steps whose views have one size.

    Attributes:
      image_size: of a view that has --image_size at the end of the training, in pixels.
      end: the number of steps that were made when the phase is over.
    """

    image_size: int
    end: int


def phases(schedule: str, image_size: int, plan: Plan) -> tuple[Phase, ...]:
    """The phases of a run, the last of them with views of `image_size`.

    Progressive resizing is not part of SimCLR; FFCV-SSL (arXiv 2303.01986) uses it for the same
    methods.

    Args:
      schedule: sizes and the epochs up to which views have them, such as "16:60,24:80"; without
        any there is one phase.
      image_size: at the end of the training, in pixels.
      plan: the numbers of the run.

    Raises:
      UserError: `schedule` has another form, its epochs do not grow, or the last of them is not
        within the training.
    """
    last = Phase(image_size, plan.train_steps)
    if not schedule:
        return (last,)
    words = [word.strip() for word in schedule.split(",")]
    parts = [re.fullmatch(r"(\d{1,5}):(\d{1,6}(?:\.\d+)?)", word, re.ASCII) for word in words]
    if not all(parts):
        raise UserError(
            "--image_size_schedule has sizes and the epochs up to which views have them, such as "
            f"16:60,24:80. Received: {schedule}."
        )
    of_epoch = plan.num_examples / plan.batch_size
    early = [Phase(int(part[1]), round(float(part[2]) * of_epoch)) for part in parts]
    sizes = [phase.image_size for phase in early]
    if wrong := [size for size in sizes if not SMALLEST <= size <= LARGEST]:
        raise UserError(
            f"--image_size_schedule has views of {SMALLEST} to {LARGEST} pixels. "
            f"Received: {wrong[0]}."
        )
    ends = [0, *(phase.end for phase in early)]
    if ends != sorted(set(ends)):
        raise UserError(
            "The epochs of --image_size_schedule grow, and a step lies between any two: "
            f"{schedule} with {of_epoch:.4g} steps in an epoch."
        )
    # The one step that SimCLR makes beyond its epochs is no training at the last size.
    if early[-1].end >= plan.train_steps - 1:
        raise UserError(
            f"--image_size_schedule={schedule} leaves nothing for --image_size={image_size}: the "
            f"training has {plan.train_steps:,} steps, and views would grow to it at step "
            f"{early[-1].end:,}. Give earlier epochs, or train longer."
        )
    return *early, last


def require_views(recipe: Recipe, plan: tuple[Phase, ...]) -> None:
    """Refuse views that would be too small in a phase, such as small crops of small views.

    Args:
      recipe: the views of the last phase.
      plan: the phases.

    Raises:
      UserError: some would have less than SMALLEST pixels.
    """
    full = plan[-1].image_size
    for phase in plan[:-1]:
        smallest = min(view.size for view in scaled(recipe, phase.image_size, full))
        if smallest < SMALLEST:
            raise UserError(
                f"--image_size_schedule would show views of {smallest} pixels up to step "
                f"{phase.end:,}, and {SMALLEST} is the least. Give larger sizes, or larger small "
                "views."
            )


def in_words(plan: tuple[Phase, ...]) -> str:
    """Such as "16 px to step 600, 24 px to step 800, then 32 px"."""
    *early, last = plan
    return ", ".join(
        [f"{phase.image_size} px to step {phase.end:,}" for phase in early]
        + [f"then {last.image_size} px" if early else f"{last.image_size} px"]
    )
