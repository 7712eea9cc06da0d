"""Some training images, and the views of them that the encoder was shown."""

from simclr_tf.reports import html
from simclr_tf.reports.measured import Measured
from simclr_tf.reports.record import Record


def section(record: Record, measured: Measured | None) -> str:
    """The images and their views, drawn anew; where that cannot be done, views.png of the run."""
    title = "The image and its views"
    if measured is not None:
        intro = (
            "The first training images of the run. Beside the size of a view stands the share of "
            "the image that its crop covers. Views of an image should share what you care about."
        )
        rows = (
            html.strip(
                [
                    html.thumbnail(image, f"{name} of image {i}")
                    for i, image in enumerate(images, 1)
                ],
                name,
            )
            for name, images in measured.rows.items()
        )
        return html.section(title, html.paragraph(intro), *rows)
    picture = record.directory / "views.png"
    if not picture.is_file():
        return html.section(title, html.paragraph("The run has no views.png."))
    alt = "A row of training images, and below it a row for each of their views"
    return html.section(title, html.figure(html.picture(picture.read_bytes(), "png", alt)))
