"""The sections of the report, with embeddings whose neighbours and confusions are known."""

import base64
import dataclasses
import io
import itertools
import math
import types

import numpy as np
import pytest
from report_parts import Page, checked, made_up

from simclr_tf.data.recipe import View
from simclr_tf.data.sources import ImageDataset
from simclr_tf.reports import (
    charts,
    confusions,
    curves,
    embedding_map,
    facts,
    html,
    neighbours,
    shown_views,
    worth,
)
from simclr_tf.reports.measured import open_splits
from simclr_tf.reports.record import PRETRAINED, RANDOM

BANK, QUERIES = [0, 1, 2] * 6, [0, 1, 2] * 4


@pytest.fixture(scope="module")
def labelled():
    return made_up(BANK, QUERIES)


@pytest.fixture(scope="module")
def unlabelled():
    return made_up(None, None)


def record(**values):
    """What a section asks of a run."""
    defaults = {"name": "one", "flags": {}, "rows": [], "metrics_of": {}, "probe": None}
    return types.SimpleNamespace(**defaults | values)


def test_neighbours_are_those_with_the_highest_cosine():
    random = np.random.default_rng(1)
    bank, queries = random.normal(size=(20, 5)), random.normal(size=(4, 5))
    norms = np.linalg.norm(bank, axis=1) * np.linalg.norm(queries, axis=1)[:, None]
    expected = np.argsort(-(queries @ bank.T) / norms, axis=1)
    assert np.array_equal(neighbours.nearest(bank, queries, 3), expected[:, :3])
    assert neighbours.nearest(bank, queries, 50).shape == (4, 20)


def test_neighbours_are_marked_right_and_wrong(labelled):
    page = checked(neighbours.section(labelled))
    alts = [image["alt"] for image in page.images]
    assert len(alts) == 8 * 7
    assert alts[:2] == ["test image of class class 0", "neighbour of class class 0, right"]
    assert page.words.count("✓") == 48 and "✗" not in page.words
    assert "100.0% (pretrained)" in page.words
    found = neighbours.nearest(
        labelled.encoders[RANDOM].bank["h"], labelled.encoders[RANDOM].queries["h"], 6
    )
    share = np.mean(np.array(BANK)[found] == np.array(QUERIES)[:, None])
    assert f"{share:.1%} (random weights)" in page.words and share < 0.7


def test_neighbours_without_labels_have_no_marks(unlabelled):
    page = checked(neighbours.section(unlabelled))
    assert {image["alt"] for image in page.images} == {"test image", "neighbour"}
    assert "✓" not in page.words and "✗" not in page.words and "class" not in page.words


def test_the_worst_confusions_come_first():
    matrix = np.array([[9, 0, 3], [5, 9, 0], [0, 1, 9]])
    assert confusions.worst(matrix, 6) == [(1, 0), (0, 2), (2, 1)]
    assert confusions.worst(matrix, 1) == [(1, 0)]
    assert confusions.worst(np.eye(3, dtype=int), 6) == []


def test_confusions_show_their_images(labelled):
    predictions = np.array(QUERIES)
    predictions[[0, 3]] = 1  # two images of class 0
    predictions[2] = 0  # one of class 2
    page = checked(confusions.section(labelled, predictions))
    assert "9 of 12 test images" in page.words
    assert "class 0 taken for class 1: 2 of 4" in page.words
    assert "class 2 taken for class 0: 1 of 4" in page.words
    alts = [image["alt"] for image in page.images]
    assert alts.count("test image of class class 0, taken for class 1") == 2
    assert alts.count("test image of class class 2, taken for class 0") == 1
    picture = next(i for i in page.images if i["alt"].startswith("test image of class class 2"))
    expected = html.thumbnail(labelled.queries.thumbnails[2], "")
    assert picture["src"] in expected


def test_images_without_label_are_not_confused():
    measured = made_up(BANK, [0, 1, -1, -1])
    page = checked(confusions.section(measured, np.array([0, 2, 1, 1])))
    assert "1 of 2 test images" in page.words and page.words.count("taken for") == 1


def test_many_classes_have_pairs_and_no_matrix():
    measured = made_up([0, 1, 2], [0, 201], classes=250)
    page = checked(confusions.section(measured, np.array([0, 3])))
    assert "class 201 taken for class 3: 1 of 1" in page.words and len(page.images) == 1


def test_accuracies_and_geometry_are_those_of_both_encoders(labelled):
    flags = {"knn_k": 3, "knn_temperature": 0.1}
    found = worth.worth(record(flags=flags), labelled)
    assert np.array_equal(found.predictions, QUERIES)
    assert found.numbers[PRETRAINED][worth.PROBE] == found.numbers[PRETRAINED][worth.KNN] == 1
    assert found.numbers[RANDOM][worth.KNN] < 0.8
    first, second = (views["h"] for views in labelled.encoders[PRETRAINED].views)
    first, second = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second))
    expected = np.mean(np.sum((first - second) ** 2, axis=1))
    assert found.numbers[PRETRAINED]["alignment of h"] == pytest.approx(expected, rel=1e-5)
    assert found.numbers[RANDOM]["effective rank of z"] <= 4
    page = checked(worth.section(record(), labelled, found))
    assert page.rows[0] == ["", PRETRAINED, RANDOM]
    assert page.rows[1][:2] == ["linear probe", "100.0%"]
    assert page.rows[3] == [
        "alignment of h",
        *(f"{found.numbers[name]['alignment of h']:.2f}" for name in (PRETRAINED, RANDOM)),
    ]
    assert "18 of 18 training images and measured on 12 test images" in page.words


def test_accuracies_of_all_images_come_from_probe_json(labelled):
    numbers = {
        name: {"linear_probe_top_1_accuracy": value, "knn_top_1_accuracy": value / 2}
        for name, value in ((PRETRAINED, 0.875), (RANDOM, 0.5))
    }
    found = worth.worth(record(probe=numbers), labelled)
    assert [found.numbers[n][worth.PROBE] for n in (PRETRAINED, RANDOM)] == [0.875, 0.5]
    page = checked(worth.section(record(probe=numbers), labelled, found))
    assert page.rows[1] == ["linear probe", "87.5%", "50.0%"]
    assert page.rows[2] == ["kNN", "43.8%", "25.0%"]
    assert "fitted to training images and measured on test images (probe.json, " in page.words
    told = numbers | {
        "images": {"fitted_to": 100, "of": 1438, "measured_on": 359},
        "settings": {"knn_k": 5, "knn_temperature": 0.1},
    }
    words = checked(worth.section(record(probe=told), labelled, found)).words
    assert "fitted to 100 of 1,438 training images and measured on all 359 test images" in words
    assert "(probe.json; kNN with --knn_k=5 --knn_temperature=0.1)" in words


def test_without_labels_there_is_no_accuracy(unlabelled):
    found = worth.worth(record(), unlabelled)
    assert found.predictions is None
    page = checked(worth.section(record(), unlabelled, found))
    assert [row[0] for row in page.rows[1:]] == [
        f"{name} of {layer}"
        for layer in ("h", "z")
        for name in ("alignment", "uniformity", "effective rank")
    ]
    assert "no labels" in page.words


def test_a_single_test_image_has_accuracies_and_no_geometry():
    measured = made_up(BANK, [1])
    found = worth.worth(record(), measured)
    assert set(found.numbers[PRETRAINED]) == {worth.PROBE, worth.KNN}
    words = checked(worth.section(record(), measured, found)).words
    assert "left out: there is one test image" in words and "No single one" not in words


def test_a_map_is_always_the_same_and_keeps_what_is_near(labelled):
    embeddings = labelled.encoders[PRETRAINED].bank["h"]
    places = embedding_map.t_sne(embeddings)
    assert places.shape == (18, 2) and np.array_equal(places, embedding_map.t_sne(embeddings))
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(18)
    assert np.array_equal(np.array(BANK)[distances.argmin(axis=1)], BANK)


def test_maps_of_few_images_and_of_images_that_are_all_alike():
    random = np.random.default_rng(0)
    for count in (2, 3, 4):
        places = embedding_map.t_sne(random.normal(size=(count, 3)).astype(np.float32))
        assert places.shape == (count, 2) and len(np.unique(places, axis=0)) == count
    alike = np.full((12, 4), 0.5, np.float32)
    assert np.array_equal(embedding_map.t_sne(alike[:1]), np.zeros((1, 2)))
    measured = made_up(None, None)
    for layer in ("h", "z"):
        measured.encoders[PRETRAINED].queries[layer] = alike
    assert len(checked(embedding_map.section(measured)).images) == 2


@pytest.mark.parametrize("kind", ["labelled", "unlabelled"])
def test_the_maps_of_h_and_z(kind, request):
    page = checked(embedding_map.section(request.getfixturevalue(kind)))
    assert [image["alt"] for image in page.images] == ["t-SNE of h.", "t-SNE of z."]
    assert all(image["src"].startswith("data:image/png") for image in page.images)


def test_too_few_images_have_no_map():
    page = checked(embedding_map.section(made_up(BANK, [0, 1, 2])))
    assert not page.images and "3 test images are too few" in page.words


def test_curves_have_what_was_measured_in_order():
    rows = [
        {"step": 2, "epoch": 0.1, "learning_rate": 0.5, "supervised_acc": 0.25, "my_loss": 3.0},
        {"step": 4, "learning_rate": 0.1, "supervised_acc": 0.75, "my_loss": math.nan},
        {"step": 4, "knn_top_1_accuracy": 0.5},
        {"step": 6, "my_loss": 1.5, "images_per_second": None, "total_loss": 9.0},
    ]
    one = record(rows=rows, metrics_of={"my_loss": "the loss of <mine>"})
    assert curves.metrics(one) == [
        "my_loss",
        "supervised_acc",
        "knn_top_1_accuracy",
        "learning_rate",
    ]
    assert curves.line(one, "my_loss") == ([2, 6], [3.0, 1.5])
    page = checked(curves.section([one]))
    assert "my_loss: the loss of <mine>" in page.words
    assert [image["alt"] for image in page.images][:3] == [
        "Curve of my_loss by training step: one ends at 1.5.",
        "Curve of supervised_acc by training step: one ends at 75.0%.",
        "Curve of knn_top_1_accuracy by training step: one is at 50.0%.",
    ]


def test_curves_of_several_runs_are_in_one_picture():
    one = record(rows=[{"step": 1, "spread": 0.5}], metrics_of={"spread": "of projections"})
    two = record(name="two", rows=[{"step": 1, "spread": 0.25, "other_loss": 1.0}])
    page = checked(curves.section([one, two]))
    assert [image["alt"] for image in page.images] == [
        "Curve of spread by training step: one is at 0.5; two is at 0.25.",
        "Curve of other_loss by training step: two is at 1.",
    ]
    assert "There is no row of metrics yet." in Page(curves.section([record()])).words


def test_a_run_has_one_colour_in_all_charts():
    alone = charts.curves({"a": ([], []), "b": ([1, 2], [0.5, 1.0])}, False).decode()
    both = charts.curves({"a": ([1], [0.5]), "b": ([1, 2], [0.5, 1.0])}, False).decode()
    first, second = "#1f77b4", "#ff7f0e"
    assert first in both and second in both and second in alone and first not in alone
    assert "legend" in alone  # there are several runs, although one line


def test_charts_are_svg_that_is_always_the_same():
    first, second = (charts.curves({"a": ([1, 2], [0.5, 1.0])}, True) for _ in range(2))
    assert first == second and b"<svg" in first
    assert b"http" not in first.partition(b"<svg")[2].replace(b"http://www.w3.org/", b"").replace(
        b"http://purl.org/", b""
    ).replace(b"https://matplotlib.org/", b"").replace(b"http://creativecommons.org/", b"")
    assert len(charts.colours(10)) == 10 and len(np.unique(charts.colours(37), axis=0)) == 37


def test_views_stand_below_their_images(unlabelled):
    page = checked(shown_views.section(record(), unlabelled))
    assert [image["alt"] for image in page.images][::6] == [
        "image of image 1",
        "view 1: 8 px of image 1",
    ]


@pytest.mark.parametrize("size, kind", [(16, "png"), (96, "jpeg")])
def test_a_thumbnail_is_the_image(size, kind):
    image = np.full((size, size, 3), 0.25, np.float32)
    (attributes,) = checked(html.thumbnail(image, 'a "quoted" <image>')).images
    assert attributes["alt"] == 'a "quoted" <image>'
    prefix = f"data:image/{kind};base64,"
    assert attributes["src"].startswith(prefix)
    from matplotlib import image as reader

    content = base64.b64decode(attributes["src"].removeprefix(prefix))
    found = reader.imread(io.BytesIO(content), format=kind)
    found = found / (1 if kind == "png" else 255)
    np.testing.assert_allclose(found[..., :3], 0.25, atol=0.01)


def test_names_that_are_no_text_are_shown_all_the_same():
    assert html.text("\udcff<&") == "?&lt;&amp;"


NAMES = ("$10_to_$20", "caf\udce9", r"\frac{$^$}", "$\\$")


def test_charts_draw_any_name_as_it_is():
    from matplotlib.cbook import is_math_text

    assert charts.label("caf\udce9 $5", 9) == r"caf\xe9 \$"  # cut where it is still a name
    measured = dataclasses.replace(made_up([0, 1, 2, 3], [0, 1, 2, 3], 4), class_names=NAMES)
    checked(confusions.section(measured, np.array([1, 0, 3, 2])))
    checked(curves.section([record(name=name, rows=[{"step": 1, "loss": 1.0}]) for name in NAMES]))
    with charts.dense_chart(io.BytesIO()) as axes:
        embedding_map.draw_classes(axes, np.eye(4, 2), np.arange(4), NAMES)
    assert [text.get_text() for text in axes.texts] == [charts.label(name) for name in NAMES]
    assert not any(is_math_text(text.get_text()) for text in axes.texts)
    assert [text.get_text().replace(r"\$", "$") for text in axes.texts] == [
        "$10_to_$20",
        r"caf\xe9",
        r"\frac{$^$}",
        "$\\$",
    ]


@pytest.mark.parametrize(
    "seconds, words",
    [(0.2, "less than 1 s"), (65, "1 min 5 s"), (7265, "2 h 1 min"), (None, "not known yet")],
)
def test_time_in_words(seconds, words):
    assert facts.duration(seconds) == words


def test_training_images_are_not_shown_as_test_images():
    """Where --eval_split is --train_split, a fifth of it is kept for the test."""
    flags = {"dataset": "x", "data_dir": None, "skipped_files": [], "eval_split": "train"}
    trained = types.SimpleNamespace(
        dataset=lambda split, *where, **how: ImageDataset("x", split, 10, 2, None, None)
    )
    splits = open_splits(record(flags=flags), trained)
    assert (splits.start, splits.bank, splits.queries) == (8, splits.queries, splits.bank)
    assert "--eval_split=train is the split that was trained on" in splits.note


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({}, "32 px, 8-100%, 32 px, 8-100%"),
        (
            {"image_size_schedule": "16:60,24:80"},
            "32 px, 8-100%, 32 px, 8-100%; with 16 px instead up to epoch 60; with 24 px instead "
            "up to epoch 80",
        ),
    ],
)
def test_views_in_words(flags, words):
    grown = record(flags={"image_size": 32} | flags, recipe=lambda: (View(32), View(32)))
    assert facts._views(grown) == words


def test_names_on_a_map_do_not_cover_each_other():
    random = np.random.default_rng(0)
    middles, widths = random.uniform(size=(20, 2)), random.uniform(0.05, 0.3, size=20)
    found = embedding_map.apart(middles, widths, 0.04)
    for i, j in itertools.combinations(range(20), 2):
        across, up = np.abs(found[i] - found[j])
        assert across >= (widths[i] + widths[j]) / 2 or up >= 0.04
    assert np.array_equal(found[:, 0], middles[:, 0]) and np.ptp(found[:, 1]) < 1.5
    far = np.array([[0.0, 0.0], [0.0, 1.0]])
    assert np.array_equal(embedding_map.apart(far, np.ones(2), 0.1), far)
    same = embedding_map.apart([np.zeros(2)] * 3, np.ones(3), 0.1)
    assert np.ptp(same[:, 1]) == pytest.approx(0.2, rel=0.05)
    assert embedding_map.apart([], np.ones(0), 0.1).shape == (0, 2)
