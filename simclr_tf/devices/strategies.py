"""Which devices do the work, what they can, and how batches reach them."""

import json
import os
import re
from collections.abc import Callable

import tensorflow as tf

from simclr_tf.errors import UserError, first_line


def choose_strategy(
    name: str = "auto",
    *,
    use_tpu: bool | None = None,
    tpu_name: str | None = None,
    tpu_zone: str | None = None,
    gcp_project: str | None = None,
    communication: str = "auto",
) -> tf.distribute.Strategy:
    """The strategy of that name, on the devices that TensorFlow sees.

    Args:
      name: "one" device; "mirrored" over the devices of this host; "multi_worker" over the
        hosts that TF_CONFIG names; "tpu"; or "auto": a TPU when one is named, several workers
        when TF_CONFIG names them, mirrored when there are several GPUs, else one device.
      use_tpu: True asks for a TPU, False forbids it, None leaves it to `name`.
      tpu_name, tpu_zone, gcp_project: handed to TPUClusterResolver.
      communication: collectives between workers: "auto", "ring" or "nccl".

    Raises:
      UserError: the flags contradict each other, or the hardware is not there.
    """
    if use_tpu and name not in ("auto", "tpu"):
        raise UserError(f"--use_tpu=True contradicts --strategy={name}. Give one of them.")
    if use_tpu is False and name == "tpu":
        raise UserError("--use_tpu=False contradicts --strategy=tpu. Give one of them.")
    if name == "auto":
        name = _find_strategy(use_tpu, tpu_name)
    if name == "tpu":
        return _tpu_strategy(tpu_name, tpu_zone, gcp_project)
    if name == "multi_worker":
        return _multi_worker_strategy(communication)
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))


def on_cpu() -> bool:
    """Whether TensorFlow sees no accelerator."""
    return not (has_gpu() or tf.config.list_logical_devices("TPU"))


def emulates_bfloat16(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether training runs on an x86 processor that has no instructions for bfloat16.

    Where that cannot be told it is False.

    Args:
      cpuinfo: the file in which Linux describes the processor.
    """
    if not on_cpu():
        return False
    try:
        with open(cpuinfo) as file:
            flags = next((line.split() for line in file if line.startswith("flags")), None)
    except OSError:
        return False
    return flags is not None and not {"avx512_bf16", "amx_bf16"}.intersection(flags)


def names_several_hosts() -> bool:
    """Whether TF_CONFIG names more than one worker.

    Raises:
      UserError: it is set and does not describe a cluster.
    """
    return len(_workers()) > 1


def _find_strategy(use_tpu: bool | None, tpu_name: str | None) -> str:
    if use_tpu or (use_tpu is None and (tpu_name or os.environ.get("TPU_NAME"))):
        return "tpu"
    if names_several_hosts():
        return "multi_worker"
    return "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "one"


def _workers() -> list[str]:
    """Addresses of the workers (the chief among them) that TF_CONFIG names.

    Raises:
      UserError: TF_CONFIG is set and does not name them, and this one among them.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return []
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"The environment variable TF_CONFIG is not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise _no_cluster("it is an object")
    cluster, task = values.get("cluster", {}), values.get("task", {})
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise _no_cluster("`cluster` and `task` are objects")
    for job, addresses in cluster.items():
        if not isinstance(addresses, list) or not all(isinstance(a, str) for a in addresses):
            raise _no_cluster(f"the job {job!r} is a list of HOST:PORT")
        if not all(re.fullmatch(r".+:\d{1,5}", address) for address in addresses):
            raise _no_cluster(f"each address of the job {job!r} is HOST:PORT")
    workers = cluster.get("chief", []) + cluster.get("worker", [])
    if len(set(workers)) < len(workers):
        raise _no_cluster("each worker has an address of its own")
    if workers:
        job, index = task.get("type"), task.get("index")
        if isinstance(index, bool) or not isinstance(index, int):
            raise _no_cluster("`task` has a whole number `index`")
        others = workers if job is None else cluster.get(str(job))
        if not isinstance(others, list) or not 0 <= index < len(others):
            raise _no_cluster(f"`task`, which is {job!r} {index}, is one of the cluster")
    return workers


def _no_cluster(rule: str) -> UserError:
    return UserError(
        f"The environment variable TF_CONFIG does not describe a cluster: {rule}. "
        "docs/distributed.md has an example."
    )


def _multi_worker_strategy(communication: str) -> tf.distribute.Strategy:
    if not _workers():
        raise UserError(
            "--strategy=multi_worker needs the environment variable TF_CONFIG, which names the "
            "workers and this one; see docs/distributed.md."
        )
    implementation = tf.distribute.experimental.CommunicationImplementation[communication.upper()]
    options = tf.distribute.experimental.CommunicationOptions(implementation=implementation)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except ValueError as error:
        raise _no_cluster(f"TensorFlow says that {first_line(error)}") from None


def _tpu_strategy(
    tpu_name: str | None, tpu_zone: str | None, gcp_project: str | None
) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=tpu_name, zone=tpu_zone, project=gcp_project
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        raise UserError(
            f"No TPU could be reached with --tpu_name={tpu_name}: {first_line(error)} "
            "Give --use_tpu=False to train without one."
        ) from None
    return tf.distribute.TPUStrategy(resolver)


def distribute_batches(
    strategy: tf.distribute.Strategy, make_dataset: Callable[[int, int], tf.data.Dataset]
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Give every replica its share of each global batch, in the order of the replicas.

    Args:
      strategy: spreads the batches.
      make_dataset: called on each host as make_dataset(host, number of hosts); its
        dataset yields this host's part of each global batch, of a fixed size that the
        replicas of the host divide.

    Returns:
      The distributed dataset; with one replica, the dataset itself.
    """

    def host_dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
        dataset = make_dataset(context.input_pipeline_id, context.num_input_pipelines)
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        if replicas == 1:
            return dataset

        def shares(tensor):
            rows = tensor.shape[0] // replicas
            return tf.reshape(tensor, [replicas, rows, *tensor.shape[1:]])

        return dataset.map(lambda *batch: tf.nest.map_structure(shares, batch)).unbatch()

    return strategy.distribute_datasets_from_function(host_dataset)
