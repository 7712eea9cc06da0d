"""Finding the images that cannot be decoded, before anything is fitted to the others."""

from collections.abc import Callable

from simclr_tf.data.broken import unreadable
from simclr_tf.errors import UserError
from simclr_tf.transfer.tasks import Task

_NAMED = 5  # of the bad images, in messages


def choose_left_out(
    task: Task, max_bad_images: int, report: Callable[[str], None] = print
) -> tuple[str, ...]:
    """Decode every image of a data set, and choose those to do without.

    Images for training are left out up to a bound. Images for testing are not, as the result would
    not be one of that data set, unless the data need not be the official ones.

    Args:
      task: the data set; its own `left_out` is not looked at again.
      max_bad_images: how many images may be left out, of those for training and validation and
        of those for testing.
      report: is told what is left out.

    Returns:
      File names, for `Task.left_out`.

    Raises:
      UserError: too many images cannot be decoded, or some for testing; or they are no files that
        could be left out, as in data that TensorFlow Datasets has prepared.
    """
    left_out: list[str] = []
    for split in ("train+validation", "test"):
        dataset = task.open(split)
        bad = unreadable(dataset)
        if not bad:
            continue
        found = f"{len(bad)} of the {dataset.num_examples:,} images for {split} of {task.name}"
        if dataset.file_names is None:
            raise UserError(
                f"{found} cannot be decoded: {_first([f'number {i}' for i in bad])}. They are no "
                "files that could be left out: prepare the data set again, or give its official "
                "files in --data_dir."
            )
        names = [dataset.file_names[i] for i in bad]
        if len(bad) > max_bad_images or len(bad) == dataset.num_examples:
            raise UserError(
                f"{found} cannot be decoded, and --max_bad_images={max_bad_images} lets no more, "
                "and never all, be left out: "
                f"{_first(names)}. Replace these files, or get the official ones again."
            )
        if split == "test" and task.check:
            raise UserError(
                f"{found} cannot be decoded: {_first(names)}. A result on the others is not "
                "comparable. Replace these files, get the official ones again, or leave them out "
                "with --allow_other_sizes."
            )
        report(f"{found} cannot be decoded and are left out: {_first(names)}.")
        left_out += names
    return tuple(left_out)


def _first(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
