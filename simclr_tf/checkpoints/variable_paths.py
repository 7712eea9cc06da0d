"""Where variables are in a layer or model, as TensorFlow's checkpoints name them."""

import collections
from collections.abc import Iterator

import tensorflow as tf


def paths_in(part: tf.Module, path: str) -> dict[str, tf.Variable]:
    """The variables in a layer or model by their place.

    Paths follow attributes and list entries. Of several ways to an object the shortest counts, and
    of two as short ones the first, as in checkpoints; models of Keras know their layers by two
    names.

    Args:
      part: the layer or model.
      path: of the layer or model, which those of its variables begin with.
    """
    view, tree = tf.train.TrackableView(part), {}
    waiting, seen = collections.deque([part]), {id(part)}
    while waiting:
        node = waiting.popleft()
        if isinstance(node, tf.Variable):
            continue
        tree[id(node)] = children = {}
        for name, child in view.children(node).items():
            if id(child) not in seen:
                seen.add(id(child))
                children[name] = child
                waiting.append(child)

    def walk(node: tf.Module, path: str) -> Iterator[tuple[str, tf.Variable]]:
        if isinstance(node, tf.Variable):
            yield path, node
            return
        for name, child in tree[id(node)].items():
            yield from walk(child, f"{path}/{name}")

    return dict(walk(part, path))
