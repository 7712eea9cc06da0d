"""A program that export.py wrote, as a function of JAX."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np
from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jax._src.lib.mlir import ir
from jax._src.lib.mlir.dialects import func
from jax.extend.core import Primitive

NAME = "exported_step"
TYPES = {"f32": np.dtype("float32"), "i64": np.dtype("int64")}


def load(path: str) -> tuple[Callable, list[int]]:
    """A function from the program's arguments to its results, compiled when first called.

    The arguments whose places results take are given up: their memory is used again.

    Returns:
      The function; and for each result after the first the number of the argument whose place
      it takes.
    """
    jax.config.update("jax_enable_x64", True)
    program = xla_client._xla.mlir.hlo_to_stablehlo(pathlib.Path(path).read_bytes())
    with mlir.make_ir_context():
        module = ir.Module.parse(program)
        _without_copies(module)
        results = [_abstract(type_) for type_ in _main(module).type.results]
        changed = [
            _place(alias) for alias in module.operation.attributes["mhlo.input_output_alias"]
        ]
        program = str(module)
    if [result for result, _ in changed] != list(range(1, len(results))):
        raise SystemExit(f"{path} does not say of every result whose place it takes.")
    places = [argument for _, argument in changed]

    primitive = Primitive(NAME)
    primitive.multiple_results = True
    primitive.def_abstract_eval(lambda *_: results)

    def lower(context, *arguments):
        module = ir.Module.parse(program)
        types = list(_main(module).type.results)
        name = mlir.merge_mlir_modules(context.module_context.module, NAME, module)
        return func.CallOp(types, ir.FlatSymbolRefAttr.get(name), list(arguments)).results

    mlir.register_lowering(primitive, lower)
    return jax.jit(lambda *arguments: primitive.bind(*arguments), donate_argnums=places), places


def _main(module):
    return next(o for o in module.body.operations if o.attributes["sym_name"].value == "main")


def _without_copies(module):
    """Results are copied in a dialect that plug-ins of JAX do not take."""
    for operation in list(_main(module).regions[0].blocks[0].operations):
        if operation.operation.name == "mhlo.copy":
            operation.results[0].replace_all_uses_with(operation.operands[0])
            operation.erase()


def _abstract(type_):
    tensor = ir.RankedTensorType(type_)
    return jax.core.ShapedArray(tuple(tensor.shape), TYPES[str(tensor.element_type)])


def _place(alias):
    return alias["output_index"][0], alias["alias"]["parameter_number"].value
