"""What Barlow Twins and VICReg share: a wide projection head, their views and defaults."""

from simclr_tf.data.recipe import blurred_and_solarized, torchvision_view
from simclr_tf.errors import UserError
from simclr_tf.methods.base import Method
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


class ExpanderMethod(Method):
    """Two views through a wide projection head, and what both methods train it with."""

    DEFAULTS = {
        "optimizer": "lars",
        "lars_rate_outside": True,
        "learning_rate": 0.2,
        "weight_decay": 1e-6,
        "warmup_epochs": 10.0,
        "final_rate": 0.001,
    }
    together = False

    @classmethod
    def recipe(cls, flags, view):
        """BYOL's two views, with the operations of PIL."""
        shown = torchvision_view(
            view.image_size,
            area=(0.08, 1.0),
            interpolation="bicubic",
            clip_crop=True,
            jitter=(0.4, 0.4, 0.2, 0.1),
        )
        return blurred_and_solarized(shown)
