"""Activations, from the registry: forward, derivative and backward."""

import numpy as np

import numbadl as nd


class Activations:
    params = [list(nd.ACTIVATIONS), ["forward", "derivative", "backward"], ["float32", "float64"], [1 << 16, 1 << 20]]
    param_names = ["activation", "what", "dtype", "elements"]

    def setup(self, name, what, dtype, elements):
        rng = np.random.default_rng(0)
        self.x, self.grad = (rng.standard_normal(elements).astype(dtype) for _ in range(2))
        self.out = np.empty_like(self.x)
        function = getattr(nd, name)
        self.run = {
            "forward": lambda: function(self.x, out=self.out),
            "derivative": lambda: function.derivative(self.x, out=self.out),
            "backward": lambda: function.backward(self.grad, self.x, out=self.out),
        }[what]
        self.run()  # compiled before it is timed

    def time_activation(self, name, what, dtype, elements):
        self.run()
