"""The variables of a network, known without building it, and what the original calls them.

One walk over the architecture gives every variable's path in our networks, its
shape, its name in the original's TF1 checkpoints and its path in the object graph
of the original's TF2 checkpoints. TF1 names count convolutions and batch norms in
the order of construction, which is the order of this walk. The projection head has the
original's names whatever its layers are; the original has a head of one layer as the linear one.
Where there is a ResNet for each of several groups of planes, which the original has not, all are
numbered on.
"""

from collections.abc import Iterator
from typing import NamedTuple

from simclr_tf.checkpoints.variable_paths import paths_in
from simclr_tf.models import Architecture
from simclr_tf.models.own_encoder import rebuilt
from simclr_tf.models.resnet import DEPTHS


class Variable(NamedTuple):
    """A variable: its path in our networks, its shape and the original's two names."""

    path: str
    shape: tuple[int, ...]
    tf1: str
    tf2: str


class Layer(NamedTuple):
    """A layer that has variables; `kernel` is None for a batch norm."""

    path: str
    tf2: str
    channels: int
    kernel: tuple[int, ...] | None = None
    bias: bool = False
    gamma: bool = True
    beta: bool = True

    def variables(self, tf1: str) -> Iterator[Variable]:
        """The layer's variables, under the name `tf1` that the layer has in TF1."""
        if self.kernel is None:
            has = {"gamma": self.gamma, "beta": self.beta}
            names = ["gamma", "beta", "moving_mean", "moving_variance"]
            shapes = {name: (self.channels,) for name in names if has.get(name, True)}
        else:
            shapes = {"kernel": (*self.kernel, self.channels)}
            shapes |= {"bias": (self.channels,)} if self.bias else {}
        for name, shape in shapes.items():
            yield Variable(f"{self.path}/{name}", shape, f"{tf1}/{name}", f"{self.tf2}/{name}")


def network_variables(architecture: Architecture) -> list[Variable]:
    """Every variable of `Network(architecture)`; see the module's docstring."""
    variables = list(encoder_variables(architecture))
    number = len(architecture.channels)
    heads = [f"heads/{i}/" for i in range(number)] if architecture.encoder == "lab" else [""]
    width = architecture.feature_dim // number
    widths = [width, *(layer.units or width for layer in architecture.kept_projector)]
    for head in heads:
        variables += _head_variables(architecture, head, widths)
    if architecture.num_classes is not None:
        head = Layer(
            "supervised_head",
            "supervised_head/linear_layer/dense",
            architecture.num_classes,
            kernel=(number * widths[architecture.ft_proj_selector],),
            bias=True,
        )
        variables += head.variables("head_supervised/linear_layer/dense")
    return variables


def _head_variables(architecture: Architecture, head: str, widths: list[int]) -> Iterator[Variable]:
    """The variables of a projection head, of the only one or of `heads/I/`."""
    scope = "l" if len(architecture.projector) == 1 else "nl"
    for i, layer in enumerate(architecture.kept_projector):
        inputs, outputs = widths[i : i + 2]
        ours, tf2 = f"projection_head/{head}layers/{i}", f"_projection_head/{head}linear_layers/{i}"
        tf1 = f"head_contrastive/{head}{scope}_{i}"
        dense = Layer(f"{ours}/dense", f"{tf2}/dense", outputs, (inputs,), layer.bias)
        yield from dense.variables(f"{tf1}/dense")
        if layer.norm:
            norm = Layer(
                f"{ours}/norm", f"{tf2}/bn_relu/bn", outputs, gamma=layer.scale, beta=layer.center
            )
            yield from norm.variables(f"{tf1}/batch_normalization")


def encoder_variables(architecture: Architecture) -> Iterator[Variable]:
    """The variables of the encoder, in the order of construction.

    Those of an own encoder have the same name everywhere; it has to be built to know them.
    """
    if architecture.encoder == "keras":
        encoder = rebuilt(architecture.keras_model, "The encoder")
        for path, variable in paths_in(encoder, "encoder").items():
            yield Variable(path, tuple(variable.shape), path, path)
        return
    counts = {"conv2d": 0, "batch_normalization": 0}
    for layer in encoder_layers(architecture):
        kind = "batch_normalization" if layer.kernel is None else "conv2d"
        number = f"_{counts[kind]}" if counts[kind] else ""
        counts[kind] += 1
        yield from layer.variables(f"base_model/{kind}{number}")


def encoder_layers(architecture: Architecture) -> Iterator[Layer]:
    """The convolutions and batch norms of the encoder, in the order of construction."""
    for i, channels in enumerate(architecture.channels):
        for layer in _resnet_layers(architecture, channels):
            if architecture.encoder != "lab":
                yield layer
            else:
                path = layer.path.replace("encoder/", f"encoder/streams/{i}/", 1)
                yield layer._replace(path=path, tf2=f"streams/{i}/{layer.tf2}")


def _resnet_layers(architecture: Architecture, channels: int) -> Iterator[Layer]:
    """The layers of a ResNet that sees images of so many channels."""
    bottleneck, block_counts = DEPTHS[architecture.resnet_depth]
    yield from _stem(architecture, channels)
    channels = 64 * architecture.width_multiplier
    for g, count in enumerate(block_counts):
        filters = architecture.block_filters * 2**g
        for b in range(count):
            layers = _block(architecture, filters, channels, first=b == 0, strided=b == 0 and g > 0)
            for layer in layers:
                yield layer._replace(
                    path=f"encoder/groups/{g}/{b}/{layer.path}",
                    tf2=f"resnet_model/block_groups/{g}/layers/{b}/{layer.tf2}",
                )
            channels = 4 * filters if bottleneck else filters


def _conv(path: str, tf2: str, size: int, inputs: int, outputs: int, bias: bool = False) -> Layer:
    return Layer(path, tf2, outputs, kernel=(size, size, inputs), bias=bias)


def _stem(architecture: Architecture, inputs: int) -> Iterator[Layer]:
    width = 64 * architecture.width_multiplier
    if architecture.cifar_stem:
        sizes = [(3, width)]
    elif architecture.sk_ratio > 0:
        sizes = [(3, width // 2), (3, width // 2), (3, width)]
    else:
        sizes = [(7, width)]
    for i, (size, outputs) in enumerate(sizes):
        identity = i == len(sizes) - 1  # the original has a layer here that names its input
        tf2 = "resnet_model/initial_conv_relu_max_pool"
        yield _conv(
            f"encoder/stem/convolutions/{i}", f"{tf2}/{2 * i}/conv2d", size, inputs, outputs
        )
        yield Layer(f"encoder/stem/norms/{i}", f"{tf2}/{2 * i + 1 + identity}/bn", outputs)
        inputs = outputs


def _block(
    architecture: Architecture, filters: int, channels: int, first: bool, strided: bool
) -> Iterator[Layer]:
    bottleneck = DEPTHS[architecture.resnet_depth][0]
    outputs = 4 * filters if bottleneck else filters
    if first:
        # With sk_ratio the original pads (if strided) and pools before it projects.
        i = 1 + strided if architecture.sk_ratio > 0 else 0
        tf2 = "projection_layers" if bottleneck else "shortcut_layers"
        yield _conv("shortcut/convolution", f"{tf2}/{i}/conv2d", 1, channels, outputs)
        yield Layer("shortcut/norm", f"{tf2}/{i + 1}/bn", outputs)
    main = _bottleneck_branch if bottleneck else _basic_branch
    yield from main(architecture, filters, channels)


def _basic_branch(architecture: Architecture, filters: int, channels: int) -> Iterator[Layer]:
    tf2 = "conv2d_bn_layers"
    yield _conv("convolution1", f"{tf2}/0/conv2d", 3, channels, filters)
    yield Layer("norm1", f"{tf2}/1/bn", filters)
    yield _conv("convolution2", f"{tf2}/2/conv2d", 3, filters, filters)
    yield Layer("norm2", f"{tf2}/3/bn", filters)
    yield from _squeeze_excitation(architecture, "se_layer", filters, filters)


def _bottleneck_branch(architecture: Architecture, filters: int, channels: int) -> Iterator[Layer]:
    tf2 = "conv_relu_dropblock_layers"
    yield _conv("convolution1", f"{tf2}/0/conv2d", 1, channels, filters)
    yield Layer("norm1", f"{tf2}/1/bn", filters)
    if architecture.sk_ratio > 0:
        ours, unit = "selective", f"{tf2}/3"
        middle = max(int(filters * architecture.sk_ratio), 32)
        conv = f"{unit}/conv2d_fixed_padding/conv2d"
        yield _conv(f"{ours}/convolution", conv, 3, filters, 2 * filters)
        yield Layer(f"{ours}/norm", f"{unit}/batch_norm_relu/bn", 2 * filters)
        yield _conv(f"{ours}/squeeze", f"{unit}/conv2d_0", 1, filters, middle)
        yield Layer(f"{ours}/squeeze_norm", f"{unit}/batch_norm_relu_1/bn", middle)
        yield _conv(f"{ours}/excite", f"{unit}/conv2d_1", 1, middle, 2 * filters)
        i = 5
    else:
        yield _conv("convolution2", f"{tf2}/3/conv2d", 3, filters, filters)
        yield Layer("norm2", f"{tf2}/4/bn", filters)
        i = 6
    yield _conv("convolution3", f"{tf2}/{i}/conv2d", 1, filters, 4 * filters)
    yield Layer("norm3", f"{tf2}/{i + 1}/bn", 4 * filters)
    yield from _squeeze_excitation(architecture, f"{tf2}/{i + 3}", filters, 4 * filters)


def _squeeze_excitation(
    architecture: Architecture, tf2: str, filters: int, channels: int
) -> Iterator[Layer]:
    if architecture.se_ratio > 0:
        middle = max(1, int(filters * architecture.se_ratio))
        yield _conv("attention/squeeze", f"{tf2}/se_reduce", 1, channels, middle, bias=True)
        yield _conv("attention/excite", f"{tf2}/se_expand", 1, middle, channels, bias=True)
