"""The studies of the SimCLR paper (arXiv 2002.05709) that are grids of flags, and one of our own.

Each has the axes of the paper, for ImageNet and a ResNet-50, and reduced ones, for digits and a
ResNet-18. Published values are top-1 accuracy of linear evaluation, in percent, where nothing else
is said.
"""

from collections.abc import Mapping
from typing import Any

from simclr_tf.experiment.protocols import PROTOCOLS
from simclr_tf.methods import METHODS
from simclr_tf.studies import view_studies
from simclr_tf.studies.grid import KNN, LINEAR_PROBE, PAPER, REDUCED, Axis, Measure, Study

_ENTROPY = Measure("contrast_entropy", "entropy", percent=False)
_CONTRASTIVE = Measure("contrast_acc", "contrastive accuracy, %")
_SIMCLR = {"train_mode": "pretrain"}
# finetune.py --protocol=supervised, on the views of pretraining
_SUPERVISED = {k: v for k, v in PROTOCOLS["supervised"].items() if k != "mode"}
_SUPERVISED |= {"finetune_augmentation": "pretrain"}
# As long as the other cells
_SUPERVISED_SHORTLY = {k: v for k, v in _SUPERVISED.items() if k != "train_epochs"}
_SUPERVISED_SHORTLY |= {"warmup_epochs": 1.0, "learning_rate_scaling": "sqrt"}
_SUPERVISED_SHORTLY |= {"learning_rate": 0.25 / 64**0.5}  # 0.25 with 64 images, 0.71 with 512


def _varied(name: str, flag: str, *values: Any, **flags: Any) -> Axis:
    """An axis of one flag, with other flags that all its points share."""
    return Axis(name, {str(value): {flag: value, **flags} for value in values})


def _numbers(labels: str, values: str) -> dict[tuple[str, ...], float]:
    """Published values by the labels of one axis."""
    return {(k,): v for k, v in zip(labels.split(), map(float, values.split()), strict=True)}


def _color_strength() -> Study:
    labels = ("0.125", "0.25", "0.5", "1", "1_blur")
    strength = Axis(
        "strength",
        {
            label: {
                "color_jitter_strength": float(label.removesuffix("_blur")),
                "use_blur": label.endswith("_blur"),
            }
            for label in labels
        },
    )
    rows = {
        "simclr": (59.6, 61.0, 62.6, 63.2, 64.5),
        "supervised": (77.0, 76.7, 76.5, 75.7, 75.4),
    }
    return Study(
        about="the strength of the colour jitter, and of what is trained with labels beside it",
        source="table 1",
        shown=("training", "strength"),
        grids={
            axes: ((Axis("training", {"simclr": _SIMCLR, "supervised": supervised}), strength),)
            for axes, supervised in {
                PAPER: _SUPERVISED | {"train_steps": 0},
                REDUCED: _SUPERVISED_SHORTLY,
            }.items()
        },
        finding="Stronger colour jitter helps SimCLR and hurts supervised training. (AutoAugment, "
        "61.1 and 77.1 in the paper, is left out: no library that this one uses has its policy.)",
        published={
            LINEAR_PROBE.key: {
                (training, label): value
                for training, values in rows.items()
                for label, value in zip(labels, values, strict=True)
            }
        },
    )


def _head() -> Study:
    def grids(*widths: int):
        kinds = {
            "nonlinear": {"proj_head_mode": "nonlinear", "num_proj_layers": 2},
            "linear": {"proj_head_mode": "linear"},
        }
        none = Axis("head", {"none": {"proj_head_mode": "none"}})
        return (
            (Axis("head", kinds), _varied("width", "proj_out_dim", *widths)),
            (none, Axis("width", {"of_h": {}})),
        )

    return Study(
        about="the projection head and the width of its output",
        source="figure 8",
        shown=("head", "width"),
        grids={PAPER: grids(32, 64, 128, 256, 512, 1024, 2048), REDUCED: grids(32, 128, 512)},
        finding="A nonlinear head is about 3 points better than a linear one, which is more than "
        "10 better than none; the width hardly matters. (The figure has no numbers.)",
    )


def _loss() -> Study:
    def grids(margins, temperatures, of_nt_xent, *more: Axis):
        def kind(label: str, **flags: Any) -> Axis:
            defaults = {"negatives": "other_view", "negative_mining": "none"}
            return Axis("loss", {label: defaults | flags})

        margin = _varied("margin", "margin", *margins)
        temperature = _varied("temperature", "temperature", *temperatures)
        mining = {"negative_mining": "semi_hard"}
        return (
            (kind("margin", contrastive_loss="margin"), margin, *more),
            (kind("nt_logistic", contrastive_loss="nt_logistic"), temperature, *more),
            (kind("margin_semi_hard", contrastive_loss="margin", **mining), margin, *more),
            (
                kind("nt_logistic_semi_hard", contrastive_loss="nt_logistic", **mining),
                temperature,
                *more,
            ),
            (
                kind("nt_xent", contrastive_loss="nt_xent"),
                _varied("temperature", "temperature", *of_nt_xent),
                *more,
            ),
        )

    rates = _varied(
        "rate", "learning_rate", 0.01, 0.1, 0.3, 0.5, 1.0, learning_rate_scaling="linear"
    )
    return Study(
        about="the contrastive loss, each at the best of a few margins or temperatures",
        source="table 4, appendix B.10",
        shown=("loss",),
        grids={
            PAPER: grids((0.0, 0.4, 0.8, 1.6), (0.1, 0.2, 0.5, 1.0), (0.1,), rates),
            REDUCED: grids((0.4, 0.8), (0.2, 0.5), (0.2, 0.5)),
        },
        finding="NT-Xent is best, semi-hard negatives help the others, and the plain margin is "
        "last.",
        published={
            LINEAR_PROBE.key: _numbers(
                "margin nt_logistic margin_semi_hard nt_logistic_semi_hard nt_xent",
                "50.9 51.6 57.5 57.9 63.9",
            )
        },
    )


def _temperature() -> Study:
    labels = "0.05 0.1 0.5 1 10_raw 100_raw"
    points = {
        label: {
            "temperature": float(label.removesuffix("_raw")),
            "hidden_norm": not label.endswith("_raw"),
        }
        for label in labels.split()
    }
    grid = ((Axis("temperature", points),),)
    return Study(
        about="the temperature; raw: of projections that are not l2-normalised",
        source="table 5",
        shown=("temperature",),
        grids={PAPER: grid, REDUCED: grid},
        finding="0.1 is best; without normalisation the contrastive task is solved better, and "
        "the features are worse.",
        published={
            LINEAR_PROBE.key: _numbers(labels, "59.7 64.4 60.7 58.0 57.2 57.0"),
            _ENTROPY.key: _numbers(labels, "1.0 4.5 8.2 8.3 0.5 0.5"),
            _CONTRASTIVE.key: _numbers(labels, "90.5 87.8 68.2 59.1 91.7 92.1"),
        },
        measures=(LINEAR_PROBE, KNN, _ENTROPY, _CONTRASTIVE),
    )


def _batch_epochs() -> Study:
    of_epochs = {"train_steps": 0}
    linear = {"learning_rate": 0.3, "learning_rate_scaling": "linear"}
    root = {"learning_rate": 0.075, "learning_rate_scaling": "sqrt"}
    small = {"learning_rate": 0.03, "learning_rate_scaling": "sqrt"}
    epochs = (100, 200, 400, 800)
    rows = {  # linear/sqrt, by batch
        "256": "57.5/62.8 61.9/64.3 64.7/65.7 66.6/66.5",
        "512": "60.7/63.8 64.0/65.6 66.2/66.7 67.8/67.4",
        "1024": "62.8/64.3 65.3/66.1 67.2/67.2 68.5/68.3",
        "2048": "64.0/64.7 66.1/66.8 68.1/67.9 68.9/68.8",
        "4096": "64.6/64.5 66.5/66.8 68.2/68.0 68.9/69.1",
        "8192": "64.8/64.8 66.6/67.0 67.8/68.3 69.0/69.1",
    }
    published = {
        (batch, str(of), scaling): float(value)
        for batch, row in rows.items()
        for of, pair in zip(epochs, row.split(), strict=True)
        for scaling, value in zip(("linear", "sqrt"), pair.split("/"), strict=True)
    }
    return Study(
        about="batch and length of the training, by how the learning rate grows with the batch",
        source="figure 9, table B.1",
        shown=("batch", "epochs", "scaling"),
        grids={
            PAPER: (
                (
                    _varied("batch", "train_batch_size", *map(int, rows)),
                    _varied("epochs", "train_epochs", *epochs, **of_epochs),
                    Axis("scaling", {"linear": linear, "sqrt": root}),
                ),
            ),
            REDUCED: (
                (
                    _varied("batch", "train_batch_size", 64, 128, 256, 512),
                    _varied("epochs", "train_epochs", 5, 10, 20, **of_epochs),
                    Axis("scaling", {"sqrt": small}),
                ),
            ),
        },
        finding="Large batches help where there are few epochs; the difference shrinks with more.",
        published={LINEAR_PROBE.key: published},
    )


def _model_size() -> Study:
    def grid(depths, widths, trainings: Mapping[str, Mapping[str, Any]]):
        return (
            (
                _varied("depth", "resnet_depth", *depths),
                _varied("width", "width_multiplier", *widths),
                Axis("training", trainings),
            ),
        )

    def epochs(number: int) -> dict[str, int]:
        return {"train_epochs": number, "train_steps": 0}

    trainings = {f"{n}_epochs": _SIMCLR | epochs(n) for n in (100, 1000)}
    trainings["supervised"] = _SUPERVISED | epochs(90)
    small = {"simclr": _SIMCLR, "supervised": _SUPERVISED_SHORTLY}
    best = {"1": 69.3, "2": 74.2, "4": 76.5}
    return Study(
        about="depth and width of the encoder, and of one that is trained with labels",
        source="figure 7, table 6",
        shown=("depth", "width", "training"),
        grids={
            PAPER: grid((18, 34, 50, 101, 152), (1, 2, 4), trainings),
            REDUCED: grid((18, 34), (1, 2), small),
        },
        finding="SimCLR gains more from size than supervised training does. (Of the figure's "
        "numbers, table 6 prints those of the ResNet-50.)",
        published={
            LINEAR_PROBE.key: {("50", w, "1000_epochs"): value for w, value in best.items()}
        },
    )


def _methods() -> Study:
    grid = ((Axis("method", {name: {"method": name} for name in METHODS}),),)
    return Study(
        about="every method, with its own recipe where --method_recipes says where they are",
        source="of no paper",
        shown=("method",),
        grids={PAPER: grid, REDUCED: grid},
        finding="No paper has compared them all at one budget.",
    )


STUDIES: dict[str, Study] = {
    "augmentations": view_studies.augmentations(),
    "batch_epochs": _batch_epochs(),
    "color_strength": _color_strength(),
    "head": _head(),
    "invariance": view_studies.invariance(),
    "loss": _loss(),
    "methods": _methods(),
    "model_size": _model_size(),
    "temperature": _temperature(),
    "tsne": view_studies.tsne(),
}
