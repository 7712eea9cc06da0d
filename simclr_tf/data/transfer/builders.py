"""Builders for TensorFlow Datasets of the two sets that it lacks: FGVC Aircraft and Birdsnap.

Importing this module registers them, as `fgvc_aircraft` and `birdsnap`. Their files are sought in
TensorFlow Datasets' manual directory; Aircraft's are downloaded when they are not there.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_tf.data.decode import decode_image
from simclr_tf.data.transfer.listing import Examples, Listing
from simclr_tf.data.transfer.official_files import OfficialFiles
from simclr_tf.data.transfer.registry import REGISTRY


class _OfficialBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Examples as the readers of the official files find them, without a cut-off banner."""

    VERSION = tfds.core.Version("1.0.0")
    entry_name: str

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(),
            "key": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{REGISTRY[self.entry_name].title}, as its authors divided it.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage=REGISTRY[self.entry_name].downloads[0].url,
        )

    def _folder(self, dl_manager: tfds.download.DownloadManager) -> pathlib.Path:
        return pathlib.Path(dl_manager.manual_dir)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        entry = REGISTRY[self.entry_name]
        files = OfficialFiles(self._folder(dl_manager), self.name, entry.downloads)
        listing: Listing = entry.read(files)
        self.info.features["label"].names = listing.class_names
        return {split: self._generate_examples(part) for split, part in listing.parts.items()}

    def _generate_examples(self, examples: Examples) -> Iterator[tuple[str, dict[str, Any]]]:
        banner = REGISTRY[self.entry_name].banner
        for key, label, path in zip(examples.keys, examples.labels, examples.images):
            image = str(path)
            if banner:
                image = decode_image(tf.io.read_file(image)).numpy()[:-banner]
            yield str(key), {"image": image, "label": int(label), "key": str(key)}


class FgvcAircraft(_OfficialBuilder):
    """FGVC Aircraft by its 100 variants; `train`, `validation` and `test`."""

    entry_name = "aircraft"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put fgvc-aircraft-2013b.tar.gz here, or what is in it."

    def _folder(self, dl_manager: tfds.download.DownloadManager) -> pathlib.Path:
        (download,) = REGISTRY[self.entry_name].downloads
        try:
            folder = pathlib.Path(dl_manager.manual_dir)
        except AssertionError:  # there is none
            folder = None
        if folder and any(folder.glob("fgvc-aircraft-2013b*")):
            return folder
        archive = pathlib.Path(dl_manager.download(download.url))
        named = archive.with_name(download.file)
        named.unlink(missing_ok=True)
        named.hardlink_to(archive)
        return archive.parent


class Birdsnap(_OfficialBuilder):
    """Birdsnap; `train` and `test`. Images that are gone are reported and left out."""

    entry_name = "birdsnap"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put birdsnap.tgz here, or what is in it, and download/images as its get_birdsnap.py makes "
        "it: the archive itself holds no images."
    )
