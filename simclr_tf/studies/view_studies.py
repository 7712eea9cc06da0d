"""Studies of the SimCLR paper about views: what they undergo, and what of that h and z tell."""

from simclr_tf.studies.embedding_maps import Z_KNN, Z_LINEAR_PROBE, draw_maps
from simclr_tf.studies.grid import KNN, LINEAR_PROBE, PAPER, REDUCED, Axis, Study
from simclr_tf.studies.told import CHANCE, TOLD_BY_H, TOLD_BY_Z, require_enough, tell


def augmentations() -> Study:
    """Figure 5: one or two transforms of one view."""
    rows = {  # of the first transform, by the second
        "crop": "33.1 33.9 56.3 46.0 39.9 35.0 30.2",
        "cutout": "32.2 25.6 33.9 40.0 26.5 25.2 22.4",
        "color": "55.8 35.5 18.8 21.0 11.4 16.5 20.8",
        "sobel": "46.2 40.6 20.9 4.0 9.3 6.2 4.2",
        "noise": "38.8 25.8 7.5 7.6 9.8 9.8 9.6",
        "blur": "35.1 25.2 16.6 5.8 9.7 2.6 6.7",
        "rotate": "30.0 22.5 20.7 4.3 9.7 6.5 2.6",
    }

    def grids(names):
        def points(first):
            return {
                second: {
                    "transforms": first if second == first else f"{first},{second}",
                    "use_blur": True,
                }
                for second in names
            }

        return tuple((Axis("first", {name: {}}), Axis("second", points(name))) for name in names)

    return Study(
        about="one or two transforms of one view, after a crop that both views share",
        source="figure 5",
        shown=("first", "second"),
        grids={PAPER: grids(tuple(rows)), REDUCED: grids(("crop", "color", "blur", "rotate"))},
        finding="No single transform is enough; crop with colour is the best pair by far.",
        published={
            LINEAR_PROBE.key: {
                (first, second): float(value)
                for first, row in rows.items()
                for second, value in zip(rows, row.split(), strict=True)
            }
        },
        mean_of_rows=True,
    )


def invariance() -> Study:
    """Table 3: what h and z tell of the transform that a view has undergone."""
    predicted = Axis(
        "predicted",
        {
            label: {"added_transform": "none" if label == "color" else label}
            for label in ("color", "rotate", "noise", "sobel")
        },
    )

    def grid(width: int):
        return ((predicted, Axis("width", {f"{width}": {"proj_out_dim": width}})),)

    def published(*values: float):
        return {(label,): v for label, v in zip(predicted.points, values, strict=True)}

    return Study(
        about="what h and z tell of a transform: greyscale, a rotation, noise, or Sobel's filter",
        source="table 3",
        shown=("predicted",),
        grids={PAPER: grid(2048), REDUCED: grid(512)},
        finding="h tells which transform was applied, and z hardly does.",
        published={
            TOLD_BY_H.key: published(99.3, 67.6, 99.5, 96.6),
            TOLD_BY_Z.key: published(97.4, 25.6, 59.6, 56.3),
            CHANCE.key: published(80, 25, 50, 50),
        },
        measures=(TOLD_BY_H, TOLD_BY_Z, CHANCE, LINEAR_PROBE, KNN),
        further=tell,
        require=require_enough,
    )


def tsne() -> Study:
    """Figure B.4: maps of h and of z."""
    grid = ((Axis("training", {"simclr": {}}),),)
    return Study(
        about="maps of h and z by t-SNE, of test images of ten classes (map.png of the cell)",
        source="figure B.4",
        shown=("training",),
        grids={PAPER: grid, REDUCED: grid},
        finding="h separates the classes better than z does. (The figure has no numbers.)",
        measures=(LINEAR_PROBE, Z_LINEAR_PROBE, KNN, Z_KNN),
        further=draw_maps,
    )
