"""Charts in the style of the report: small, on white, legible where they are made smaller."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from simclr_tf.errors import printable

WIDTH, HEIGHT = 4.2, 2.7  # inches: about as wide as a telephone, so that letters keep their size
_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "simclr_tf",  # the same chart is the same file
}
_RESOLUTION = 160  # of charts with many points, in dots an inch


@contextmanager
def chart(content: io.BytesIO, width: float = WIDTH, height: float = HEIGHT) -> Iterator[Any]:
    """Give axes to draw on; the chart is written at the end, as SVG.

    Args:
      content: where to.
      width, height: in inches.
    """
    with _axes(content, width, height, format="svg", metadata={"Date": None}) as axes:
        yield axes


@contextmanager
def dense_chart(content: io.BytesIO, width: float = WIDTH, height: float = WIDTH) -> Iterator[Any]:
    """As `chart`, for so many points that an SVG would be large; it is written as PNG."""
    with _axes(content, width, height, format="png", dpi=_RESOLUTION) as axes:
        yield axes


@contextmanager
def _axes(content, width, height, **how):
    import matplotlib  # slow to import, and needed only here
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure.subplots()
        figure.savefig(content, **how)


def curves(lines: Mapping[str, tuple[Sequence[int], Sequence[float]]], percent: bool) -> bytes:
    """A chart of values by training steps, as SVG.

    Args:
      lines: by their names, steps and values, both empty where a name has no line. Names have
        colours by their order, and a legend where there are several.
      percent: whether the values are shares.
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    content = io.BytesIO()
    with chart(content) as axes:
        for i, (name, (steps, values)) in enumerate(lines.items()):
            if steps:
                marker = "." if len(steps) < 40 else None
                axes.plot(steps, values, marker=marker, label=label(name), color=f"C{i}")
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        if len(lines) > 1:
            axes.legend()
    return content.getvalue()


def label(name: str, longest: int | None = None) -> str:
    """The name of a class, file or run as Matplotlib draws it, whatever its bytes are.

    Args:
      name: may have lone surrogates, which no font can draw, and dollars, which are no formula.
      longest: how many characters are kept; None keeps all.
    """
    return printable(name)[:longest].replace("$", r"\$")


def colours(count: int) -> np.ndarray:
    """Colours that can be told apart, as far as that goes: (count, 3) float in [0, 1]."""
    import matplotlib

    if count <= 10:
        return np.array(matplotlib.colormaps["tab10"].colors)[:count]
    return matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, count))[:, :3]
