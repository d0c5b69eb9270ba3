"""Losses: ``loss(prediction, target)`` is a float, ``loss.backward`` the gradient, ``loss.value_and_grad`` both in one pass.
``loss.target_gradient`` is the gradient with respect to the target, of losses of elements but `hinge`.

Regression: `mse`, `mae`, `huber`, `smooth_l1`. Yes or no, element by element: `binary_cross_entropy` on logits, `hinge`.
One of several classes: `cross_entropy` on logits, `nll` on log-probabilities. Distributions: `kl_div`.

Every loss takes options, in the call or kept by ``loss.with_options(...)``, which gives a loss like it:

- ``reduction``: "mean" over terms, "sum", or "none" for an array of them. A term is an element, or a row of classes.
- ``sample_weight``, of shape (N,): each term of a sample counts that much. A mean divides by the sum of the weights.
- ``weight``: for elements, whatever NumPy broadcasts to the prediction's shape; for classes, one for each, of shape (classes,).
- those of its formula, such as ``huber(..., delta=2.0)``.

A term whose weight is 0 is left out, NaN or not; a mean of no terms is 0.

Examples
--------
>>> import numpy as np
>>> import numbadl as nd
>>> value, gradient = nd.losses.cross_entropy.value_and_grad(np.zeros((2, 4)), np.array([0, 3]))
>>> round(value, 6), gradient.shape
(1.386294, (2, 4))
"""

import functools
import math
import numbers

import numpy as np

from . import _arguments as arguments
from . import _loss_docs as docs
from ._loss_docs import REDUCTIONS
from .arrays import (
    DEVICES,
    check,
    check_out,
    check_shape,
    device_of,
    is_cuda,
    is_plain,
    plain_out,
    rows_of,
    share_memory,
    to_host,
)
from .elementwise import Channels, elementwise, reduced, run_any, run_map, typed
from .interop.arrays import takes_any_array
from .kernels.cpu.map import REFUSED
from .kernels.scalar.losses import LOSSES as RECORDS
from .kernels.scalar.losses import ElementLoss, is_bool
from .repeated import MISSING

_INT64 = np.dtype(np.int64)


@takes_any_array
class Loss:
    """What losses of elements and of classes have in common: options, and the ways to call them.

    Attributes
    ----------
    options : name -> value, with what `with_options` was given
    given : what `with_options` was given
    """

    def __init__(self, record, given=None):
        self.record, self.__name__ = record, record.name
        self.options, self.given = self._defaults(), {}
        self.given = given or {}
        self.options = self._merged(self.given)
        self.__doc__ = self._doc(record)

    def with_options(self, **options):
        """A loss like this one with other defaults, for `fit` and for calls."""
        return type(self)(self.record, {**self.given, **options})

    def __call__(self, prediction, target, /, **options):
        """The value: a float, or with ``reduction="none"`` an array."""
        return self._run(prediction, target, options, gradient=False)[0]

    def backward(self, prediction, target, /, out=None, grad=None, **options):
        """The gradient with respect to the prediction, times *grad*: a number, or an array for ``reduction="none"``."""
        return self._run(prediction, target, options, out, grad, value=False)[1]

    def value_and_grad(self, prediction, target, /, out=None, grad=None, **options):
        """(value, gradient), in one pass over the prediction."""
        return self._run(prediction, target, options, out, grad)

    def sum_and_count(self, prediction, target, /, **options):
        """The sum of the terms, and what a mean divides it by: means over several batches are made of both."""
        total, _, count = self._sums(prediction, target, self._merged(options), gradient=False)
        return total, count

    def sum_count_and_grad(self, prediction, target, /, out=None, **options):
        """(the sum of the terms, what a mean divides it by, the gradient of that mean), in one pass."""
        total, slope, count = self._sums(prediction, target, self._merged(options), out)
        return total, count, slope

    def prepared(self, prediction, target, /, out):
        """`sum_count_and_grad` for these arrays as a function without arguments, to be called as their contents change.

        It gives MISSING where a label is none, or is ignored. Targets that are no labels have been looked at before. None
        where a call has to look at the arrays, or the loss has options that take more than the shortest way.
        """
        raise NotImplementedError

    def _run(self, prediction, target, options, out=None, grad=None, value=True, gradient=True):
        options = self._merged(options)
        found, slope, count = self._sums(prediction, target, options, out, grad, value, gradient)
        if isinstance(found, float):
            found = found / count if count else 0.0
        return found, slope

    # -- options -----------------------------------------------------------------------------------------------
    def _defaults(self):
        return {"reduction": "mean", "weight": None, "sample_weight": None}

    def _merged(self, given):
        if not given:
            return self.options
        for name, value in given.items():
            if name not in self.options:
                raise TypeError(f"{self.__name__}: unknown option {name!r}, accepted are {', '.join(self.options)}")
            self._check_option(name, value)
        return {**self.options, **given}

    def _check_option(self, name, value):
        accepted = (*REDUCTIONS, *getattr(self.record, "reductions", ()))
        if name == "reduction" and not (isinstance(value, str) and value in accepted):
            raise ValueError(f"reduction: got {arguments.shown(value)}, accepted are {', '.join(accepted)}")

    def __repr__(self):
        given = "".join(f", {name}={arguments.shown(value)}" for name, value in self.given.items())
        return f"<numbadl loss {self.__name__}{given}: {self.record.formula}>"


@takes_any_array
class ElementwiseLoss(Loss):
    """A loss of elements: predictions and targets, arrays of one shape and dtype."""

    _doc = staticmethod(docs.of_elements)

    def _defaults(self):
        return {**super()._defaults(), **{p.name: p.default for p in self.record.parameters}}

    def _check_option(self, name, value):
        super()._check_option(name, value)
        for p in self.record.parameters:
            if p.name != name or (name == "pos_weight" and hasattr(value, "__len__") and not isinstance(value, str)):
                continue  # one for each class is checked beside the prediction
            good = isinstance(value, (numbers.Real, np.bool_)) and is_bool(value) == is_bool(p.default)
            if not (good and p.valid(value)):
                raise ValueError(f"{name}: got {arguments.shown(value)}, accepted are {p.accepted}")

    def check_target(self, target, name="target", options=None, start=0):
        """Raise ValueError for a value of a NumPy array that this loss does not take; its rows count from *start*."""
        kind = self.record.variant(options or self.options).targets
        if kind == "numbers" or reduced(f"{kind}.refused", target) == 0:
            return
        if kind == "probabilities":
            arguments.within(name, target, 0, 1, start=start)
        else:
            arguments.among(name, target, (-1, 1), start)

    def target_gradient(self, prediction, target, /, grad=None, **options):
        """The gradient with respect to the target, times *grad*, as `backward` is the one by the prediction.

        Raises TypeError for a loss whose targets are no numbers that could be changed, such as hinge.
        """
        record, options = self.record, self._merged(options)
        if record.by_target is None:
            raise TypeError(f"{self.__name__}: has no gradient with respect to its target")
        self._check_operands(prediction, target)
        if isinstance(target, np.ndarray):
            self.check_target(target, options=options)
        factors, count = self._weights(prediction, options)
        number, upstream = _upstream(grad, prediction, prediction.shape, options)
        factors = np.ones(prediction.shape) if factors is None else factors
        factors = factors if upstream is None else factors * to_host(upstream)
        given = [options[p.name] for p in record.parameters]
        if _has_one_pos_weight(options):
            parts = [(factors, map(float, given))]
        else:  # linear in each pos_weight p: p times what it is for 1, and 1 - p times what it is for 0
            positive = arguments.weights("pos_weight", _host("pos_weight", given[0]), prediction.shape)
            parts = [(factors * positive, [1.0]), (factors * (1 - positive), [0.0])]
        device, found = device_of(prediction), []
        for factors, values in parts:
            weight = device.from_host(np.asarray(factors, prediction.dtype))
            inputs = {"prediction": prediction, "target": target, "weight": weight}
            scalars = (number / count if count else 0.0, *record.scalars(*values))
            ((part,), _) = run_any(
                f"{record.variant(options).kernels}.by_target", inputs, (None,), scalars, ordered=True
            )
            found.append(part)
        return found[0] if len(found) == 1 else device.from_host(to_host(found[0]) + to_host(found[1]))

    @staticmethod
    def _check_operands(prediction, target):
        check(prediction=prediction, target=target)
        check_shape("target", target, prediction.shape, "that of the prediction")

    def prepared(self, prediction, target, /, out):
        options = self.options
        if options["reduction"] == "none" or not (prediction.size and is_plain(prediction, target, out)):
            return None
        if out is prediction or out is target or plain_out(out, prediction, target) is None:
            return None
        factors, count = self._weights(prediction, options)
        target, factors, given = self._operands(prediction, target, factors, options)
        if factors is not None:
            return None
        cpu, flat, total = (
            DEVICES["cpu"],
            [a.reshape(-1) for a in (prediction, target, out)],
            np.zeros((1, 1), out.dtype),
        )
        cpu.prepare(out.size)
        scalars = typed((1 / count, *self.record.scalars(*given)), out.dtype)
        kernel = cpu.kernel(f"{self.record.variant(options).kernels}.value_and_grad")
        run = functools.partial(kernel, *flat, total, *scalars, np.int64(out.size))

        def sum_count_and_grad():
            total[0, 0] = 0
            return MISSING if run() == REFUSED else (float(total[0, 0]), count, out)

        return sum_count_and_grad

    def _sums(self, prediction, target, options, out=None, grad=None, value=True, gradient=True):
        """(the sum of the terms or an array of them, gradient, what a mean divides by)."""
        self._check_operands(prediction, target)
        plain = options["reduction"] != "none" and _has_one_weight(options)
        told = plain and value and out is None  # the value tells of wrong targets, in time
        if not told and isinstance(target, np.ndarray):  # one on a GPU would have to be copied to be looked at
            self.check_target(target, options=options)
        factors, count = self._weights(prediction, options)
        number, upstream = _upstream(grad, prediction, prediction.shape, options)
        target, factors, given = self._operands(prediction, target, factors, options)
        name = self.record.variant(options).kernels
        scalars = (number / count if count else 0.0, *self.record.scalars(*given))
        if plain:
            found, slope = self._plain(name, prediction, target, scalars, out, value, gradient)
            if told and math.isnan(found):
                self.check_target(to_host(target), options=options)
            return found, slope, count
        found = slope = None
        if value or upstream is None:
            slope, found = self._weighted(name, prediction, target, scalars, out if upstream is None else None, factors)
        if upstream is not None:
            factors = upstream if factors is None else factors * to_host(upstream)
            slope, _ = self._weighted(name, prediction, target, scalars, out, factors)
        return (found if options["reduction"] == "none" else reduced("sum", found)), slope, count

    @staticmethod
    def _plain(name, prediction, target, scalars, out, value, gradient):
        """(value, gradient) without weights, of what is wanted, by the kernels *name*."""
        inputs = {"prediction": prediction, "target": target}
        if not gradient:
            return reduced(f"{name}.value", prediction, target, scalars=scalars[1:]), None
        if not value:
            return 0.0, elementwise(f"{name}.gradient", out, scalars, **inputs)
        if prediction.size and is_plain(prediction, target):
            slope = plain_out(out, prediction, target) if out is not prediction and out is not target else None
            if slope is not None:  # as in every step of a training
                flat, total = [a.reshape(-1) for a in (prediction, target, slope)], np.zeros((1, 1), slope.dtype)
                DEVICES["cpu"].prepare(slope.size)
                run_map(f"{name}.value_and_grad", *flat, total, *typed(scalars, slope.dtype), np.int64(slope.size))
                return float(total[0, 0]), slope
        channel = Channels(0, 1, (), sums=1)
        (slope,), sums = run_any(f"{name}.value_and_grad", inputs, (out,), scalars, channel, ordered=True)
        return float(to_host(sums)[0, 0]), slope

    @staticmethod
    def _weighted(name, prediction, target, scalars, out, factors):
        """(gradient, array of values), each times the element's factor."""
        device = device_of(prediction)
        if factors is None:
            factors = np.ones(prediction.shape, prediction.dtype)
        if isinstance(factors, (np.ndarray, np.generic)):  # products of arrays without axes are numbers
            factors = device.from_host(np.asarray(factors, prediction.dtype))
        inputs = {"prediction": prediction, "target": target, "weight": factors}
        return run_any(f"{name}.weighted", inputs, (out, None), scalars, ordered=True)[0]

    def _operands(self, prediction, target, factors, options):
        """Target, factors and the values of the parameters.

        Of a pos_weight p for each class, that is a part of the other two: with w = p t + 1 - t, the loss is w times that
        of the target p t / w without p.
        """
        given = [options[p.name] for p in self.record.parameters]
        if _has_one_pos_weight(options):
            return target, factors, [float(value) for value in given]
        shape = tuple(prediction.shape)
        positive = arguments.weights("pos_weight", _host("pos_weight", given[0]), shape)
        host = to_host(target).astype(np.float64)
        whole = positive * host + (1 - host)
        share = np.divide(positive * host, whole, out=host.copy(), where=whole > 0).astype(prediction.dtype)
        return device_of(prediction).from_host(share), whole if factors is None else factors * whole, [1.0]

    def _weights(self, prediction, options):
        """(an array with the factor of each element, or None; what the reduction divides by)."""
        shape, factors, counted = tuple(prediction.shape), None, None
        if options["weight"] is not None:
            factors = np.broadcast_to(arguments.weights("weight", _host("weight", options["weight"]), shape), shape)
            counted = factors if self.record.weighted_mean else None
        if options["sample_weight"] is not None:
            each = arguments.weights(
                "sample_weight", _host("sample_weight", options["sample_weight"]), shape[:1], exact=True
            )
            each = np.broadcast_to(each.reshape(-1, *[1] * (len(shape) - 1)), shape)
            factors = each if factors is None else factors * each
            counted = each if counted is None else counted * each
        if options["reduction"] == "mean":
            return factors, prediction.size if counted is None else float(counted.sum())
        return factors, shape[0] if options["reduction"] == "batchmean" and shape else 1


def _has_one_weight(options):
    """Whether all terms count as much."""
    return options["weight"] is None and options["sample_weight"] is None and _has_one_pos_weight(options)


def _has_one_pos_weight(options):
    return isinstance(options.get("pos_weight", 1.0), numbers.Real)


class LogitsLoss(Loss):
    """A loss of rows of classes, (N, classes) or (N, classes, d1, ...), with labels (N,) or (N, d1, ...)."""

    _doc = staticmethod(docs.of_labels)

    @functools.cached_property
    def _plain_options(self):
        return self._defaults()

    def _defaults(self):
        smoothing = {"label_smoothing": 0.0} if self.record.weighted.columns else {}
        return {**super()._defaults(), "ignore_index": -100, **smoothing}

    def _check_option(self, name, value):
        super()._check_option(name, value)
        if name == "label_smoothing":
            arguments.number(name, value, high=1)
        if name == "ignore_index":
            arguments.integer(name, value, low=-(2**63))

    def takes_probabilities(self, target, ndim):
        """Whether *target* is meant as probabilities of classes for predictions of *ndim* dimensions, not as labels."""
        return self.record.soft is not None and target.dtype.kind == "f" and target.ndim == ndim

    def check_labels(self, labels, classes, name="labels", options=None, start=0):
        """*labels*, integers from 0 to classes - 1, with 0 in place of those that are ignored; and where they are not.

        In messages, rows count from *start*.
        """
        ignored = (options or self.options)["ignore_index"]
        if labels.size == 0 or (_are_classes(labels, classes) and not 0 <= ignored < classes):
            return labels, None
        kept = labels != ignored
        labels = labels if kept.all() else np.where(kept, labels, 0)
        arguments.within(name, labels, 0, classes - 1, "labels", start)
        return labels, None if kept.all() else kept

    def _sums(self, logits, labels, options, out=None, grad=None, value=True, gradient=True):
        """(the sum of the terms or an array of them, gradient, what a mean divides by)."""
        if value and grad is None and (run := self._prepared(logits, labels, options, out, gradient)) is not None:
            DEVICES["cpu"].prepare(logits.size)
            if (found := run()) is not MISSING:
                total, count, slope = found
                return total, slope, count
        name = self.record.input
        check(**{name: logits})
        if logits.ndim < 2:
            raise ValueError(f"{name}: got shape {logits.shape}, expected (N, classes) or (N, classes, d1, ...)")
        device, positions = device_of(logits), (logits.shape[0], *tuple(logits.shape)[2:])
        labels, kept = self._targets(labels, logits, positions, options)
        soft = labels.ndim == logits.ndim
        number, upstream = _upstream(grad, logits, positions, options)
        factors, columns, count = self._weights(labels, kept, logits, positions, options)
        if not gradient:
            out = None
        elif out is not None:
            check_out(out, logits, **{name: logits})
            if soft and share_memory(out, labels):
                raise ValueError("out: may not share memory with labels")
        else:
            out = device.empty(logits.shape, logits.dtype)
        values = device.zeros if logits.size == 0 else device.empty
        values = values((math.prod(positions),), logits.dtype)
        if logits.size:
            device.prepare(logits.size)
            target = _rows(labels) if soft else device.from_host(labels.reshape(-1))
            scale = number / count if count else 0.0
            if factors is None and columns is None and upstream is None:
                self._plain(_rows(logits), target, out, values, scale)
            else:
                row_values = self._row_values(factors, upstream, scale, values)
                self._general(logits, target, out, values, columns, row_values)
        if options["reduction"] == "none":
            return values.reshape(positions), out, count
        return (reduced("sum", values) if value else 0.0), out, count

    def prepared(self, logits, labels, /, out):
        return self._prepared(logits, labels, self.options, out)

    def _prepared(self, logits, labels, options, out, gradient=True):
        """`prepared`, for dense matrices and labels without options, as in every step of a training; else None.

        With its call it takes 5 us beside the kernels, where all that is done otherwise takes 35.
        """
        for name, value in self._plain_options.items():
            if options[name] is not value:
                return None
        if type(logits) is not np.ndarray or logits.ndim != 2 or not is_plain(logits) or logits.size == 0:
            return None
        if type(labels) is not np.ndarray or labels.dtype is not _INT64 or not labels.flags.carray:
            return None
        count = len(logits)
        if labels.shape != (count,):
            return None
        slope = None
        if gradient:
            slope = np.empty_like(logits) if out is None else out
            if not is_plain(logits, slope) or np.may_share_memory(logits, slope):
                return None
        cpu, values = DEVICES["cpu"], np.empty(count, logits.dtype)
        operands = (slope, values, logits.dtype.type(1 / count)) if gradient else (values,)
        kernel, add_up = cpu.kernel(self.record.plain[gradient].name), cpu.kernel("sum")

        def sum_count_and_grad():
            if kernel(logits, labels, *operands) == REFUSED:  # a label that is none, or is ignored
                return MISSING
            return add_up(values), count, slope

        return sum_count_and_grad

    def _targets(self, labels, logits, positions, options):
        """(labels on the host, and which are not ignored), or (the probabilities as they are, None)."""
        if (isinstance(labels, np.ndarray) or is_cuda(labels)) and self.takes_probabilities(labels, logits.ndim):
            check(**{self.record.input: logits, "labels": labels})
            check_shape("labels", labels, logits.shape, "probabilities of all classes")
            if isinstance(labels, np.ndarray):
                arguments.within("labels", labels, 0, 1)
            return labels, None
        host = _host("labels", labels)
        if host.dtype.kind not in "iu":
            soft = ", or probabilities of the shape of the logits" * (self.record.soft is not None)
            raise TypeError(f"labels: got dtype {host.dtype}, accepted are integers{soft}")
        check_shape("labels", host, positions, "one label for each row of classes")
        labels, kept = self.check_labels(host, logits.shape[1], options=options)
        return np.require(labels, np.int64, "CAW"), kept

    def _weights(self, labels, kept, logits, positions, options):
        """(factor of each row or None, (factor, summand) of each class's probability or None, what a mean divides by)."""
        classes, soft, weighted = logits.shape[1], labels.ndim == logits.ndim, options["weight"] is not None
        smoothing, each = options.get("label_smoothing", 0.0), options["sample_weight"]
        if kept is None and each is None and not (soft or weighted or smoothing):
            return None, None, math.prod(positions) if options["reduction"] == "mean" else 1
        weight = np.ones(classes)
        if weighted:
            weight = arguments.weights("weight", _host("weight", options["weight"]), (classes,), exact=True)
        factors = None if kept is None else kept.astype(np.float64)
        if each is not None:
            each = arguments.weights("sample_weight", _host("sample_weight", each), positions[:1], exact=True)
            each = np.broadcast_to(each.reshape(-1, *[1] * (len(positions) - 1)), positions)
            factors = each if factors is None else factors * each
        counted, columns = factors, None
        if weighted and not soft:
            counted = weight[labels] if factors is None else factors * weight[labels]
        if self.record.weighted.columns == 0:
            factors = counted
        elif weighted or smoothing or soft:
            columns = (1 - smoothing) * weight, smoothing / max(classes, 1) * weight
        if options["reduction"] != "mean":
            return factors, columns, 1
        return factors, columns, math.prod(positions) if counted is None else float(counted.sum())

    def _row_values(self, factors, upstream, scale, values):
        """The factors of each row's value and of its gradient, on the device, in the type of *values*."""
        device, shape = device_of(values), values.shape
        factors = np.ones(shape) if factors is None else factors.reshape(shape)
        slopes = factors * scale
        if upstream is not None:
            slopes = slopes * to_host(upstream).reshape(shape)
        return [device.from_host(a.astype(values.dtype)) for a in (factors, slopes)]

    def _plain(self, rows, labels, out, values, scale):
        device, kernels = device_of(rows), [row.name for row in self.record.plain]
        if out is None:
            device.kernel(kernels[0])(rows, labels, values)
        else:
            kernel, scale = device.kernel(kernels[1]), rows.dtype.type(scale)
            _into_rows(out, lambda result: kernel(rows, labels, result, values, scale))

    def _general(self, logits, target, out, values, columns, row_values):
        device, dtype = device_of(logits), logits.dtype
        soft = target.ndim > 1
        inputs = [_rows(logits), *[target] * soft]
        row = self.record.soft if soft else self.record.weighted
        if row.columns:
            columns = columns or (np.ones(logits.shape[1]), np.zeros(logits.shape[1]))
            inputs += [device.from_host(c.astype(dtype)) for c in columns]
        inputs += [target] * (not soft)
        scratch = device.empty(logits.shape, dtype) if out is None else out
        _into_rows(scratch, lambda result: device.kernel(row.name)(*inputs, result, values, *row_values))


def _are_classes(labels, classes):
    """Whether all of an array of integers are from 0 to *classes* - 1."""
    if labels.dtype is _INT64:  # in one pass: as unsigned numbers, negative ones are larger than any number of classes
        return labels.view(np.uint64).max() < classes
    return labels.min() >= 0 and labels.max() < classes


# -- what both need --------------------------------------------------------------------------------------------------
def _rows(array):
    """Its rows along axis 1, as a matrix (CUDA: see `rows_of`)."""
    return array if array.ndim == 2 and is_plain(array) else rows_of(array, 1)


def _into_rows(out, run):
    """Call *run* with the rows of *out*, for it to write; they are copied if they could not be a view."""
    result = _rows(out)
    run(result)
    if isinstance(out, np.ndarray) and result is not out and not np.may_share_memory(result, out):
        moved = np.moveaxis(out, 1, -1)
        moved[...] = result.reshape(moved.shape)


def _host(name, value):
    arguments.no_subclass(name, value)
    return to_host(value) if is_cuda(value) else np.asarray(value)


def _upstream(grad, prediction, shape, options):
    """(number, None) or (1.0, array): what a gradient is multiplied by."""
    if grad is None:
        return 1.0, None
    if isinstance(grad, numbers.Real):
        return float(grad), None
    if options["reduction"] != "none":
        raise TypeError(f"grad: got {arguments.shown(grad)}, accepted is a number, because the loss is one")
    check(prediction=prediction, grad=grad)
    check_shape("grad", grad, shape, "that of the losses")
    return 1.0, grad


LOSSES = {
    name: (ElementwiseLoss if isinstance(record, ElementLoss) else LogitsLoss)(record)
    for name, record in RECORDS.items()
}
globals().update(LOSSES)


def loss(name):
    """The loss of that name, or *name* itself if it is one already."""
    if isinstance(name, Loss):
        return name
    if not isinstance(name, str) or name not in LOSSES:
        raise ValueError(f"loss: got {arguments.shown(name)}, accepted are {', '.join(LOSSES)}")
    return LOSSES[name]
