"""Classes are known by their names: the labels of a data set become those of a model."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from simclr_tf.data.sources import ChangedSource, Example, ImageDataset, IndexedSource, Source
from simclr_tf.errors import UserError, did_you_mean, printable

_SHOWN = 5


def with_classes_of(
    dataset: ImageDataset, class_names: Sequence[str] | None, num_classes: int | None, owner: str
) -> ImageDataset:
    """The data set with the labels that a model has for the same class names.

    The data may lack some of the model's classes, and list them in another order. Where
    either has no names, their numbers have to agree.

    Args:
      dataset: without labels it is left as it is.
      class_names: of the model, by its labels; None when they are not known.
      num_classes: of the model; None when it has none, and then the data are left as they are.
      owner: what the model's classes belong to, for messages, such as `the run in runs/one`.

    Raises:
      UserError: the data have classes that the model does not know, or, without names, another
        number of them.
    """
    if dataset.num_classes is None or num_classes is None:
        return dataset
    of_data = dataset.class_names
    if of_data is None or class_names is None:
        if dataset.num_classes != num_classes:
            raise UserError(
                f"Split {dataset.split!r} of {dataset.name} has {dataset.num_classes} classes, and "
                f"{owner} has {num_classes}."
            )
        return dataset
    class_names = tuple(class_names)
    if of_data == class_names:
        return dataset
    label_of = {name: label for label, name in enumerate(class_names)}
    unknown = [name for name in of_data if name not in label_of]
    repeated = len(label_of) < len(class_names) or len(set(of_data)) < len(of_data)
    if unknown or repeated:
        missing = [name for name in class_names if name not in of_data]
        raise UserError(
            f"The classes of split {dataset.split!r} of {dataset.name} are not those of {owner}. "
            f"Only the data have {_first(unknown)}; only the model has {_first(missing)}."
            + (did_you_mean(unknown[0], missing) if unknown else "")
        )
    labels = np.array([label_of[name] for name in of_data], np.int64)
    return dataclasses.replace(
        dataset,
        num_classes=num_classes,
        class_names=class_names,
        source=_relabelled(dataset.source, labels),
    )


def _first(names: Sequence[str]) -> str:
    shown = ", ".join(repr(printable(name)) for name in names[:_SHOWN])
    return (shown or "none") + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _relabelled(source: Source, labels: np.ndarray) -> Source:
    """A source whose label c is labels[c]; negative ones, which mean no label, stay."""
    if isinstance(source, IndexedSource):
        old = np.asarray(source.labels)
        return dataclasses.replace(source, labels=np.where(old < 0, old, labels[old]))
    new_labels = tf.constant(labels)

    def change(example: Example) -> Example:
        label = example["label"]
        known = tf.gather(new_labels, tf.maximum(label, 0))
        return example | {"label": tf.where(label < 0, label, known)}

    return ChangedSource(source, change)
