"""Weak and strong views of several sizes, and what a strong view learns from a weak one (CLSA)."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from simclr_tf import losses
from simclr_tf.data.rand_augment import clsa_operations
from simclr_tf.data.recipe import Recipe, View
from simclr_tf.errors import UserError
from simclr_tf.flag import flag


@dataclasses.dataclass(frozen=True)
class StrongViewFlags:
    """Which weak and strong views there are, and how they are compared."""

    crop_sizes: str = flag(
        "",
        "Heights of views, in pixels, with commas between, such as 224,192,160,128,96. By default "
        "--image_size, and three sevenths of it.",
    )
    crop_min_areas: str = flag(
        "",
        "Least share of the image that a view of each of --crop_sizes shows, such as 0.2,0.1. By "
        "default the method's own, in proportion to the size.",
    )
    crop_max_areas: str = flag(
        "", "Largest share of the image that a view of each of --crop_sizes shows; see the least."
    )
    pick_weak: str = flag(
        "0", "Which of --crop_sizes, counted from 0, a weak view has, such as 0,1,2,3,4."
    )
    pick_strong: str = flag("1", "Which of --crop_sizes, counted from 0, a strong view has.")
    strong_operations: int = flag(
        5,
        "How many of the 14 strong operations a strong view draws, each applied half of the time.",
        at_least=1,
        at_most=100,
    )
    divergence_weight: float = flag(
        1.0, "Weight of what strong views learn from weak ones.", at_least=0
    )
    divergence_temperature: float = flag(
        0.2, "Temperature of the similarity distributions of weak and strong views.", above=0
    )

    @property
    def num_weak(self) -> int:
        """How many weak views there are beside the first."""
        return len(self.pick_weak.split(","))


def weak_and_strong(flags: StrongViewFlags, first: View, weak: View) -> Recipe:
    """The views that the flags describe.

    Args:
      flags: the flags.
      first: the first weak view.
      weak: what the other weak views are, but for size and area; the strong ones undergo the
        strong operations besides.

    Returns:
      The first weak view, the other weak ones, and the strong ones.

    Raises:
      UserError: the flags do not fit together.
    """
    sizes = _numbers("crop_sizes", flags.crop_sizes, int) or [first.size, _small(first.size)]
    if not all(8 <= size <= 8192 for size in sizes):
        raise UserError(f"--crop_sizes lie in [8, 8192]. Received: {flags.crop_sizes}.")
    if max(sizes) > first.size:
        raise UserError(
            f"--crop_sizes={flags.crop_sizes} are larger than the key's view, of "
            f"--image_size={first.size}. Give smaller ones, or leave them out."
        )
    areas = [
        _numbers(name, getattr(flags, name), float)
        or [weak.area[end] * (size / first.size) for size in sizes]
        for end, name in enumerate(("crop_min_areas", "crop_max_areas"))
    ]
    for name, given in zip(("crop_min_areas", "crop_max_areas"), areas, strict=True):
        if len(given) != len(sizes):
            raise UserError(
                f"--{name} has as many numbers as --crop_sizes, {len(sizes)}. "
                f"Received: {getattr(flags, name)}."
            )
    views = [_resized(weak, *values) for values in zip(sizes, *areas, strict=True)]
    if flags.crop_min_areas:
        views = [dataclasses.replace(view, own_area=view.area != weak.area) for view in views]
    strong = clsa_operations(flags.strong_operations)
    return (
        first,
        *_picked("pick_weak", flags.pick_weak, views),
        *(
            dataclasses.replace(view, strong=strong)
            for view in _picked("pick_strong", flags.pick_strong, views)
        ),
    )


def divergence(
    flags: StrongViewFlags, weak: tf.Tensor, strong: tf.Tensor, bank: tf.Tensor
) -> tf.Tensor:
    """What one strong view has to learn from one weak view, by their similarities to a bank.

    Args:
      flags: the flags.
      weak: (n, d), of any length; rows are normalised here.
      strong: (n, d) likewise, of the same images.
      bank: (entries, d) rows of length 1. No gradient reaches it.

    Returns:
      A float32 scalar, the mean over rows; see `losses.divergence`.
    """
    bank = tf.stop_gradient(bank) / flags.divergence_temperature
    rows = (tf.math.l2_normalize(of_view, axis=1) for of_view in (weak, strong))
    return losses.divergence(*(tf.matmul(of_view, bank, transpose_b=True) for of_view in rows))


def _small(size):
    return max(8, round(size * 3 / 7))  # 96 of 224


def _resized(view, size, low, high):
    if (size, low, high) == (view.size, *view.area):
        return view
    return dataclasses.replace(view, size=size, area=(low, high), covered=0.0)


def _numbers(name: str, text: str, kind: type) -> list:
    try:
        return [kind(word) for word in text.split(",")] if text else []
    except ValueError:
        raise UserError(f"--{name} are numbers with commas between. Received: {text}.") from None


def _picked(name: str, text: str, views: Sequence[View]) -> list[View]:
    places = _numbers(name, text, int)
    if not places or not all(0 <= place < len(views) for place in places):
        raise UserError(
            f"--{name} are places in --crop_sizes, counted from 0 to {len(views) - 1}, with commas "
            f"between. Received: {text}."
        )
    return [views[place] for place in places]
