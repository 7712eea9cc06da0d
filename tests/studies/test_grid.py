"""Studies as data, their cells, and their tables beside the paper's values."""

import csv

import numpy as np
import pytest
from matplotlib.figure import Figure

from simclr_tf.errors import UserError
from simclr_tf.experiment import config as configuration
from simclr_tf.flag import check_ranges, to_dict
from simclr_tf.methods import METHODS
from simclr_tf.studies import table
from simclr_tf.studies.grid import PAPER, REDUCED, Axis, cells_of
from simclr_tf.studies.paper import STUDIES

# Cells of the paper and of the reduced axes, by hand.
NUMBERS = {
    "augmentations": (7 * 7, 4 * 4),
    "batch_epochs": (6 * 4 * 2, 4 * 3),
    "color_strength": (5 * 2, 5 * 2),
    "head": (2 * 7 + 1, 2 * 3 + 1),
    "invariance": (4, 4),
    "loss": ((4 * 4 + 1) * 5, 5 * 2),
    "methods": (len(METHODS), len(METHODS)),
    "model_size": (5 * 3 * 3, 2 * 2 * 2),
    "temperature": (6, 6),
    "tsne": (1, 1),
}


@pytest.mark.parametrize("name", STUDIES)
def test_cells(name):
    study = STUDIES[name]
    for axes, number in zip((PAPER, REDUCED), NUMBERS[name], strict=True):
        cells = cells_of(study, axes)
        assert len({cell.name for cell in cells}) == len(cells) == number
        for cell in cells:
            config = configuration.from_dict(cell.flags)
            values = to_dict(config)
            assert {k: values[k] for k in cell.flags} == cell.flags
            check_ranges(config)
    assert NUMBERS.keys() == STUDIES.keys() and NUMBERS[name][1] <= 16


@pytest.mark.parametrize("name", STUDIES)
def test_published_values_belong_to_cells_of_the_paper(name):
    study = STUDIES[name]
    keys = {tuple(cell.labels[a] for a in study.shown) for cell in cells_of(study, PAPER)}
    for key, values in study.published.items():
        assert key in [measure.key for measure in study.measures]
        assert values.keys() <= keys


def test_values_of_the_paper():
    def of(name):
        return STUDIES[name].published["linear_probe_top_1_accuracy"]

    assert of("loss")[("nt_xent",)] == 63.9 and of("loss")[("margin",)] == 50.9
    assert of("temperature")[("0.1",)] == 64.4 and of("temperature")[("100_raw",)] == 57.0
    assert STUDIES["temperature"].published["contrast_acc"][("10_raw",)] == 91.7
    assert of("color_strength")[("simclr", "1_blur")] == 64.5
    assert of("color_strength")[("supervised", "0.125")] == 77.0
    assert of("batch_epochs")[("256", "100", "linear")] == 57.5
    assert of("batch_epochs")[("8192", "800", "sqrt")] == 69.1
    assert len(of("batch_epochs")) == 48
    assert of("model_size") == {
        ("50", "1", "1000_epochs"): 69.3,
        ("50", "2", "1000_epochs"): 74.2,
        ("50", "4", "1000_epochs"): 76.5,
    }


def test_pairs_of_transforms_and_the_means_of_the_paper():
    study = STUDIES["augmentations"]
    cells = cells_of(study, PAPER)
    assert [cell.flags["transforms"] for cell in cells[:9]] == [
        *("crop", "crop,cutout", "crop,color", "crop,sobel", "crop,noise", "crop,blur"),
        *("crop,rotate", "cutout,crop", "cutout"),
    ]
    assert all(cell.flags["use_blur"] for cell in cells)
    published = study.published["linear_probe_top_1_accuracy"]
    assert max(published, key=published.get) == ("crop", "color")
    lines = table.markdown(study, cells, {}).splitlines()
    means = [float(line.split("|")[-2].strip(" ()")) for line in lines[4:11]]
    np.testing.assert_allclose(means, [39.2, 29.4, 25.7, 18.8, 15.5, 14.5, 13.8], atol=0.11)


def test_a_row_has_a_mean_once_all_its_cells_have_a_value(tmp_path):
    study = STUDIES["augmentations"]
    cells = cells_of(study, REDUCED, "second=crop,second=color")
    results = {cell.id: result(0.25 * (1 + i), 0.5) for i, cell in enumerate(cells[:3])}
    lines = table.write(tmp_path, study, cells, results).splitlines()
    assert lines[2:7] == [
        "| first \\ second | crop | color | mean |",
        "| --- | ---: | ---: | ---: |",
        "| crop | 25.0 (33.1) | 50.0 (56.3) | 37.5 (44.7) |",
        "| color | 75.0 (55.8) | (18.8) | (37.3) |",
        "| blur | (35.1) | (16.6) | (25.9) |",
    ]
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")


def test_the_flags_of_a_cell():
    by_name = {cell.name: cell for cell in cells_of(STUDIES["loss"], PAPER)}
    assert by_name["loss_margin_semi_hard-margin_1.6-rate_0.5"].flags == {
        "contrastive_loss": "margin",
        "negative_mining": "semi_hard",
        "negatives": "other_view",
        "margin": 1.6,
        "learning_rate": 0.5,
        "learning_rate_scaling": "linear",
    }
    (raw,) = cells_of(STUDIES["temperature"], REDUCED, "temperature=10_raw")
    assert raw.flags == {"temperature": 10.0, "hidden_norm": False}
    (supervised,) = cells_of(STUDIES["model_size"], PAPER, "depth=50,width=4,training=supervised")
    assert supervised.flags["train_mode"] == "finetune"
    assert supervised.flags["optimizer"] == "momentum"
    assert supervised.flags["train_epochs"] == 90
    assert supervised.flags["finetune_augmentation"] == "pretrain"


def test_axes_are_cut():
    def names(study, chosen):
        return [cell.name for cell in cells_of(STUDIES[study], PAPER, chosen)]

    assert names("batch_epochs", "batch=512, batch=256,epochs=100,scaling=sqrt") == [
        "batch_256-epochs_100-scaling_sqrt",
        "batch_512-epochs_100-scaling_sqrt",
    ]
    assert len(names("loss", "temperature=0.1")) == 15  # of the two logistic losses, and NT-Xent


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("rates=1.0", "It cannot have 'rates=1.0' in it. Did you mean: rate?"),
        ("loss=margn", "The axis loss has the points margin, nt_logistic, .* Did you mean: margin"),
        ("loss", "The axis loss has the points"),
        ("loss=margin,temperature=0.5", "No cell has all the points of"),
    ],
)
def test_what_is_no_part_of_a_study_is_refused(chosen, message):
    with pytest.raises(UserError, match=message):
        cells_of(STUDIES["loss"], PAPER, chosen)


def test_labels_become_names_of_folders():
    with pytest.raises(ValueError, match="'1/8' cannot be a part of the name of a folder"):
        Axis("strength", {"1/8": {}})


def result(probe, knn, **more):
    return {"linear_probe_top_1_accuracy": probe, "knn_top_1_accuracy": knn, **more}


def test_the_best_cell_counts_over_axes_that_are_not_shown(tmp_path):
    study = STUDIES["loss"]
    cells = cells_of(study, REDUCED)
    made = [
        result(0.5, 0.75, steps=4, seconds=2.5),
        result(0.625, 0.25, steps=4, seconds=2.5),
        {"diverged": True, "steps": 4, "seconds": 1.0},
        result(0.25, 0.125, steps=4, seconds=2.5),
        {"diverged": True, "steps": 4, "seconds": 1.0},
    ]
    results = dict(zip([cell.id for cell in cells], made))
    assert table.write(tmp_path, study, cells, results) == (
        "| loss | linear probe, % | kNN, % |\n"
        "| --- | ---: | ---: |\n"
        "| margin | 62.5 (50.9) | 25.0 |\n"
        "| nt_logistic | 25.0 (51.6) | 12.5 |\n"
        "| margin_semi_hard | diverged (57.5) | diverged |\n"
        "| nt_logistic_semi_hard | (57.9) |  |\n"
        "| nt_xent | (63.9) |  |\n"
    )
    with open(tmp_path / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert rows[1] == {
        "loss": "margin",
        "margin": "0.8",
        "temperature": "",
        "linear_probe_top_1_accuracy": "62.5",
        "knn_top_1_accuracy": "25.0",
        "paper_linear_probe_top_1_accuracy": "50.9",
        "paper_knn_top_1_accuracy": "",
        "state": "finished",
        "steps": "4",
        "seconds": "2.5",
    }
    assert [row["state"] for row in rows] == [
        *("finished", "finished", "diverged", "finished", "diverged"),
        *["left"] * 5,
    ]
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")


def test_axes_that_follow_the_first_are_columns(tmp_path):
    study = STUDIES["batch_epochs"]
    cells = cells_of(study, PAPER, "batch=256,batch=512,epochs=100")
    text = table.write(tmp_path, study, cells, {cells[1].id: result(0.5, 0.25)})
    assert text == (
        "linear probe, %\n\n"
        "| batch \\ epochs, scaling | 100, linear | 100, sqrt |\n"
        "| --- | ---: | ---: |\n"
        "| 256 | (57.5) | 50.0 (62.8) |\n"
        "| 512 | (60.7) | (63.8) |\n"
        "\nkNN, %\n\n"
        "| batch \\ epochs, scaling | 100, linear | 100, sqrt |\n"
        "| --- | ---: | ---: |\n"
        "| 256 |  | 25.0 |\n"
        "| 512 |  |  |\n"
    )
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_of_one_axis_has_a_scale_for_each_measure():
    """Differences of a point are seen beside the paper's, which lie elsewhere."""
    study = STUDIES["temperature"]
    cells = cells_of(study, REDUCED, "temperature=0.1,temperature=0.5,temperature=1")
    task = {"contrast_entropy": 1.5, "contrast_acc": 0.75}
    results = {
        cells[0].id: result(0.975, 0.5, metrics=task),
        cells[2].id: result(0.985, 0.25),
    }
    figure = Figure()
    table._draw_points(figure, study, cells, results)
    shown = {axes.get_title(): axes.lines[0].get_ydata() for axes in figure.axes if axes.lines}
    nothing = np.nan
    expected = {
        "linear probe, %, here": [97.5, nothing, 98.5],
        "kNN, %, here": [50, nothing, 25],
        "entropy, here": [1.5, nothing, nothing],
        "contrastive accuracy, %, here": [75, nothing, nothing],
        "linear probe, %, in the paper": [64.4, 60.7, 58.0],
        "entropy, in the paper": [4.5, 8.2, 8.3],
        "contrastive accuracy, %, in the paper": [87.8, 68.2, 59.1],
    }
    assert shown.keys() == expected.keys()
    for title, values in expected.items():
        np.testing.assert_allclose(shown[title], values, err_msg=title)
    low, high = figure.axes[0].get_ylim()
    assert 97 < low < 97.5 and 98.5 < high < 99


def test_measures_of_the_contrastive_task_come_from_the_metrics():
    study = STUDIES["temperature"]
    cells = cells_of(study, REDUCED, "temperature=0.1")
    made = result(0.5, 0.25, metrics={"contrast_entropy": 1.25, "contrast_acc": 0.75})
    assert table.markdown(study, cells, {cells[0].id: made}).splitlines()[-1] == (
        "| 0.1 | 50.0 (64.4) | 25.0 | 1.2 (4.5) | 75.0 (87.8) |"
    )


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("axes", [PAPER, REDUCED])
def test_cells_that_share_an_axis_set_the_same_flags_of_the_loss(name, axes):
    """So that what is given besides holds for all cells of a study, or for none."""
    flags = {flag for cell in cells_of(STUDIES[name], axes) for flag in cell.flags}
    for flag in flags & {"negative_mining", "negatives", "contrastive_loss", "train_mode"}:
        assert all(flag in cell.flags for cell in cells_of(STUDIES[name], axes)), flag
