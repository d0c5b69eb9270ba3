"""Training beside scikit-learn's perceptrons, with equal settings: ``python -m numbadl.bench.estimators``.

Both estimators take the same arrays, layers, solver, batches and number of epochs, in turn; the median of the turns' ratios
counts.
"""

import argparse
import time
import warnings

import numpy as np
from sklearn import neural_network
from sklearn.datasets import load_digits

from ..interop import sklearn as ours

EPOCHS = 10
PAUSE = 0.1  # seconds
# Name, estimator, rows and features (None: the digits), hidden layers, activation, batch size, solver.
CASES = (
    ("digits, 100", "MLPClassifier", None, (100,), "relu", 200, "adam"),
    ("digits, 100, sgd", "MLPClassifier", None, (100,), "relu", 200, "sgd"),
    ("digits, 100, tanh", "MLPClassifier", None, (100,), "tanh", 200, "adam"),
    ("digits, 256-128", "MLPClassifier", None, (256, 128), "relu", 200, "adam"),
    ("digits, 256-256", "MLPClassifier", None, (256, 256), "relu", 64, "adam"),
    ("20000 rows, 100", "MLPClassifier", (20000, 100), (100,), "relu", 200, "adam"),
    ("20000 rows, 256-128", "MLPClassifier", (20000, 100), (256, 128), "relu", 200, "adam"),
    ("regression, 100", "MLPRegressor", (4000, 20), (100,), "relu", 200, "adam"),
    ("regression, 512", "MLPRegressor", (4000, 20), (512,), "tanh", 200, "adam"),
)


def data(kind, shape, dtype):
    """(x, y): the digits, or normal numbers and a smooth function of them, or the largest of ten sums of them."""
    if shape is None:
        x, y = load_digits(return_X_y=True)
        return (x / 16).astype(dtype), y
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(dtype)
    if kind == "MLPClassifier":
        return x, (x @ rng.standard_normal((shape[1], 10))).argmax(axis=1)
    return x, np.sin(x[:, 0]) + x[:, 1]


def seconds(estimator, x, y):
    """The time of one fit, begun when the other side's idle threads sleep: NumPy's spin for some 20 ms."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few epochs do not converge
        estimator.fit(x, y)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--repeat", type=int, default=5, help="turns (default: %(default)s)")
    parser.add_argument("--only", default="", help="cases whose names contain this")
    given = parser.parse_args()
    print(f"{'case':<20} {'dtype':<8} {'ours ms':>8} {'theirs ms':>9} {'ratio':>6}   of {EPOCHS} epochs")
    for name, kind, shape, hidden, activation, batch, solver in (case for case in CASES if given.only in case[0]):
        for dtype in (np.float32, np.float64):
            options = {
                "hidden_layer_sizes": hidden, "activation": activation, "batch_size": batch, "solver": solver, "max_iter": EPOCHS,
                "n_iter_no_change": EPOCHS, "random_state": 0,
            }  # fmt: skip
            sides, (x, y) = [getattr(m, kind)(**options) for m in (ours, neural_network)], data(kind, shape, dtype)
            times = np.array([[seconds(side, x, y) for side in sides] for _ in range(given.repeat + 1)])[1:]
            mine, theirs = np.median(times, axis=0) * 1e3
            ratio = np.median(times[:, 1] / times[:, 0])
            print(f"{name:<20} {np.dtype(dtype).name:<8} {mine:8.1f} {theirs:9.1f} {ratio:6.2f}", flush=True)


if __name__ == "__main__":
    main()
