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
      UserError: see `sizes_and_epochs`; or no step lies between two epochs, or the last of them is
        not within the training.
    """
    last = Phase(image_size, plan.train_steps)
    of_epoch = plan.num_examples / plan.batch_size
    parts = sizes_and_epochs(schedule, image_size)
    early = [Phase(size, round(epochs * of_epoch)) for size, epochs in parts]
    if not early:
        return (last,)
    ends = [0, *(phase.end for phase in early)]
    if ends != sorted(set(ends)):
        raise UserError(
            "A step lies between any two epochs of --image_size_schedule. Received: "
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


def sizes_and_epochs(schedule: str, image_size: int) -> list[tuple[int, float]]:
    """What a schedule says: sizes, and the epochs up to which views have them.

    Args:
      schedule: see `phases`.
      image_size: at the end of the training, in pixels.

    Raises:
      UserError: it has another form, its epochs do not grow from above 0, or its sizes do not grow
        up to `image_size`.
    """
    found = parsed(schedule)
    epochs = [0.0, *(until for _, until in found)]
    if epochs != sorted(set(epochs)):
        raise UserError(
            f"The epochs of --image_size_schedule grow, from above 0. Received: {schedule}."
        )
    sizes = [size for size, _ in found]
    if wrong := [size for size in sizes if not SMALLEST <= size <= LARGEST]:
        raise UserError(
            f"--image_size_schedule has views of {SMALLEST} to {LARGEST} pixels. "
            f"Received: {wrong[0]}."
        )
    if [*sizes, image_size] != sorted({*sizes, image_size}):
        raise UserError(
            f"The sizes of --image_size_schedule grow up to --image_size={image_size}. "
            f"Received: {schedule}."
        )
    return found


def parsed(schedule: str) -> list[tuple[int, float]]:
    """Sizes and epochs of a schedule, whether they grow or not, as in runs of before.

    Raises:
      UserError: it has another form.
    """
    words = [word.strip() for word in schedule.split(",")] if schedule else []
    parts = [re.fullmatch(r"(\d{1,5}):(\d{1,6}(?:\.\d+)?)", word, re.ASCII) for word in words]
    if not all(parts):
        raise UserError(
            "--image_size_schedule has sizes and the epochs up to which views have them, such as "
            f"16:60,24:80. Received: {schedule}."
        )
    return [(int(part[1]), float(part[2])) for part in parts]


def require_views(recipe: Recipe, schedule: str, image_size: int) -> None:
    """Refuse views that would be too small in a phase, such as small crops of small views.

    Args:
      recipe: the views at the end of the training.
      schedule: see `phases`.
      image_size: at the end of the training, in pixels.

    Raises:
      UserError: some would have less than SMALLEST pixels, or see `sizes_and_epochs`.
    """
    for size, epochs in sizes_and_epochs(schedule, image_size):
        smallest = min(view.size for view in scaled(recipe, size, image_size))
        if smallest < SMALLEST:
            raise UserError(
                f"--image_size_schedule would show views of {smallest} pixels up to epoch "
                f"{epochs:g}, and {SMALLEST} is the least. Give larger sizes, or larger small "
                "views."
            )


def in_words(phases: tuple[Phase, ...]) -> str:
    """Such as "16 px to step 600, 24 px to step 800, then 32 px"."""
    *early, last = phases
    return ", ".join(
        [f"{phase.image_size} px to step {phase.end:,}" for phase in early]
        + [f"then {last.image_size} px" if early else f"{last.image_size} px"]
    )
