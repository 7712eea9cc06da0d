"""Training steps of the official code of other methods, made again with ours on tiny networks.

golden/methods.npz and golden/multi_crop.npz have what the official code computed in float64 or
float32, from weights and images that float32 holds exactly. Here are the networks that it was run
with, the names of their variables, and a function for each case that makes its steps on any
strategy:

    python recorded_steps.py OUTPUT.npz REPLICAS CASE ...    on logical devices
"""

import functools
import pathlib
import sys

import numpy as np
import tensorflow as tf

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from simclr_tf import losses, optimizers
from simclr_tf.backend import keras
from simclr_tf.devices import replicas
from simclr_tf.methods import BYOL, CLSA, Method, MoCo, MoCoV1, SimSiam, SwAV
from simclr_tf.models.batch_norm import BatchNormalization
from simclr_tf.models.heads import Head
from simclr_tf.training.plan import Plan

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
RECORDED = dict(np.load(GOLDEN / "methods.npz")) | dict(np.load(GOLDEN / "multi_crop.npz"))
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TinyNetwork(keras.Model):
    """A network with one of the encoders of the recordings, and any projection head.

    Args:
      kind: "convolution" (MoCo's), "flat" (BYOL's), "vector" (SimSiam's) or "pooled" (SwAV's).
      structure: the layers of the projection head.
      global_bn: batch statistics over all replicas.
    """

    probed_layer = 0
    supervised_head = None

    def __init__(self, kind, structure, global_bn=True):
        super().__init__()
        self.config = {"kind": kind, "structure": structure, "global_bn": global_bn}
        norm = BatchNormalization(synchronized=global_bn, name="norm")
        layers, shape = {
            "convolution": (
                [
                    keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="body"),
                    norm,
                    keras.layers.ReLU(),
                    keras.layers.GlobalAveragePooling2D(),
                ],
                (None, 8, 8, 3),
            ),
            "flat": (
                [
                    keras.layers.Lambda(lambda images: (images - MEAN) / DEVIATION),
                    keras.layers.Flatten(),
                    keras.layers.Dense(6, use_bias=False, name="body"),
                    norm,
                    keras.layers.Activation("tanh"),
                ],
                (None, 3, 3, 3),
            ),
            "vector": ([keras.layers.Dense(6, "tanh", name="body")], (None, 6)),
            "pooled": (
                [
                    keras.layers.Lambda(lambda images: tf.image.resize(images, (2, 2), "area")),
                    keras.layers.Permute((3, 1, 2)),
                    keras.layers.Flatten(),
                    keras.layers.Dense(10, name="body"),
                    norm,
                    keras.layers.ReLU(),
                ],
                (None, None, None, 3),
            ),
        }[kind]
        self.encoder = keras.Sequential(layers)
        self.encoder.build(shape)
        self.projection_head = Head(structure, global_bn=global_bn)
        self.projection_head.build((None, self.encoder.output_shape[-1]))
        self.built = True

    def get_config(self):
        return self.config

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def layer(self, name):
        """The encoder's `body` or `norm`, or a part of a layer of the head: `1.dense`."""
        if name in ("body", "norm"):
            return self.encoder.get_layer(name)
        number, _, part = name.partition(".")
        return getattr(self.projection_head.layers[int(number)], part)


def assign(layers, arrays, leaves):
    """Give layers the recorded values: `layers` by module, `leaves` from ours to theirs."""
    for module, layer in layers.items():
        for ours, theirs in leaves.items():
            variable = getattr(layer, ours, None)
            if variable is not None and (value := arrays(f"{module}{theirs}")) is not None:
                variable.assign(tf.reshape(value, variable.shape))


def values_of(layers, leaves):
    """The values of layers, by the recording's names."""
    return {
        f"{module}{theirs}": getattr(layer, ours).numpy()
        for module, layer in layers.items()
        for ours, theirs in leaves.items()
        if getattr(layer, ours, None) is not None
    }


def plan(rate, batch_size=8, steps=10, warmup=0):
    """The numbers of a run; an epoch is one step."""
    return Plan(100 * batch_size, batch_size, steps, warmup, 1, 1, rate)


def run(method, strategy, views, before_step=lambda step: None, of_layers=dict):
    """Make a step with each entry of `views`: for each view (images, ...).

    Returns:
      For each step: the metrics, the gradients of the trained variables by their order, and
      what `of_layers` returns after it, stacked.
    """
    number = strategy.num_replicas_in_sync

    @tf.function
    def step(shown):
        def of_replica(shown):
            embeddings, values, gradients = method.values_and_gradients(shown)
            method.optimizer.apply_gradients(zip(gradients, method.trained_variables, strict=True))
            method.after_update(embeddings)
            return values, gradients

        values, gradients = strategy.run(of_replica, args=(shown,))
        mean, add = tf.distribute.ReduceOp.MEAN, tf.distribute.ReduceOp.SUM
        return (
            {name: strategy.reduce(mean, value, axis=None) for name, value in values.items()},
            [strategy.reduce(add, gradient, axis=None) for gradient in gradients],
        )

    found = []
    for i, images in enumerate(views):
        before_step(i)
        n = len(images[0]) // number

        def share(context, images=images, n=n):
            start = context.replica_id_in_sync_group * n
            return tuple(tf.constant(view[start : start + n]) for view in images)

        values, gradients = step(strategy.experimental_distribute_values_from_function(share))
        row = {f"metric/{name}": value.numpy() for name, value in values.items()}
        row |= {f"gradient/{i}": gradient.numpy() for i, gradient in enumerate(gradients)}
        found.append(row | of_layers())
    return {name: np.stack([row[name] for row in found]) for name in found[0]}


TORCH = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def recorded_orders(base: type[Method]) -> type[Method]:
    """The method with shuffles that are given: variables `orders`."""

    class Recorded(base):
        def order_of_keys(self, i, number):
            return self.orders[i]

    return Recorded


def moco(strategy, case):
    """A case of MoCo: on as many replicas as it was recorded with."""
    data = {k.removeprefix(f"{case}/"): v for k, v in RECORDED.items() if k.startswith(f"{case}/")}
    decay, temperature, weight_decay, momentum = data["settings"]
    symmetric = case.endswith("/symmetric")
    queue_size, width = data["queue_before"].shape
    base = MoCo if "before/fc.2.weight" in data else MoCoV1
    flags = base.Flags(
        proj_out_dim=width,
        queue_size=queue_size,
        target_decay=float(decay),
        temperature=float(temperature),
        symmetric=symmetric,
        bn_groups=int(data.get("splits", 1)),
    )
    with strategy.scope():
        network = TinyNetwork("convolution", base.projector(flags), global_bn=False)
        images = [data[k] for k in ("images_q", "images_k", "images_1", "images_2") if k in data]
        views = np.stack(images, axis=1)
        method = recorded_orders(base)(network, flags, plan(1.0, views.shape[2]))
        orders = data["shuffle"].reshape(len(views), -1, views.shape[2])
        method.orders = tf.Variable(orders[0], trainable=False)
        rate = tf.Variable(0.0, trainable=False)
        heads = ["fc"] if base is MoCoV1 else ["fc.0", "fc.2"]
        modules = {"conv.": "body", "bn.": "norm"}
        modules |= {f"{name}.": f"{i}.dense" for i, name in enumerate(heads)}
        both = {
            name: {module: net.layer(layer) for module, layer in modules.items()}
            for name, net in (("q", network), ("k", method.twin))
        }
        for layers in both.values():
            assign(layers, lambda name: data.get(f"before/{name}"), TORCH)
        method.queue.rows.assign(data["queue_before"])
        method.compile(optimizers.SGD(rate, float(momentum), float(weight_decay)))
        optimizers.create_slots(method.optimizer, method.trained_variables)

    def before_step(step):
        method.orders.assign(orders[step])
        method.optimizer.learning_rate = float(data["learning_rate"][step])

    def of_layers():
        queue = method.queue
        state = {"queue_after": queue.rows.numpy(), "pointer_after": queue.next_row.numpy()}
        for name, layers in both.items():
            values = values_of(layers, TORCH)
            state |= {f"{name}_after/{key}": value for key, value in values.items()}
        return state

    found = run(method, strategy, views, before_step, of_layers)
    names = {
        id(getattr(layer, ours)): module + theirs
        for module, layer in both["q"].items()
        for ours, theirs in TORCH.items()
        if hasattr(layer, ours)
    }
    for i, variable in enumerate(method.trained_variables):
        found[f"gradient/{names[id(variable)]}"] = found.pop(f"gradient/{i}")
    return found


HAIKU = {"kernel": "/w", "bias": "/b", "gamma": "/scale", "beta": "/offset"}
HAIKU_STATE = {"moving_mean": "/mean", "moving_variance": "/var"}


def byol(strategy):
    """Four updates of BYOL."""
    case = "byol/steps"
    rate, batch, warmup, steps = RECORDED[f"{case}/lr_base_batch_warmup_total"]
    decay, weight_decay, trust, momentum = RECORDED[f"{case}/tau_wd_eta_momentum"]
    flags = BYOL.Flags(
        proj_hidden_dim=7, proj_out_dim=5, predictor_dim=6, target_decay=float(decay)
    )
    numbers = plan(float(rate * batch / 256), 8, int(steps), int(warmup))
    with strategy.scope():
        network = TinyNetwork("flat", BYOL.projector(flags))
        method = BYOL(network, flags, numbers)

        def modules(network):
            return {
                "tiny/linear": network.layer("body"),
                "tiny/norm": network.layer("norm"),
                "projector/linear": network.layer("0.dense"),
                "projector/batch_norm": network.layer("0.norm"),
                "projector/linear_1": network.layer("1.dense"),
            }

        online, target = modules(network), modules(method.twin)
        online |= {
            "predictor/linear": method.predictor.layers[0].dense,
            "predictor/batch_norm": method.predictor.layers[0].norm,
            "predictor/linear_1": method.predictor.layers[1].dense,
        }
        for name, layers in (("online", online), ("target", target)):
            arrays = {k: RECORDED[k] for k in RECORDED if k.startswith(f"{case}/initial_{name}/")}
            prefix = f"{case}/initial_{name}/"
            assign(layers, lambda key, a=arrays, p=prefix: a.get(p + key), HAIKU)
        optimizer = optimizers.LARS(
            numbers.schedule,
            float(momentum),
            float(weight_decay),
            eeta=float(trust),
            rate_outside=True,
        )
        method.compile(optimizer)
        optimizers.create_slots(method.optimizer, method.trained_variables)

    def of_layers():
        return {
            f"{name}{suffix}/{key}": value
            for name, layers in (("online", online), ("target", target))
            for suffix, leaves in (("", HAIKU), ("_state", HAIKU_STATE))
            for key, value in values_of(layers, leaves).items()
        } | {"tau": method.decay(method.step - 1).numpy()}

    return run(method, strategy, RECORDED[f"{case}/views_nhwc"], of_layers=of_layers)


def simsiam(strategy, fixed):
    """Three steps of SimSiam; `fixed` is whether the predictor keeps its learning rate."""
    case = "simsiam/steps"
    rate, momentum, weight_decay = map(float, RECORDED[f"{case}/lr_momentum_weightdecay"])
    flags = SimSiam.Flags(proj_out_dim=5, predictor_dim=4, fix_pred_lr=fixed)
    with strategy.scope():
        network = TinyNetwork("vector", SimSiam.projector(flags))
        numbers = Plan(8, 8, 3, 0, 1, 1, rate, by_epoch=True)
        method = SimSiam(network, flags, numbers)
        layers = {"encoder.body.": network.layer("body")}
        for i in range(3):
            layers[f"encoder.fc.{3 * i}."] = network.layer(f"{i}.dense")
            layers[f"encoder.fc.{3 * i + 1}."] = network.layer(f"{i}.norm")
        layers |= {
            "predictor.0.": method.predictor.layers[0].dense,
            "predictor.1.": method.predictor.layers[0].norm,
            "predictor.3.": method.predictor.layers[1].dense,
        }
        initial = {k: v.T for k, v in RECORDED.items() if k.startswith(f"{case}/initial")}
        assign(layers, lambda name: initial.get(f"{case}/initial/{name}"), TORCH)
        optimizer = optimizers.build(
            "sgd", numbers.schedule, momentum, weight_decay, rate_factor=method.rate_factor
        )
        method.compile(optimizer)
        optimizers.create_slots(method.optimizer, method.trained_variables)
    of_layers = lambda: values_of(layers, TORCH)  # noqa: E731
    return run(method, strategy, RECORDED[f"{case}/x"], of_layers=of_layers)


def swav(strategy):
    """Five steps of SwAV with two large and three small views."""
    case = "swav/steps"
    freeze, weight_decay, length = RECORDED[f"{case}/freeze_weightdecay_queuelength"]
    flags = SwAV.Flags(
        proj_hidden_dim=16,
        proj_out_dim=8,
        prototypes=7,
        freeze_prototypes_steps=int(freeze),
        queue_length=int(length),
        queue_start_epoch=0,
        small_crops=3,
    )
    with strategy.scope():
        network = TinyNetwork("pooled", SwAV.projector(flags))
        method = SwAV(network, flags, plan(1.0, 6))
        rate = tf.Variable(0.0, trainable=False)
        layers = {
            "body.": network.layer("body"),
            "norm.": network.layer("norm"),
            "projection_head.0.": network.layer("0.dense"),
            "projection_head.1.": network.layer("0.norm"),
            "projection_head.3.": network.layer("1.dense"),
        }
        initial = {k: v.T for k, v in RECORDED.items() if k.startswith(f"{case}/initial")}
        assign(layers, lambda name: initial.get(f"{case}/initial/{name}"), TORCH)
        prototypes = RECORDED[f"{case}/initial/prototypes.weight"]
        method.prototypes.assign(tf.math.l2_normalize(prototypes, axis=1))
        optimizer = optimizers.build(
            "larc", rate, 0.9, float(weight_decay), rate_factor=method.rate_factor
        )
        method.compile(optimizer)
        optimizers.create_slots(method.optimizer, method.trained_variables)

    def before_step(step):
        method.optimizer.learning_rate = float(RECORDED[f"{case}/lr"][step])

    def of_layers():
        state = values_of(layers, TORCH) | {"prototypes.weight": method.prototypes.numpy()}
        for i, queue in enumerate(method.queues):  # of two batches
            first, second = np.split(queue.rows.numpy(), 2)
            newest_first = (first, second) if queue.next_row.numpy() else (second, first)
            state[f"queue{i}"] = np.concatenate(newest_first)
        return state

    crops = [np.moveaxis(RECORDED[f"{case}/crops_{size}px_nchw"], 3, 5) for size in (8, 4)]
    steps = [[*large, *small] for large, small in zip(*crops, strict=True)]
    return run(method, strategy, steps, before_step, of_layers)


def clsa(strategy, case):
    """The losses of CLSA on features that are given, and what becomes of its queue."""
    data = {k.removeprefix(f"{case}/"): v for k, v in RECORDED.items() if k.startswith(f"{case}/")}
    temperature, of_divergence, weight = map(float, data["settings"])
    size, width = data["queue_before"].shape
    picks = [",".join(map(str, data[f"pick_{kind}"])) for kind in ("weak", "strong")]
    flags = CLSA.Flags(
        proj_out_dim=width,
        queue_size=size,
        temperature=temperature,
        divergence_temperature=of_divergence,
        divergence_weight=weight,
        pick_weak=picks[0],
        pick_strong=picks[1],
    )
    number = strategy.num_replicas_in_sync
    with strategy.scope():
        network = TinyNetwork("vector", CLSA.projector(flags), global_bn=False)
        method = CLSA(network, flags)
        method.queue.rows.assign(data["queue_before"])

    @tf.function
    def step(shown):
        def of_replica(shown):
            key, *queries = shown
            with tf.GradientTape() as tape:
                tape.watch(queries)
                rows = tf.math.l2_normalize(tf.stack(queries, axis=1), axis=-1)
                keys = tf.math.l2_normalize(key, axis=-1)[:, tf.newaxis]
                loss, values = method.objective({"queries": rows, "keys": keys})
            method.queue.push(replicas.gather(keys[:, 0]))
            return values | {"total_loss": loss}, tape.gradient(loss, queries)

        return strategy.run(of_replica, args=(shown,))

    found = []
    for i in range(len(data["k"])):
        queries = [
            data[f"q_{kind}"][i][v] for kind in ("weak", "strong") for v in data[f"pick_{kind}"]
        ]

        def share(context, rows=(data["k"][i], *queries)):
            n = len(rows[0]) // number
            start = context.replica_id_in_sync_group * n
            return tuple(tf.constant(view[start : start + n]) for view in rows)

        values, gradients = step(strategy.experimental_distribute_values_from_function(share))
        local = strategy.experimental_local_results
        row = {f"metric/{name}": np.stack(local(value)) for name, value in values.items()}
        row["gradients"] = np.stack([np.stack(local(g)) for g in gradients], axis=1)
        row |= {"queue": method.queue.rows.numpy(), "pointer": method.queue.next_row.numpy()}
        found.append(row)
    return {name: np.stack([row[name] for row in found]) for name in found[0]}


def sinkhorn(strategy):
    """Assignments of a batch that replicas share."""
    scores = RECORDED["swav/sinkhorn/scores"]
    n = len(scores) // strategy.num_replicas_in_sync

    def share(context):
        start = context.replica_id_in_sync_group * n
        return tf.constant(scores[start : start + n])

    shares = strategy.experimental_distribute_values_from_function(share)
    found = {}
    for epsilon, iterations in ((0.05, 3), (0.03, 3), (0.05, 1)):
        assign_all = tf.function(
            lambda s, e=epsilon, i=iterations: strategy.run(losses.sinkhorn, args=(s, e, i))
        )
        rows = strategy.experimental_local_results(assign_all(shares))
        found[f"eps{epsilon}_iterations{iterations}"] = np.concatenate(rows)
    return found


def of_both(loss, *options):
    """A loss of projections, as a function of those of the first and of the second view."""
    return lambda first, second: loss(tf.concat([first, second], axis=0), *options)


HIDDEN = np.split(np.load(GOLDEN / "triplets.npz")["simclr/hidden"], 2)
PURE = {
    "barlow": (RECORDED["barlow/z1"], RECORDED["barlow/z2"], losses.barlow_twins),
    "vicreg": (RECORDED["vicreg/x"], RECORDED["vicreg/y"], lambda *z: losses.vicreg(*z)[0]),
    "xent": (*HIDDEN, of_both(lambda h: losses.nt_xent(h, 0.5, negatives="other_view")[0])),
    "logistic": (*HIDDEN, of_both(losses.nt_logistic, 0.5)),
    "logistic, semi-hard": (*HIDDEN, of_both(losses.nt_logistic, 0.5, "semi_hard", "both")),
    "margin": (*HIDDEN, of_both(losses.margin_triplet, 0.8)),
    "margin, semi-hard": (*HIDDEN, of_both(losses.margin_triplet, 0.8, "semi_hard", "both")),
}


def pure(strategy, name):
    """A loss over the global batch and its gradients, shared by the replicas."""
    *rows, loss_of = PURE[name]
    rows = np.stack(rows)
    number = strategy.num_replicas_in_sync
    n = rows.shape[1] // number

    def share(context):
        start = context.replica_id_in_sync_group * n
        return tuple(tf.constant(r[start : start + n], tf.float32) for r in rows)

    @tf.function
    def values(z):
        def of_replica(z):
            with tf.GradientTape() as tape:
                tape.watch(z)
                loss = loss_of(*z)
            return loss, tape.gradient(loss, z)

        return strategy.run(of_replica, args=(z,))

    loss, gradients = values(strategy.experimental_distribute_values_from_function(share))
    loss = strategy.reduce(tf.distribute.ReduceOp.MEAN, loss, axis=None).numpy()
    # The mean of the replicas' losses is the loss: so is that of their gradients.
    rows = [np.concatenate(strategy.experimental_local_results(g)) / number for g in gradients]
    return {"loss": loss, "first": rows[0], "second": rows[1]}


CASES = {
    "moco/v1": lambda strategy: moco(strategy, "moco/v1"),
    "moco/v2_two_replicas": lambda strategy: moco(strategy, "moco/v2_two_replicas"),
    "moco_cifar/asymmetric": lambda strategy: moco(strategy, "moco_cifar/asymmetric"),
    "moco_cifar/symmetric": lambda strategy: moco(strategy, "moco_cifar/symmetric"),
    "byol": byol,
    "simsiam/fixed0": lambda strategy: simsiam(strategy, fixed=False),
    "simsiam/fixed1": lambda strategy: simsiam(strategy, fixed=True),
    "swav": swav,
    "clsa/single": lambda strategy: clsa(strategy, "clsa/single"),
    "clsa/multi_two_replicas": lambda strategy: clsa(strategy, "clsa/multi_two_replicas"),
    "sinkhorn": sinkhorn,
}
CASES |= {name: functools.partial(pure, name=name) for name in PURE}


def main(output, number, *cases):
    number = int(number)
    (cpu,) = tf.config.list_physical_devices("CPU")
    devices = [tf.config.LogicalDeviceConfiguration()] * number
    tf.config.set_logical_device_configuration(cpu, devices)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(number)])
    found = {}
    for case in cases:
        found |= {f"{case} {name}": array for name, array in CASES[case](strategy).items()}
    np.savez(output, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
