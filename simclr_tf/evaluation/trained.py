"""Opening data for a trained network as its run saw them, and the network with what it knows.

Every program that shows data to a trained network comes by here: which images are held out, how
photographs are turned, how large images are shown, and what the classes are called follow the run.
"""

import dataclasses
import os
from typing import Any

from simclr_tf.checkpoints import read
from simclr_tf.checkpoints.description import TrainingData
from simclr_tf.checkpoints.loading import network_of
from simclr_tf.checkpoints.stored_network import StoredNetwork
from simclr_tf.data import datasets
from simclr_tf.data.folder_splits import FOLDERS
from simclr_tf.data.sources import ImageDataset
from simclr_tf.errors import UserError
from simclr_tf.evaluation.overlap import contradiction, of_same_data, require_unseen
from simclr_tf.models import Network


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network, and what has to be known to show it images.

    Attributes:
      source: where it was read from.
      stored: what was read.
      network: with all of its weights.
    """

    source: str
    stored: StoredNetwork
    network: Network

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the outputs of the supervised head: those of its run, else their numbers."""
        count = self.network.architecture.num_classes or 0
        names = self.stored.class_names
        return names if names and len(names) == count else tuple(map(str, range(count)))

    @property
    def image_size(self) -> int:
        """Height and width of the images that it is shown, where nothing else is asked for."""
        return self.stored.shown_size

    def dataset(
        self,
        split: str,
        name: str | None = None,
        data_dir: str | None = None,
        *,
        holdout_fraction: float | None = None,
        split_seed: int | None = None,
        labels: str | None = None,
        **options: Any,
    ) -> ImageDataset:
        """Open a split as the network's run would have opened it.

        Args:
          split: see `datasets.load`.
          name, data_dir: see `datasets.load`; without a name, the data of the run.
          holdout_fraction, split_seed: None takes those of the run.
          labels: None takes those of the run where the data are its own, else `folders`.
          **options: further arguments of `datasets.load`.

        Raises:
          UserError: the arguments contradict the run, the data cannot be opened, or nothing is
            known of a run.
        """
        if name is None:
            if self.stored.data is None:
                raise UserError(f"{self.source} does not say which data it saw. Give their name.")
            name, data_dir = self.stored.data.dataset, self.stored.data.data_dir
        given = {
            "holdout_fraction": holdout_fraction,
            "split_seed": split_seed,
            "labels": labels,
        }
        given = {key: value for key, value in given.items() if value is not None}
        data = self.stored.data or TrainingData(name, data_dir)
        flags = given | {"dataset": name, "data_dir": data_dir}
        if problem := contradiction(flags, given, data):
            raise UserError(problem)
        if not of_same_data(flags, data):
            data = dataclasses.replace(data, labels=FOLDERS)
        how = dataclasses.replace(data, **given)
        dataset = datasets.load(
            name,
            split,
            data_dir=data_dir and os.path.expanduser(data_dir),
            holdout_fraction=how.holdout_fraction,
            split_seed=how.split_seed,
            labels=how.labels,
            upright=how.upright,
            **options,
        )
        require_unseen(self.source, dataset, flags, tested=False)
        return dataset


def open_trained(source: str) -> Trained:
    """Read a trained network.

    Args:
      source: see `checkpoints.read`.

    Raises:
      UserError: there is nothing to read, or it is not complete.
    """
    stored = read(source)
    return Trained(source, stored, network_of(stored, source))
