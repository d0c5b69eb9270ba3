"""Keras on JAX: a training step by ``train_on_batch``, which XLA compiles as a whole."""

import os

os.environ["KERAS_BACKEND"] = "jax"  # read when keras is imported

import keras
import numpy as np

from .layers import DROPPED, EPSILON

if keras.backend.backend() != "jax":
    raise ImportError(f"keras: was imported with the backend {keras.backend.backend()}; jax is needed here")

NAME, VERSION = "Keras on JAX", keras.__version__
START = {"import": "import os; os.environ['KERAS_BACKEND'] = 'jax'; import keras"}
BETA2, BATCH_NORM = 0.999, {"momentum": 0.9, "epsilon": 1e-5}
array, to_numpy = keras.ops.convert_to_tensor, np.asarray


def _network_step(x, labels, *given):
    """`numbadl.bench.layers._network_step`: the same step, without dropout in the first one."""
    *weights, way = given
    if way != "default":  # of PyTorch's optimiser: here there is one
        return None
    dense = [keras.layers.Dense(len(weight)) for weight in weights]
    parts, dropouts = [], [keras.layers.Dropout(DROPPED) for _ in weights[1:]]
    for layer, dropout in zip(dense, dropouts, strict=False):
        parts += [layer, keras.layers.BatchNormalization(**BATCH_NORM), keras.layers.ReLU(), dropout]
    model = keras.Sequential([keras.Input(x.shape[1:]), *parts, dense[-1]])
    for layer, weight in zip(dense, weights, strict=True):
        layer.set_weights([weight.T, np.zeros(len(weight), weight.dtype)])
    # Their epsilon is added before the bias correction: of the first step, which is compared, this is ours.
    epsilon = EPSILON * (1 - BETA2) ** 0.5
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.01, beta_2=BETA2, epsilon=epsilon)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=True)
    x, labels = array(x), array(labels)

    def drop(rate):
        for dropout in dropouts:
            dropout.rate = rate
        model.make_train_function(force=True)

    def run():
        return model.train_on_batch(x, labels)

    def first():
        drop(0.0)
        run()
        drop(DROPPED)
        return to_numpy(dense[0].kernel.value).T

    steps = iter([first])
    return lambda: next(steps, run)()


PARTS = {"network_step": _network_step}
