"""What Barlow Twins and VICReg share: a wide projection head, and their views."""

import dataclasses

from simclr_tf.data.recipe import Recipe, torchvision_view
from simclr_tf.errors import UserError
from simclr_tf.models import Dense


def expander(widths: str, bias: bool) -> tuple[Dense, ...]:
    """The layers of the projection head; the last one is a dense layer alone, without bias.

    Args:
      widths: of the layers, first to last, with dashes between, such as 8192-8192-8192.
      bias: whether all but the last have a bias.

    Raises:
      UserError: these are no widths.
    """
    words = widths.split("-")
    if not all(word.isascii() and word.isdigit() and 0 < int(word) <= 2**20 for word in words):
        raise UserError(
            "--projector has the widths of the layers, whole numbers from 1 with dashes between, "
            f"such as 8192-8192-8192. Received: {widths}."
        )
    *hidden, last = map(int, words)
    layers = [Dense(width, bias=bias, start="uniform") for width in hidden]
    return (*layers, Dense(last, norm=False, relu=False, start="uniform"))


def solarized_recipe(image_size: int) -> Recipe:
    """BYOL's two views with the operations of PIL: the first is always blurred.

    Args:
      image_size: height and width of a view, in pixels.
    """
    view = torchvision_view(
        image_size, area=(0.08, 1.0), interpolation="bicubic", jitter=(0.4, 0.4, 0.2, 0.1)
    )
    return (
        dataclasses.replace(view, blur_probability=1.0),
        dataclasses.replace(view, blur_probability=0.1, solarize_probability=0.2),
    )
