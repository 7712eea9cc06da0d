"""What is said at the start of a run."""

import math
from collections.abc import Iterable

import tensorflow as tf

from simclr_tf.devices.strategies import emulates_bfloat16
from simclr_tf.methods import Method
from simclr_tf.models.colors import planes_in_words
from simclr_tf.models.heads import in_words, simclr_flags
from simclr_tf.models.own_encoder import name_of
from simclr_tf.training.plan import Plan


def count(variables: Iterable[tf.Variable]) -> str:
    """Number of values in variables, with thousands separated."""
    return f"{sum(math.prod(v.shape) for v in variables):,}"


def run_summary(
    method: Method,
    plan: Plan,
    *,
    dataset: str,
    image_size: str,
    start_step: int,
    num_replicas: int,
) -> str:
    """A few lines about the encoder, the batch, the steps, and what is decayed.

    Args:
      method: compiled.
      plan: the numbers of the run.
      dataset: name and split of the data.
      image_size: that of the views, in words.
      start_step: steps made before.
      num_replicas: devices that share the batch.
    """
    network, a = method.network, method.network.architecture
    optimizer = method.optimizer
    kind = []
    if a.encoder == "lab":
        planes = planes_in_words(a.plane_groups)
        kind = [f"{len(a.plane_groups)} of planes {planes} of {a.color_space}"]
        kind += [f"blocks {a.view_width:g}x"]
    if a.encoder == "keras":
        kind = [f"{name_of(a.keras_model)} of Keras"]
    else:
        kind += [f"ResNet-{a.resnet_depth}", f"{a.width_multiplier}x"]
        kind += [f"SK {a.sk_ratio:g}"] if a.sk_ratio else []
        kind += [f"SE {a.se_ratio:g}"] if a.se_ratio else []
        kind += ["CIFAR stem" if a.cifar_stem else "ImageNet stem"]
    head = in_words(a.kept_projector)
    if flags := simclr_flags(a.projector):
        widths = network.projection_head.widths(a.feature_dim)[1:]
        head = f"{flags['proj_head_mode']}{f' {widths}' if widths else ''}"
    lines = [
        f"encoder          {', '.join(kind)}, h has {a.feature_dim} values",
        f"projection head  {head}",
        f"parameters       {count(method.trained_variables)} trainable, "
        f"{count(network.non_trainable_weights)} not",
        f"data             {dataset}, {plan.num_examples:,} images",
        f"views            {image_size}",
        f"batch            {plan.batch_size} on {num_replicas} replica(s)",
        f"steps            {plan.train_steps:,}, of them {plan.warmup_steps:,} warm-up; "
        f"an epoch has {plan.epoch_steps:,}, a checkpoint every {plan.checkpoint_steps:,}",
        f"optimizer        {optimizer.name}, peak learning rate {plan.peak_learning_rate:g}",
    ]
    if hasattr(optimizer, "decays"):
        decayed = [v for v in method.trained_variables if optimizer.decays(v)]
        all_ranks = any(v.shape.rank < 2 for v in decayed)
        spared = "supervised head" if all_ranks else "batch norm, biases, supervised head"
        lines.append(
            f"weight decay     {optimizer.weight_decay:g} on {len(decayed)} variables; "
            f"{len(method.trained_variables) - len(decayed)} ({spared}) are "
            + ("neither decayed nor adapted" if hasattr(optimizer, "adapts") else "not decayed")
        )
    if method.decayed_variables:
        lines.append(
            f"l2 in the loss   {method.weight_decay:g} on {len(method.decayed_variables)} variables"
        )
    for name, chance in method.chance_levels(plan.batch_size).items():
        lines.append(f"chance level     {name} {chance:.4f}")
    if network.activations == "bfloat16" and emulates_bfloat16():
        lines.append(
            "bfloat16         is emulated: this processor has no instructions for it, and "
            "--mixed_precision=float32 is several times as fast"
        )
    if start_step:
        lines.append(f"resumed          at step {start_step:,}")
    return "\n".join(lines)
