"""Checkpoints of the original: which variables they hold, whatever can be wrong with them.

Names and shapes come from running the original's code. Files that were not recorded are
written here as its Saver would have written them.
"""

import dataclasses

import numpy as np
import pytest
import recorded
import tensorflow as tf

from simclr_tf.checkpoints import files, infer, layout, originals, rescale, restore
from simclr_tf.errors import UserError
from simclr_tf.models import Architecture, Network, simclr_projector

NAMES = recorded.names_of_the_original()
TINY = Architecture(
    resnet_depth=18, cifar_stem=True, projector=simclr_projector(num_layers=2), num_classes=10
)


def write_tf1(path, values, with_copies=True):
    """Write flat names as TF1's Saver does, with a momentum slot and an average of each."""
    tensors = dict(values)
    if with_copies:
        for name, value in values.items():
            tensors[f"{name}/Momentum"] = value + 1
            tensors[f"{name}/ExponentialMovingAverage"] = value + 2
        tensors["global_step"] = np.int64(1234)
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    return str(path)


def tf1_values(architecture):
    variables = layout.network_variables(architecture)
    arrays = recorded.random_arrays(variables)
    return {v.tf1: arrays[v.path] for v in variables}


@pytest.fixture(scope="module")
def tiny():
    return tf1_values(TINY)


@pytest.fixture(scope="module")
def tiny_network():
    return Network(TINY)


@pytest.mark.parametrize("naming", ["tf1", "tf2"])
@pytest.mark.parametrize("case", range(6))
def test_names_and_shapes_are_those_of_the_original(naming, case):
    case = NAMES[naming][case]
    variables = layout.network_variables(Architecture.from_json(case["architecture"], "recorded"))
    assert {getattr(v, naming): list(v.shape) for v in variables} == case["shapes"]
    assert len({v.path for v in variables}) == len(variables)


@pytest.mark.parametrize("naming", ["tf1", "tf2"])
@pytest.mark.parametrize("case", range(6))
def test_architecture_is_inferred(naming, case):
    case = NAMES[naming][case]
    expected = Architecture.from_json(case["architecture"], "recorded")
    if expected.ft_proj_selector == 1:  # layers 0 to 2 are equally wide
        expected = dataclasses.replace(expected, ft_proj_selector=0)
    shapes = {name: tuple(shape) for name, shape in case["shapes"].items()}
    inferred = infer.infer_architecture(shapes, naming)
    assert dataclasses.replace(inferred, se_ratio=expected.se_ratio) == expected
    # The ratio is known only as far as the widths tell.
    assert inferred.se_ratio == pytest.approx(expected.se_ratio, abs=1 / 512)
    assert layout.network_variables(inferred)[:-2] == layout.network_variables(expected)[:-2]


@pytest.mark.parametrize(
    ("layers", "selector", "classes", "told"),
    [(3, 0, 10, True), (3, 0, None, False), (3, 1, 10, False), (2, 0, 10, False)],
)
def test_of_deep_heads_it_is_told_where_the_classifier_is_taken_to_stand(
    layers, selector, classes, told
):
    """SimCLRv2's published fine-tuned checkpoints mean layer 1, and do not say so."""
    architecture = Architecture(
        projector=simclr_projector("nonlinear", layers),
        ft_proj_selector=selector,
        num_classes=classes,
    )
    note = originals._note("a/ckpt", architecture) or ""
    assert ("python -m simclr_tf.checkpoints a/ckpt --ft_proj_selector=1" in note) == told


OTHER_RATIOS = [(0.1, 1), (0.2, 1), (0.2, 3), (0.33, 3), (0.5, 1), (0.5, 3)]


@pytest.mark.parametrize(
    ("ratio", "width"),
    [(0.1, 3), (0.33, 1), *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHER_RATIOS)],
)
@pytest.mark.parametrize("field", ["sk_ratio", "se_ratio"])
def test_unusual_ratios_give_the_same_shapes(ratio, width, field):
    architecture = Architecture(width_multiplier=width, **{field: ratio})
    variables = layout.network_variables(architecture)
    inferred = infer.infer_architecture({v.tf1: v.shape for v in variables}, "tf1")
    assert layout.network_variables(inferred) == variables


@pytest.mark.parametrize(
    ("depth", "cifar_stem"),
    [
        *((18, False), (34, True), (50, False)),
        *(
            pytest.param(depth, cifar, marks=pytest.mark.slow)
            for depth, cifar in zip((18, 34, 50, 101, 152, 200), (True, False, True) * 2)
        ),
    ],
)
def test_depths_and_stems_are_told_apart(depth, cifar_stem):
    architecture = Architecture(resnet_depth=depth, cifar_stem=cifar_stem, projector=())
    shapes = {v.tf1: v.shape for v in layout.encoder_variables(architecture)}
    assert infer.infer_architecture(shapes, "tf1") == architecture


@pytest.mark.parametrize("mode", ["none", "linear"])
def test_heads_of_other_modes_are_inferred(mode):
    architecture = Architecture(
        resnet_depth=18, projector=simclr_projector(mode, num_layers=1, out_dim=64), num_classes=5
    )
    shapes = {v.tf1: v.shape for v in layout.network_variables(architecture)}
    inferred = infer.infer_architecture(shapes, "tf1")
    assert (inferred.projector, inferred.num_classes) == (architecture.projector, 5)
    assert len(inferred.projector) == (mode == "linear")


@pytest.mark.thorough
def test_a_nonlinear_head_of_one_layer_is_the_linear_one(tmp_path):
    architecture = Architecture(18, cifar_stem=True, projector=simclr_projector("nonlinear", 1, 8))
    values = tf1_values(architecture)
    renamed = {k.replace("contrastive/l_0", "contrastive/nl_0"): v for k, v in values.items()}
    assert renamed.keys() != values.keys()
    found = originals.read(write_tf1(tmp_path / "model.ckpt", renamed))
    assert (found.architecture, found.unused) == (architecture, ())
    assert found.missing() == []


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(resnet_depth=18, projector=simclr_projector("linear", num_layers=1)),
        Architecture(resnet_depth=18, cifar_stem=True, se_ratio=0.25, num_classes=7),
        pytest.param(Architecture(sk_ratio=0.0625, num_classes=10), marks=pytest.mark.slow),
    ],
    ids=["r18_linear", "r18_se", "r50_sk"],
)
def test_tf1_checkpoint_is_read_exactly(tmp_path, architecture):
    values = tf1_values(architecture)
    with_copies = architecture.resnet_depth < 50  # they make a large file three times larger
    found = originals.read(write_tf1(tmp_path / "model.ckpt-1234", values, with_copies))
    assert found.kind == originals.TF1_CHECKPOINT
    assert found.architecture == architecture
    assert found.step == (1234 if with_copies else None)
    assert found.unused == found.excluded == ()
    # Slots, averages and global_step.
    assert len(found.ignored) == (2 * len(values) + 1 if with_copies else 0)
    variables = layout.network_variables(architecture)
    assert found.arrays.keys() == {v.path for v in variables}
    for variable in variables:
        np.testing.assert_array_equal(found.arrays[variable.path], values[variable.tf1])


@pytest.mark.thorough
def test_recorded_files_are_recognised(tmp_path):
    tf1 = recorded.unpack("original_tf1_r18", tmp_path / "tf1")
    run = recorded.unpack("original_tf2_r18", tmp_path / "tf2")
    exported = recorded.unpack("original_tf2_r18_saved_model", tmp_path / "saved") / "2"
    found = [originals.read(path) for path in (tf1 / "model.ckpt-2.index", run, exported)]
    assert [f.kind for f in found] == [
        originals.TF1_CHECKPOINT,
        originals.TF2_CHECKPOINT,
        originals.TF2_SAVED_MODEL,
    ]
    r18 = Architecture(resnet_depth=18, cifar_stem=True)
    assert found[0].architecture == r18
    assert found[1].architecture == dataclasses.replace(r18, num_classes=10)
    assert [f.step for f in found] == [2, 2, None]
    assert [len(f.arrays) for f in found] == [119, 121, 121]
    assert [len(f.ignored) for f in found] == [191 - 119, 76, 1]
    assert all(f.unused == () for f in found)
    for path, array in found[1].arrays.items():
        np.testing.assert_array_equal(array, found[2].arrays[path])


def test_hub_module_with_flat_names(tmp_path, tiny):
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"")
    write_tf1(tmp_path / "variables" / "variables", tiny, with_copies=False)
    found = originals.read(tmp_path)
    assert (found.kind, found.architecture, found.step) == (originals.TF1_HUB_MODULE, TINY, None)


@pytest.mark.parametrize(
    ("schema", "parts"),
    [
        ("?!global_step", {"encoder", "projection_head", "supervised_head"}),
        ("(?!global_step|(?:.*/|^)Momentum|head_supervised)", {"encoder", "projection_head"}),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (None, {"encoder", "projection_head", "supervised_head"}),
                ("(?!global_step|(?:.*/|^)Momentum|head)", {"encoder"}),
                ("head", {"projection_head", "supervised_head"}),
            )
        ),
    ],
)
def test_variable_schema(tmp_path, tiny, schema, parts):
    found = originals.read(write_tf1(tmp_path / "model.ckpt", tiny), schema)
    assert {path.split("/")[0] for path in found.arrays} == parts
    assert len(found.arrays) + len(found.excluded) == len(tiny)
    assert found.architecture == TINY


def test_variable_schema_means_the_same_for_tf2(tmp_path):
    run = recorded.unpack("original_tf2_r18", tmp_path)
    found = originals.read(run, "(?!global_step|(?:.*/|^)Momentum|head)")
    assert {path.split("/")[0] for path in found.arrays} == {"encoder"}


def test_variable_schema_that_is_no_expression(tmp_path):
    with pytest.raises(UserError, match=r"variable_schema is a regular expression.*\(head"):
        originals.read(tmp_path, "(head")


def test_files_are_found(tmp_path, tiny):
    prefix = write_tf1(tmp_path / "model.ckpt-7", tiny, with_copies=False)
    assert files.find_prefix(prefix) == prefix
    assert files.find_prefix(prefix + ".index") == prefix
    assert files.find_prefix(prefix + ".data-00000-of-00001") == prefix
    assert files.find_prefix(tmp_path) == prefix
    write_tf1(tmp_path / "model.ckpt-8", {"x": np.zeros(1)}, with_copies=False)
    with pytest.raises(UserError, match=r"several checkpoints.*model.ckpt-7, model.ckpt-8"):
        files.find_prefix(tmp_path)
    moved = 'model_checkpoint_path: "/elsewhere/model.ckpt-7"\n'
    (tmp_path / "checkpoint").write_text(moved)
    assert files.find_prefix(tmp_path) == prefix
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-9"\n')
    with pytest.raises(UserError, match=r"model.ckpt-9.index is gone"):
        files.find_prefix(tmp_path)
    (tmp_path / "checkpoint").write_bytes(b"\x00\xff")
    with pytest.raises(UserError, match="corrupt"):
        files.find_prefix(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="There is no checkpoint in"):
        originals.read(tmp_path)
    with pytest.raises(UserError, match="There is no checkpoint .*nowhere"):
        originals.read(tmp_path / "nowhere")
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(UserError, match=r"variables.index is gone"):
        originals.read(tmp_path)


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize(
    "kept",
    [pytest.param(0, marks=pytest.mark.thorough), pytest.param(0.5, marks=pytest.mark.slow), 0.99],
)
def test_truncated_files(tmp_path, tiny, ending, kept):
    prefix = write_tf1(tmp_path / "model.ckpt", tiny)
    file = tmp_path / f"model.ckpt{ending}"
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match="cannot be read, it is truncated or corrupt") as error:
        originals.read(prefix)
    assert "\n" not in str(error.value)


@pytest.mark.thorough
def test_flipped_bytes(tmp_path, tiny):
    prefix = write_tf1(tmp_path / "model.ckpt", tiny, with_copies=False)
    file = tmp_path / "model.ckpt.data-00000-of-00001"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    with pytest.raises(UserError, match="truncated or corrupt"):
        originals.read(prefix)


def test_checkpoints_of_something_else(tmp_path):
    prefix = write_tf1(tmp_path / "a", {"dense/kernel": np.zeros((2, 3))})
    with pytest.raises(UserError, match=r"no network of SimCLR.*dense/kernel"):
        originals.read(prefix)
    prefix = tf.train.Checkpoint(v=tf.Variable(1.0)).write(str(tmp_path / "b"))
    with pytest.raises(UserError, match=r"no network of SimCLR"):
        originals.read(prefix)
    values = {f"base_model/conv2d_{i}/kernel": np.zeros((5, 5, 3, 3)) for i in range(20)}
    with pytest.raises(UserError, match="belong to no ResNet that SimCLR has"):
        originals.read(write_tf1(tmp_path / "c", values))


def before_and_after(network, action):
    """Values of all variables before and after an action."""
    before = [v.numpy() for v in restore.variable_paths(network).values()]
    action()
    return before, [v.numpy() for v in restore.variable_paths(network).values()]


def test_renamed_variable_is_named_and_nothing_is_loaded(tmp_path, tiny, tiny_network):
    values = {n.replace("conv2d_5/", "conv2d_five/"): v for n, v in tiny.items()}
    found = originals.read(write_tf1(tmp_path / "model.ckpt", values))
    assert found.architecture == TINY
    assert found.unused == ("base_model/conv2d_five/kernel",)

    def load():
        with pytest.raises(UserError, match=r"encoder .* 1 of its variables are missing") as error:
            restore.assign(tiny_network, found.arrays)
        assert "encoder/groups/0/1/convolution2/kernel" in str(error.value)

    for old, new in zip(*before_and_after(tiny_network, load), strict=True):
        np.testing.assert_array_equal(old, new)


def test_all_variables_are_assigned(tiny, tiny_network):
    arrays = recorded.random_arrays(layout.network_variables(TINY))
    report = restore.assign(tiny_network, arrays, ignored=["slot"])
    paths = restore.variable_paths(tiny_network)
    assert set(report.matched) == paths.keys() == arrays.keys()
    assert len(paths) == len(tiny_network.weights)
    for path, variable in paths.items():
        np.testing.assert_array_equal(variable.numpy(), arrays[path])
    assert str(report).splitlines() == [
        "matched       116  encoder 105, projection head 9, supervised head 2",
        "ignored         1  slot",
    ]


def without(arrays, part):
    return {path: array for path, array in arrays.items() if not path.startswith(part)}


def test_missing_head_is_an_error_only_if_required(tiny_network):
    arrays = recorded.random_arrays(layout.network_variables(TINY))
    headless = without(arrays, "projection_head")
    report = restore.assign(tiny_network, headless)
    assert len(report.missing) == 9
    assert "missing         9  projection_head/layers/0/dense/kernel" in str(report)
    with pytest.raises(
        UserError, match="projection head cannot be loaded from x.ckpt: it has none"
    ):
        restore.assign(tiny_network, headless, require_projection_head=True, source="x.ckpt")
    with pytest.raises(UserError, match="supervised head cannot be loaded"):
        restore.assign(
            tiny_network, without(arrays, "supervised_head"), require_supervised_head=True
        )


def test_other_number_of_classes_leaves_the_supervised_head_as_it_is(tiny_network):
    variables = layout.network_variables(dataclasses.replace(TINY, num_classes=11))
    kernel = tiny_network.supervised_head.kernel.numpy()
    report = restore.assign(tiny_network, recorded.random_arrays(variables))
    np.testing.assert_array_equal(tiny_network.supervised_head.kernel.numpy(), kernel)
    assert len(report.matched) == 105 + 9
    assert [str(m) for m in report.mismatched] == [
        "supervised_head/kernel is (512, 11) in the file and (512, 10) in this model",
        "supervised_head/bias is (11,) in the file and (10,) in this model",
    ]


def test_encoder_of_another_width_is_an_error(tiny_network):
    wide = dataclasses.replace(TINY, width_multiplier=2)
    arrays = {v.path: np.zeros(v.shape, np.float32) for v in layout.network_variables(wide)}
    with pytest.raises(UserError, match=r"105 have another shape .*; and 102 more\)"):
        restore.assign(tiny_network, arrays)


def test_half_a_head_is_not_loaded(tiny_network):
    arrays = recorded.random_arrays(layout.network_variables(TINY))
    del arrays["projection_head/layers/1/norm/gamma"]
    arrays["projection_head/layers/7/dense/kernel"] = np.zeros((2, 2))
    report = restore.assign(tiny_network, arrays)
    assert report.missing == ("projection_head/layers/1/norm/gamma",)
    assert len(report.skipped) == 8
    assert report.unused == ("projection_head/layers/7/dense/kernel",)


@pytest.mark.thorough
def test_what_the_user_excludes_is_not_missing(tmp_path, tiny, tiny_network):
    found = originals.read(write_tf1(tmp_path / "model.ckpt", tiny), "(?!.*conv2d/kernel)")
    report = restore.assign(tiny_network, found.arrays, excluded=found.excluded)
    assert report.excluded == ("encoder/stem/convolutions/0/kernel",)
    assert report.missing == ()
    assert len(report.matched) == len(tiny) - 1


@pytest.mark.thorough
def test_kept_projection_layers_take_their_part_of_the_head():
    kept = dataclasses.replace(TINY, kept_proj_layers=1, ft_proj_selector=1)
    network = Network(kept)
    variables = {v.path: v.shape for v in layout.network_variables(kept)}
    assert variables == {p: tuple(v.shape) for p, v in restore.variable_paths(network).items()}
    report = restore.assign(
        network,
        recorded.random_arrays(layout.network_variables(TINY)),
        require_projection_head=True,
    )
    assert report.missing == report.mismatched == ()
    assert len(report.unused) == 4


@pytest.mark.slow
def test_rescaling_keeps_the_function():
    """Kernels 16.8 times larger, as SimCLRv1's; the gates of SE have no batch norm and stay."""
    architecture = Architecture(resnet_depth=18, se_ratio=0.25, projector=())
    arrays = recorded.random_arrays(layout.network_variables(architecture))
    large = {
        path: array * np.float32(16.8 if path.endswith("kernel") and "attention" not in path else 1)
        for path, array in arrays.items()
    }
    for path in [p for p in large if p.endswith("moving_variance")]:
        large[path] = large[path] * np.float32(16.8**2)
    rescaled = rescale.rescale_v1_weights(large, architecture)
    images = recorded.random_images()[:4]
    network = Network(architecture)
    restore.assign(network, large)
    expected = network.features(images).numpy()
    in_training = network(images, training=True)["final_avg_pool"].numpy()
    restore.assign(network, rescaled)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(network.features(images), expected, atol=1e-5 * scale)
    after = network(images, training=True)["final_avg_pool"].numpy()
    np.testing.assert_allclose(after, in_training, atol=3e-4 * np.abs(in_training).max())

    norms = rescale.convolution_norms(large)
    smaller = rescale.convolution_norms(rescaled)
    for path, norm in norms.items():
        factor = 1 if "attention" in path else 16.8
        assert norm / smaller[path] == pytest.approx(factor, rel=1e-5)
    assert norms["encoder/groups/1/0/convolution1/kernel"] == pytest.approx(
        16.8 * 1.5**0.5, rel=0.02
    )


@pytest.mark.parametrize(
    "folder",
    [
        "lr=[0.1,0.2]",
        *(pytest.param(n, marks=pytest.mark.thorough) for n in ("a{b}*?", "x.data-v2")),
    ],
)
def test_names_of_folders_are_no_patterns(tmp_path, tiny, folder):
    (tmp_path / folder).mkdir()
    prefix = write_tf1(tmp_path / folder / "model.ckpt-5", tiny, with_copies=False)
    for path in (prefix, f"{prefix}.index", f"{prefix}.data-00000-of-00001", tmp_path / folder):
        found = originals.read(path)
        assert found.architecture == TINY and len(found.arrays) == len(tiny)
