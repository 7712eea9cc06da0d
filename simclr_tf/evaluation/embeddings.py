"""Embeddings of a whole data set in files, part by part, so that a killed extraction goes on.

FILE.npz        `features` (n, d) float32; `labels` (n,) int64, `class_names` and `paths` (n,),
                where there are some; `about`, JSON. Its parts wait in FILE.npz.parts/.
DIRECTORY       embeddings-00000-of-00004.tfrecord, ... of tf.train.Example with `features`,
                `position`, and where there are some `label` and `path`; embeddings.json: about.

Images are in the order of the data set, which is always the same. Every file appears once it
is complete, and no more than one part is held in memory. Names that are no UTF-8 are bytes in
TFRecords, and have surrogate escapes in FILE.npz, as os.listdir shows them.
"""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from simclr_tf.data import subsets
from simclr_tf.data.decode import decode_image
from simclr_tf.data.sources import ImageDataset, Positions
from simclr_tf.data.views import evaluation_view
from simclr_tf.errors import UserError
from simclr_tf.models import Network
from simclr_tf.outputs import complete_file, private_file, reason, require_writable, write_complete
from simclr_tf.paths import AnyPath, as_path
from simclr_tf.remote import tensorflow_file_errors

PART_SIZE = 8192  # images
# What NumPy and JSON raise for files of others; those of the system are OSError.
_NOT_OURS = (ValueError, TypeError, LookupError, EOFError, RuntimeError, zlib.error)
_NOT_OURS += (zipfile.BadZipFile,)
Part = tuple[np.ndarray, np.ndarray]  # features (m, d) float32, labels (m,) int64, -1 without


def write_embeddings(
    network: Network,
    dataset: ImageDataset,
    output: str,
    *,
    image_size: int,
    batch_size: int,
    about: Mapping[str, Any],
    part_size: int = PART_SIZE,
) -> int:
    """Write h and the label of every image; go on where an earlier call was killed.

    Args:
      network: in inference mode.
      dataset: the images.
      output: FILE.npz, or a directory for TFRecord files; local, or a URL.
      image_size: height and width of the evaluation views.
      batch_size: images at a time.
      about: JSON values that say what is extracted; another extraction does not go on.
      part_size: images of each part.

    Returns:
      How many images were embedded now; 0 if everything was there.

    Raises:
      UserError: the output belongs to something else, or cannot be written.
    """
    about = {**about, "num_examples": dataset.num_examples, "part_size": part_size}
    about["class_names"] = dataset.class_names and list(dataset.class_names)
    about["skipped_files"] = list(dataset.skipped_files)
    earlier = read_about(output)
    if not earlier or "images" in earlier:  # which outputs of earlier versions do not know
        about["images"] = subsets.fingerprint(dataset)
    if not earlier or "content" in earlier:
        about["content"] = dataset.content
    if earlier:
        _require_same(output, earlier, about)
    path = as_path(output)
    files = part_files(output, dataset.num_examples, part_size)
    write = _write_npz_part if output.endswith(".npz") else _write_tfrecord
    try:
        if earlier and path.is_file():
            _remove_parts(files[0].parent)  # of a process that was killed while it did so
            return 0
        done = next((i for i, file in enumerate(files) if not file.exists()), len(files))
        start = min(done * part_size, dataset.num_examples)
        files[0].parent.mkdir(parents=True, exist_ok=True)
        if not earlier:
            write_complete(_about_file(output), json.dumps(about, indent=2).encode())
        batches = _embed(network, dataset, start, image_size, batch_size)
        with tqdm(total=dataset.num_examples, initial=start, unit="image") as progress:
            for file, part in zip(files[done:], _parts(batches, part_size), strict=True):
                write(file, part, start, dataset)
                start += len(part[1])
                progress.update(len(part[1]))
        if output.endswith(".npz"):
            _join(path, files, dataset, about)
            _remove_parts(files[0].parent)
    except OSError as error:
        raise UserError(
            f"--output={output} cannot be written: {reason(error)}. What was embedded in whole "
            "parts is kept; the same command goes on."
        ) from None
    return dataset.num_examples - min(done * part_size, dataset.num_examples)


def read_about(output: str) -> dict[str, Any] | None:
    """What an output, finished or not, says about itself; None where nothing is.

    Raises:
      UserError: there is something else.
    """
    path, about = as_path(output), None
    try:
        if path.is_file():
            with path.open("rb") as file, np.load(file) as stored:
                about = json.loads(str(stored["about"]))
        elif _about_file(output).is_file():
            about = json.loads(_about_file(output).read_bytes())
        directory = _folder(output)
        others = about is None and directory.is_dir() and any(map(_is_other, directory.iterdir()))
    except OSError as error:
        raise UserError(f"--output={output} cannot be read: {reason(error)}.") from None
    except _NOT_OURS:
        raise UserError(f"{output} holds something else. Give another --output.") from None
    if others or not isinstance(about, dict | None):
        raise UserError(f"{output} holds something else. Give another --output.")
    return about


def _is_other(path: AnyPath) -> bool:
    """Whether it is not what was left of the very first file, which was cut off."""
    return path.name != "embeddings.json.part"


def require_output(output: str) -> None:
    """Find out before the work whether an output can be written, unless it is finished.

    Raises:
      UserError: it cannot.
    """
    if output.endswith(".npz") and as_path(output).is_file():
        return
    first = part_files(output, 1, 1)[0]
    require_writable(first, f"--output={output}")
    if output.endswith(".npz"):
        require_writable(as_path(output), f"--output={output}")


def part_files(output: str, num_examples: int, part_size: int) -> list[AnyPath]:
    """The files of all parts of an output."""
    count = -(-num_examples // part_size)
    if output.endswith(".npz"):
        return [_folder(output) / f"part-{i:05}.npz" for i in range(count)]
    return [_folder(output) / f"embeddings-{i:05}-of-{count:05}.tfrecord" for i in range(count)]


def _folder(output: str) -> AnyPath:
    """Where the parts and embeddings.json lie."""
    return as_path(f"{output}.parts" if output.endswith(".npz") else output)


def _remove_parts(directory: AnyPath) -> None:
    if directory.is_dir():
        directory.rmtree()


def _about_file(output: str) -> AnyPath:
    return _folder(output) / "embeddings.json"


def _require_same(output: str, earlier: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    differences = [
        f"{name} was {earlier.get(name)!r}, now {value!r}"
        for name, value in about.items()
        if earlier.get(name) != value
    ]
    if differences:
        raise UserError(
            f"{output} holds embeddings of something else: {'; '.join(differences)}. Give another "
            "--output, or remove it."
        )


def _embed(
    network: Network, dataset: ImageDataset, start: int, image_size: int, batch_size: int
) -> Iterator[Part]:
    def prepare(example):
        image = evaluation_view(decode_image(example["image"], dataset.upright), image_size)
        return image, example.get("label", tf.constant(-1, tf.int64))

    if start == dataset.num_examples:
        return
    batches = (
        dataset.examples(Positions(start), transform=prepare)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
    for images, labels in batches:
        yield network.features(images).numpy(), labels.numpy()


def _parts(batches: Iterable[Part], size: int) -> Iterator[Part]:
    """Cut batches into parts of `size` rows; the last may be smaller."""
    features, labels, rows = [], [], 0
    for batch in batches:
        features.append(batch[0])
        labels.append(batch[1])
        rows += len(batch[1])
        while rows >= size:
            joined = np.concatenate(features), np.concatenate(labels)
            yield joined[0][:size], joined[1][:size]
            features, labels, rows = [joined[0][size:]], [joined[1][size:]], rows - size
    if rows:
        yield np.concatenate(features), np.concatenate(labels)


def _write_npz_part(file: AnyPath, part: Part, start: int, dataset: ImageDataset) -> None:
    del start, dataset
    buffer = io.BytesIO()
    np.savez(buffer, features=part[0], labels=part[1])
    write_complete(file, buffer.getbuffer())


def _write_tfrecord(file: AnyPath, part: Part, start: int, dataset: ImageDataset) -> None:
    with (
        complete_file(file) as unfinished,
        tensorflow_file_errors(),
        tf.io.TFRecordWriter(str(unfinished)) as writer,
    ):
        for position, (features, label) in enumerate(zip(*part, strict=True), start=start):
            example = tf.train.Example()
            feature = example.features.feature
            feature["features"].float_list.value.extend(features.tolist())
            feature["position"].int64_list.value.append(position)
            if dataset.num_classes is not None:
                feature["label"].int64_list.value.append(int(label))
            if dataset.file_names:
                name = os.fsencode(dataset.file_names[position])
                feature["path"].bytes_list.value.append(name)
            writer.write(example.SerializeToString())


def _join(
    output: AnyPath,
    files: list[AnyPath],
    dataset: ImageDataset,
    about: Mapping[str, Any],
) -> None:
    """Write an .npz array by array and part by part."""

    def column(name: str) -> Iterator[np.ndarray]:
        for file in files:
            with file.open("rb") as opened, np.load(opened) as part:
                yield part[name]

    n = dataset.num_examples
    first = next(column("features"))
    with (
        private_file(output) as unfinished,
        unfinished.open("wb") as file,
        zipfile.ZipFile(file, "w") as archive,
    ):
        _write_array(archive, "features", first.dtype, (n, first.shape[1]), column("features"))
        if dataset.num_classes is not None:
            _write_array(archive, "labels", np.dtype(np.int64), (n,), column("labels"))
        whole = {"about": json.dumps(about)}
        whole |= {"paths": dataset.file_names} if dataset.file_names else {}
        whole |= {"class_names": dataset.class_names} if dataset.class_names else {}
        for name, values in whole.items():
            array = np.array(values)
            _write_array(archive, name, array.dtype, array.shape, [array])


def _write_array(
    archive: zipfile.ZipFile,
    name: str,
    dtype: np.dtype,
    shape: tuple[int, ...],
    chunks: Iterable[np.ndarray],
) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            file.write(np.ascontiguousarray(chunk, dtype).tobytes())
