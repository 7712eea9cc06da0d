"""The files of a run directory: what they are called, who may write them, which are removed.

Names are compared with regular expressions; no path is ever a pattern, whatever it contains.
"""

import contextlib
import fcntl
import os
import re
import socket
from collections.abc import Iterator

from simclr_tf.errors import UserError
from simclr_tf.outputs import write_complete
from simclr_tf.paths import AnyPath, is_local

CONFIG = "run.json"
LOCK = "run.lock"

# Everything that a run writes; overwriting removes these and nothing else.
_CHECKPOINT = r"ckpt-\d+\.(index|data-\d{5}-of-\d{5})"
_EVENTS = r"events\.out\.tfevents\.\d+\..*"
_RESULTS = r"(result|result_\d+|flags)\.json(\.part)?"
_FILES = re.compile(
    rf"{_CHECKPOINT}|{_EVENTS}|{_RESULTS}|checkpoint(\.part)?|features-[0-9a-f]{{16}}\.npz|"
    r"views\.png|metrics\.jsonl(\.part)?|images\.txt\.gz|"
    r"report\.html(\.part)?|(model|label_subset|probe)\.json(\.part)?|run\.json\.part|"
    r"[\w.]+\.[0-9a-f]{8}\.part"  # of `require_writable` at a URL
)
_EVALUATION = re.compile(r"eval(_.+)?")
_EVALUATION_FILES = re.compile(rf"{_EVENTS}|{_RESULTS}")
_EXPORTED = re.compile(r"\d+|\.export-.*")
_UNFINISHED_CHECKPOINT = re.compile(r"ckpt-\d+_temp")


def names_in(folder: AnyPath) -> list[str]:
    """Names of all files and folders in a folder, sorted; none where it is none."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def checkpoint_step(prefix: str) -> int:
    """The step that a checkpoint's name carries: .../ckpt-120 -> 120."""
    return int(prefix.rsplit("-", 1)[1])


def checkpoints(folder: AnyPath) -> list[str]:
    """Names of the checkpoints that are there, such as ckpt-120."""
    names = [name.removesuffix(".index") for name in names_in(folder) if name.endswith(".index")]
    return [name for name in names if re.fullmatch(r"ckpt-\d+", name)]


def keep_checkpoints(folder: AnyPath, number: int) -> None:
    """Remove all checkpoints but the newest, and what killed processes left of others.

    The file `checkpoint`, by which other programs find the latest, is written anew.

    Args:
      folder: of one process alone, see `locked`.
      number: how many are kept; 0 keeps all.
    """
    steps = sorted(map(checkpoint_step, checkpoints(folder)))
    kept = steps[-number:] if number else steps
    # A checkpoint is there as long as its index is: that goes first.
    for name in sorted(names_in(folder), key=lambda name: not name.endswith(".index")):
        if _UNFINISHED_CHECKPOINT.fullmatch(name):
            _remove(folder / name)
        elif re.fullmatch(_CHECKPOINT, name) and _step_of_file(name) not in kept:
            (folder / name).unlink(missing_ok=True)
    if kept:
        lines = [f'model_checkpoint_path: "ckpt-{kept[-1]}"']
        lines += [f'all_model_checkpoint_paths: "ckpt-{step}"' for step in kept]
        write_complete(folder / "checkpoint", ("\n".join(lines) + "\n").encode())


@contextlib.contextmanager
def locked(folder: AnyPath) -> Iterator[None]:
    """Keep other processes from training in a folder, which is made if it is not there.

    The lock ends with its process, however that ends. File systems that cannot lock files,
    such as buckets, let others in.

    Raises:
      UserError: another process trains there, or the folder cannot be written.
    """
    if not is_local(folder):
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "a+")  # noqa: SIM115
    except OSError as error:
        raise UserError(f"The directory {folder} cannot be written: {error}.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"Another process trains in --model_dir={folder}: {file.read().strip()}. Wait "
                "until it ends, or give another --model_dir."
            ) from None
        except OSError:
            pass
        owner = f"process {os.getpid()} on {socket.gethostname()}"
        file.seek(0)
        if file.read() != owner:
            file.truncate(0)
            file.write(owner)
            file.flush()
        yield


def remove_run(folder: AnyPath) -> None:
    """Remove what a run writes, and nothing else."""
    # The index of a checkpoint first, without which it is none.
    for name in sorted(names_in(folder), key=lambda name: (not name.endswith(".index"), name)):
        path = folder / name
        if _EVALUATION.fullmatch(name) and path.is_dir():
            _remove_matching(path, _EVALUATION_FILES)
        elif name == "saved_model" and path.is_dir():
            _remove_matching(path, _EXPORTED)
        elif _UNFINISHED_CHECKPOINT.fullmatch(name):
            _remove(path)
        elif _FILES.fullmatch(name) and not path.is_dir():
            path.unlink()
    # Last, so that what is left of a half removed run is still known as one.
    (folder / CONFIG).unlink(missing_ok=True)


def _step_of_file(name: str) -> int:
    return checkpoint_step(name.partition(".")[0])


def _remove(path: AnyPath) -> None:
    path.rmtree() if path.is_dir() else path.unlink(missing_ok=True)


def _remove_matching(folder: AnyPath, names: re.Pattern) -> None:
    """Remove what has such a name, and then the folder, if nothing else is in it."""
    for path in folder.iterdir():
        if names.fullmatch(path.name):
            _remove(path)
    with contextlib.suppress(OSError, ValueError):  # there is something else in it
        folder.rmdir()
