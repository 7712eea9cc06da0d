"""Packing an image folder into files that are read in sequence: a data set of TensorFlow Datasets.

Its files are made one after the other in a directory beside it, which becomes the data set at the
end. What a killed process had made there is taken over, where the images are still the same.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from absl import logging
from tqdm import tqdm

from simclr_tf.data.checking import check_files
from simclr_tf.data.file_states import states_of
from simclr_tf.data.folder_scan import scan
from simclr_tf.data.folder_splits import FOLDERS, Split, splits_of
from simclr_tf.data.packed_shards import Shard, features_of, shards_of, write
from simclr_tf.errors import UserError, printable
from simclr_tf.json_files import DamagedFileError, read_object
from simclr_tf.outputs import require_new, require_writable
from simclr_tf.paths import LocalPath, as_path, is_local

_ELSEWHERE = "Give another directory, or remove it."
_LOCK = ".simclr_tf-lock"
_METADATA = r"(dataset_info|features|metadata)\.json|\w+\.labels\.txt"  # of TensorFlow Datasets


@dataclasses.dataclass(frozen=True)
class Packed:
    """What was packed.

    Attributes:
      images: by the name of each split, how many images it has.
      unchanged: how many images are stored as their files have them.
      left_out: the files that cannot be read or decoded, relative to the folder.
    """

    images: dict[str, int]
    unchanged: int
    left_out: tuple[str, ...]


def pack(
    folder: str,
    out: str,
    *,
    shorter_side: int | None = None,
    holdout_fraction: float = 0.1,
    split_seed: int = 0,
    labels: str = FOLDERS,
    max_bad_images: int = 100,
) -> Packed:
    """Write the images of a folder as a data set that `tfds.builder_from_directory` opens.

    Called again after it was killed, it goes on.

    Args:
      folder: an image folder on this machine, see `image_folder`; its splits become those of the
        data set.
      out: the directory to be made, on this machine and outside of `folder`.
      shorter_side: pixels that the shorter side of an image has at most; None scales nothing.
      holdout_fraction, split_seed, labels: see `image_folder.load`.
      max_bad_images: how many files that cannot be decoded are left out, with a warning for each.

    Raises:
      UserError: the folder cannot be read as an image folder, has splits or classes with names
        that TensorFlow Datasets does not take, or too many files that cannot be decoded; `out` is
        there, lies in `folder`, cannot be written, or another process is writing it.
    """
    source, target = as_path(folder), as_path(out)
    if not is_local(source):
        raise UserError(
            f"{folder} is an address. Copy the images to this machine or mount the bucket, and "
            "give that directory."
        )
    folder = os.fspath(source)
    if not is_local(target):
        raise UserError(f"{out} is an address. Give a directory of this machine, and copy it then.")
    target = LocalPath(os.path.abspath(target))
    settings = repr((os.path.abspath(folder), shorter_side, holdout_fraction, split_seed, labels))
    if found := _made_before(target, settings):
        logging.warning(
            "An earlier command packed %s and was killed before it said so. What was changed in %s "
            "since then is not in it.",
            target,
            printable(folder),
        )
        return _without_traces(target, found)
    require_new(target, "", _ELSEWHERE)
    require_writable(target / "dataset_info.json", str(target))
    _require_apart(target, folder)
    entries = scan(folder, any_depth=labels != FOLDERS)
    found = splits_of(folder, entries, labels, holdout_fraction, split_seed)
    if entries.unread:
        logging.warning("Below %s, %s", printable(folder), entries.about_unread())
    splits = _disjoint(found)
    _require_names_of_tfds(splits)
    with _unfinished(target) as directory:
        require_new(target, "", _ELSEWHERE)  # another process may have made it meanwhile
        states = {
            name: states_of([os.path.join(folder, file) for file in split.files.tolist()])
            for name, split in splits.items()
        }
        stem = re.sub(r"\W", "_", f"images_{target.name}", flags=re.ASCII)
        shards = [
            shard
            for name, split in splits.items()
            for shard in shards_of(directory, stem, name, split, states[name], shorter_side)
        ]
        _remove_others(directory, stem, shards)
        made = [shard.state() for shard in shards]
        # What could not be read may be back: then its shard is written anew.
        made = [None if state and _is_back(folder, state["left_out"]) else state for state in made]
        missing = [shard for shard, state in zip(shards, made) if state is None]
        writing = write(missing, folder, splits, states, shorter_side)
        with tqdm(total=sum(map(len, shards)), desc="Packing images", unit="image") as progress:
            for i, shard in enumerate(shards):
                made[i] = made[i] or next(writing)
                progress.update(len(shard))
                _require_few_left_out(folder, made, max_bad_images)
        of_split = {
            name: [state for shard, state in zip(shards, made) if shard.split == name]
            for name in splits
        }
        images = {name: sum(state["records"] for state in of_split[name]) for name in splits}
        if empty := [name for name in splits if not images[name]]:
            raise UserError(
                f"Split '{empty[0]}' of image folder {printable(folder)} has no readable images."
            )
        _write_metadata(directory, stem, next(iter(splits.values())), of_split, shorter_side)
        packed = Packed(
            images,
            sum(state["unchanged"] for state in made),
            tuple(sorted(file for state in made for file in state["left_out"])),
        )
        values = {"settings": settings, "packed": dataclasses.asdict(packed)}
        (directory / _LOCK).write_text(json.dumps(values))
        os.replace(directory, target)
        return _without_traces(target, packed)


def _made_before(target: LocalPath, settings: str) -> Packed | None:
    """What an earlier command of these settings packed, which was killed at its very end."""
    try:
        values = read_object(target / _LOCK, {"settings": str, "packed": dict})
    except (OSError, DamagedFileError):
        return None
    if values["settings"] != settings:
        return None
    found = values["packed"]
    return Packed(found["images"], found["unchanged"], tuple(found["left_out"]))


def _without_traces(target: LocalPath, packed: Packed) -> Packed:
    """Remove what only packing needs from a complete data set; the lock, which says so, last."""
    for file in target.glob("*.tfrecord-*.json"):
        file.unlink(missing_ok=True)
    (target / _LOCK).unlink(missing_ok=True)
    return packed


def _is_back(folder: str, files: Collection[str]) -> bool:
    """Whether one of the files that were left out can be read now."""
    paths = [os.path.join(folder, file) for file in files]
    return bool(paths) and len(check_files(paths).reasons) < len(paths)


def _require_apart(target: LocalPath, folder: str) -> None:
    """Refuse to write into the folder that is packed, wherever links lead."""
    inside = os.path.join(os.path.realpath(folder), "")
    for place in (target, _beside(target)):
        if os.path.join(os.path.realpath(place), "").startswith(inside):
            raise UserError(
                f"{place} lies in the folder that is packed. Give a directory outside."
                if place == target
                else f"{target} is made in {place}, which lies in the folder that is packed. Give "
                "another directory."
            )


def _beside(target: LocalPath) -> LocalPath:
    """The directory in which `target` is made."""
    return target.with_name(target.name + ".unfinished")


def _disjoint(found: dict[str, Split]) -> dict[str, Split]:
    """Splits of which each image is in one, without those that hold images of others."""
    kept, seen = {}, set()
    for name, split in found.items():
        files = set(split.files.tolist())
        if files and not files & seen:
            kept[name] = split
            seen |= files
    return kept


def _require_names_of_tfds(splits: dict[str, Split]) -> None:
    """Refuse names that TensorFlow Datasets does not store or find again."""
    for name, split in splits.items():
        if not re.fullmatch(r"\w+", name, re.ASCII) or name == "all":
            raise UserError(
                f"TensorFlow Datasets has no splits named '{printable(name)}': rename the folder, "
                "with letters, digits and underscores, and not `all`."
            )
        for class_name in split.class_names or ():
            if printable(class_name) != class_name or class_name.strip() != class_name:
                raise UserError(
                    f"TensorFlow Datasets has no classes named '{printable(class_name)}': rename "
                    "it, in UTF-8, without line breaks and other characters that are not seen, and "
                    "without spaces at the ends."
                )


@contextlib.contextmanager
def _unfinished(target: LocalPath) -> Iterator[LocalPath]:
    """The directory beside `target` in which it is made, for this process alone."""
    directory = _beside(target)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(
            f"{directory}, where {target} is made, is no directory: move it away."
        ) from None
    # A file, as network file systems tell other machines of no lock on a directory.
    lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise UserError(f"Another process is packing {target}. Wait until it has ended.") from None
    except OSError:  # there are no locks here
        pass
    try:
        yield directory
    finally:
        os.close(lock)


def _remove_others(directory: LocalPath, stem: str, shards: Sequence[Shard]) -> None:
    """Remove what an earlier process began that packed other images, or in another way.

    Raises:
      UserError: there is something that no such process writes; nothing is removed then.
    """
    known = {file for shard in shards for file in (shard.file, shard.state_file)}
    known.add(directory / _LOCK)
    others = sorted(set(directory.iterdir()) - known)
    ours = rf"{stem}-\w+\.tfrecord-\d+-of-\d+(\.json)?(\.part)?|{_METADATA}"
    for file in others:
        if not re.fullmatch(ours, file.name):
            raise UserError(
                f"{printable(str(file))} is no part of a data set that is being packed. Move it "
                "away, or give another directory."
            )
    for file in others:
        file.unlink()


def _require_few_left_out(
    folder: str, made: Sequence[dict[str, Any] | None], max_bad_images: int
) -> None:
    """Stop when more files cannot be decoded than may be."""
    bad = [file for state in made if state for file in state["left_out"]]
    if len(bad) > max_bad_images:
        raise UserError(
            f"{len(bad)} or more image files below {printable(folder)} cannot be decoded, more "
            f"than --max_bad_images={max_bad_images}: "
            f"{', '.join(map(printable, bad[: max_bad_images + 10]))}. Mend or remove them, or "
            "give a larger number; the same command goes on."
        )


def _write_metadata(
    directory: LocalPath,
    stem: str,
    split: Split,
    made: dict[str, list[dict[str, Any]]],
    shorter_side: int | None,
) -> None:
    """Write what makes a directory of shards a data set of TensorFlow Datasets.

    Args:
      directory: with the shards of all splits.
      stem: what the names of the files begin with.
      split: one of the splits, which share their classes.
      made: by the names of the splits, the states of their shards.
      shorter_side: see `packed_image`.
    """
    import tensorflow_datasets as tfds  # slow

    size = (
        f"whose shorter side has at most {shorter_side} pixels" if shorter_side else "of any size"
    )
    template = tfds.core.ShardedFileTemplate(
        data_dir=directory, dataset_name=stem, filetype_suffix="tfrecord"
    )
    tfds.folder_dataset.write_metadata(
        data_dir=directory,
        features=features_of(split),
        split_infos=[
            tfds.core.SplitInfo(
                name=name,
                shard_lengths=[state["records"] for state in states],
                num_bytes=sum(state["bytes"] for state in states),
                filename_template=template.replace(split=name),
            )
            for name, states in made.items()
        ],
        description=f"Images of a folder, upright, {size}.",
        supervised_keys=None if split.class_names is None else ("image", "label"),
        check_data=False,
    )
