"""Waiting for checkpoints, and evaluating each that appears."""

from simclr_tf.evaluation.results import watch_checkpoints


def test_new_checkpoints_are_evaluated_until_the_last():
    found = iter([None, "run/ckpt-2", "run/ckpt-2", "run/ckpt-6"])
    evaluated = []
    watch_checkpoints(lambda: next(found), 6, evaluated.append, poll_seconds=0.0)
    assert evaluated == ["run/ckpt-2", "run/ckpt-6"]
    assert list(found) == []
