"""The hosts of one run: which of them writes, and how they agree.

Every host of a MultiWorkerMirroredStrategy runs the same program. What they do together
(a training step, a checkpoint, an evaluation) has to be done by all of them in the same
order, so what decides about it must be the same everywhere: the chief's view of the run
directory, or whether any host was told to stop. Of a TPU slice one host runs the program.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator

import tensorflow as tf

from simclr_tf.errors import LostHostError, UserError
from simclr_tf.paths import AnyPath, as_path

# What TensorFlow raises on the others when one host is gone.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Hosts:
    """The hosts that a strategy spreads the work over.

    Attributes:
      number: how many there are.
      is_chief: whether this one writes what all share.

    Args:
      strategy: the strategy of the run.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        self._throwaway: tempfile.TemporaryDirectory | None = None
        self.number = 1
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            self.number = len(sum(strategy.cluster_resolver.cluster_spec().as_dict().values(), []))
        self.is_chief = strategy.extended.should_checkpoint

    def own_directory(self, directory: AnyPath) -> AnyPath:
        """Where this host writes what belongs into a directory that all share.

        Saving variables is work of all hosts, so all write. The chief does it in the
        directory itself, the others in one of their own, which is removed at the end.
        """
        if self.is_chief:
            return directory
        if self._throwaway is None:
            self._throwaway = tempfile.TemporaryDirectory(prefix="simclr_tf-")
        return as_path(self._throwaway.name)

    def from_chief(self, value: int) -> int:
        """The chief's value, when all hosts have come here."""
        return value if self.number == 1 else int(self._gathered(value)[0])

    def wait(self) -> None:
        """Go on when all hosts have come here."""
        self.from_chief(0)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on some host, when all hosts have come here."""
        return flag if self.number == 1 else bool(self._gathered(int(flag)).any())

    def require_same(self, look: Callable[[], int], message: str) -> None:
        """Refuse what the hosts see differently, when all hosts have come here.

        Args:
          look: gives what this host sees, in 63 bits; a single host does not look.
          message: of the error, which all hosts raise.

        Raises:
          UserError: another host has another value.
        """
        if self.number > 1 and len(set(self._gathered(look()).tolist())) > 1:
            raise UserError(message)

    def _gathered(self, value: int):
        """The values of all replicas of all hosts, the chief's first."""
        own = self._strategy.experimental_distribute_values_from_function(
            lambda _: tf.constant([value], tf.int64)
        )
        return self._gather(own).numpy()

    @tf.function
    def _gather(self, values):
        return self._strategy.gather(values, axis=0)


@contextlib.contextmanager
def name_lost_host(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turn what TensorFlow raises when another host is gone into a LostHostError."""
    try:
        yield
    except LOST as error:
        if Hosts(strategy).number == 1:
            raise
        raise LostHostError(
            "Another host of the job is gone, or cannot be reached. Start all hosts again with "
            "the same command; they go on from the last checkpoint. TensorFlow raised "
            f"{type(error).__name__}."
        ) from error
