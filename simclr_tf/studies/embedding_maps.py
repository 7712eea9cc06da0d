"""Maps of h and z by t-SNE: figure B.4 of the SimCLR paper."""

import pathlib

import numpy as np

from simclr_tf.data import subsets
from simclr_tf.data.sources import ImageDataset
from simclr_tf.experiment import probing
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.models import Network
from simclr_tf.outputs import complete_file, csv_writer
from simclr_tf.reports.embedding_map import draw_classes, t_sne
from simclr_tf.studies.grid import KNN, LINEAR_PROBE, Measure

Z_LINEAR_PROBE = Measure(f"z_{LINEAR_PROBE.key}", "linear probe of z, %")
Z_KNN = Measure(f"z_{KNN.key}", "kNN of z, %")
_CLASSES, _POINTS = 10, 1000  # at most
_LAYERS = {"h": 0, "z": -1}


def draw_maps(
    config: ExperimentConfig,
    network: Network,
    bank: ImageDataset,
    queries: ImageDataset,
    folder: pathlib.Path,
) -> dict[str, float]:
    """Draw h and z of test images, and measure z as h is measured.

    The images are at most 1,000 of ten classes, drawn once and for all. map.png shows them, and
    map.csv has the label of each and its places in both maps.

    Args:
      config: the flags.
      network: in inference mode, with a projection head.
      bank: images that linear probe and kNN are fitted to.
      queries: images that are shown, and that both are measured on.
      folder: where to.

    Raises:
      UserError: h or z are not finite.
    """
    shown = subsets.restrict(queries, chosen(subsets.labels_of(queries)))
    names = queries.class_names or tuple(map(str, range(queries.num_classes)))
    places = {}
    for name, layer in _LAYERS.items():
        features, labels = probing.features_of(config, network, shown, layer)
        places[name] = t_sne(features)
    with complete_file(folder / "map.png") as part:
        _draw(part, places, labels, names)
    with csv_writer(folder / "map.csv") as sheet:
        sheet.writerow(["label", *(f"{name}_{axis}" for name in places for axis in "xy")])
        sheet.writerows(zip(labels, *(c for p in places.values() for c in p.T), strict=True))
    of_z = probing.probe(config, network, bank, queries, _LAYERS["z"])
    return {f"z_{key}": value for key, value in of_z.items()}


def chosen(labels: np.ndarray) -> np.ndarray:
    """Rising indices of the images that are shown, by the labels (n,) of all; -1 is no label."""
    draws = np.random.default_rng(0)
    classes = draws.permutation(np.unique(labels[labels >= 0]))[:_CLASSES]
    found = np.flatnonzero(np.isin(labels, classes))
    return np.sort(draws.permutation(found)[:_POINTS])


def _draw(file, places, labels, names):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    for axes, (name, of_layer) in zip(figure.subplots(1, 2), places.items(), strict=True):
        draw_classes(axes, of_layer, labels, names)
        axes.set(xticks=[], yticks=[], title=name)
    figure.savefig(file, format="png", dpi=120)
