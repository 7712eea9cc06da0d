"""Which fits make a sweep, in which order, and how much they cost.

Nothing is fitted here. A fit that is chosen on validation images comes once for each point of
its protocol's grid; a last fit then takes the best point, trains on training and validation
images, and is tested.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from simclr_tf.errors import UserError, did_you_mean
from simclr_tf.studies.sharing import SHOWN_PER_STEP

LINEAR, FINETUNE, RANDOM_INIT = "linear", "finetune", "random_init"
PROTOCOLS = (LINEAR, FINETUNE, RANDOM_INIT)
FINAL = "final"

Point = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Fit:
    """One fit.

    Attributes:
      dataset: name of the data set.
      protocol: one of PROTOCOLS.
      name: of the point, or of the last fit; the same in every run.
      point: the hyperparameters; None for the last fit, which takes the best ones.
      after: ids of the fits that have to be finished before: the neighbour whose solution it
        begins at, or all points for the last fit.
    """

    dataset: str
    protocol: str
    name: str
    point: Point | None
    after: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Names the fit in its sweep; also the path of its files there."""
        return f"{self.dataset}/{self.protocol}/{self.name}"


def grid(protocol: str) -> dict[str, tuple[float, ...]]:
    """The values of each hyperparameter of a protocol.

    Linear (B.8.1): 45 strengths of l2 in [1e-6, 1e5], from the strongest. Fine-tuning (B.8.2): 7
    learning rates in [1e-4, 0.1], and 7 weight decays in [1e-6, 1e-3] besides none. Random
    initialisation (B.8.3): 7 learning rates in [1e-3, 1], 8 weight decays in [1e-5, 10^-1.5].
    """
    return {
        LINEAR: {"l2": _logarithmic(5, -6, 45)},
        FINETUNE: {
            "learning_rate": _logarithmic(-4, -1, 7),
            "weight_decay": (0.0, *_logarithmic(-6, -3, 7)),
        },
        RANDOM_INIT: {
            "learning_rate": _logarithmic(-3, 0, 7),
            "weight_decay": _logarithmic(-5, -1.5, 8),
        },
    }[protocol]


def _logarithmic(first: float, last: float, count: int) -> tuple[float, ...]:
    """Powers of 10, evenly spaced; rounded, so that they are the same on every machine."""
    return tuple(float(f"{value:.6g}") for value in np.logspace(first, last, count))


def points(protocol: str, chosen: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """The points of a protocol's grid that have a chosen value of each hyperparameter.

    Args:
      protocol: one of PROTOCOLS.
      chosen: values by hyperparameter, each within 1% of one of the grid's; those that are not
        named are all taken.

    Raises:
      UserError: a value is not on the grid.
    """
    found = [{}]
    for name, values in grid(protocol).items():
        wanted = [_nearest(name, value, values) for value in chosen.get(name, values)]
        values = [value for value in values if value in wanted]
        found = [point | {name: value} for point in found for value in values]
    return found


def _nearest(name: str, value: float, values: Sequence[float]) -> float:
    for known in values:
        if abs(known - value) <= 0.01 * known:
            return known
    raise UserError(
        f"--{name}={value:g} is not on the grid, which is {', '.join(f'{v:.3g}' for v in values)}."
    )


def make_plan(
    datasets: Sequence[str],
    protocols: Sequence[str],
    chosen: Mapping[str, Mapping[str, Sequence[float]]],
) -> list[Fit]:
    """The fits of a sweep, in an order in which each can be made after those before it.

    Args:
      datasets: names.
      protocols: some of PROTOCOLS.
      chosen: values of hyperparameters by protocol, see `points`.

    Raises:
      UserError: there is no such protocol, one is named twice, or a value is not on its grid.
    """
    for protocol in protocols:
        if protocols.count(protocol) > 1:
            raise UserError(f"--protocols names {protocol} twice: {','.join(protocols)}.")
        if protocol not in PROTOCOLS:
            raise UserError(
                f"Unknown transfer protocol {protocol!r}; it is one of {', '.join(PROTOCOLS)}."
                + did_you_mean(protocol, list(PROTOCOLS))
            )
    fits = []
    for protocol in protocols:
        taken = points(protocol, chosen.get(protocol, {}))
        whole = len(taken) == len(points(protocol, {}))
        for dataset in datasets:
            candidates = []
            for point in taken:
                before = (candidates[-1].id,) if candidates and protocol == LINEAR else ()
                candidates.append(Fit(dataset, protocol, _name(point), point, before))
            last = FINAL if whole else f"{FINAL}_of_{len(taken)}_{_digest(candidates)}"
            after = tuple(fit.id for fit in candidates)
            fits += [*candidates, Fit(dataset, protocol, last, None, after)]
    return fits


def _name(point: Point) -> str:
    return "_".join(f"{name}_{value:.4g}" for name, value in point.items())


def _digest(fits: Sequence[Fit]) -> str:
    return hashlib.blake2b(" ".join(fit.name for fit in fits).encode(), digest_size=3).hexdigest()


def images_shown(
    protocol: str, sizes: Mapping[str, int], num_points: int, steps: int, batch_size: int
) -> int:
    """How many images the network has to be shown for one data set, a measure of cost.

    A step of training counts for three times its images. Logistic regression does not count.

    Args:
      protocol: one of PROTOCOLS.
      sizes: images of `train`, `validation` and `test`.
      num_points: points of the grid that are tried.
      steps: training steps of each fit, if the protocol trains.
      batch_size: images of a step.
    """
    if protocol == LINEAR:
        return sum(sizes.values())
    training = SHOWN_PER_STEP * steps * batch_size * (num_points + 1)
    return training + num_points * sizes["validation"] + sizes["test"]
