"""One training step of a small network."""

import numpy as np

import numbadl as nd


class Step:
    params = [64, 256]
    param_names = ["batch"]

    def setup(self, batch):
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((batch, 64)).astype(np.float32)
        self.y = rng.integers(0, 10, batch)
        self.model = nd.nn.Sequential(
            nd.nn.Linear(64, 128), nd.nn.BatchNorm(128), nd.nn.ReLU(), nd.nn.Dropout(0.2), nd.nn.Linear(128, 10)
        )
        self.optimizer = nd.optim.AdamW(self.model)
        self.time_step(batch)

    def time_step(self, batch):
        logits = self.model.forward(self.x, training=True)
        _, grad = nd.losses.cross_entropy.value_and_grad(logits, self.y)
        self.model.backward(grad)
        self.optimizer.step()
