"""What a SavedModel of ours contains: functions with fixed inputs, and the variables they use.

Preprocessing is that of evaluation. No Keras object is saved, so nothing of this package
is needed to load it.
"""

import os
from collections.abc import Callable, Sequence

import tensorflow as tf

from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.data.decode import decode_image
from simclr_tf.data.views import evaluation_view
from simclr_tf.models import Network
from simclr_tf.models.batch_norm import statistics

IMAGE_BYTES = tf.TensorSpec([None], tf.string, "image_bytes")
IMAGES = tf.TensorSpec([None, None, None, 3], tf.float32, "images")
IMAGES_UINT8 = tf.TensorSpec([None, None, None, 3], tf.uint8, "images")


def servable(
    network: Network, image_size: int, class_names: Sequence[str], upright: bool
) -> tuple[tf.train.Checkpoint, dict[str, Callable]]:
    """Wrap a network for tf.saved_model.save.

    Signatures, all with a batch of any size:
      serving_default: `image_bytes`, encoded images -> the answer.
      images, images_float: `images`, (batch, height, width, 3) of any height and width, uint8
        or float32 in [0, 1] -> the answer.
      embedding: `image_bytes` -> `embedding`: h.
      features, projection, logits, endpoints: `images`, float32 in [0, 1], preprocessed, as
        `Network.features` takes them -> `features`: h, `projection`: z, `logits`, or the
        endpoints. They have no loop and no text in them, so that other formats hold them too.

    The answer is `probabilities` and `logits` (batch, classes) with `classes` (batch,) and
    `class_indices` (batch,) of the most probable; without a supervised head `embedding`: h.
    `projection` and `logits` are there when z and a supervised head are.

    The endpoints have the original's names: initial_conv, initial_max_pool, block_group1 to
    block_group4, final_avg_pool (h), proj_head_input, proj_head_layer1 and so on,
    proj_head_output (z), logits_sup; those of missing heads are missing.

    Attributes of the object are those that TF Hub expects of a model that can be trained on:
    `__call__(images, training=False)` -> endpoints, `variables`, `trainable_variables` and
    `regularization_losses`. `preprocess` turns any of the inputs above that are not yet
    preprocessed into float32 (batch, image_size, image_size, 3) in [0, 1]. With
    training=True batch norm takes the statistics of the batch and updates its averages.

    Args:
      network: in float32; its variables become the object's.
      image_size: height and width of preprocessed images.
      class_names: by index; empty without a supervised head. Served as bytes, which those are
        that are no UTF-8 and have surrogate escapes here.
      upright: whether encoded JPEGs are turned as their EXIF orientation says.

    Returns:
      (object, signatures by name).
    """
    served_names = [os.fsencode(name) for name in class_names]
    # What is preprocessed may have any size, unless an own encoder takes one size alone.
    ready = tf.TensorSpec([None, *network.image_shape, 3], tf.float32, IMAGES.name)

    @tf.function
    def preprocess(images):
        def decode(image):
            return decode_image(image, upright) if images.dtype == tf.string else image

        view = tf.TensorSpec([image_size, image_size, 3], tf.float32)
        return tf.map_fn(
            lambda image: evaluation_view(decode(image), image_size),
            images,
            fn_output_signature=view,
        )

    @tf.function
    def endpoints(images, training=False):
        with statistics(portable=True):
            return _endpoints(network, images, training)

    for spec in (IMAGE_BYTES, IMAGES_UINT8, IMAGES):
        preprocess.get_concrete_function(spec)
    for training in (False, True):
        endpoints.get_concrete_function(ready, training=training)

    def answer(views):
        return _answer(endpoints(views), served_names)

    def embedding(views):
        return {"embedding": endpoints(views)["final_avg_pool"]}

    signatures = {
        "serving_default": _signature(IMAGE_BYTES, lambda x: answer(preprocess(x))),
        "embedding": _signature(IMAGE_BYTES, lambda x: embedding(preprocess(x))),
        "images": _signature(IMAGES_UINT8, lambda x: answer(preprocess(x))),
        "images_float": _signature(IMAGES, lambda x: answer(preprocess(x))),
        "features": _signature(ready, lambda x: {"features": endpoints(x)["final_avg_pool"]}),
        "endpoints": _signature(ready, lambda x: endpoints(x)),
    }
    if "proj_head_output" in signatures["endpoints"].structured_outputs:
        signatures["projection"] = _signature(
            ready, lambda x: {"projection": endpoints(x)["proj_head_output"]}
        )
    if class_names:
        signatures["logits"] = _signature(ready, lambda x: {"logits": endpoints(x)["logits_sup"]})

    model = tf.train.Checkpoint()
    model.variables = list(variable_paths(network).values())
    model.trainable_variables = [v for v in model.variables if v.trainable]
    model.regularization_losses = []
    model.random_states = _random_states(network.encoder)
    model.preprocess = preprocess
    model.__call__ = endpoints
    return model, signatures


def _random_states(encoder: tf.Module) -> list[tf.random.Generator]:
    """What layers of an own encoder draw from in training, such as those that flip images."""
    owners = (getattr(module, "_random_generator", None) for module in encoder.submodules)
    states = (getattr(owner, "_generator", None) for owner in owners)
    return [state for state in states if state is not None]


def _signature(spec: tf.TensorSpec, function: Callable) -> Callable:
    return tf.function(function, input_signature=[spec]).get_concrete_function()


def _endpoints(network: Network, images: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
    """All that the network computes, under the original's names."""
    outputs = network.call(images, training=training)
    outputs = tf.nest.map_structure(lambda tensor: tf.cast(tensor, tf.float32), outputs)
    projections = outputs.pop("projections")
    last = len(network.architecture.projector)  # a fine-tuned network may have fewer layers
    if projections[1:]:
        outputs["proj_head_input"] = projections[0]
        for i, projection in enumerate(projections[1:], start=1):
            outputs["proj_head_output" if i == last else f"proj_head_layer{i}"] = projection
    if network.supervised_head is not None:
        outputs["logits_sup"] = outputs.pop("logits")
    return outputs


def _answer(endpoints: dict[str, tf.Tensor], class_names: Sequence[bytes]) -> dict[str, tf.Tensor]:
    """What is served: predictions, or h when there is no supervised head."""
    if not class_names:
        return {"embedding": endpoints["final_avg_pool"]}
    logits = endpoints["logits_sup"]
    indices = tf.argmax(logits, axis=-1)
    return {
        "probabilities": tf.nn.softmax(logits),
        "classes": tf.gather(tf.constant(class_names), indices),
        "class_indices": indices,
        "logits": logits,
    }
