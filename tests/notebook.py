"""Runs the code cells of a notebook as one program, which needs nothing of Jupyter.

python tests/notebook.py docs/pretrain.ipynb
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).parent.parent


def code_cells(path: pathlib.Path) -> list[str]:
    """The source of each code cell of a notebook, in their order."""
    cells = json.loads(path.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    import matplotlib

    matplotlib.use("Agg")
    names = {"__name__": "__main__"}
    for i, source in enumerate(code_cells(pathlib.Path(sys.argv[1])), 1):
        exec(compile(source, f"cell {i}", "exec"), names)
