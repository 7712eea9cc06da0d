"""Views with which the SimCLR paper studies transforms: some alone, or one besides its own."""

import dataclasses
from typing import Any

from simclr_tf.data.recipe import ORDER, Recipe, View, ViewFlags
from simclr_tf.errors import UserError, did_you_mean
from simclr_tf.flag import flag

_NONE = {"flip_probability": 0.0, "jitter_probability": 0.0, "grayscale_probability": 0.0}
_NONE |= {"blur_probability": 0.0}
# The stages of a view that a transform is, and the fields by which the view undergoes it. Blur and
# colour are those of appendix A.
_STAGES: dict[str, tuple[str, ...]] = {
    "crop": ("recrop",),
    "cutout": ("cutout",),
    "color": ("jitter", "grayscale"),
    "sobel": ("sobel",),
    "noise": ("noise",),
    "blur": ("blur",),
    "rotate": ("rotation",),
}
TRANSFORMS = tuple(_STAGES)
_FIELDS: dict[str, dict[str, Any]] = {
    "crop": {"recrop_probability": 1.0},
    "cutout": {"cutout_probability": 1.0},
    "color": {"jitter_probability": 1.0, "grayscale_probability": 0.2},
    "sobel": {"sobel_probability": 1.0},
    "noise": {"noise_probability": 1.0},
    "blur": {"blur_probability": 1.0},
    "rotate": {"rotation_probability": 0.75},
}
# Half of the views have what is added in table 3, and all four angles are equally likely.
_ADDED = {
    "rotate": {"rotation_probability": 0.75},
    "noise": {"noise_probability": 0.5},
    "sobel": {"sobel_probability": 0.5},
}


@dataclasses.dataclass(frozen=True)
class StudiedViewFlags:
    """Views with which the paper studies transforms."""

    transforms: str = flag(
        "",
        "What the first view undergoes, in this order, after a crop that it shares with the "
        "second, which undergoes nothing else (figure 5): some of "
        f"{', '.join(TRANSFORMS)}, with commas between. By default both views are the method's.",
    )
    added_transform: str = flag(
        "none",
        "What views may undergo besides, after everything else (table 3): a rotation by a multiple "
        "of 90 degrees, or half of the time noise or Sobel's filter.",
        choices=("none", *_ADDED),
    )


def require_transforms(flags: StudiedViewFlags, view: ViewFlags) -> None:
    """Refuse flags of all views that switch off what --transforms names.

    Raises:
      UserError: one does.
    """
    switched_off = {
        "blur": None if view.use_blur else "--use_blur=False",
        "color": None if view.color_jitter_strength else "--color_jitter_strength=0",
    }
    for name in flags.transforms.split(","):
        if switch := switched_off.get(name):
            raise UserError(
                f"--transforms={flags.transforms} names {name}, which {switch} switches off. Leave "
                "one of them out."
            )


def studied_recipe(flags: StudiedViewFlags, view: View) -> Recipe:
    """The two views that the flags describe.

    Args:
      flags: the flags.
      view: the method's own.

    Raises:
      UserError: the flags name no transform, or do not fit together.
    """
    if not flags.transforms:
        return (dataclasses.replace(view, **_ADDED.get(flags.added_transform, {})),) * 2
    names = flags.transforms.split(",")
    for name in names:
        if name not in _STAGES:
            raise UserError(
                f"--transforms are some of {', '.join(TRANSFORMS)}, with commas between. Received: "
                f"{flags.transforms}.{did_you_mean(name, TRANSFORMS)}"
            )
    if len(set(names)) < len(names) or flags.added_transform != "none":
        raise UserError(
            "--transforms names each transform once, and goes without --added_transform. Received: "
            f"{flags.transforms} and {flags.added_transform}."
        )
    stages = [stage for name in names for stage in _STAGES[name]]
    fields = {field: value for name in names for field, value in _FIELDS[name].items()}
    plain = dataclasses.replace(view, **_NONE)
    transformed = dataclasses.replace(
        plain,
        order=(*stages, *(stage for stage in ORDER if stage not in stages)),
        blur_radius=max(1, view.radius),  # which small views would not have
        **fields,
    )
    return transformed, dataclasses.replace(plain, shared_crop=True)
