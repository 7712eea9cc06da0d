"""Multi-crop: small views of small parts of an image, beside the usual two (SwAV, section 3.3)."""

import dataclasses

from simclr_tf.data.recipe import Recipe, View
from simclr_tf.errors import UserError
from simclr_tf.flag import flag


@dataclasses.dataclass(frozen=True)
class SmallCropFlags:
    """How many small views there are, and of what."""

    small_crops: int = flag(
        0, "Small views of each image, beside the two of --image_size.", at_least=0, at_most=64
    )
    small_crop_size: int = flag(
        96, "Height and width of a small view, in pixels.", at_least=8, at_most=8192
    )
    small_crop_min_area: float = flag(
        0.05, "Least share of the image that a small view shows.", above=0, at_most=1
    )
    small_crop_max_area: float = flag(
        0.14, "Largest share of the image that a small view shows.", above=0, at_most=1
    )


def small_views(flags: SmallCropFlags, large: View) -> Recipe:
    """The small views that the flags describe.

    Args:
      flags: the flags.
      large: all but size and area of a small view is as in this one.

    Raises:
      UserError: small views are larger than `large`, or their areas are the wrong way round.
    """
    if not flags.small_crops:
        return ()
    if flags.small_crop_size > large.size:
        raise UserError(
            f"Small views are no larger than the others: --small_crop_size={flags.small_crop_size}"
            f", but --image_size={large.size}. Give a smaller one, or --small_crops=0."
        )
    area = (flags.small_crop_min_area, flags.small_crop_max_area)
    if area[0] > area[1]:
        raise UserError(
            f"--small_crop_min_area={area[0]:g} is above --small_crop_max_area={area[1]:g}. "
            "Give a smaller one."
        )
    small = dataclasses.replace(
        large, size=flags.small_crop_size, area=area, own_area=True, covered=0.0
    )
    return (small,) * flags.small_crops
