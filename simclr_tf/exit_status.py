"""How a program ends: what is said of an error, and with which exit status."""

import errno
import os
import select
import sys
from collections.abc import Callable

import tensorflow as tf

from simclr_tf.errors import LostHostError, NonFiniteLossError, UserError

INTERRUPTED = 128 + 2  # exit status of a program that SIGINT, Ctrl-C, ended
BROKEN_PIPE = 128 + 13  # exit status of a program whose output nobody reads any more, as `| head`
LOST_HOST = 75  # exit status; the customary one for "try again"
# Of reading and writing files: the disk is full or gone, the quota is used up, no permission, ...
STORAGE_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EFBIG,
    errno.ESTALE,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOTCONN,  # this and the next: of what is mounted
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.ENODEV,
)


def exit_status(program: Callable[[], int]) -> int:
    """Run a program; print errors of the user on one line, and return exit status 2 for them."""
    try:
        status = program()
        sys.stdout.flush()
        return status
    except UserError as error:
        message = " ".join(str(error).split())
        print(f"error: {message}", file=sys.stderr)
        return 2
    except NonFiniteLossError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "error: Interrupted. What was saved is complete, and "
            f"{_command_that_goes_on()} goes on from there.",
            file=sys.stderr,
        )
        return INTERRUPTED
    except LostHostError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(LOST_HOST)  # the usual way out waits for the host that is gone
    except BrokenPipeError:
        if not _output_is_closed():  # a connection to somewhere else is
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is printed yet
        return BROKEN_PIPE
    except (OSError, tf.errors.OpError, RuntimeError) as error:
        reason = _reason_of_storage(error)
        if reason is None and isinstance(error, tf.errors.ResourceExhaustedError):
            print(
                f"error: The device has too little memory: {' '.join(str(error).split())[:150]} "
                "Give smaller batches (--train_batch_size, --eval_batch_size, --batch_size), or "
                "what docs/large_batches.md has for training.",
                file=sys.stderr,
            )
            return 2
        if reason is None:
            raise
        print(
            f"error: {reason} What was complete before is safe: make room, or make it reachable, "
            f"and {_command_that_goes_on()} goes on.",
            file=sys.stderr,
        )
        return 2


def _output_is_closed() -> bool:
    """Whether nobody reads what is printed; a notebook always does."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)  # errors alone
    except OSError:
        return False
    return bool(poll.poll(0))


def _command_that_goes_on() -> str:
    """In words; with --overwrite the same command begins anew."""
    words = [word.lstrip("-").partition("=")[0] for word in sys.argv[1:] if word.startswith("-")]
    return "the same command" + (" without --overwrite" if "overwrite" in words else "")


def _reason_of_storage(error: Exception) -> str | None:
    """What is wrong with the storage, in one line; None when the error is about something else."""
    gone = isinstance(error, FileNotFoundError) and error.filename is not None
    if gone or (isinstance(error, OSError) and error.errno in STORAGE_ERRORS):
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}."
    message = " ".join(str(error).split())
    if any(os.strerror(number) in message for number in STORAGE_ERRORS):
        return f"{message[:300]}."
    if isinstance(error, (tf.errors.UnavailableError, tf.errors.AbortedError)):
        return f"Storage cannot be reached: {message[:300]}."
    return None
