"""The architecture of a network whose variables' names and shapes are known.

Every architecture that the original can build is tried, and the one whose variables
agree best with the file's is taken. A file with one variable renamed is still
recognised, so that restoring can name the variable that is missing.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping

from simclr_tf.checkpoints.layout import encoder_variables
from simclr_tf.errors import UserError
from simclr_tf.models import Architecture, simclr_projector
from simclr_tf.models.resnet import DEPTHS

# What the variables of each part begin with, in the original's two ways to name them and in ours.
SCOPES = {
    "tf1": {"encoder": "base_model/", "stem": "conv2d/kernel"},
    "tf2": {
        "encoder": "resnet_model/",
        "stem": "initial_conv_relu_max_pool/0/conv2d/kernel",
    },
    "path": {
        "encoder": "encoder/",
        "stem": "stem/convolutions/0/kernel",
    },
}
PROJECTION_LAYER = re.compile(
    r"(head_contrastive/(?:nl|l)|_projection_head/linear_layers|projection_head/layers)"
    r"[_/](?P<index>\d{1,3})/"
)
SUPERVISED_HEAD = {
    "tf1": "head_supervised/linear_layer/dense",
    "tf2": "supervised_head/linear_layer/dense",
    "path": "supervised_head",
}
DEFAULT_SK_RATIO = 0.0625
DEFAULT_SE_RATIO = 0.25
# The least share of the file's encoder variables that has to fit.
LEAST_AGREEMENT = 0.5


def infer_architecture(shapes: Mapping[str, tuple[int, ...]], naming: str) -> Architecture:
    """The architecture that the variables of a file belong to.

    Where shapes leave it open, `sk_ratio` is 0.0625 if that gives the widths of the file,
    and `ft_proj_selector` is 0. Decay of batch norm and `global_bn` are not in the file and
    keep their defaults; the projection head is taken for SimCLR's. TF1 files of depths 18 and 34
    never have selective kernels: the original's TF1 code cannot build those networks.

    Args:
      shapes: shape of every variable of the file that is a weight, by its name.
      naming: "tf1" or "tf2", the original's ways to make names, or "path", ours.

    Raises:
      UserError: this is not an encoder of SimCLR, or there are several.
    """
    if any(name.startswith("encoder/streams/") for name in shapes):
        raise UserError(
            "There are several encoders, and their shapes do not tell what each sees. Put the JSON "
            "file beside it that was written with it."
        )
    scope = SCOPES[naming]["encoder"]
    encoder = {name: shape for name, shape in shapes.items() if name.startswith(scope)}
    scores = {a: _agreement(a, encoder, naming) for a in _candidates(encoder, naming)}
    best = max(scores, key=scores.get, default=None)
    if best is None or scores[best] < LEAST_AGREEMENT * len(encoder):
        raise UserError(
            f"The variables under {scope} belong to no ResNet that SimCLR has: depths "
            f"{', '.join(map(str, DEPTHS))}, whole width multipliers. "
            f"Received {len(encoder)} variables, such as {', '.join(list(encoder)[:2])}."
        )
    return _with_supervised_head(_with_projection_head(best, shapes), shapes, naming)


def _candidates(encoder: Mapping[str, tuple], naming: str) -> Iterator[Architecture]:
    first = encoder.get(SCOPES[naming]["encoder"] + SCOPES[naming]["stem"], (7, 7, 3, 64))
    widths = [w for w in (first[-1] // 64, first[-1] // 32) if w > 0]
    for depth, width, cifar, selective, squeeze in itertools.product(
        DEPTHS, dict.fromkeys(widths), (True, False), (False, True), (False, True)
    ):
        yield _with_ratios(
            Architecture(
                resnet_depth=depth,
                width_multiplier=width,
                cifar_stem=cifar,
                sk_ratio=DEFAULT_SK_RATIO if selective else 0.0,
                se_ratio=DEFAULT_SE_RATIO if squeeze else 0.0,
            ),
            encoder,
            naming,
        )


def _with_ratios(a: Architecture, encoder: Mapping[str, tuple], naming: str) -> Architecture:
    """Correct the assumed ratios by the widths of the last group, which show them best."""
    filters = 64 * a.width_multiplier * 8
    for field, unit in (("sk_ratio", "selective"), ("se_ratio", "attention")):
        if not getattr(a, field):
            continue
        for variable in encoder_variables(a):
            if not variable.path.startswith("encoder/groups/3/"):
                continue
            found = encoder.get(getattr(variable, naming))
            if variable.path.endswith(f"{unit}/squeeze/kernel") and found:
                if found[-1] != variable.shape[-1]:
                    # A little more, so that int(filters * ratio) is not one too small.
                    a = dataclasses.replace(a, **{field: (found[-1] + 1e-6) / filters})
                break
    return a


def _agreement(a: Architecture, encoder: Mapping[str, tuple], naming: str) -> int:
    """Variables that fit, less those that are missing, superfluous or of another shape."""
    expected = {getattr(v, naming): v.shape for v in encoder_variables(a)}
    fitting = sum(encoder.get(name) == shape for name, shape in expected.items())
    return fitting - len(expected.keys() | encoder.keys()) + fitting


def _with_projection_head(a: Architecture, shapes: Mapping[str, tuple]) -> Architecture:
    layers = {}
    for name in shapes:
        if match := PROJECTION_LAYER.match(name):
            layers[int(match["index"])] = match[0]
    if not layers:
        return dataclasses.replace(a, projector=())
    last = layers[max(layers)]
    widths = [shape[-1] for name, shape in shapes.items() if name.startswith(last)]
    projector = simclr_projector("nonlinear", max(layers) + 1, widths[0])
    return dataclasses.replace(a, projector=projector)


def _with_supervised_head(
    a: Architecture, shapes: Mapping[str, tuple], naming: str
) -> Architecture:
    kernel = shapes.get(f"{SUPERVISED_HEAD[naming]}/kernel")
    if kernel is None:
        return a
    a = dataclasses.replace(a, num_classes=kernel[1])
    is_projection = a.projector and kernel[0] == a.projector[-1].units
    if is_projection and kernel[0] != a.feature_dim:
        return dataclasses.replace(a, ft_proj_selector=len(a.projector))
    return a
