"""Independent NumPy transcriptions of what the tests compare with."""

import numpy as np

# Augmentations (SimCLR, arXiv 2002.05709, appendix A), in float64


def adjust_contrast(image, factor):
    """Scale the distance from each channel's mean; image (h, w, 3)."""
    mean = image.mean(axis=(0, 1))
    return mean + factor * (image - mean)


def _hue(image):
    """The hue in [0, 6): 0 red, 2 green, 4 blue; 0 where the image is grey."""
    red, green, blue = np.moveaxis(image, -1, 0)
    high = image.max(axis=-1)
    span = np.where(high > image.min(axis=-1), high - image.min(axis=-1), 1.0)
    hue = np.where(
        high == red,
        (green - blue) / span,
        np.where(high == green, 2 + (blue - red) / span, 4 + (red - green) / span),
    )
    return hue % 6


def _from_hue(hue, low, high):
    """The colour of this hue whose smallest channel is `low` and largest `high`."""
    shares = np.stack([np.abs(hue - 3) - 1, 2 - np.abs(hue - 2), 2 - np.abs(hue - 4)], axis=-1)
    return low[..., None] + (high - low)[..., None] * shares.clip(0, 1)


def adjust_saturation(image, factor):
    """Multiply (max - min) / max by the factor, at most to 1, keeping hue and max."""
    high, low = image.max(axis=-1), image.min(axis=-1)
    saturation = np.divide(high - low, high, out=np.zeros_like(high), where=high > 0)
    saturation = (factor * saturation).clip(0, 1)
    return _from_hue(_hue(image), high * (1 - saturation), high)


def adjust_hue(image, delta):
    """Turn the hue by `delta` of the circle, keeping max and min."""
    return _from_hue((_hue(image) + 6 * delta) % 6, image.min(axis=-1), image.max(axis=-1))


def color_jitter(image, factors, order, mode="multiply"):
    """The four colour changes in the given order, each followed by a clip to [0, 1]."""
    brightness, contrast, saturation, hue = np.asarray(factors, np.float64)
    image = np.asarray(image, np.float64)
    for operation in order:
        if operation == 0:
            image = image * brightness if mode == "multiply" else image + brightness
        elif operation == 1:
            image = adjust_contrast(image, contrast)
        elif operation == 2:
            image = adjust_saturation(image, saturation)
        else:
            image = adjust_hue(image, hue)
        image = image.clip(0, 1)
    return image


def to_grayscale(image):
    """The luma of Rec. 601 in all three channels."""
    luma = np.asarray(image, np.float64) @ [0.2989, 0.5870, 0.1140]
    return np.repeat(luma[..., None], 3, axis=-1)


def gaussian_blur(image, kernel_size, sigma):
    """Correlate an image (h, w, 3) with the two-dimensional Gaussian, zeros outside."""
    radius = kernel_size // 2
    offsets = np.arange(-radius, radius + 1)
    taps = np.exp(-(offsets**2) / (2.0 * sigma**2))
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    height, width, _ = image.shape
    padded = np.pad(np.asarray(image, np.float64), ((radius, radius), (radius, radius), (0, 0)))
    return sum(
        kernel[y, x] * padded[y : y + height, x : x + width]
        for y in range(len(taps))
        for x in range(len(taps))
    )
