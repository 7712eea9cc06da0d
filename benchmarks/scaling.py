"""What a training step costs and sends, for 1 to 1024 replicas: calculated, nothing is run.

    python benchmarks/scaling.py [--batch_per_replica=64] [--proj_out_dim=128] ...

N is the global batch, R the number of replicas, n = N / R, d the width of the projections;
all values that are sent are float32. Per replica and step:

- gather: each replica receives both views of the other replicas, (N - n) * 2d values; the
  gradient is a ring all-reduce of N * 2d values, which sends 2 (R - 1) / R times as many.
- the original scatters its n rows into N rows of zeros and all-reduces them, once for each
  view: forwards 2 (R - 1) / R * N * 2d values instead of (N - n) * 2d, so twice as many.
- batch norm: mean and variance of every channel are all-reduced one after the other, and so
  are their gradients: 4 all-reduces for each layer, of 2 (R - 1) / R times its channels.
- gradients of the weights: one ring all-reduce of all of them.
- the loss: four products of (n, d) with (d, N), 2 n N d operations each, and twice as much
  in the backward pass. The encoder: forwards and backwards three times the forward pass, of
  both views; operations are two for each multiply-add.
"""

import argparse
import dataclasses

# Multiply-adds of one image of 224 pixels, parameters, batch norm layers and their channels.
RESNET50 = {"flops": 2 * 4.09e9, "parameters": 23.5e6, "bn_layers": 53, "bn_channels": 26_560}


@dataclasses.dataclass(frozen=True)
class Step:
    """Costs of a step of one replica; bytes are those that it sends (and receives)."""

    replicas: int
    batch: int
    gather_bytes: float
    original_gather_bytes: float
    bn_bytes: float
    bn_reductions: int
    gradient_bytes: float
    loss_flops: float
    encoder_flops: float


def calculate(
    replicas: int, batch_per_replica: int, width: int, head_layers: int, head_width: int
) -> Step:
    """The costs of a step with a ResNet-50 and its projection head."""
    batch = replicas * batch_per_replica
    ring = 2 * (replicas - 1) / replicas  # of an all-reduce, for each value
    gathered = (batch - batch_per_replica) * 2 * width
    head_channels = (head_layers - 1) * head_width + width
    head_parameters = (head_layers - 1) * head_width**2 + head_width * width
    layers = RESNET50["bn_layers"] + head_layers
    channels = RESNET50["bn_channels"] + head_channels
    both_views = 2 * batch_per_replica
    return Step(
        replicas=replicas,
        batch=batch,
        gather_bytes=4 * (gathered + ring * batch * 2 * width),
        original_gather_bytes=4 * 2 * ring * batch * 2 * width,
        bn_bytes=4 * 4 * ring * channels,
        bn_reductions=4 * layers if replicas > 1 else 0,
        gradient_bytes=4 * ring * (RESNET50["parameters"] + head_parameters),
        loss_flops=3 * 4 * 2 * batch_per_replica * batch * width,
        encoder_flops=3 * both_views * (RESNET50["flops"] + 2 * head_parameters),
    )


def table(
    batch_per_replica: int = 64, width: int = 128, head_layers: int = 3, head_width: int = 2048
) -> str:
    """A Markdown table for 1 to 1024 replicas."""
    lines = [
        "| replicas | batch | gather, MB | the original's, MB | batch norm, MB (reductions) "
        "| gradients, MB | loss, GFLOP | encoder, GFLOP |",
        "| ---: " * 8 + "|",
    ]
    for power in range(11):
        step = calculate(2**power, batch_per_replica, width, head_layers, head_width)
        lines.append(
            f"| {step.replicas} | {step.batch:,} | {step.gather_bytes / 1e6:.2f} "
            f"| {step.original_gather_bytes / 1e6:.2f} "
            f"| {step.bn_bytes / 1e6:.2f} ({step.bn_reductions}) "
            f"| {step.gradient_bytes / 1e6:.0f} | {step.loss_flops / 1e9:.2f} "
            f"| {step.encoder_flops / 1e9:,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_per_replica", type=int, default=64)
    parser.add_argument("--proj_out_dim", type=int, default=128)
    parser.add_argument("--num_proj_layers", type=int, default=3)
    arguments = parser.parse_args()
    print(table(arguments.batch_per_replica, arguments.proj_out_dim, arguments.num_proj_layers))
