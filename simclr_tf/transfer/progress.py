"""How far a sweep is, and how long the rest will take."""

from collections.abc import Mapping, Sequence

from simclr_tf.transfer.plan import LINEAR, Fit
from simclr_tf.transfer.tasks import Task


class Progress:
    """What is finished, and how long that took.

    Args:
      tasks: by the names that fits call them; those of the linear protocol are opened if their
        sizes are not known otherwise.
    """

    def __init__(self, tasks: Mapping[str, Task]):
        self._tasks = tasks
        self._sizes: dict[str, dict[str, int]] = {}
        self._work: dict[str, float] = {}
        self._finished: dict[str, tuple[Fit, float]] = {}
        self._images = 0
        self._image_seconds = 0.0

    def finish(self, fit: Fit, seconds: float) -> None:
        """A fit is finished, and took so long without its features."""
        self._finished[fit.id] = fit, seconds

    def show(self, images: int, seconds: float) -> None:
        """Features of so many images were computed, and took so long."""
        self._images += images
        self._image_seconds += seconds

    @property
    def image_seconds(self) -> float:
        """How long all features together took."""
        return self._image_seconds

    def seconds_left(self, left: Sequence[Fit]) -> float | None:
        """How long fits will take one process, by those of the same protocol that are finished.

        The time of a linear fit goes with the number of its images times that of its classes;
        training takes as many steps on every data set. Features count where no fit to them is
        finished, as soon as it is known how long one takes.

        Args:
          left: fits that are not finished.

        Returns:
          Seconds; None as long as no fit of one of the protocols is finished.
        """
        total = 0.0
        for protocol in {fit.protocol for fit in left}:
            known = [entry for entry in self._finished.values() if entry[0].protocol == protocol]
            if not known:
                return None
            rate = sum(s for _, s in known) / sum(self._work_of(fit) for fit, _ in known)
            total += rate * sum(self._work_of(fit) for fit in left if fit.protocol == protocol)
        fitted = {fit.dataset for fit, _ in self._finished.values() if fit.protocol == LINEAR}
        coming = {fit.dataset for fit in left if fit.protocol == LINEAR} - fitted
        images = sum(sum(self._sizes_of(name).values()) for name in coming)
        return total + images * self._image_seconds / max(self._images, 1)

    def _work_of(self, fit: Fit) -> float:
        if fit.protocol != LINEAR:
            return 1.0
        if fit.dataset not in self._work:
            task = self._tasks[fit.dataset]
            images = self._sizes_of(fit.dataset)["train"]
            self._work[fit.dataset] = float(images * task.num_classes())
        return self._work[fit.dataset]

    def _sizes_of(self, name: str) -> dict[str, int]:
        if name not in self._sizes:
            self._sizes[name] = self._tasks[name].sizes()
        return self._sizes[name]
