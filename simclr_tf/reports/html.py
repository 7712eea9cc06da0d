"""Pieces of a page: escaped text, pictures that lie in the page itself, tables, sections."""

import base64
import html
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

_LARGEST_PNG = 64  # pixels; photographs above it are smaller as JPEG


def text(value: object) -> str:
    """A value as text of a page; what is no UTF-8 becomes question marks."""
    return html.escape(str(value).encode("utf-8", "replace").decode("utf-8"))


def picture(content: bytes, kind: str, alt: str) -> str:
    """A picture that lies in the page.

    Args:
      content: of the file.
      kind: "png", "jpeg" or "svg+xml".
      alt: what it shows, for those who do not see it.
    """
    data = base64.b64encode(content).decode("ascii")
    return f'<img alt="{text(alt)}" src="data:image/{kind};base64,{data}">'


def thumbnail(image: np.ndarray, alt: str) -> str:
    """A small image.

    Args:
      image: (height, width, 3), uint8 or float in [0, 1].
      alt: see `picture`.
    """
    image = tf.image.convert_image_dtype(image, tf.uint8, saturate=True)
    if max(image.shape[:2]) <= _LARGEST_PNG:
        return picture(tf.io.encode_png(image).numpy(), "png", alt)
    return picture(tf.io.encode_jpeg(image, quality=85).numpy(), "jpeg", alt)


def figure(inside: str, caption: str = "") -> str:
    """A figure with a caption above, which is HTML already."""
    above = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure>{above}{inside}</figure>"


def panels(parts: Iterable[str], kind: str = "three") -> str:
    """Parts beside each other, or one below the other where the page is narrow.

    Args:
      parts: HTML.
      kind: how many beside each other where there is room: "two" or "three".
    """
    cells = "".join(f"<div>{part}</div>" for part in parts)
    return f'<div class="panels {kind}">{cells}</div>'


def strip(images: Sequence[str], label: str) -> str:
    """Images in a row, with a label above."""
    cells = "".join(f"<div>{image}</div>" for image in images)
    return (
        f'<p class="label">{text(label)}</p>'
        f'<div class="strip" style="--columns:{len(images)}">{cells}</div>'
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], wide: bool = False) -> str:
    """A table.

    Args:
      header: of the columns.
      rows: their cells; the first one names the row.
      wide: whether it has so many columns that on a narrow page each row becomes a block, whose
        values are named by the header.
    """
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in header)

    def cells(row):
        yield f'<th scope="row">{text(row[0])}</th>'
        for name, value in zip(header[1:], row[1:], strict=True):
            yield f'<td data-label="{text(name)}">{text(value)}</td>'

    body = "".join(f"<tr>{''.join(cells(row))}</tr>" for row in rows)
    kind = ' class="wide"' if wide else ""
    return f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of names and values, which are text."""
    rows = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in pairs)
    return f"<dl>{rows}</dl>"


def paragraph(sentences: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{text(sentences)}</p>"


def section(title: str, *parts: str) -> str:
    """A part of the page with a title."""
    return f"<section><h2>{text(title)}</h2>{''.join(parts)}</section>"
