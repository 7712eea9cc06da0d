"""Strong operations as data: which a view may draw, how many, and how far each goes."""

import dataclasses

from simclr_tf.errors import UserError

# What the operations of `strong` are called, and what the number is that each is given.
NAMES = (
    "identity",
    "autocontrast",
    "equalize",
    "invert",
    "brightness",  # this and the next three: the factor, 1 changes nothing
    "color",
    "contrast",
    "sharpness",
    "posterize",  # bits that are kept
    "solarize",  # the first level of 255 that is inverted
    "solarize_add",  # what is added to levels below 128
    "rotate",  # degrees
    "shear_x",  # pixels to the side for each pixel down
    "shear_y",
    "translate_x",  # share of the side
    "translate_y",
)
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


@dataclasses.dataclass(frozen=True)
class StrongOperations:
    """Operations that a view draws one after the other (RandAugment, arXiv 1909.13719).

    Each is one of `ranges`, all as likely as any other, at a level of its own, and is applied with
    a probability.

    Attributes:
      ranges: (name, number at level 0, number at level 10) of each; between them the number is
        linear. Rotations, shears and translations change their sign half of the time.
      draws: how many are drawn.
      probability: that one that was drawn is applied.
      levels: a level is a whole number, uniform from and to, both among them.
      level_deviation: of a normal number that is added to it; the sum is cut to [0, 10].
      interpolations: of which a rotation, shear or translation draws one. Translations are by
        whole pixels if one is "nearest".
      fill: levels of 255 that red, green and blue have where the image was moved away.

    Raises:
      UserError: a value cannot be.
    """

    ranges: tuple[tuple[str, float, float], ...]
    draws: int
    probability: float = 0.5
    levels: tuple[int, int] = (1, 9)
    level_deviation: float = 0.0
    interpolations: tuple[str, ...] = ("nearest",)
    fill: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self):
        given = {"name": self.names, "interpolation": self.interpolations}
        for kind, allowed in (("name", NAMES), ("interpolation", INTERPOLATIONS)):
            if not given[kind] or not set(given[kind]) <= set(allowed):
                raise UserError(
                    f"The {kind} of a strong operation is one of {', '.join(allowed)}. "
                    f"Received: {', '.join(given[kind])}."
                )
        if self.draws < 1 or not 0 <= self.probability <= 1:
            raise UserError(
                "A view draws 1 strong operation or more, and applies each with a probability in "
                f"[0, 1]. Received: {self.draws}, {self.probability}."
            )
        if not 0 <= self.levels[0] <= self.levels[1] <= 10:
            raise UserError(f"The levels of strong operations lie in [0, 10]: {self.levels}.")

    @property
    def names(self) -> tuple[str, ...]:
        """The operations, by their names."""
        return tuple(name for name, _, _ in self.ranges)


def clsa_operations(draws: int = 5) -> StrongOperations:
    """The strong operations of CLSA (arXiv 2104.07713): the 14 of its code.

    Factors are below 1, so that images become darker, greyer, flatter and softer.

    Args:
      draws: how many a view draws.
    """
    return StrongOperations(
        ranges=(
            ("autocontrast", 0, 0),
            ("brightness", 0.05, 0.95),
            ("color", 0.05, 0.95),
            ("contrast", 0.05, 0.95),
            ("equalize", 0, 0),
            ("identity", 0, 0),
            ("posterize", 4, 8),
            ("rotate", 0, 30),
            ("sharpness", 0.05, 0.95),
            ("shear_x", 0, 0.3),
            ("shear_y", 0, 0.3),
            ("solarize", 256, 0),
            ("translate_x", 0, 0.3),
            ("translate_y", 0, 0.3),
        ),
        draws=draws,
    )


def infomin_operations() -> StrongOperations:
    """The RandAugment of InfoMin Aug (arXiv 2005.10243), as in its authors' code."""
    return StrongOperations(
        ranges=(
            ("autocontrast", 0, 0),
            ("equalize", 0, 0),
            ("invert", 0, 0),
            ("rotate", 0, 30),
            ("posterize", 0, 4),
            ("solarize", 0, 256),
            ("solarize_add", 0, 110),
            ("color", 0.1, 1.9),
            ("contrast", 0.1, 1.9),
            ("brightness", 0.1, 1.9),
            ("sharpness", 0.1, 1.9),
            ("shear_x", 0, 0.3),
            ("shear_y", 0, 0.3),
            ("translate_x", 0, 0.45),
            ("translate_y", 0, 0.45),
        ),
        draws=2,
        levels=(10, 10),
        level_deviation=0.5,
        interpolations=("bilinear", "bicubic"),
        fill=(124, 116, 104),
    )
