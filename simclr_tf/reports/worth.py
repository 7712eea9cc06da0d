"""What the features are worth, in numbers, beside those of random weights."""

import dataclasses
from typing import Any

import numpy as np

from simclr_tf.evaluation.features import labelled
from simclr_tf.evaluation.geometry import alignment, effective_rank, uniformity
from simclr_tf.evaluation.knn import knn_accuracy
from simclr_tf.evaluation.linear_probe import fit_linear_probe
from simclr_tf.reports import html
from simclr_tf.reports.measured import Embedded, Measured
from simclr_tf.reports.record import PRETRAINED, Record

PROBE, KNN = "linear probe", "kNN"
_OF_PROBE_JSON = {PROBE: "linear_probe_top_1_accuracy", KNN: "knn_top_1_accuracy"}


@dataclasses.dataclass(frozen=True)
class Worth:
    """The numbers of a run.

    Attributes:
      numbers: by encoder, then by what they are: PROBE and KNN where there are labels, and, of
        two test images or more, `alignment`, `uniformity` and `effective rank` of h and of z.
      predictions: (n,) classes that the linear probe on the pretrained h says of the test images;
        None without labels.
    """

    numbers: dict[str, dict[str, float]]
    predictions: np.ndarray | None


def worth(record: Record, measured: Measured) -> Worth:
    """Measure both encoders; accuracies that probe.json has come from it."""
    numbers, predictions = {}, {}
    for name, encoder in measured.encoders.items():
        numbers[name] = {}
        if measured.class_names and (name == PRETRAINED or not record.probe):
            numbers[name], predictions[name] = _accuracies(record, measured, encoder)
        if record.probe:
            found = record.probe[name]
            numbers[name] |= {row: found[key] for row, key in _OF_PROBE_JSON.items()}
        if len(measured.queries.labels) > 1:
            numbers[name] |= _geometry(encoder)
    return Worth(numbers, predictions.get(PRETRAINED))


def _accuracies(
    record: Record, measured: Measured, encoder: Embedded
) -> tuple[dict[str, float], np.ndarray]:
    features, labels = labelled(encoder.bank["h"], measured.bank.labels)
    queries, query_labels = labelled(encoder.queries["h"], measured.queries.labels)
    classes = len(measured.class_names)
    probe = fit_linear_probe(features, labels, num_classes=classes)
    accuracies = {
        PROBE: probe.accuracy(queries, query_labels),
        KNN: knn_accuracy(
            features,
            labels,
            queries,
            query_labels,
            num_classes=classes,
            k=record.flags.get("knn_k", 200),
            temperature=record.flags.get("knn_temperature", 0.1),
        ),
    }
    return accuracies, probe.predict(encoder.queries["h"])


def _geometry(encoder: Embedded) -> dict[str, float]:
    numbers = {}
    for layer in encoder.bank:
        first, second = (views[layer] for views in encoder.views)
        both = (uniformity(first) + uniformity(second)) / 2
        numbers[f"alignment of {layer}"] = alignment(first, second)
        numbers[f"uniformity of {layer}"] = both
        numbers[f"effective rank of {layer}"] = effective_rank(encoder.bank[layer])
    return numbers


def shown(name: str, value: float) -> str:
    """One of the numbers as the report writes it."""
    if name in _OF_PROBE_JSON:
        return f"{value:.1%}"
    return f"{value:.1f}" if name.startswith("effective rank") else f"{value:.2f}"


def section(record: Record, measured: Measured, found: Worth) -> str:
    """A table of the numbers of both encoders, and what they mean."""
    names = list(measured.encoders)
    rows = [
        (row, *(shown(row, found.numbers[name][row]) for name in names))
        for row in found.numbers[PRETRAINED]
    ]
    return html.section(
        "What the features are worth",
        html.paragraph(_accuracy_in_words(record, measured)),
        html.table(["", *names], rows),
        html.paragraph(_geometry_in_words(measured)),
    )


def _accuracy_in_words(record: Record, measured: Measured) -> str:
    if not measured.class_names:
        return (
            "The images have no labels, so that no accuracy can be measured: linear probe, kNN and "
            "confusions are left out, and neighbours are not marked as right or wrong."
        )
    bank, queries = measured.bank, measured.queries
    images = f"{len(bank.labels):,} of {bank.of:,} training images and measured on "
    images += f"{len(queries.labels):,} test images"
    if record.probe:
        images = _of_probe_json(record.probe)
    return (
        f"Both encoders are frozen. Logistic regression and kNN on h are fitted to {images}. The "
        "random weights have the batch statistics of training images."
    )


def _of_probe_json(probe: dict[str, Any]) -> str:
    """What both were fitted to and measured on; files of before this was stored do not tell."""
    if "images" not in probe:
        return (
            "training images and measured on test images (probe.json, which does not say how many)"
        )
    images, settings = probe["images"], probe["settings"]
    return (
        f"{images['fitted_to']:,} of {images['of']:,} training images and measured on all "
        f"{images['measured_on']:,} test images (probe.json; kNN with --knn_k={settings['knn_k']} "
        f"--knn_temperature={settings['knn_temperature']:g})"
    )


def _geometry_in_words(measured: Measured) -> str:
    if len(measured.queries.labels) < 2:
        return "Alignment, uniformity and effective rank are left out: there is one test image."
    pairs, bank = len(measured.encoders[PRETRAINED].views[0]["h"]), measured.bank
    return (
        "h is what the encoder makes of an image, z what the projection head makes of h. Alignment "
        "is the mean squared distance of two views of a test image on the unit sphere, from 0 "
        "(alike) to 4 (opposite); uniformity is 0 where all images lie at one place and about -4 "
        f"where they are spread evenly (arXiv 2005.10242; {pairs:,} images). The effective rank is "
        f"the number of dimensions in use (RankMe, arXiv 2210.02885; {len(bank.labels):,} training "
        "images). No single one tells good features: they tell a collapse, which is an alignment "
        "and a uniformity near 0 and an effective rank near 1, and what a training changed."
    )
