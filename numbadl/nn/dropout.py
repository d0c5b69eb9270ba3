"""The layers of dropout and its kin: active in training, the identity in evaluation."""

from .. import _arguments as arguments
from ..dropout import alpha_dropout, dropout, feature_dropout, gaussian_dropout
from .layer import Layer


class Dropout(Layer):
    """Zero a random fraction *p* in training; the identity in evaluation.

    The mask follows from `Layer.draw`.
    """

    function = dropout

    def __init__(self, p=0.5):
        self.p = float(arguments.number("p", p, high=1))
        super().__init__()

    def config(self):
        return {"p": self.p}

    def forward(self, x, training=False):
        self._check_input(x)
        if not training:
            return x
        self.steps += 1
        self._kept = x.shape
        return self.function(x, self.p, out=self._work("out", x.shape), **self.draw())

    def backward(self, grad, input_gradient=True):
        out = self._work("dx", self._from_forward())
        return self.function.backward(grad, self.p, out=out, **self.draw())

    def output_shape(self, shape):
        return shape


class FeatureDropout(Dropout):
    """Zero whole feature maps of (N, C, *spatial) in training (PyTorch's Dropout1d, 2d, 3d); see `numbadl.feature_dropout`."""

    function = feature_dropout


class AlphaDropout(Dropout):
    """Dropout that keeps mean 0 and variance 1, behind SELU; see `numbadl.alpha_dropout`."""

    function = alpha_dropout


class GaussianDropout(Dropout):
    """Multiply with normal numbers of mean 1 and variance p / (1 - p) in training; see `numbadl.gaussian_dropout`."""

    function = gaussian_dropout

    def __init__(self, p=0.5):
        super().__init__(arguments.number("p", p, high=1, below=True))
