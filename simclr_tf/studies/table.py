"""The table of a study, with the paper's values beside: Markdown, CSV and a picture."""

import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from simclr_tf.outputs import complete_file, csv_writer, write_complete
from simclr_tf.studies.grid import LINEAR_PROBE, Cell, Measure, Study

Results = Mapping[str, Mapping[str, Any]]  # by the id of a cell, of those that are finished
_DIVERGED = "diverged"


def value_of(measure: Measure, result: Mapping[str, Any]) -> float:
    """A measure of a finished cell, in percent where it is a share; NaN where there is none."""
    value = result.get(measure.key, result.get("metrics", {}).get(measure.key))
    return math.nan if value is None else float(value) * (100 if measure.percent else 1)


def best_cells(study: Study, cells: Sequence[Cell], results: Results) -> dict[tuple, Cell]:
    """For each point of the axes that are shown, the finished cell with the best linear probe.

    Args:
      study: see `Study`.
      cells: all cells, in order.
      results: of the finished ones.

    Returns:
      Cells by labels, in the order of the axes.
    """
    best: dict[tuple, Cell] = {}

    def rank(cell: Cell) -> float:
        value = value_of(LINEAR_PROBE, results[cell.id])
        return -1.0 if math.isnan(value) else value

    for cell in cells:
        key = tuple(cell.labels[axis] for axis in study.shown)
        if cell.id in results and (key not in best or rank(cell) > rank(best[key])):
            best[key] = cell
    return best


def write(folder: pathlib.Path, study: Study, cells: Sequence[Cell], results: Results) -> str:
    """Write table.md, table.csv and table.png; returns the Markdown.

    Args:
      folder: where to.
      study: see `Study`.
      cells: all cells, in order.
      results: of the finished ones.
    """
    text = markdown(study, cells, results)
    with complete_file(folder / "table.png") as part:
        _draw(part, study, cells, results)
    with csv_writer(folder / "table.csv") as sheet:
        sheet.writerows(_rows(study, cells, results))
    write_complete(folder / "table.md", text.encode())
    return text


def markdown(study: Study, cells: Sequence[Cell], results: Results) -> str:
    """The table: one row for each point of the first axis.

    With one axis its columns are the measures; with more there is a table for each measure, where
    the study says so with the mean of each row. The paper's value stands in brackets.
    """
    best = best_cells(study, cells, results)
    rows, columns = _points(study, cells)
    blocks = []
    if columns == [()]:
        titles = [measure.title for measure in study.measures]
        lines = [
            [row, *(_text(study, m, (row,), best, results) for m in study.measures)] for row in rows
        ]
        blocks.append(_block(study.shown[0], titles, lines))
    else:
        for measure in study.measures:
            titles = [", ".join(column) for column in columns]
            lines = [
                [row, *(_text(study, measure, (row, *c), best, results) for c in columns)]
                for row in rows
            ]
            if study.mean_of_rows:
                titles.append("mean")
                for line in lines:
                    keys = [(line[0], *c) for c in columns]
                    line.append(_mean_text(study, measure, keys, best, results))
            head = f"{study.shown[0]} \\ {', '.join(study.shown[1:])}"
            blocks.append(f"{measure.title}\n\n" + _block(head, titles, lines))
    return "\n".join(blocks)


def _block(head: str, titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    marks = ["---", *["---:"] * len(titles)]
    return "".join(f"| {' | '.join(line)} |\n" for line in [[head, *titles], marks, *lines])


def _points(study: Study, cells: Sequence[Cell]) -> tuple[list[str], list[tuple[str, ...]]]:
    """The labels of the first axis, and those of the others together."""
    keys = [tuple(cell.labels[axis] for axis in study.shown) for cell in cells]
    return list(dict.fromkeys(key[0] for key in keys)), list(dict.fromkeys(key[1:] for key in keys))


def _text(
    study: Study, measure: Measure, key: tuple[str, ...], best: Mapping, results: Results
) -> str:
    """Our value, or nothing as long as there is none, and in brackets the paper's."""
    found = results[best[key].id] if key in best else {}
    published = study.published.get(measure.key, {}).get(key, math.nan)
    if found.get("diverged"):
        return f"{_DIVERGED} {_shown(math.nan, published)}".strip()
    return _shown(value_of(measure, found), published)


def _mean_text(
    study: Study, measure: Measure, keys: Sequence[tuple], best: Mapping, results: Results
) -> str:
    """The means of our values and of the paper's, each where all cells have one."""
    ours = [value_of(measure, results[best[k].id]) if k in best else math.nan for k in keys]
    papers = [study.published.get(measure.key, {}).get(key, math.nan) for key in keys]
    return _shown(*(sum(values) / len(values) for values in (ours, papers)))


def _shown(ours: float, published: float) -> str:
    """Our value, and in brackets the paper's; nothing for NaN."""
    words = [] if math.isnan(ours) else [f"{ours:.1f}"]
    return " ".join(words if math.isnan(published) else [*words, f"({published:.1f})"])


def _rows(study: Study, cells: Sequence[Cell], results: Results) -> Iterator[list[Any]]:
    """A line for each cell: its labels, its measures with the paper's, and what it cost."""
    axes = list(dict.fromkeys(axis for cell in cells for axis in cell.labels))
    keys = [measure.key for measure in study.measures]
    yield [*axes, *keys, *(f"paper_{key}" for key in keys), "state", "steps", "seconds"]
    for cell in cells:
        result = results.get(cell.id, {})
        key = tuple(cell.labels[axis] for axis in study.shown)
        values = [value_of(measure, result) for measure in study.measures]
        papers = [study.published.get(m.key, {}).get(key, "") for m in study.measures]
        state = _DIVERGED if result.get("diverged") else "finished" if result else "left"
        yield [
            *(cell.labels.get(axis, "") for axis in axes),
            *("" if math.isnan(value) else round(value, 4) for value in values),
            *papers,
            state,
            result.get("steps", ""),
            result.get("seconds", ""),
        ]


def _draw(file: pathlib.Path, study: Study, cells: Sequence[Cell], results: Results) -> None:
    """For one axis, what was measured and what the paper has side by side; else a heat map."""
    from matplotlib.figure import Figure

    _, columns = _points(study, cells)
    figure = Figure(layout="constrained")
    if columns == [()]:
        _draw_points(figure, study, cells, results)
    else:
        _draw_map(figure, study, cells, results)
    figure.suptitle(f"{study.about} ({study.source})", fontsize="small", wrap=True)
    figure.savefig(file, format="png", dpi=120)


def _draw_points(figure: Any, study: Study, cells: Sequence[Cell], results: Results) -> None:
    """A panel for each measure, with the paper's below; each has a scale of its own."""
    best = best_cells(study, cells, results)
    rows, _ = _points(study, cells)
    found = [results[best[row,].id] if (row,) in best else {} for row in rows]
    grid = figure.subplots(2 if study.published else 1, len(study.measures), squeeze=False)
    figure.set_size_inches((1 + 0.5 * len(rows)) * grid.shape[1], 3.5 * grid.shape[0])
    places = range(len(rows))

    def draw(axes: Any, title: str, values: Sequence[float]) -> None:
        axes.plot(places, values, "o")
        for place, value in zip(places, values, strict=True):
            if not math.isnan(value):
                above = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center"}
                axes.annotate(f"{value:.1f}", (place, value), fontsize="small", **above)
        axes.set_xticks(places, rows, rotation=30, ha="right")
        axes.margins(x=0.5 / len(rows), y=0.2)
        axes.set_title(title, fontsize="small")
        axes.grid(axis="y", alpha=0.3)

    for column, measure in enumerate(study.measures):
        ours = [value_of(measure, result) for result in found]
        draw(grid[0, column], f"{measure.title}, here", ours)
        if published := study.published.get(measure.key):
            papers = [published.get((row,), math.nan) for row in rows]
            draw(grid[1, column], f"{measure.title}, in the paper", papers)
        elif study.published:
            grid[1, column].set_axis_off()


def _draw_map(figure: Any, study: Study, cells: Sequence[Cell], results: Results) -> None:
    """The linear probe of a grid, with the paper's in brackets."""
    best = best_cells(study, cells, results)
    rows, columns = _points(study, cells)

    def ours(key: tuple[str, ...]) -> float:
        return value_of(LINEAR_PROBE, results[best[key].id]) if key in best else math.nan

    values = [[ours((row, *c)) for c in columns] for row in rows]
    texts = [
        [_text(study, LINEAR_PROBE, (row, *c), best, results) for c in columns] for row in rows
    ]
    titles = ["\n".join(column) for column in columns]
    if study.mean_of_rows:
        titles.append("mean")
        for row, numbers, words in zip(rows, values, texts, strict=True):
            keys = [(row, *c) for c in columns]
            words.append(_mean_text(study, LINEAR_PROBE, keys, best, results))
            numbers.append(sum(numbers) / len(numbers))
    figure.set_size_inches(max(6, len(titles) + 2), max(3, len(rows) * 0.8))
    axes = figure.subplots()
    picture = axes.imshow(values, aspect="auto")
    box = {"facecolor": "white", "alpha": 0.7, "linewidth": 0}
    for y, words in enumerate(texts):
        for x, text in enumerate(words):
            axes.text(x, y, text, ha="center", va="center", fontsize="small", bbox=box)
    axes.set_xticks(range(len(titles)), titles)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylabel(study.shown[0])
    figure.colorbar(picture, label=LINEAR_PROBE.title)
