"""What the tests of this folder share."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def greys_dir(tmp_path_factory):
    """A TFDS directory with `tiny_greys`: image i of `train` (23) and `test` (5) has value i."""
    import tensorflow_datasets as tfds

    names = ["black", "grey", "white"]
    examples = [(i, {"image": np.full((6, 5, 3), i, np.uint8), "label": i % 3}) for i in range(23)]
    data_dir = tmp_path_factory.mktemp("tfds")
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny_greys",
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=names),
            }
        ),
        split_datasets={"train": examples, "test": examples[:5]},
        data_dir=data_dir,
        download_config=tfds.download.DownloadConfig(num_shards=3),
    )
    return str(data_dir)
