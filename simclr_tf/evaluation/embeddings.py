"""Embeddings of a whole data set in files, part by part, so that a killed extraction goes on.

FILE.npz        `features` (n, d) float32; `labels` (n,) int64, `class_names` and `paths` (n,),
                where there are some; `about`, JSON. Its parts wait in FILE.npz.parts/.
DIRECTORY       embeddings-00000-of-00004.tfrecord, ... of tf.train.Example with `features`,
                `position`, and where there are some `label` and `path`; embeddings.json: about.

Images are in the order of the data set, which is always the same. Every file appears once it
is complete, and no more than one part is held in memory.
"""

import io
import json
import os
import pathlib
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from simclr_tf.data.decode import decode_image
from simclr_tf.data.sources import ImageDataset, Positions
from simclr_tf.data.views import evaluation_view
from simclr_tf.errors import UserError
from simclr_tf.models import Network

PART_SIZE = 8192  # images
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
      output: FILE.npz, or a directory for TFRecord files.
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
    if earlier:
        _require_same(output, earlier, about)
        if pathlib.Path(output).is_file():
            return 0
    files = part_files(output, dataset.num_examples, part_size)
    done = next((i for i, file in enumerate(files) if not file.exists()), len(files))
    start = min(done * part_size, dataset.num_examples)
    write = _write_npz_part if output.endswith(".npz") else _write_tfrecord
    try:
        files[0].parent.mkdir(parents=True, exist_ok=True)
        if not earlier:
            _write_atomically(_about_file(output), json.dumps(about, indent=2).encode())
        batches = _embed(network, dataset, start, image_size, batch_size)
        with tqdm(total=dataset.num_examples, initial=start, unit="image") as progress:
            for file, part in zip(files[done:], _parts(batches, part_size), strict=True):
                write(file, part, start, dataset)
                start += len(part[1])
                progress.update(len(part[1]))
        if output.endswith(".npz"):
            _join(pathlib.Path(output), files, dataset, about)
            shutil.rmtree(files[0].parent)
    except OSError as error:
        raise UserError(f"--output={output} cannot be written: {error}.") from None
    return dataset.num_examples - min(done * part_size, dataset.num_examples)


def read_about(output: str) -> dict[str, Any] | None:
    """What an output, finished or not, says about itself; None where nothing is.

    Raises:
      UserError: there is something else.
    """
    path = pathlib.Path(output)
    try:
        if path.is_file():
            with np.load(path) as stored:
                return json.loads(str(stored["about"]))
        if _about_file(output).is_file():
            return json.loads(_about_file(output).read_text())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise UserError(f"{output} holds something else. Give another --output.") from None
    directory = part_files(output, 1, 1)[0].parent
    if directory.is_dir() and any(directory.iterdir()):
        raise UserError(f"{directory} holds something else. Give another --output.")
    return None


def part_files(output: str, num_examples: int, part_size: int) -> list[pathlib.Path]:
    """The files of all parts of an output."""
    count = -(-num_examples // part_size)
    if output.endswith(".npz"):
        return [pathlib.Path(f"{output}.parts", f"part-{i:05}.npz") for i in range(count)]
    names = [f"embeddings-{i:05}-of-{count:05}.tfrecord" for i in range(count)]
    return [pathlib.Path(output, name) for name in names]


def _about_file(output: str) -> pathlib.Path:
    return part_files(output, 1, 1)[0].with_name("embeddings.json")


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


def _write_npz_part(file: pathlib.Path, part: Part, start: int, dataset: ImageDataset) -> None:
    del start, dataset
    buffer = io.BytesIO()
    np.savez(buffer, features=part[0], labels=part[1])
    _write_atomically(file, buffer.getbuffer())


def _write_tfrecord(file: pathlib.Path, part: Part, start: int, dataset: ImageDataset) -> None:
    unfinished = f"{file}.part"
    with tf.io.TFRecordWriter(unfinished) as writer:
        for position, (features, label) in enumerate(zip(*part, strict=True), start=start):
            example = tf.train.Example()
            feature = example.features.feature
            feature["features"].float_list.value.extend(features.tolist())
            feature["position"].int64_list.value.append(position)
            if dataset.num_classes is not None:
                feature["label"].int64_list.value.append(int(label))
            if dataset.file_names:
                feature["path"].bytes_list.value.append(dataset.file_names[position].encode())
            writer.write(example.SerializeToString())
    os.replace(unfinished, file)


def _write_atomically(file: pathlib.Path, content: bytes | memoryview) -> None:
    unfinished = pathlib.Path(f"{file}.part")
    unfinished.write_bytes(content)
    os.replace(unfinished, file)


def _join(
    output: pathlib.Path,
    files: list[pathlib.Path],
    dataset: ImageDataset,
    about: Mapping[str, Any],
) -> None:
    """Write an .npz array by array and part by part."""

    def column(name: str) -> Iterator[np.ndarray]:
        for file in files:
            with np.load(file) as part:
                yield part[name]

    n = dataset.num_examples
    first = next(column("features"))
    unfinished = pathlib.Path(f"{output}.part")
    with zipfile.ZipFile(unfinished, "w") as archive:
        _write_array(archive, "features", first.dtype, (n, first.shape[1]), column("features"))
        if dataset.num_classes is not None:
            _write_array(archive, "labels", np.dtype(np.int64), (n,), column("labels"))
        whole = {"about": json.dumps(about)}
        whole |= {"paths": dataset.file_names} if dataset.file_names else {}
        whole |= {"class_names": dataset.class_names} if dataset.class_names else {}
        for name, values in whole.items():
            array = np.array(values)
            _write_array(archive, name, array.dtype, array.shape, [array])
    os.replace(unfinished, output)


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
