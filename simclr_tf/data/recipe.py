"""What becomes of an image, as data: a view is what the encoder sees, a recipe is all its views."""

import dataclasses
from typing import Any

import numpy as np

from simclr_tf.data.rand_augment import StrongOperations
from simclr_tf.errors import UserError
from simclr_tf.flag import flag

SMALLEST, LARGEST = 8, 8192  # pixels of the height and width of a view
# What a view may undergo after its crop, in this order where it says no other. The further ones
# come last, where an order does not name them.
ORDER = ("jitter", "grayscale", "blur", "solarize")
FURTHER = ("recrop", "cutout", "sobel", "noise", "rotation", "strong")
_CHOICES = {
    "fit": ("sampler", "clamp", "tries"),
    "interpolation": ("bicubic", "bilinear"),
    "brightness": ("multiply", "add"),
    "colors": ("hsv", "blend"),
    "blur_border": ("zeros", "edge", "reflected"),
    "blur_sigma_per": ("image", "batch"),
}


@dataclasses.dataclass(frozen=True)
class View:
    """One view of an image. The defaults are SimCLR's (arXiv 2002.05709, appendix A).

    Attributes:
      size: height and width, in pixels.
      area: share of the image that the crop has, from and to. None is the view of evaluation,
        and everything below is left out.
      own_area: whether flags of its method say the area, so that --min_crop_area does not.
      covered: share of the image that every crop has at least; small crops need 0.
      aspect: width / height of the crop, from and to.
      fit: how the crop is drawn, and what becomes of one that is larger than the image.
        "sampler": the aspect, then a height among those that fit, as TensorFlow's; "clamp": the
        area, then the logarithm of the aspect, and sides are cut to the image, as in BYOL;
        "tries": likewise, but ten times, then the largest central crop, as in torchvision.
      interpolation: "bicubic" or "bilinear".
      antialias: whether pixels are averaged where the crop is made smaller.
      clip_crop: whether what bicubic interpolation shot over is cut off at once.
      flip_probability: of the flip from left to right.
      jitter_probability: of the colour jitter.
      jitter: how far brightness, contrast, saturation and hue may be from what changes nothing.
      brightness: "multiply" or "add".
      colors: "hsv": contrast is the distance from the mean of a channel, saturation that of HSV;
        "blend": both blend with grey, as in PIL and torchvision.
      grayscale_probability: of losing the colours.
      blur_probability: of the Gaussian blur.
      blur_sigmas: its standard deviation, uniform from and to, in pixels.
      blur_radius: of its kernel, in pixels; None is a twentieth of the view.
      blur_border: what lies outside of the view: "zeros", the "edge", or the view "reflected".
      blur_sigma_per: whether sigma is drawn for each "image", or once for each "batch".
      solarize_probability: of inverting what is brighter than one half.
      recrop_probability: of a second crop and resize, of what the first one shows, with the same
        area and aspect, and flipped half of the time.
      cutout_probability: of a grey square at a random place.
      cutout_side: its side, as a share of the view's.
      sobel_probability: of showing edges instead: of each channel, how steep it is.
      noise_probability: of independent Gaussian noise in every number of every pixel.
      noise_deviation: its standard deviation.
      rotation_probability: of a rotation by 90, 180 or 270 degrees.
      strong: strong operations that are drawn besides, if any.
      order: in which they come: all of `ORDER`, and those of `FURTHER` that are not last.
      shared_crop: whether it shows the same part of the image as the first view.
      crop_drawn_first: whether the crop draws from the first of two streams of random numbers and
        all else from the second, as in fine-tuning, or the other way round. The first view of a
        recipe says it for all.

    Raises:
      UserError: a value cannot be.
    """

    size: int
    area: tuple[float, float] | None = (0.08, 1.0)
    own_area: bool = False
    covered: float = 0.1
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    fit: str = "sampler"
    interpolation: str = "bicubic"
    antialias: bool = False
    clip_crop: bool = False
    flip_probability: float = 0.5
    jitter_probability: float = 0.8
    jitter: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.2)
    brightness: str = "multiply"
    colors: str = "hsv"
    grayscale_probability: float = 0.2
    blur_probability: float = 0.5
    blur_sigmas: tuple[float, float] = (0.1, 2.0)
    blur_radius: int | None = None
    blur_border: str = "zeros"
    blur_sigma_per: str = "image"
    solarize_probability: float = 0.0
    recrop_probability: float = 0.0
    cutout_probability: float = 0.0
    cutout_side: float = 0.5
    sobel_probability: float = 0.0
    noise_probability: float = 0.0
    noise_deviation: float = 0.1
    rotation_probability: float = 0.0
    strong: StrongOperations | None = None
    order: tuple[str, ...] = ORDER
    shared_crop: bool = False
    crop_drawn_first: bool = False

    def __post_init__(self):
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(
                    f"{name} of a view is one of {', '.join(choices)}. "
                    f"Received: {getattr(self, name)}."
                )
        if sorted({*self.order, *FURTHER}) != sorted((*ORDER, *FURTHER)) or (
            len(set(self.order)) < len(self.order)
        ):
            raise UserError(
                f"The order of a view has all of {', '.join(ORDER)}, each once, and may have "
                f"{', '.join(FURTHER)}: {self.order}."
            )
        for name, value in vars(self).items():
            if name.endswith("_probability") and not 0 <= value <= 1:
                raise UserError(f"{name} of a view lies in [0, 1]. Received: {value}.")
        if self.area is not None and not 0 < self.area[0] <= self.area[1] <= 1:
            raise UserError(f"The area of a view lies in (0, 1]. Received: {self.area}.")
        *factors, hue = self.jitter
        if not (all(0 <= extent <= 1 for extent in factors) and 0 <= hue <= 0.5):
            raise UserError(
                "The jitter of a view lies in [0, 1], where no factor is negative, and the hue's "
                f"in [0, 0.5]. Received: {self.jitter}, with --color_jitter_strength in it."
            )
        if not 0 < self.blur_sigmas[0] <= self.blur_sigmas[1]:
            raise UserError(
                f"The blur_sigmas of a view rise above 0. Received: {self.blur_sigmas}."
            )
        if not 0 < self.cutout_side <= 1 or self.noise_deviation < 0:
            raise UserError(
                "The cutout_side of a view lies in (0, 1], and its noise_deviation is not "
                f"negative. Received: {self.cutout_side} and {self.noise_deviation}."
            )

    @property
    def stages(self) -> tuple[str, ...]:
        """All that a view may undergo, in order."""
        return (*self.order, *(stage for stage in FURTHER if stage not in self.order))

    @property
    def radius(self) -> int:
        """The radius of the blur's kernel, in pixels."""
        return self.size // 10 // 2 if self.blur_radius is None else self.blur_radius

    def __str__(self) -> str:
        """In words, such as "224 px, 8-100%"."""
        if self.area is None:
            return f"{self.size} px, as in evaluation"
        low, high = self.area
        strong = ", strong" if self.strong else ""
        return f"{self.size} px, {100 * low:.3g}-{100 * high:.3g}%{strong}"


Recipe = tuple[View, ...]


@dataclasses.dataclass(frozen=True)
class ViewFlags:
    """How an image becomes the views that the encoder sees."""

    image_size: int = flag(
        224, "Height and width of a view, in pixels.", at_least=SMALLEST, at_most=LARGEST
    )
    color_jitter_strength: float = flag(
        1.0, "Strength of the colour jitter; 0 switches it off.", at_least=0, at_most=1.25
    )
    image_size_schedule: str = flag(
        "",
        "Views that grow during pretraining: sizes and the epochs up to which views have them, "
        "such as 16:60,24:80; afterwards they have --image_size. A method's views of other sizes "
        "shrink by the same factor.",
    )
    use_blur: bool = flag(True, "Blur views during pretraining, as the method does.")
    min_crop_area: float | None = flag(
        None,
        "Least share of the image that a crop of pretraining has; by default the method's own.",
        above=0,
        at_most=1,
    )
    blur_sigma: str = flag(
        "image",
        "Draw the blur's sigma for each image (as in the paper) or once for each batch of views "
        "(as the original's code does). Of SimCLR's views alone.",
        choices=_CHOICES["blur_sigma_per"],
    )
    brightness: str = flag(
        "multiply",
        "How brightness is jittered: multiply (SimCLRv2 and the original's tf2 code) or add "
        "(SimCLRv1). Of SimCLR's views alone.",
        choices=_CHOICES["brightness"],
    )
    finetune_augmentation: str = flag(
        "crop_flip",
        "What fine-tuning shows: crop_flip (as in the papers), pretrain (colour jitter, greyscale "
        "and blur besides), or none (the images as evaluation shows them).",
        choices=("crop_flip", "pretrain", "none"),
    )


def adjusted(recipe: Recipe, flags: ViewFlags) -> Recipe:
    """A recipe with --color_jitter_strength, --use_blur and --min_crop_area.

    They act on every method's. Strength 0 switches greyscale off with the jitter; the least area
    is that of views of --image_size without an area of their own.

    Args:
      recipe: any views.
      flags: the flags.
    """
    strength = np.float32(flags.color_jitter_strength)
    changes = {} if flags.use_blur else {"blur_probability": 0.0}
    if strength == 0:
        changes |= {"jitter_probability": 0.0, "grayscale_probability": 0.0}

    def change(view: View) -> View:
        jitter = tuple(float(strength * np.float32(extent)) for extent in view.jitter)
        area = view.area
        whole = view.size == flags.image_size and not view.own_area
        if area is not None and flags.min_crop_area and whole:
            area = (flags.min_crop_area, area[1])
        return dataclasses.replace(view, jitter=jitter, area=area, **changes)

    return tuple(map(change, recipe))


def scaled(recipe: Recipe, size: int, full_size: int) -> Recipe:
    """The same views where those of `full_size` have `size` instead, and others in proportion.

    Sizes are whole, at least one pixel. What is said in pixels stays: the sigmas of a blur, and a
    `blur_radius`.

    Args:
      recipe: any views.
      size, full_size: height and width, in pixels.
    """
    return tuple(
        dataclasses.replace(view, size=max(1, round(view.size * size / full_size)))
        for view in recipe
    )


def simclr_recipe(flags: ViewFlags, number: int = 2) -> Recipe:
    """SimCLR's views: independent draws of the same.

    Args:
      flags: the flags.
      number: of views.
    """
    view = View(flags.image_size, brightness=flags.brightness, blur_sigma_per=flags.blur_sigma)
    return (view,) * number


def torchvision_view(size: int, **changes: Any) -> View:
    """A view made with torchvision's and PIL's operations, by default that of MoCo v2 and SimSiam.

    Args:
      size: height and width, in pixels.
      changes: what is otherwise, by the names of `View`.
    """
    values = {
        "area": (0.2, 1.0),
        "covered": 0.0,
        "fit": "tries",
        "interpolation": "bilinear",
        "antialias": True,
        "colors": "blend",
        "jitter": (0.4, 0.4, 0.4, 0.1),
        "blur_border": "edge",
        "blur_radius": 10,
    }
    return View(size, **values | changes)


def blurred_and_solarized(view: View) -> Recipe:
    """BYOL's two views (arXiv 2006.07733, appendix B): of one kind but for blur and solarisation.

    The first is always blurred, the second seldom, and sometimes solarised.

    Args:
      view: all else of both.
    """
    return (
        dataclasses.replace(view, blur_probability=1.0),
        dataclasses.replace(view, blur_probability=0.1, solarize_probability=0.2),
    )


def cropped(size: int) -> Recipe:
    """One view that is cropped and flipped, for training with labels (SimCLR appendix B.5)."""
    view = View(
        size,
        jitter_probability=0.0,
        grayscale_probability=0.0,
        blur_probability=0.0,
        crop_drawn_first=True,
    )
    return (view,)


def unchanged(size: int) -> Recipe:
    """One view, as evaluation shows it."""
    return (View(size, area=None),)


def finetuning_recipe(flags: ViewFlags) -> Recipe:
    """The one view of fine-tuning, as --finetune_augmentation says."""
    if flags.finetune_augmentation == "pretrain":
        return adjusted(simclr_recipe(flags, number=1), flags)
    return (unchanged if flags.finetune_augmentation == "none" else cropped)(flags.image_size)
