"""Maps of the test images by what the encoder makes of them: t-SNE of h and of z."""

import io
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from simclr_tf.reports import charts, html
from simclr_tf.reports.measured import Measured
from simclr_tf.reports.record import PRETRAINED

_POINTS = 1000  # at most: t-SNE takes some seconds for so many
_FEWEST = 10
_NAMED = 20  # classes, at most, that are told apart
_PERPLEXITY = 30
_LETTERS, _LINES = 50, 22  # of names, that fit across a map and over another
_ROUNDS = 100
_PICTURES = 12  # in a row, at most, where points have no class
_LAYERS = {
    "h": "what the encoder makes of an image",
    "z": "what the projection head makes of h, and the loss sees",
}


def t_sne(embeddings: np.ndarray) -> np.ndarray:
    """Places in the plane, (n, 2) float32; by cosine, and always the same.

    Args:
      embeddings: (n, d) float, finite. Where all are alike, all lie at 0.
    """
    from sklearn.manifold import TSNE  # takes a second, and is needed only here
    from threadpoolctl import threadpool_limits

    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    if (unit == unit[:1]).all():  # scikit-learn would divide by their deviation
        return np.zeros((len(unit), 2), np.float32)
    perplexity = min(_PERPLEXITY, (len(unit) - 1) / 3)
    with threadpool_limits(1):  # several wait for each other, for minutes where others work too
        return TSNE(perplexity=perplexity, random_state=0).fit_transform(unit)


def section(measured: Measured) -> str:
    """The maps of h and z beside each other; a class has a colour, and its name at its middle."""
    title = "Map of the test images"
    labels = measured.queries.labels[:_POINTS]
    if len(labels) < _FEWEST:
        return html.section(title, html.paragraph(f"{len(labels)} test images are too few."))
    intro = (
        f"t-SNE of {len(labels):,} test images: those that are near each other are similar to the "
        "encoder. Distances between groups, and their sizes, say nothing."
    )
    maps = (
        _map(measured, name, embeddings[:_POINTS])
        for name, embeddings in measured.encoders[PRETRAINED].queries.items()
    )
    return html.section(title, html.paragraph(intro), html.panels(maps, "two"))


def _map(measured: Measured, name: str, embeddings: np.ndarray) -> str:
    places, content = t_sne(embeddings), io.BytesIO()
    with charts.dense_chart(content) as axes:
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
        if measured.class_names:
            draw_classes(axes, places, measured.queries.labels[:_POINTS], measured.class_names)
        else:
            _pictures(axes, places, measured.queries.thumbnails[:_POINTS])
    caption = f"<b>{name}</b>: {_LAYERS[name]}"
    return html.figure(html.picture(content.getvalue(), "png", f"t-SNE of {name}."), caption)


def draw_classes(axes: Any, places: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> None:
    """Draw points in the colours of their classes; beyond 20 classes, the smaller ones are grey.

    Args:
      axes: of matplotlib.
      places: (n, 2) float.
      labels: (n,) int; -1 is no class.
      names: of the classes.
    """
    known, counts = np.unique(labels[labels >= 0], return_counts=True)
    named = np.sort(known[np.argsort(-counts, kind="stable")][:_NAMED])
    rest = ~np.isin(labels, named)
    axes.scatter(*places[rest].T, s=6, c="#bbbbbb")
    colours = charts.colours(len(named))
    for label, colour in zip(named, colours, strict=True):
        axes.scatter(*places[labels == label].T, s=8, color=colour)
    middles = [np.median(places[labels == label], axis=0) for label in named]
    shown = [charts.label(names[label], 20) for label in named]
    lengths = np.array([len(name) for name in shown])
    spans = np.diff([axes.get_xlim(), axes.get_ylim()])[:, 0]
    middles = apart(middles, (lengths + 1) * spans[0] / _LETTERS, spans[1] / _LINES)
    for middle, name, colour in zip(middles, shown, colours, strict=True):
        box = {"facecolor": "white", "edgecolor": colour, "alpha": 0.8, "pad": 1.5}
        axes.text(*middle, name, ha="center", va="center", weight="bold", bbox=box)


def apart(middles: Sequence[np.ndarray], widths: np.ndarray, height: float) -> np.ndarray:
    """The middles of names, moved up and down until none covers another.

    Args:
      middles: (n, 2) float.
      widths: (n,) float, of the names.
      height: of all of them.

    Returns:
      (n, 2) float.
    """
    places = np.array(middles, np.float64).reshape(-1, 2)
    for _ in range(_ROUNDS):
        moved = False
        for i, j in itertools.combinations(np.argsort(places[:, 1], kind="stable"), 2):
            across, up = places[j] - places[i]  # j was above i
            lack = 1.01 * height - up
            if lack > 0.01 * height and abs(across) < (widths[i] + widths[j]) / 2:
                places[[i, j], 1] += (-lack / 2, lack / 2)
                moved = True
        if not moved:
            break
    return places


def _pictures(axes, places: np.ndarray, thumbnails: np.ndarray) -> None:
    """Points, and over them the images of some that do not hide each other."""
    axes.scatter(*places.T, s=4, c="#bbbbbb")
    low, high = places.min(axis=0), places.max(axis=0)
    side = (high - low).max() / _PICTURES or 1.0
    cells = np.floor((places - low) / side).astype(int)
    _, firsts = np.unique(cells, axis=0, return_index=True)
    for i in firsts:
        left, bottom = low + cells[i] * side
        extent = (left, left + 0.95 * side, bottom, bottom + 0.95 * side)
        axes.imshow(thumbnails[i], extent=extent, zorder=2)
    axes.set(xlim=(low[0], high[0] + side), ylim=(low[1], high[1] + side))
