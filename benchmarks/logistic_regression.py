"""The l2 path of linear evaluation: ours against scikit-learn, time and optimum.

python benchmarks/logistic_regression.py [--features FILE.npz] [--rows 5000]
    [--contestants NAME ...]   all without it

FILE.npz is what `python -m simclr_tf.features` writes; without it the pixels of scikit-learn's
digits are the features. All fit the same 45 values of l2, each from the solution before it, by
L-BFGS where no other solver is named. After the times, a second table has how far the losses are
from the lowest that any contestant found.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterable

import numpy as np
import side_by_side

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

# What each of them calls its tolerance: of l2 selection and the default, then as strict as is sane.
CONTESTANTS = {
    "ours, selecting l2": 1e-8,
    "scikit-learn, default": 1e-4,
    "ours, final fit": 1e-13,
    "scikit-learn, strict": 1e-7,
    "scikit-learn, newton-cg": 1e-7,
}


def read(features: str | None, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (rows, d) float32 and labels; rows are drawn when there are more."""
    if features:
        with np.load(features) as file:
            x, y = file["features"], file["labels"]
    else:
        from sklearn.datasets import load_digits

        digits = load_digits()
        x, y = digits.data / 16.0, digits.target
    order = np.random.default_rng(0).permutation(len(x))[:rows]
    return x[order].astype(np.float32), y[order].astype(np.int64)


def path(contestant: str, x: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (d, classes) and bias of each l2, from the strongest."""
    from simclr_tf.evaluation.logistic_regression import (
        L2_VALUES,
        fit_logistic_regression,
        principal_axes,
    )

    tolerance, fits = CONTESTANTS[contestant], []
    if contestant.startswith("ours"):
        last, num_classes, axes = None, int(y.max()) + 1, principal_axes(x)
        for l2 in map(float, L2_VALUES):
            last = fit_logistic_regression(
                x, y, num_classes=num_classes, l2=l2, start=last, axes=axes, tolerance=tolerance
            )
            fits.append((last.weights, last.bias))
        return fits

    from sklearn.linear_model import LogisticRegression

    solver = "newton-cg" if contestant.endswith("newton-cg") else "lbfgs"
    model = LogisticRegression(tol=tolerance, max_iter=20_000, warm_start=True, solver=solver)
    x = x.astype(np.float64)
    for l2 in L2_VALUES:
        model.set_params(C=1 / (l2 * len(x))).fit(x, y)
        fits.append((model.coef_.T.copy(), model.intercept_.copy()))
    return fits


def loss(x: np.ndarray, y: np.ndarray, l2: float, weights: np.ndarray, bias: np.ndarray) -> float:
    """Mean cross-entropy + l2 / 2 * |weights|^2, in float64."""
    weights = weights.astype(np.float64)
    logits = x.astype(np.float64) @ weights + bias
    logits -= logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits).sum(axis=1))
    return float(np.mean(log_sum - logits[np.arange(len(y)), y]) + l2 / 2 * np.sum(weights**2))


def compare_losses(x: np.ndarray, y: np.ndarray, contestants: Iterable[str]) -> None:
    """Print how far from the lowest loss each contestant ends."""
    from simclr_tf.evaluation.logistic_regression import L2_VALUES

    losses = {
        name: np.array(
            [loss(x, y, l2, *fit) for l2, fit in zip(L2_VALUES, path(name, x, y), strict=True)]
        )
        for name in contestants
    }
    lowest = np.min(list(losses.values()), axis=0)
    print("\n| relative distance of the loss | l2 >= 1e-3 | l2 < 1e-3 |\n| --- | --- | --- |")
    for name, values in losses.items():
        distance, strong = values / lowest - 1, L2_VALUES >= 1e-3
        print(f"| {name} | {distance[strong].max():.1e} | {distance[~strong].max():.1e} |")


def worker(contestant: str, **data) -> None:
    """Measure one contestant; see side_by_side."""
    x, y = read(**data)
    side_by_side.serve(lambda: path(contestant, x, y), 45)


def main() -> None:
    """Measure, then compare what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features")
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument(
        "--contestants", nargs="+", default=list(CONTESTANTS), choices=list(CONTESTANTS)
    )
    arguments = side_by_side.parse(parser, worker)
    x, y = read(arguments.features, arguments.rows)
    print(f"\n{x.shape[0]:,} rows of {x.shape[1]} features, {y.max() + 1} classes, 45 fits\n")
    data = {"features": arguments.features, "rows": arguments.rows}
    contestants = {name: {"contestant": name} | data for name in arguments.contestants}
    side_by_side.measure(__file__, contestants, arguments.repetitions)
    compare_losses(x, y, arguments.contestants)


if __name__ == "__main__":
    main()
