"""Two steps of methods on logical devices, on other images each: losses, weights, and their moves.

The optimizer is plain SGD: LARS would hide a gradient that is wrong by a factor.

python every_method_replicas.py FOLDER REPLICAS KIND METHOD...

The kind of batch statistics: "usual", the method's default, or "unusual".
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf

sys.path[:0] = [str(pathlib.Path(__file__).parents[i]) for i in (0, 1, 2)]

import every_method  # noqa: E402
import graphs  # noqa: E402
import toy  # noqa: E402

from simclr_tf.models.batch_norm import statistics  # noqa: E402


def main(folder, count, kind, *names):
    graphs.rewrite(False)
    count = int(count)
    (cpu,) = tf.config.list_physical_devices("CPU")
    devices = [tf.config.LogicalDeviceConfiguration()] * count
    tf.config.set_logical_device_configuration(cpu, devices)
    # One for all: collectives of another strategy of the process would be taken for its own.
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(count)])
    for name in names:
        every_method.register(name)
        found = arrays(name, strategy, global_bn=every_method.is_global(name, kind))
        np.savez(pathlib.Path(folder) / f"{name}-{count}.npz", **found)


def arrays(name, strategy, global_bn):
    """Metrics of each step, and all weights after the last.

    Batch statistics that are not global are those of a half of the batch: of a replica, or on
    one replica of a group, which gets the images that a replica has.
    """
    count, images = strategy.num_replicas_in_sync, every_method.IMAGES
    rows, groups, order = images // count, None, np.arange(images)
    if count == 1 and not global_bn:
        groups, order = 2, order.reshape(2, -1).T.reshape(-1)  # image i is of group i mod 2
    # A queue of one batch, so that the second step has all of SwAV.
    queue = {"queue_length": images} if name == "swav" else {}
    with strategy.scope():
        method = every_method.build(name, global_bn=global_bn, optimizer="sgd", **queue)
    if groups and hasattr(method, "order_of_keys"):
        of_replicas, back = method.order_of_keys, np.argsort(order)

        def of_groups(i, number):  # the same images meet in a group as on a replica
            return tf.gather(back, tf.gather(of_replicas(i, number), order))

        method.order_of_keys = of_groups
    for draws in ("draw_negatives", "draw_jigsaws"):
        if groups and hasattr(method, draws):  # an image has those that it has on replicas
            draw = getattr(method, draws)
            setattr(method, draws, lambda number, draw=draw: tf.gather(draw(number), order))

    def batch_of(i):
        """Not twice the same images: their keys in a queue would tie with those of the step."""
        numbers = (np.arange(images) + i * images) % (10 * images)
        data = (every_method.views_of(name, seed=i), every_method.LABELS, numbers)
        data = tf.nest.map_structure(lambda a: a[order], data)

        def share(context):
            start = context.replica_id_in_sync_group * rows
            return tf.nest.map_structure(lambda a: tf.constant(a[start : start + rows]), data)

        return strategy.experimental_distribute_values_from_function(share)

    def train_step(batch):
        with statistics(groups=groups):
            return method.train_step(batch)

    step = tf.function(lambda batch: strategy.run(train_step, args=(batch,)))
    found, before = {}, [v.numpy() for v in method.trained_variables]
    for i in range(2):
        method.reset_means()
        step(batch_of(i))
        found |= {f"metric{i}/{n}": mean.result().numpy() for n, mean in method.means.items()}
    metrics = {id(v) for mean in method.means.values() for v in mean.variables}
    variables = [v for v in method.variables if id(v) not in metrics]
    found |= {f"variable{i} {v.name}": v.numpy() for i, v in enumerate(variables)}
    moves = zip(method.trained_variables, before, strict=True)
    return found | {f"moved{i} {v.name}": v.numpy() - old for i, (v, old) in enumerate(moves)}


if __name__ == "__main__":
    with toy.in_place_of_resnet_18():
        main(*sys.argv[1:])
