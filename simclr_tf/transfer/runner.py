"""Making the fits of a sweep, together with other processes that do the same."""

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from simclr_tf import checkpoints
from simclr_tf.checkpoints.description import TrainingData
from simclr_tf.checkpoints.loading import network_of
from simclr_tf.data import subsets
from simclr_tf.data.sources import ImageDataset
from simclr_tf.errors import UserError
from simclr_tf.evaluation.logistic_regression import (
    ACCURACY_TOLERANCE,
    OPTIMUM_TOLERANCE,
    LinearClassifier,
    PrincipalAxes,
    principal_axes,
)
from simclr_tf.evaluation.overlap import of_same_data, require_unseen
from simclr_tf.models import Architecture, Network
from simclr_tf.studies.sharing import duration, make_all
from simclr_tf.studies.sweep import IMAGES, Sweep, read_arrays, write_arrays
from simclr_tf.transfer import finetuning, linear
from simclr_tf.transfer.images import choose_left_out
from simclr_tf.transfer.plan import FINETUNE, LINEAR, RANDOM_INIT, Fit, grid
from simclr_tf.transfer.progress import Progress
from simclr_tf.transfer.scoring import score, shares
from simclr_tf.transfer.tasks import Task

_OPENED = ("train+validation", "test")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all fits of a sweep share.

    Attributes:
      checkpoint: the network that is transferred, see `checkpoints.read`.
      image_size: pixels of what the network sees; 224 in the paper.
      batch_size: images of a training step, and of what is shown at a time.
      steps: training steps by protocol.
      seed: of everything random.
      rescale_v1_weights: see `checkpoints.load_into`.
    """

    checkpoint: str
    image_size: int = 224
    batch_size: int = 256
    steps: Mapping[str, int] = dataclasses.field(
        default_factory=lambda: {FINETUNE: 20_000, RANDOM_INIT: 40_000}
    )
    seed: int = 0
    rescale_v1_weights: bool = False


@dataclasses.dataclass
class _Held:
    """What is held in memory of one data set."""

    name: str
    num_classes: int = 0
    features: dict[str, linear.Features] = dataclasses.field(default_factory=dict)  # by split
    axes: PrincipalAxes | None = None


class Runner:
    """Makes fits; the network and the data of the fit before are kept.

    Args:
      sweep: where results go.
      settings: see `Settings`.
      tasks: by the names that fits call them.
      max_bad_images: of a data set, see `choose_left_out`.
    """

    def __init__(
        self,
        sweep: Sweep,
        settings: Settings,
        tasks: Mapping[str, Task],
        max_bad_images: int = 0,
    ):
        self.sweep = sweep
        self.settings = settings
        stored = checkpoints.read(settings.checkpoint)
        self.tasks = {name: _as_trained(task, stored.data) for name, task in tasks.items()}
        self.max_bad_images = max_bad_images
        self.weights = _digest(stored.arrays)
        self._stored = stored
        self._first_path: str | None = settings.checkpoint  # what the sweep calls these weights
        self._network: Network | None = None
        self._held = _Held("")
        self._progress = Progress(self.tasks)

    @property
    def architecture(self) -> Architecture:
        """The architecture of the network that is transferred."""
        return self._stored.architecture

    def run(self, fits: Sequence[Fit], report: Callable[[str], None] = print) -> None:
        """Make all fits that are not finished, or wait until other processes have made them.

        What can be checked is checked before the sweep is written, and the images of all data sets
        before the first fit.

        Args:
          fits: as `plan.make_plan` orders them.
          report: is told about each fit that is finished here, and how much is left.

        Raises:
          UserError: data or checkpoint cannot be read, images that cannot be decoded are too
            many, or the sweep has other settings.
        """
        settings = dataclasses.asdict(self.settings) | {"weights": self.weights}
        self.sweep.compare(settings)
        if (trained_on := self._stored.image_size) not in (None, self.settings.image_size):
            report(
                f"The network was trained on views of {trained_on} pixels, and is shown "
                f"{self.settings.image_size}. --image_size={trained_on} shows it what it knows."
            )
        left = [fit for fit in fits if self._finished(fit) is None]
        opened = self._open_all(left, report)
        with self.sweep.take_part(settings) as of_sweep:
            self._first_path = of_sweep.get("checkpoint")
            for name in self.tasks:
                self._require_same_images(name, opened.get(name))
            for name in dict.fromkeys(fit.dataset for fit in left):
                self.tasks[name] = self._checked(name, report)
            make_all(
                self.sweep,
                fits,
                make=self._make,
                finished=self._count,
                seconds_left=self._progress.seconds_left,
                report=report,
            )

    def _open_all(
        self, left: Sequence[Fit], report: Callable[[str], None]
    ) -> dict[str, list[ImageDataset]]:
        """Open the data and build the network that fits need, to hear what is wrong with them.

        Returns:
          The splits `train+validation` and `test` by the name of their data set.
        """
        if any(fit.protocol == LINEAR for fit in left):
            self._encoder()
        if left and self.architecture.encoder == "keras":  # which may take one size alone
            self._encoder().require_size(self.settings.image_size)
        trained = {fit.dataset for fit in left if fit.protocol != LINEAR}
        opened = {}
        for name in dict.fromkeys(fit.dataset for fit in left):
            opened[name] = [self.tasks[name].open(split) for split in _OPENED]
            data = {"dataset": self.tasks[name].name, "data_dir": self.tasks[name].data_dir}
            require_unseen(self.settings.checkpoint, opened[name][1], data)
            count = opened[name][0].num_examples
            if name in trained and count < self.settings.batch_size:
                report(
                    f"A batch of {self.settings.batch_size} has some of the {count} images of "
                    f"{name} several times."
                )
        return opened

    def _require_same_images(self, name: str, opened: list[ImageDataset] | None) -> None:
        """Refuse other images than the fits of a data set began with, or remember these.

        Args:
          name: of the data set.
          opened: its splits; None where no fit needs them, and then they are looked at if they lie
            in another place.

        Raises:
          UserError: they are others.
        """
        task, of_images = self.tasks[name], f"{IMAGES}/{name.replace('/', '_')}.began_with"
        place = task.data_dir and os.path.realpath(task.data_dir)
        with self.sweep.claim(of_images, wait=True):
            earlier = self.sweep.result(of_images)
            if not opened and (earlier is None or earlier.get("place") == place):
                return
            opened = opened or [task.open(split) for split in _OPENED]
            found = [subsets.fingerprint(split) for split in opened]
            if earlier is None or not self.sweep.has_results(name):
                self.sweep.finish(of_images, {"place": place, "images": found})
            elif earlier.get("images") != found:
                raise UserError(
                    f"The images of {name} are not those that the sweep {self.sweep.path} began "
                    f"with, which were in {earlier.get('place')}. Bring them back, or give another "
                    "--model_dir."
                )

    def _count(self, fit: Fit) -> bool:
        """Whether a fit is finished; if it is, its time counts for that of the others."""
        result = self._finished(fit)
        if result is not None:
            self._progress.finish(fit, result["seconds"])
        return result is not None

    def _checked(self, name: str, report: Callable[[str], None]) -> Task:
        """The data set without its bad images, which one process of the sweep finds once."""
        task = self.tasks[name]
        file = f"{name.replace('/', '_')}-{_key(repr(task))}"
        with self.sweep.claim(f"{IMAGES}/{file}", wait=True):
            left_out = self.sweep.left_out(file, self.max_bad_images)
            if left_out is None:
                left_out = choose_left_out(task, self.max_bad_images, report)
                self.sweep.leave_out(file, left_out, self.max_bad_images)
        return dataclasses.replace(task, left_out=left_out)

    def _finished(self, fit: Fit) -> dict[str, Any] | None:
        """The result of a fit, or None as long as it is not finished."""
        score_name = "test" if fit.point is None else "validation"
        return self.sweep.result(fit.id, [score_name, "seconds"])

    def _make(self, fit: Fit) -> str:
        """Make a fit, write its result, and return a line for the log."""
        began, of_features = time.monotonic(), self._progress.image_seconds
        result = self._result(fit)
        of_features = self._progress.image_seconds - of_features
        result["seconds"] = round(time.monotonic() - began - of_features, 3)
        self.sweep.finish(fit.id, result)
        if fit.protocol == LINEAR and fit.point is not None and fit.after:
            self.sweep.arrays(fit.after[0]).unlink(missing_ok=True)
        scores = ", ".join(f"{k} {result[k]:.4f}" for k in ("validation", "test") if k in result)
        return f"{fit.id}: {scores} ({duration(result['seconds'])})"

    def _result(self, fit: Fit) -> dict[str, Any]:
        task = self.tasks[fit.dataset]
        predict = self._fit_linear if fit.protocol == LINEAR else self._train
        facts = {"dataset": fit.dataset, "protocol": fit.protocol, "metric": task.metric}
        if fit.point is not None:
            logits, labels = predict(fit, fit.point, ("train",), "validation")
            diverged = {} if np.isfinite(logits).all() else {"diverged": True}
            return (
                facts | {**fit.point, "validation": score(task.metric, logits, labels)} | diverged
            )
        names = list(grid(fit.protocol))
        candidates = [self.sweep.result(other, ["validation", *names]) for other in fit.after]
        best = max(candidates, key=lambda result: result["validation"])
        point = {name: best[name] for name in names}
        logits, labels = predict(fit, point, ("train", "validation"), "test")
        write_arrays(
            self.sweep.arrays(fit.id),
            shares=shares(task.metric, logits, labels),
            logits=logits.astype(np.float32),
            labels=labels,
        )
        return facts | {
            "selected": point,
            "validation": best["validation"],
            "test": score(task.metric, logits, labels),
            "test_images": len(labels),
            "left_out": list(task.left_out),
            "points": candidates,
        }

    def _fit_linear(
        self, fit: Fit, point: Mapping[str, float], train: Sequence[str], test: str
    ) -> tuple[np.ndarray, np.ndarray]:
        parts = [self._features_of(fit.dataset, split) for split in train]
        features, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
        unseen, unseen_labels = self._features_of(fit.dataset, test)
        start = None
        if fit.point is not None and fit.after:
            stored = read_arrays(self.sweep.arrays(fit.after[0]), "weights", "bias")
            if stored and stored[0].shape == (features.shape[1], self._held.num_classes):
                start = LinearClassifier(*stored)
        found = linear.fit(
            features,
            labels,
            num_classes=self._held.num_classes,
            l2=point["l2"],
            start=start,
            axes=self._axes_of(fit.dataset),
            tolerance=OPTIMUM_TOLERANCE if fit.point is None else ACCURACY_TOLERANCE,
        )
        if fit.point is not None:
            write_arrays(self.sweep.arrays(fit.id), weights=found.weights, bias=found.bias)
        return found.logits(unseen), unseen_labels

    def _features_of(self, name: str, split: str) -> linear.Features:
        """The features of a split; those of one data set are held in memory."""
        if self._held.name != name:
            self._held = _Held(name)
        held = self._held.features
        if split not in held:
            dataset = self.tasks[name].open(split)
            self._held.num_classes = dataset.num_classes
            settings = dataclasses.replace(self.settings, checkpoint=self._first_path)
            facts = f"{self.weights}/{dataset.num_examples}/{settings}/{self.tasks[name]}"
            file = f"features/{name.replace('/', '_')}-{split}-{_key(facts)}"
            is_new, began = not self.sweep.arrays(file).exists(), time.monotonic()
            with self.sweep.claim(file, wait=True):
                held[split] = linear.read_or_compute(
                    self.sweep.arrays(file),
                    self._encoder(),
                    dataset,
                    image_size=self.settings.image_size,
                    batch_size=self.settings.batch_size,
                )
            if is_new:
                self._progress.show(dataset.num_examples, time.monotonic() - began)
        return held[split]

    def _axes_of(self, name: str) -> PrincipalAxes:
        """Of the features for training, which they are computed from once."""
        features, _ = self._features_of(name, "train")
        if self._held.axes is None:
            self._held.axes = principal_axes(features)
        return self._held.axes

    def _encoder(self) -> Network:
        if self._network is None:
            self._network = network_of(
                self._stored,
                self.settings.checkpoint,
                rescale_v1_weights=self.settings.rescale_v1_weights,
            )
        return self._network

    def _train(
        self, fit: Fit, point: Mapping[str, float], train: Sequence[str], test: str
    ) -> tuple[np.ndarray, np.ndarray]:
        settings, task = self.settings, self.tasks[fit.dataset]
        fit_settings = finetuning.FitSettings(
            settings.steps[fit.protocol], settings.batch_size, settings.image_size, settings.seed
        )
        network = finetuning.train(
            self.architecture,
            None if fit.protocol == RANDOM_INIT else self._stored,
            task.open("+".join(train)),
            fit_settings,
            rescale_v1_weights=settings.rescale_v1_weights,
            source=settings.checkpoint,
            **point,
        )
        return finetuning.predict(network, task.open(test), fit_settings)


def _as_trained(task: Task, data: TrainingData | None) -> Task:
    """A task divided and read as the network's own run did, if it was trained on this data set."""
    if data is None or data.dataset != task.name:
        return task
    same = of_same_data({"dataset": task.name, "data_dir": task.data_dir}, data)
    return dataclasses.replace(
        task,
        holdout_fraction=data.holdout_fraction,
        split_seed=data.split_seed,
        upright=data.upright,
        labels=data.labels if same else task.labels,
    )


def _key(facts: str) -> str:
    """Names what was made with these facts."""
    return hashlib.blake2b(facts.encode(), digest_size=6).hexdigest()


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Tells weights apart."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
