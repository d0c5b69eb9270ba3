"""The layers of dropout and its kin: active in training, the identity in evaluation."""

from .. import _arguments as arguments
from ..dropout import (
    alpha_dropout,
    dropout,
    feature_dropout,
    gaussian_dropout,
    prepared,
    prepared_backward,
    relu_dropout,
    relu_dropout_backward,
)
from ..repeated import MISSING
from ..streams import stream_of, threshold_of
from .activations import ACTIVATION_LAYERS
from .layer import Layer

_ReLU = ACTIVATION_LAYERS["relu"]


def _is_changed(layer):
    return "function" in vars(layer) or any(map(layer.is_changed, ("forward", "backward")))


class Dropout(Layer):
    """Zero a random fraction *p* in training; the identity in evaluation.

    The mask follows from `Layer.draw`.
    """

    any_axes = True
    function = dropout
    rectifier = None  # the ReLU before it, where the last forward in training did both

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
        self._kept, self.rectifier = x.shape, None
        return self.function(x, self.p, out=self._work("out", x.shape), **self.draw())

    def takes_over(self, layer):
        """Whether `forward_with` can do the part of the *layer* before this one."""
        is_relu = type(self) is Dropout and type(layer) is _ReLU and not (_is_changed(self) or _is_changed(layer))
        return is_relu and threshold_of(self.p) is not None

    def forward_with(self, rectifier, x):
        """forward in training of the ReLU before it and its own, in one pass; backward is then that of both, too.

        The ReLU keeps the result instead of its input, so that its own backward, behind this one's, changes nothing.
        """
        self._check_input(x)
        self.steps += 1
        y = relu_dropout(x, self.p, out=self._work("out", x.shape), **self.draw())
        self._kept, self.rectifier = y, rectifier
        rectifier.keep(y)
        return y

    def backward(self, grad, input_gradient=True):
        if self.rectifier is not None:
            y = self._from_forward()
            return relu_dropout_backward(grad, y, self.p, self._work("dx", y.shape))
        out = self._work("dx", self._from_forward())
        return self.function.backward(grad, self.p, out=out, **self.draw())

    def repeat_forward(self, x, y):
        p, kept, rectifier = self.p, self._kept, self.rectifier
        if self.function is not dropout:
            return None
        run = prepared(x, y, p, fused=rectifier is not None)
        if run is None:
            return None

        def again():
            if self.p != p:
                return MISSING
            self.steps += 1
            self._kept, self.rectifier = kept, rectifier
            run(*stream_of(**self.draw()))
            if rectifier is not None:
                rectifier.keep(y)
            return y

        return again

    def repeat_backward(self, grad, dx, input_gradient):
        p, kept, rectifier = self.p, self._kept, self.rectifier
        if self.function is not dropout:
            return None
        run = prepared(grad, dx, p) if rectifier is None else prepared_backward(grad, kept, dx, p)
        if run is None:
            return None

        def again():
            if self.p != p or self._kept is not kept or self.rectifier is not rectifier:
                return MISSING
            run(*(stream_of(**self.draw()) if rectifier is None else ()))
            return dx

        return again

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
