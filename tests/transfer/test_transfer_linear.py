"""The linear protocol: features, logistic regression, scores."""

import numpy as np
import official_archives
import pytest
from sklearn.linear_model import LogisticRegression

from simclr_tf import checkpoints
from simclr_tf.data.decode import decode_image
from simclr_tf.data.transfer.preprocessing import resize_then_center_crop
from simclr_tf.evaluation.features import NonFiniteFeaturesError
from simclr_tf.transfer import linear, scoring
from simclr_tf.transfer.tasks import Task

pytestmark = pytest.mark.usefixtures("toy_encoder")


def test_features_are_those_of_the_resized_images_and_are_kept(checkpoint, tmp_path):
    official_archives.dtd(tmp_path)
    network = checkpoints.load(checkpoint)
    dataset = Task("dtd", str(tmp_path), check=False).open("test")
    file = tmp_path / "features/dtd.npz"
    options = {"image_size": 8, "batch_size": 2}
    features, labels = linear.read_or_compute(file, network, dataset, **options)
    images = [
        resize_then_center_crop(decode_image(e["image"]), 8, 8).numpy() for e in dataset.examples()
    ]
    np.testing.assert_allclose(features, network.features(np.stack(images)), atol=1e-5)
    np.testing.assert_array_equal(labels, [1, 0])
    kept, _ = linear.read_or_compute(file, None, None, **options)
    np.testing.assert_array_equal(kept, features)
    file.write_bytes(file.read_bytes()[:100])  # damaged: computed again
    again, _ = linear.read_or_compute(file, network, dataset, **options)
    np.testing.assert_array_equal(again, features)
    file.unlink()
    network.encoder.weights[0].assign(network.encoder.weights[0] * np.nan)
    with pytest.raises(NonFiniteFeaturesError):
        linear.read_or_compute(file, network, dataset, **options)
    assert not file.exists()


def test_several_labels_are_one_regression_against_the_rest_each():
    random = np.random.default_rng(0)
    features = random.normal(size=(80, 6)).astype(np.float32)
    labels = (features[:, :3] + 0.5 * random.normal(size=(80, 3)) > 0).astype(np.int64)
    labels[:9, 1] = -1
    l2 = 0.01
    found = linear.fit(features, labels, num_classes=3, l2=l2)
    for c in range(3):
        counted = labels[:, c] >= 0
        oracle = LogisticRegression(C=1 / (l2 * counted.sum()), tol=1e-10, max_iter=10_000)
        oracle.fit(features[counted], labels[counted, c])
        np.testing.assert_allclose(found.weights[:, c], oracle.coef_[0], atol=1e-3)
        np.testing.assert_allclose(found.bias[c], oracle.intercept_[0], atol=1e-3)
    again = linear.fit(features, labels, num_classes=3, l2=l2, start=found)
    np.testing.assert_allclose(again.weights, found.weights, atol=1e-3)


def test_scores():
    logits = np.array([[2.0, 1.0], [0.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    labels = np.array([0, 1, 1, 1])
    assert scoring.score("top_1", logits, labels) == pytest.approx(3 / 4)
    assert scoring.score("mean_per_class", logits, labels) == pytest.approx((1 + 2 / 3) / 2)
    several = np.array([[1, 0], [0, 0], [0, 1], [-1, 1]])
    # Class 0: found first. Class 1: 3 (+), 1, 1 (two -), 0 (+): precision 1 up to recall 1/2.
    expected = (1 + (6 * 1 + 5 * 2 / 4) / 11) / 2
    assert scoring.score("11_point_map", logits, several) == pytest.approx(expected)
    assert scoring.score("top_1", np.full((4, 2), np.nan), labels) == 0


@pytest.mark.parametrize("metric", ["top_1", "mean_per_class"])
def test_shares_sum_to_the_score(metric):
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(50, 4)), random.integers(4, size=50)
    assert scoring.shares(metric, logits, labels).sum() == pytest.approx(
        scoring.score(metric, logits, labels)
    )


def test_shares_of_several_labels_are_those_of_the_right_decisions():
    logits = np.array([[1.0, -1.0], [1.0, 1.0]])
    labels = np.array([[1, 0], [0, -1]])
    np.testing.assert_allclose(scoring.shares("11_point_map", logits, labels), [0.5, 0])
