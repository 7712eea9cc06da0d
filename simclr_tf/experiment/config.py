"""The configuration of an experiment: frozen dataclasses, one field for each flag.

What a field carries besides its default is said in `simclr_tf.flag`. `simclr_tf.cli`
turns the fields into absl flags and back. Fields marked `identity` decide what is
trained: a run directory refuses to go on when one of them has changed. The flags of a method
stand beside the method, in `simclr_tf.methods`; a configuration has those of one.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from simclr_tf import flag as flags
from simclr_tf import optimizers
from simclr_tf.data.recipe import ViewFlags
from simclr_tf.flag import LARGEST_INTEGER, LARGEST_SEED, flag
from simclr_tf.methods import DEFAULT_METHOD, METHODS
from simclr_tf.models.resnet import DEPTHS
from simclr_tf.training.plan import SCHEDULES


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are read."""

    dataset: str = flag(
        "imagenet2012",
        "Name of the data set: a TensorFlow Datasets name, a directory with a data set of it (as "
        "simclr_tf.data.pack makes one), `digits` (embedded), or `image_folder` (the images below "
        "--data_dir).",
    )
    data_dir: str | None = flag(
        None,
        "Directory of the data: where TensorFlow Datasets keeps its files, or the image folder.",
        identity=False,
    )
    train_split: str = flag("train", "Split to train on.")
    eval_split: str = flag("validation", "Split to evaluate on.", identity=False)
    cache_dataset: bool = flag(
        False, "Keep the encoded images in memory after they were read once.", identity=False
    )
    holdout_fraction: float = flag(
        0.1,
        "Share of every class that is held out for evaluation when an image folder has no splits.",
        above=0,
        below=1,
    )
    split_seed: int = flag(
        0,
        "Seed of the choice of what is held out; evaluations of a run take over the run's.",
        at_least=0,
        at_most=LARGEST_SEED,
    )
    label_seed: int | None = flag(
        None,
        "Seed of what is chosen inside the training part: the labels of --label_fraction, and the "
        "images that l2 is chosen by. By default it is the split seed.",
        at_least=0,
        at_most=LARGEST_SEED,
    )
    labels: str = flag(
        "folders",
        "Where the labels of an image folder come from: `folders`, which classes are named after; "
        "`none`, for images at any depth; or a CSV file with a line FILE,CLASS for each image. "
        "Where it is not given, a run that goes on, its evaluation, and fine-tuning on the same "
        "folder take that of the run; fine-tuning, which needs labels, never takes `none`.",
        identity=False,
    )
    upright: bool = flag(
        True, "Turn the photographs of an image folder upright, as their EXIF orientation says."
    )
    reduced_decoding: bool = flag(
        False,
        "Decode a JPEG at a half, a quarter or an eighth of its size where all its crops are as "
        "much larger than the views. Large photographs take less time, and their pixels differ.",
    )
    label_fraction: float = flag(
        1.0,
        "Share of the labels that fine-tuning uses: so many images, as many of each class as can "
        "be.",
        above=0,
        at_most=1,
    )
    labels_per_class: int = flag(
        0,
        "Labels of each class that fine-tuning uses; overrides --label_fraction when not 0.",
        at_least=0,
    )
    data_service: str | None = flag(
        None,
        "Servers that make the training batches (python -m simclr_tf.data.service), as "
        "grpc://HOST:PORT, with commas between.",
        identity=False,
    )
    max_bad_images: int = flag(
        100,
        "How many files that cannot be decoded are skipped before the run stops.",
        identity=False,
        at_least=0,
    )


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The encoder and its heads."""

    resnet_depth: int = flag(
        50,
        "Depth of the ResNet.",
        choices=tuple(DEPTHS),
    )
    width_multiplier: int = flag(1, "Multiplier of the number of channels.", at_least=1, at_most=64)
    sk_ratio: float = flag(
        0.0,
        "Above 0: selective kernels and the ResNet-D stem and shortcuts (0.0625 recommended).",
        at_least=0,
        at_most=1,
    )
    se_ratio: float = flag(0.0, "Above 0: squeeze and excitation.", at_least=0, at_most=1)
    cifar_stem: str = flag(
        "auto",
        "The stem without stride and pooling: true, false, or auto: up to an --image_size of 32. "
        "Where there is a --checkpoint, auto is its stem, at any --image_size.",
        choices=("auto", "true", "false"),
    )
    ft_proj_selector: int = flag(
        0,
        "Which layer of the projection head feeds the supervised head in fine-tuning: 0 is the "
        "head's input, -1 its output.",
        at_least=-100,
        at_most=100,
    )
    lineareval_while_pretraining: bool = flag(
        True, "Train a linear probe on the encoder's features, without gradient into it."
    )
    global_bn: bool = flag(True, "Batch norm statistics over all replicas.")
    batch_norm_decay: float = flag(
        0.9, "Momentum of batch norm's moving averages.", at_least=0, below=1
    )


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """The teacher of a fine-tuning, if it has one (SimCLRv2, arXiv 2006.10029, section 2)."""

    teacher: str | None = flag(
        None,
        "Checkpoint with a supervised head whose predictions are learned, from all images of "
        "--train_split.",
    )
    distillation_temperature: float = flag(
        1.0,
        "Temperature of the teacher's and the student's predictions.",
        above=0,
    )
    distillation_alpha: float = flag(
        1.0,
        "Weight of the distillation loss; the supervised loss of the labelled images has what is "
        "left to 1.",
        above=0,
        at_most=1,
    )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The update rule and its schedule."""

    optimizer: str = flag(
        "lars",
        "Optimizer; momentum is SGD with Nesterov momentum, sgd is PyTorch's without, larc is "
        "SwAV's; lamb needs tensorflow-addons.",
        choices=optimizers.NAMES,
    )
    learning_rate: float = flag(
        0.3,
        "Learning rate per 256 examples (linear scaling) or per sqrt(batch) (sqrt scaling).",
        above=0,
    )
    learning_rate_scaling: str = flag(
        "linear", "How the learning rate grows with the batch.", choices=("linear", "sqrt")
    )
    warmup_epochs: float = flag(
        10.0,
        "Epochs of linear warm-up. Where it is not given and --train_steps are fewer, it keeps its "
        "share of --train_epochs.",
        at_least=0,
        at_most=LARGEST_INTEGER,
    )
    warmup_start: float = flag(
        0.0, "Where the warm-up starts, as a share of its end.", at_least=0, at_most=1
    )
    schedule: str = flag(
        "cosine",
        "What the learning rate does after the warm-up: fall along a cosine, drop in steps at "
        "--schedule_milestones, or stay constant.",
        choices=SCHEDULES,
    )
    schedule_by: str = flag(
        "step",
        "Whether the cosine falls in every step, or once per epoch.",
        choices=("step", "epoch"),
    )
    schedule_milestones: str = flag(
        "",
        "Epochs at which --schedule=steps drops the learning rate, with commas between, such as "
        "120,160.",
    )
    schedule_gamma: float = flag(
        0.1,
        "What the learning rate is multiplied by at each of --schedule_milestones.",
        above=0,
        at_most=1,
    )
    final_rate: float = flag(
        0.0,
        "Where the cosine ends, as a share of the highest learning rate.",
        at_least=0,
        at_most=1,
    )
    weight_decay: float = flag(1e-6, "Weight decay.", at_least=0)
    momentum: float = flag(0.9, "Momentum of momentum, sgd, lars and larc.", at_least=0, below=1)
    lars_rate_outside: bool = flag(
        False,
        "Multiply by the learning rate after the momentum of lars, as BYOL, Barlow Twins and "
        "VICReg do, and not before.",
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long, from what, and in what manner to train."""

    mode: str = flag(
        "train",
        "What to do; eval watches --model_dir and evaluates every new checkpoint.",
        choices=("train", "eval", "train_then_eval"),
        identity=False,
    )
    train_mode: str = flag(
        "pretrain",
        "Pretraining by --method, or supervised training of all or the upper layers.",
        choices=("pretrain", "finetune"),
    )
    method: str = flag(
        DEFAULT_METHOD,
        "How images without labels are learned from. Each method has flags of its own. What starts "
        "from a run or a checkpoint takes its method from it.",
        choices=METHODS,
    )
    train_batch_size: int = flag(512, "Batch size over all replicas.", at_least=1, at_most=2**24)
    train_epochs: int = flag(100, "Epochs to train.", at_least=1)
    train_steps: int = flag(0, "Steps to train; overrides --train_epochs when not 0.", at_least=0)
    seed: int = flag(
        0, "Seed of initialisation, shuffling and augmentation.", at_least=0, at_most=LARGEST_SEED
    )
    checkpoint: str | None = flag(
        None, "Weights to start from when --model_dir has no checkpoint of its own."
    )
    variable_schema: str = flag(
        "?!global_step", "Regular expression: which variables of --checkpoint are loaded."
    )
    rescale_v1_weights: bool = flag(
        False,
        "Divide the convolution weights of --checkpoint by 16.8, which brings SimCLRv1's to the "
        "scale of SimCLRv2's; the function stays the same.",
    )
    zero_init_logits_layer: bool = flag(
        False, "Set the supervised head to zero after --checkpoint was loaded."
    )
    fine_tune_after_block: int = flag(
        -1,
        "Fine-tuning: -1 trains everything, 0 what follows the stem, 1 to 3 what follows that "
        "block group, 4 the supervised head alone.",
        at_least=-1,
        at_most=4,
    )
    mixed_precision: str = flag(
        "float32", "Type of activations; losses stay in float32.", choices=("float32", "bfloat16")
    )
    micro_batch_size: int = flag(
        0,
        "Pretraining: images that each replica encodes at a time; the contrastive loss still sees "
        "the whole batch, batch norm the images that are encoded together. 0 encodes all at once, "
        "-1 takes the recommended 64.",
        at_least=-1,
    )
    recompute: bool = flag(
        False,
        "Pretraining: compute the activations of residual blocks twice instead of keeping them; "
        "the results stay the same.",
        identity=False,
    )
    jit_compile: bool = flag(
        False, "Compile the training step with XLA, on one device.", identity=False
    )
    steps_per_execution: int = flag(
        1,
        "Training steps that run as one TensorFlow call.",
        identity=False,
        at_least=1,
    )


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """How the model is evaluated."""

    eval_batch_size: int = flag(
        256,
        "Batch size of evaluation, over all replicas.",
        identity=False,
        at_least=1,
        at_most=2**24,
    )
    eval_steps: int = flag(
        0, "Batches to evaluate; 0 is the whole split.", identity=False, at_least=0
    )
    eval_name: str | None = flag(
        None, "Name of the evaluation: its results go to eval_NAME.", identity=False
    )
    knn_every_epochs: int = flag(
        0,
        "Epochs between kNN evaluations while training; 0 is never.",
        identity=False,
        at_least=0,
    )
    knn_k: int = flag(200, "Neighbours of the kNN classifier.", identity=False, at_least=1)
    knn_temperature: float = flag(
        0.1,
        "Temperature of the weights of the kNN classifier.",
        identity=False,
        above=0,
    )


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The run directory, logging, and the hardware."""

    model_dir: str | None = flag(None, "The run directory.", identity=False)
    checkpoint_epochs: int = flag(1, "Epochs between checkpoints.", identity=False, at_least=1)
    checkpoint_steps: int = flag(
        0,
        "Steps between checkpoints; overrides --checkpoint_epochs when not 0.",
        identity=False,
        at_least=0,
    )
    keep_checkpoint_max: int = flag(
        5,
        "How many checkpoints are kept; 0 keeps all.",
        identity=False,
        at_least=0,
    )
    keep_hub_module_max: int = flag(
        1,
        "How many exported SavedModels are kept; 0 keeps all.",
        identity=False,
        at_least=0,
    )
    train_summary_steps: int = flag(
        100,
        "Steps between two rows of metrics; 0: after the last one.",
        identity=False,
        at_least=0,
    )
    resume: bool = flag(
        True, "Go on from the last checkpoint of --model_dir, if it has one.", identity=False
    )
    overwrite: bool = flag(
        False, "Remove the run that --model_dir holds and start anew.", identity=False
    )
    strategy: str = flag(
        "auto",
        "How the work is spread over devices; auto takes what it finds.",
        choices=("auto", "one", "mirrored", "multi_worker", "tpu"),
        identity=False,
    )
    communication: str = flag(
        "auto",
        "Collectives between the hosts of --strategy=multi_worker.",
        choices=("auto", "ring", "nccl"),
        identity=False,
    )
    use_tpu: bool | None = flag(
        None, "True asks for a TPU, False forbids it; by default it is found.", identity=False
    )
    tpu_name: str | None = flag(None, "Name or address of the TPU.", identity=False)
    tpu_zone: str | None = flag(None, "Zone of the TPU.", identity=False)
    gcp_project: str | None = flag(None, "Google Cloud project of the TPU.", identity=False)
    master: str | None = flag(
        None, "Address of the TPU worker; used when --tpu_name is not given.", identity=False
    )


@dataclasses.dataclass(frozen=True)
class ProtocolConfig:
    """How finetune.py trains: values of other flags, and which classifier."""

    protocol: str | None = flag(
        None,
        "Sets the flags that are not given to those of the papers: linear (the encoder is "
        "frozen), semi_supervised (everything, with few labels), full (everything, with all "
        "labels), supervised (from random weights), distill (from --teacher). With transfer, "
        "finetune.py has other flags: --protocol=transfer --help.",
        choices=("linear", "semi_supervised", "full", "supervised", "distill", "transfer"),
    )
    classifier: str = flag(
        "sgd",
        "How the head of --protocol=linear is trained: sgd, on augmented images; or "
        "logistic_regression, exactly, on features, with the l2 that is best on a held-out part.",
        choices=("sgd", "logistic_regression"),
    )


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything that one run of run.py needs, group by group."""

    program: ClassVar[str] = "run.py"

    data: DataConfig = DataConfig()
    view: ViewFlags = ViewFlags()
    model: ModelConfig = ModelConfig()
    method: METHODS[DEFAULT_METHOD].Flags = METHODS[DEFAULT_METHOD].Flags()
    distillation: DistillationConfig = DistillationConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    run: RunConfig = RunConfig()


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(ExperimentConfig):
    """Everything that one run of finetune.py needs."""

    program: ClassVar[str] = "finetune.py"

    protocol: ProtocolConfig = ProtocolConfig()


def config_class(method: str | None, base: type = ExperimentConfig) -> type:
    """The configuration class with the flags of a method.

    Args:
      method: a name of METHODS; for any other, or None, the base itself is returned.
      base: the class, with the flags of any method.
    """
    return flags.with_method(base, METHODS[method].Flags) if method in METHODS else base


def from_dict(values: Mapping[str, Any], base: type = ExperimentConfig) -> ExperimentConfig:
    """The configuration with these flag values; those of the method that they name are read.

    Args:
      values: by the names of flags; flags that are not named keep their defaults.
      base: the class, with the flags of any method.
    """
    method = values.get("method", TrainConfig.method)
    return flags.from_dict(values, config_class(method, base))


def method_of(config_class: type) -> str:
    """The name of the method whose flags a configuration class has."""
    types = {field.name: field.type for field in dataclasses.fields(config_class)}
    return next(name for name, method in METHODS.items() if method.Flags is types["method"])


def defaults_of_method(config_class: type) -> Mapping[str, Any]:
    """The values of shared flags that the method of a configuration class has as defaults."""
    return METHODS[method_of(config_class)].DEFAULTS


def with_defaults_of_method(config: ExperimentConfig, given: Collection[str]) -> ExperimentConfig:
    """The flags of a run; in pretraining, those that the user left open are the method's.

    A run that goes on is its method's, whose flags the configuration has, without --method too.

    Args:
      config: the flags.
      given: names of the flags that the user gave.
    """
    config = flags.with_defaults(config, {"method": method_of(type(config))}, given)
    if config.train.train_mode != "pretrain":
        return config
    return flags.with_defaults(config, defaults_of_method(type(config)), given)
