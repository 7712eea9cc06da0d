"""What may lean on what: imports go down the floors, and some things have one place alone.

The source is read and not run, so this needs no TensorFlow.
"""

import ast
import functools
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "simclr_tf"

# From the top floor to the ground. A name stands for the module and, if it is a package, all
# that is in it and not named elsewhere. Modules called __main__ are programs too.
FLOORS = (
    ("run", "finetune"),
    ("simclr_tf.library",),
    (
        "simclr_tf.pretrain",
        "simclr_tf.finetune",
        "simclr_tf.probe",
        "simclr_tf.predict",
        "simclr_tf.features",
        "simclr_tf.report",
        "simclr_tf.study",
        "simclr_tf.data.pack",
        "simclr_tf.evaluation.summary",
    ),
    (
        "simclr_tf.experiment.method_flags",
        "simclr_tf.studies",
        "simclr_tf.studies.embedding_maps",
        "simclr_tf.studies.runner",
        "simclr_tf.studies.told",
    ),
    ("simclr_tf.cli", "simclr_tf.shown_images"),
    ("simclr_tf.experiment.protocols", "simclr_tf.transfer.program"),
    ("simclr_tf.experiment.logistic",),
    ("simclr_tf.experiment.train",),
    ("simclr_tf.experiment.outputs",),
    ("simclr_tf.experiment.inputs",),
    (
        "simclr_tf.experiment.evaluate",
        "simclr_tf.experiment.finetuning",
        "simclr_tf.experiment.pretraining",
        "simclr_tf.experiment.probing",
        "simclr_tf.transfer",
    ),
    ("simclr_tf.experiment.parts", "simclr_tf.experiment.checks", "simclr_tf.experiment.inherited"),
    (
        "simclr_tf.experiment.config",
        "simclr_tf.evaluation",
        "simclr_tf.export",
        "simclr_tf.reports",
        "simclr_tf.studies.sharing",
        "simclr_tf.studies.sweep",
    ),
    ("simclr_tf.checkpoints",),
    ("simclr_tf.methods",),
    ("simclr_tf.training", "simclr_tf.data.pipeline", "simclr_tf.data.datasets"),
    ("simclr_tf.data.packing",),
    ("simclr_tf.data.packed_shards",),
    (
        "simclr_tf.data.classes",
        "simclr_tf.data.digits",
        "simclr_tf.data.image_folder",
        "simclr_tf.data.own_images",
        "simclr_tf.data.subsets",
        "simclr_tf.data.tfds_source",
        "simclr_tf.data.transfer",
    ),
    (
        "simclr_tf.data.broken",
        "simclr_tf.data.folder_splits",
        "simclr_tf.data.packed_image",
        "simclr_tf.data.remembered",
        "simclr_tf.data.sources",
        "simclr_tf.data.views",
        "simclr_tf.losses",
    ),
    (
        "simclr_tf.data.augment",
        "simclr_tf.data.bmp",
        "simclr_tf.data.class_file",
        "simclr_tf.data.crop_boxes",
        "simclr_tf.data.checking",
        "simclr_tf.data.decode",
        "simclr_tf.data.distort",
        "simclr_tf.data.exif",
        "simclr_tf.data.file_states",
        "simclr_tf.data.gif",
        "simclr_tf.data.graph_call",
        "simclr_tf.data.holdout",
        "simclr_tf.data.service",
        "simclr_tf.data.strong",
        "simclr_tf.data.strong_plan",
        "simclr_tf.data.studied",
        "simclr_tf.devices",
        "simclr_tf.models",
        "simclr_tf.optimizers",
    ),
    ("simclr_tf.exit_status", "simclr_tf.labels", "simclr_tf.outputs"),
    ("simclr_tf.paths",),
    ("simclr_tf.remote",),
    ("simclr_tf.data.rand_augment", "simclr_tf.data.recipe", "simclr_tf.flag_help"),
    (
        "simclr_tf.backend",
        "simclr_tf.data.folder_scan",
        "simclr_tf.flag",
        "simclr_tf.flag_files",
        "simclr_tf.json_files",
        "simclr_tf.unfinished",
    ),
    ("simclr_tf.errors", "simclr_tf.start"),
    ("simclr_tf.stderr_filter",),
)
# The faces of packages: they only hand on names from below, so they stand on no floor.
FACES = {"simclr_tf", "simclr_tf.data", "simclr_tf.experiment"}
# What assembles an experiment: configuration objects go no deeper than this.
ASSEMBLY = {
    name
    for names in FLOORS[
        : next(i for i, names in enumerate(FLOORS) if "simclr_tf.experiment.parts" in names) + 1
    ]
    for name in names
}


def _module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = [*ROOT.glob("*.py"), *sorted((ROOT / PACKAGE).rglob("*.py"))]
TREES = {_module_name(path): ast.parse(path.read_text(), str(path)) for path in PATHS}


@functools.cache
def imported_names(module):
    """Every name that a module imports, wherever in it: `a.b` for `import a.b`, `from a import b`.

    What is imported from a module is named with it, so both `a` and `b` can be told from it.
    """
    names = []
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def imported_modules(module):
    """The modules of the project that a module imports."""
    for name in imported_names(module):
        found = name if name in TREES else name.rpartition(".")[0]
        if found in TREES:
            yield found


def floor_of(module):
    """The number of a module's floor, from 0 at the top; that of its nearest named package."""
    if module.endswith(".__main__"):
        return 0
    name = module
    while name:
        for number, names in enumerate(FLOORS):
            if name in names:
                return number
        name = name.rpartition(".")[0]
    raise AssertionError(f"{module} stands on no floor: give it a place in FLOORS")


@pytest.mark.parametrize("module", sorted(TREES.keys() - FACES))
def test_imports_go_down(module):
    here = floor_of(module)
    upwards = [name for name in imported_modules(module) if floor_of(name) < here]
    assert not upwards, f"{module} imports from floors above: {upwards}"


def test_every_name_of_the_floors_exists():
    assert {name for names in FLOORS for name in names} <= TREES.keys()


def test_no_module_imports_itself_by_way_of_others():
    finished, way = set(), []

    def visit(module):
        assert module not in way, f"a circle: {' -> '.join([*way, module])}"
        if module not in finished:
            way.append(module)
            for imported in sorted(set(imported_modules(module)) - {module}):
                visit(imported)
            finished.add(way.pop())

    for module in TREES:
        visit(module)
    assert finished == TREES.keys()


def importers(name):
    """The modules that import something, or something in it."""
    return {
        module
        for module in TREES
        if any(f"{found}.".startswith(f"{name}.") for found in imported_names(module))
    }


def test_every_program_that_python_runs_by_name_is_known():
    """simclr_tf/__init__.py names them, and refuses all others."""
    tree = TREES[PACKAGE]
    named = {
        element
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AugAssign) and "_PROGRAMS" in ast.unparse(node)
        for element in ast.literal_eval(node.value)
    }
    found = {
        module.removeprefix(f"{PACKAGE}.").removesuffix(".__main__")
        for module, tree in TREES.items()
        if module.startswith(f"{PACKAGE}.")
        and (module.endswith("__main__") or "__name__ == '__main__'" in ast.unparse(tree))
    }
    assert named == found - {"data.transfer.isolated_reader"}  # that is run by its path


def test_flags_are_read_at_the_door():
    assert importers("absl.flags") == {"simclr_tf.cli"}


def test_configuration_stays_with_what_assembles_experiments():
    programs = {module for module in TREES if module.endswith(".__main__")}
    assert importers("simclr_tf.experiment.config") <= ASSEMBLY | programs


def test_one_module_chooses_keras():
    chosen = importers("tf_keras") | importers("tensorflow.keras") | importers("keras")
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "tf.keras":
                chosen.add(module)
    assert chosen == {"simclr_tf.backend"}


def test_one_place_names_the_methods():
    methods = {m for m in TREES if re.fullmatch(rf"{PACKAGE}\.methods\.\w+", m)}
    shared = {
        f"{PACKAGE}.methods.{name}"
        for name in ("base", "decay", "measures", "slices", "supervised", "twin")
    }
    for method in methods - shared:
        assert importers(method) <= {f"{PACKAGE}.methods"} | methods, method


def test_tensorflow_addons_is_imported_in_one_place():
    assert importers("tensorflow_addons") == {"simclr_tf.optimizers.lamb"}


def test_no_module_imports_lamb_when_it_is_imported_itself():
    lamb = "simclr_tf.optimizers.lamb"
    for module, tree in TREES.items():
        top = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
        assert lamb not in top, module


def public(tree, kinds):
    """The public functions or classes of a module; a program's `main` is not one."""
    nodes = [node for node in tree.body if isinstance(node, kinds)]
    return [node for node in nodes if not node.name.startswith("_") and node.name != "main"]


@pytest.mark.parametrize("module", sorted(TREES))
def test_what_is_public_is_documented(module):
    tree = TREES[module]
    assert ast.get_docstring(tree), f"{module} has no docstring"
    nodes = public(tree, (ast.FunctionDef, ast.ClassDef))
    assert not [node.name for node in nodes if not ast.get_docstring(node)]


@pytest.mark.parametrize("module", sorted(TREES))
def test_public_functions_have_type_hints(module):
    bare = []
    for node in public(TREES[module], ast.FunctionDef):
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare += [f"{node.name}({a.arg})" for a in given if a.annotation is None]
        bare += [f"{node.name} ->"] if node.returns is None else []
    assert not bare


def test_the_public_names_are_there():
    tree = TREES[PACKAGE]
    (names,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    assert set(names) >= {"load", "losses", "models", "optimizers"}
