"""A plain PyTorch network with torchvision's names, written from docs/checkpoints.md alone.

Images are (batch, 3, height, width) in [0, 1].
"""

import torch
from torch import nn
from torch.nn import functional

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


def convolution(inputs, outputs, size, stride=1, bias=False):
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=bias)


class Pool(nn.Module):
    """2x2 average pooling, padded after: with stride 1 by the edge, with stride 2 by zeros."""

    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        x = functional.pad(x, (0, 1, 0, 1), mode="replicate" if self.stride == 1 else "constant")
        return functional.avg_pool2d(x, 2, self.stride)


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, middle):
        super().__init__()
        self.fc1 = convolution(channels, middle, 1, bias=True)
        self.fc2 = convolution(middle, channels, 1, bias=True)

    def forward(self, x):
        gate = self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu())
        return x * gate.sigmoid()


class Attention(nn.Module):
    def __init__(self, filters, middle):
        super().__init__()
        self.fc_reduce = convolution(filters, middle, 1)
        self.bn = nn.BatchNorm2d(middle)
        self.fc_select = convolution(middle, 2 * filters, 1)


class SelectiveKernel(nn.Module):
    def __init__(self, filters, stride, middle):
        super().__init__()
        self.conv = convolution(filters, 2 * filters, 3, stride)
        self.bn = nn.BatchNorm2d(2 * filters)
        self.attn = Attention(filters, middle)

    def forward(self, x):
        streams = torch.stack(self.bn(self.conv(x)).relu().chunk(2, dim=1))
        context = streams.sum(0).mean((2, 3), keepdim=True)
        context = self.attn.bn(self.attn.fc_reduce(context)).relu()
        weights = torch.stack(self.attn.fc_select(context).chunk(2, dim=1)).softmax(0)
        return (streams * weights).sum(0)


class Block(nn.Module):
    def __init__(self, inputs, filters, stride, first, bottleneck, sk_ratio, se_ratio):
        super().__init__()
        outputs = 4 * filters if bottleneck else filters
        self.downsample = None
        if first and sk_ratio:
            projection = convolution(inputs, outputs, 1), nn.BatchNorm2d(outputs)
            self.downsample = nn.Sequential(Pool(stride), *projection)
        elif first:
            projection = convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            self.downsample = nn.Sequential(*projection)
        self.bottleneck = bottleneck
        self.conv1 = convolution(inputs, filters, *((1, 1) if bottleneck else (3, stride)))
        self.bn1 = nn.BatchNorm2d(filters)
        if bottleneck and sk_ratio:
            self.conv2 = SelectiveKernel(filters, stride, max(int(filters * sk_ratio), 32))
        else:
            self.conv2 = convolution(filters, filters, 3, stride if bottleneck else 1)
            self.bn2 = nn.BatchNorm2d(filters)
        if bottleneck:
            self.conv3 = convolution(filters, outputs, 1)
            self.bn3 = nn.BatchNorm2d(outputs)
        self.se = SqueezeExcitation(outputs, max(1, int(filters * se_ratio))) if se_ratio else None

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn1(self.conv1(x)).relu()
        x = self.conv2(x)
        if not isinstance(self.conv2, SelectiveKernel):
            x = self.bn2(x)
        if self.bottleneck:
            x = self.bn3(self.conv3(x.relu()))  # a selective kernel's output is positive anyway
        if self.se is not None:
            x = self.se(x)
        return (x + shortcut).relu()


class ProjectionLayer(nn.Module):
    def __init__(self, inputs, outputs, bias, norm, center, scale, relu):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=bias)
        self.bn = nn.BatchNorm1d(outputs, affine=scale or center) if norm else nn.Identity()
        self.relu = relu

    def forward(self, x):
        x = self.bn(self.linear(x))
        return x.relu() if self.relu else x


class ResNet(nn.Module):
    """Arguments are entries of `architecture` in the JSON file beside the weights."""

    def __init__(
        self,
        resnet_depth,
        width_multiplier=1,
        sk_ratio=0.0,
        se_ratio=0.0,
        cifar_stem=False,
        projector=(),
        num_classes=None,
        input_mean=None,
        input_deviation=None,
        pool_padding="same",
        **_,
    ):
        super().__init__()
        self.input = None
        if input_mean:
            self.input = [torch.tensor(v)[:, None, None] for v in (input_mean, input_deviation)]
        self.pool_padding = pool_padding
        width = 64 * width_multiplier
        self.cifar_stem = cifar_stem
        if cifar_stem:
            self.conv1 = convolution(3, width, 3)
        elif sk_ratio:
            self.conv1 = nn.Sequential(
                convolution(3, width // 2, 3, 2),
                nn.BatchNorm2d(width // 2),
                nn.ReLU(),
                convolution(width // 2, width // 2, 3),
                nn.BatchNorm2d(width // 2),
                nn.ReLU(),
                convolution(width // 2, width, 3),
            )
        else:
            self.conv1 = convolution(3, width, 7, 2)
        self.bn1 = nn.BatchNorm2d(width)
        bottleneck = resnet_depth >= 50
        channels = width
        for g, count in enumerate(BLOCKS[resnet_depth]):
            filters, blocks = width * 2**g, []
            for b in range(count):
                stride = 2 if g > 0 and b == 0 else 1
                options = (stride, b == 0, bottleneck, sk_ratio, se_ratio)
                blocks.append(Block(channels, filters, *options))
                channels = 4 * filters if bottleneck else filters
            setattr(self, f"layer{g + 1}", nn.Sequential(*blocks))
        parts = ("bias", "norm", "center", "scale", "relu")
        widths = [channels, *(layer["units"] or channels for layer in projector)]
        self.projection_head = nn.Sequential(
            *(
                ProjectionLayer(*widths[i : i + 2], *(layer[part] for part in parts))
                for i, layer in enumerate(projector)
            )
        )
        if num_classes is not None:
            self.fc = nn.Linear(channels, num_classes)

    def forward(self, images):
        """(h, z, logits or None)."""
        if self.input:
            images = (images - self.input[0]) / self.input[1]
        x = self.bn1(self.conv1(images)).relu()
        if self.pool_padding == "symmetric" and not self.cifar_stem:
            x = functional.max_pool2d(x, 3, 2, padding=1)
        elif not self.cifar_stem:
            # TensorFlow's SAME: of an even size, one pixel is added after and none before.
            odd = [size % 2 for size in x.shape[2:]]
            x = functional.pad(x, (odd[1], 1, odd[0], 1))
            x = functional.max_pool2d(x, 3, 2)
        h = self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))
        return h, self.projection_head(h), self.fc(h) if hasattr(self, "fc") else None
