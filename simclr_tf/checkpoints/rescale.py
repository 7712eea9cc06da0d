"""The scale of convolution weights, in which SimCLRv1's checkpoints differ from SimCLRv2's."""

import itertools
from collections.abc import Mapping

import numpy as np

from simclr_tf.checkpoints.layout import Layer, encoder_layers
from simclr_tf.models import Architecture

# SimCLRv1's convolution weights are on average this much larger than SimCLRv2's.
V1_TO_V2 = 16.8
# From this size on, relative to initialisation, weights are taken for SimCLRv1's: the geometric
# middle between 1 and 16.8.
V1_FROM = 4.1


def convolution_norms(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How large the encoder's convolution kernels are, by path, relative to initialisation.

    Each is the root mean square of the kernel times sqrt(fan_in), which is 1 for a kernel
    just initialised.
    """
    norms = {}
    for path, array in arrays.items():
        if path.startswith("encoder/") and path.endswith("/kernel"):
            fan_in = np.prod(array.shape[:-1])
            norms[path] = float(np.sqrt(np.mean(np.square(array, dtype=np.float64)) * fan_in))
    return norms


def typical_convolution_norm(arrays: Mapping[str, np.ndarray]) -> float:
    """The median of `convolution_norms`; nan without convolutions."""
    norms = list(convolution_norms(arrays).values())
    return float(np.median(norms)) if norms else float("nan")


def rescale_v1_weights(
    arrays: Mapping[str, np.ndarray],
    architecture: Architecture,
    factor: float = V1_TO_V2,
    epsilon: float = 1e-5,
) -> dict[str, np.ndarray]:
    """Divide every convolution that a batch norm follows by `factor`; the function stays.

    The batch norm's moving statistics follow, and its gamma makes up for the epsilon that
    is added to the smaller variance. So the outputs in inference mode are exactly those of
    before, but for rounding; in training mode they differ by the order of epsilon.

    Args:
      arrays: values by path. A convolution that is not there with all of its batch norm
        stays as it is.
      architecture: that of the arrays.
      factor: what to divide by.
      epsilon: of the batch norms.
    """
    rescaled = dict(arrays)
    for kernel, norm in _normalized_convolutions(architecture):
        needed = [kernel, *(f"{norm}/{n}" for n in ("gamma", "moving_mean", "moving_variance"))]
        if not all(path in arrays for path in needed):
            continue
        variance = arrays[f"{norm}/moving_variance"] / np.float32(factor) ** 2
        larger = variance * np.float32(factor) ** 2 + np.float32(epsilon)
        correction = np.sqrt((variance + np.float32(epsilon)) / larger) * np.float32(factor)
        rescaled[kernel] = arrays[kernel] / np.float32(factor)
        rescaled[f"{norm}/moving_mean"] = arrays[f"{norm}/moving_mean"] / np.float32(factor)
        rescaled[f"{norm}/moving_variance"] = variance
        rescaled[f"{norm}/gamma"] = arrays[f"{norm}/gamma"] * correction
    return rescaled


def _normalized_convolutions(architecture: Architecture) -> list[tuple[str, str]]:
    """(path of the kernel, path of the batch norm) of convolutions that a batch norm follows."""
    layers = list(encoder_layers(architecture))

    def is_norm(layer: Layer) -> bool:
        return layer.kernel is None

    return [
        (f"{layer.path}/kernel", following.path)
        for layer, following in itertools.pairwise(layers)
        if not is_norm(layer) and is_norm(following)
    ]
