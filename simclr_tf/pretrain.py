"""Contrastive pretraining: which network, and which method trains it."""

from simclr_tf import checkpoints, optimizers
from simclr_tf.config import ExperimentConfig
from simclr_tf.methods import SimCLR
from simclr_tf.models import Architecture, Network

CIFAR_SIZE = 32  # pixels; images of this size and below get the CIFAR stem


def architecture_of(config: ExperimentConfig, num_classes: int | None) -> Architecture:
    """The architecture that the flags describe.

    Args:
      config: the flags.
      num_classes: of the linear probe; None without labels.
    """
    model = config.model
    return Architecture(
        resnet_depth=model.resnet_depth,
        width_multiplier=model.width_multiplier,
        sk_ratio=model.sk_ratio,
        se_ratio=model.se_ratio,
        cifar_stem=config.view.image_size <= CIFAR_SIZE,
        proj_head_mode=model.proj_head_mode,
        num_proj_layers=model.num_proj_layers,
        proj_out_dim=model.proj_out_dim,
        ft_proj_selector=model.ft_proj_selector,
        num_classes=num_classes if config.loss.lineareval_while_pretraining else None,
        batch_norm_decay=model.batch_norm_decay,
        global_bn=model.global_bn,
    )


def build(config: ExperimentConfig, architecture: Architecture) -> SimCLR:
    """The network with random weights, or those of --checkpoint, and its method.

    Raises:
      UserError: the checkpoint does not fit the flags.
    """
    network = Network(architecture, config.train.mixed_precision)
    if config.train.checkpoint:
        report = checkpoints.load_into(
            network, config.train.checkpoint, config.train.variable_schema
        )
        print(report)
    return SimCLR(
        network,
        temperature=config.loss.temperature,
        hidden_norm=config.loss.hidden_norm,
        weight_decay=config.optimizer.weight_decay,
        optimizer_decays=config.optimizer.optimizer in optimizers.DECAYS_INSIDE,
    )
