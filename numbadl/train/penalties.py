"""Regularisers in training: those of layers, and one for the rest of the model."""

from ..nn.layer import every


class Penalties:
    """What is added to the gradients, and the weights that the proximal step shrinks.

    Attributes
    ----------
    parts : (regulariser, weights, their gradients), a layer's own or the model's
    """

    def __init__(self, model, regularizer, optimizer):
        self.parts, self.optimizer = [], optimizer
        rest = [], []
        for layer in every(model.layers):
            if layer.parts():
                continue
            weights, gradients = layer.weights(), layer.gradients()
            mine = list(weights.values()), [gradients[name] for name in weights]
            if layer.regularizer is not None and weights:
                self.parts.append((layer.regularizer, *mine))
            elif regularizer is not None:
                for all_of_them, some in zip(rest, mine, strict=True):
                    all_of_them += some
        if rest[0]:
            self.parts.append((regularizer, *rest))
        self._shrinks = [(r, weights) for r, weights, _ in self.parts if r.proximal]

    def add_gradients(self):
        """Add the penalties' gradients to the layers'; returns the penalties' sum."""
        return sum(regularizer.add_gradient(weights, grads) for regularizer, weights, grads in self.parts)

    def learning_rates(self):
        """The rate of the next update for each weight that is shrunk after it."""
        return [self.optimizer.learning_rate(w) for _, weights in self._shrinks for w in weights]

    def shrink(self, rates):
        """The proximal steps, with the rates of the update that was made."""
        pairs = [(regularizer, w) for regularizer, weights in self._shrinks for w in weights]
        for rate, (regularizer, w) in zip(rates, pairs, strict=True):
            regularizer.shrink(w, rate)
