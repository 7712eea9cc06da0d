"""Making batches on other hosts, with tf.data service.

    python -m simclr_tf.data.service --port=5050

starts a server, a dispatcher with one worker, on each host that lends its CPUs. A training
run with --data_service=grpc://HOST:5050,grpc://OTHER:5050 then gets an equal part of every
batch from each. Which image, view and place in the batch an example has does not depend
on the servers, so the batches are those of a run without them.
"""

import argparse
import signal
from collections.abc import Callable

import tensorflow as tf

from simclr_tf.errors import UserError

PROTOCOL = "grpc://"


def served_batches(
    make_dataset: Callable[[int, int], tf.data.Dataset],
    servers: str,
    host_index: int = 0,
    num_hosts: int = 1,
) -> tf.data.Dataset:
    """A host's part of every batch, made by servers instead of the host itself.

    Args:
      make_dataset: called as make_dataset(part, parts); its dataset yields the part of
        every batch. Its elements may be nested; all tensors have a batch axis.
      servers: their addresses, each grpc://HOST:PORT, with commas between.
      host_index, num_hosts: which part of every batch this host wants.

    Raises:
      UserError: an address has another form, or the batch cannot be divided.
    """
    addresses = _addresses(servers)
    parts = num_hosts * len(addresses)
    datasets = [
        make_dataset(host_index * len(addresses) + i, parts).apply(
            tf.data.experimental.service.distribute(
                tf.data.experimental.service.ShardingPolicy.OFF, address
            )
        )
        for i, address in enumerate(addresses)
    ]
    if len(datasets) == 1:
        return datasets[0]

    def join(*batches):
        return tf.nest.map_structure(lambda *tensors: tf.concat(tensors, axis=0), *batches)

    return tf.data.Dataset.zip(tuple(datasets)).map(join).prefetch(tf.data.AUTOTUNE)


def require_division(servers: str, batch_size: int, num_hosts: int) -> None:
    """Refuse servers that cannot have equal parts of a batch.

    Args:
      servers: their addresses, see `served_batches`.
      batch_size: images of a step.
      num_hosts: hosts that train, each of which gets its part from all servers.

    Raises:
      UserError: an address has another form, or the batch cannot be divided.
    """
    parts = num_hosts * len(_addresses(servers))
    if batch_size % parts:
        of_hosts = f" and {num_hosts} hosts" if num_hosts > 1 else ""
        raise UserError(
            f"--train_batch_size={batch_size} cannot be divided among the {parts // num_hosts} "
            f"servers of --data_service{of_hosts}. Give {-(-batch_size // parts) * parts}, or "
            "another number of servers."
        )


def _addresses(servers: str) -> list[str]:
    addresses = servers.split(",")
    for address in addresses:
        if not address.startswith(PROTOCOL):
            raise UserError(
                f"--data_service names servers as {PROTOCOL}HOST:PORT, with commas between. "
                f"Received: {address!r}."
            )
    return addresses


def serve(port: int, host: str) -> None:
    """Run a dispatcher with one worker until the process is ended.

    Args:
      port: of the dispatcher; 0 takes a free one.
      host: the name or address under which training hosts reach this one.
    """
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=port))
    port = dispatcher.target.rpartition(":")[2]
    worker = service.WorkerServer(
        service.WorkerConfig(
            dispatcher_address=f"localhost:{port}", worker_address=f"{host}:%port%"
        )
    )
    print(f"serving at {PROTOCOL}{host}:{port}", flush=True)
    worker.join()


def main() -> None:
    parser = argparse.ArgumentParser(description="Make training batches for other hosts.")
    parser.add_argument("--port", type=int, default=5050, help="where the dispatcher listens")
    parser.add_argument("--host", default="localhost", help="how training hosts reach this one")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python would wait for what runs in C++
    serve(arguments.port, arguments.host)


if __name__ == "__main__":
    main()
