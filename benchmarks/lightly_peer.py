"""The methods of lightly, for methods.py; it runs in a Python that has lightly and PyTorch."""

import copy
import os
from collections.abc import Callable
from typing import Any

FEATURES = 512  # of a ResNet-18
METHODS = (
    *("simclr", "simclr_memory", "moco_v1", "moco", "byol", "simsiam", "barlow_twins", "vicreg"),
    "swav",
)


def settled_torch() -> Any:
    """PyTorch, as all benchmarks use it: with all cores, and denormal numbers as 0."""
    # Threads that wait for one another in a loop take the cores from those that they wait for,
    # where other programs run beside: a step took much longer. Read when PyTorch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import torch

    torch.set_num_threads(os.cpu_count())
    torch.set_flush_denormal(True)  # as TensorFlow does
    return torch


def build(
    method: str,
    batch_size: int,
    size: int,
    queue_size: int,
    target_decay: float,
    rate: float,
    weight_decay: float,
) -> Callable:
    """A function that makes a step on views of `size` pixels and returns the loss."""
    torch = settled_torch()
    import torchvision
    from torch import nn

    torch.manual_seed(0)
    encoder = torchvision.models.resnet18()
    encoder.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    encoder.maxpool = encoder.fc = nn.Identity()
    # SimCLR's ResNets, and so ours, project the first shortcut too.
    shortcut = nn.Conv2d(64, 64, 1, bias=False), nn.BatchNorm2d(64)
    encoder.layer1[0].downsample = nn.Sequential(*shortcut)
    trained, loss_of = objective(method, encoder, queue_size, target_decay)
    trained.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(trained.parameters(), rate, momentum=0.9, weight_decay=weight_decay)
    views = [
        torch.rand(batch_size, 3, size, size).to(memory_format=torch.channels_last)
        for _ in range(2)
    ]

    def step():
        loss = loss_of(*views)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def times_of_operations(step: Callable, steps: int) -> dict[str, float]:
    """The microseconds that each kind of operation takes by itself in so many steps."""
    from torch import profiler

    with profiler.profile(activities=[profiler.ProfilerActivity.CPU]) as found:
        for _ in range(steps):
            step()
    return {event.key: event.self_cpu_time_total for event in found.key_averages()}


def objective(method: str, encoder, queue_size: int, target_decay: float) -> tuple:
    """What lightly trains, a module, and a function from two views to the loss."""
    import torch
    from lightly import loss as losses
    from lightly.models import utils
    from lightly.models.modules import heads
    from torch import nn

    head = {
        "simclr": lambda: heads.SimCLRProjectionHead(FEATURES, FEATURES, 128),
        "simclr_memory": lambda: heads.SimCLRProjectionHead(FEATURES, FEATURES, 128),
        "moco_v1": lambda: heads.ProjectionHead([(FEATURES, 128, None, None)]),
        "moco": lambda: heads.MoCoProjectionHead(FEATURES, FEATURES, 128),
        "byol": lambda: heads.BYOLProjectionHead(FEATURES, 4096, 256),
        "simsiam": lambda: heads.SimSiamProjectionHead(FEATURES, FEATURES, 2048),
        "barlow_twins": lambda: heads.BarlowTwinsProjectionHead(FEATURES, 2048, 2048),
        "vicreg": lambda: heads.VICRegProjectionHead(FEATURES, 2048, 2048),
        "swav": lambda: heads.SwaVProjectionHead(FEATURES, 2048, 128),
    }[method]()
    predictor = {
        "byol": lambda: heads.BYOLPredictionHead(256, 4096, 256),
        "simsiam": lambda: heads.SimSiamPredictionHead(2048, 512, 2048),
        "swav": lambda: heads.SwaVPrototypes(128, 3000),
    }.get(method, nn.Identity)()
    network = nn.Sequential(encoder, head)
    twin = copy.deepcopy(network).to(memory_format=torch.channels_last)
    utils.deactivate_requires_grad(twin)

    @torch.no_grad()
    def followed(images):
        utils.update_momentum(network, twin, target_decay)
        return twin(images)

    def simclr(a, b):
        return criterion(*network(torch.cat([a, b])).chunk(2))

    def simclr_memory(a, b):
        return criterion(network(torch.cat([a, b])), followed(torch.cat([b, a])))

    def moco(a, b):
        mixed, order = utils.batch_shuffle(b)
        return criterion(network(a), utils.batch_unshuffle(followed(mixed), order))

    def byol(a, b):
        predicted = predictor(network(a)), predictor(network(b))
        with torch.no_grad():
            targets = followed(a), twin(b)
        return (criterion(predicted[0], targets[1]) + criterion(predicted[1], targets[0])) / 2

    def simsiam(a, b):
        a, b = network(a), network(b)
        first, second = predictor(a), predictor(b)
        return (criterion(first, b.detach()) + criterion(second, a.detach())) / 2

    def two_passes(a, b):
        return criterion(network(a), network(b))

    def swav(a, b):
        predictor.normalize()
        rows = nn.functional.normalize(network(torch.cat([a, b])), dim=1)
        return criterion(list(predictor(rows).chunk(2)), [])

    memory = {"memory_bank_size": (queue_size, 128)}
    loss_of, criterion = {
        "simclr": (simclr, losses.NTXentLoss(0.1, gather_distributed=False)),
        "simclr_memory": (simclr_memory, losses.NTXentLoss(0.1, **memory)),
        "moco_v1": (moco, losses.NTXentLoss(0.07, **memory)),
        "moco": (moco, losses.NTXentLoss(0.2, **memory)),
        "byol": (byol, losses.NegativeCosineSimilarity()),
        "simsiam": (simsiam, losses.NegativeCosineSimilarity()),
        "barlow_twins": (two_passes, losses.BarlowTwinsLoss()),
        "vicreg": (two_passes, losses.VICRegLoss()),
        "swav": (swav, losses.SwaVLoss()),
    }[method]
    return nn.ModuleList([network, predictor]), loss_of
