"""Activations over arrays, made from their records: checks, parameters, one kernel call."""

import functools
import inspect

import numpy as np

from .arrays import DEVICES, DTYPES, device_of
from .elementwise import Channels, by_channel, channel_axis, elementwise, like_parameter, run_any, typed
from .interop.arrays import check_call, takes_any_array
from .kernels.cpu.map import DONE
from .kernels.scalar.holder import ScalarHolder
from .streams import stream_of

_FLOAT32, _FLOAT64 = DTYPES
_PLAIN = inspect.signature(lambda x, out=None: None)
_MISSING = object()  # the first argument, where there is none


class _Quick:
    """A kernel that is tried first on dense arrays: its result, or None where the long way has to find out what is wrong."""

    def __init__(self, kernel):
        self.kernel, self.name, self.run = kernel, getattr(kernel, "name", kernel), self._first

    def __call__(self, x, out, before=(), numbers=None):
        """*before* are the arrays before x, *numbers* those after the arrays, if any: as float32 and as float64."""
        if type(x) is not np.ndarray or not (x.dtype is _FLOAT32 or x.dtype is _FLOAT64):
            return None
        # Numba's dispatch looks neither at byte orders nor at subclasses: it takes masked arrays for plain ones.
        others = before if out is None else (*before, out)
        for a in others:
            if type(a) is not np.ndarray or a.dtype is not x.dtype:
                return None
        result = np.empty_like(x) if out is None else out
        arrays = (*before, x, result)
        if x.ndim != 1:
            if not x.flags.c_contiguous:
                return None
            for a in others:
                if a.shape != x.shape or not a.flags.c_contiguous:
                    return None
            arrays = [a.ravel() for a in arrays]  # views
        try:  # one compiled call that refuses what it does not take, so that 16 elements cost a microsecond
            done = self.run(*arrays) if numbers is None else self.run(*arrays, *numbers[x.dtype is _FLOAT64])
            return result if done == DONE else None
        except TypeError:
            return None

    def _first(self, *arguments):
        self.run = DEVICES["cpu"].kernel(self.kernel)
        return self.run(*arguments)


def _quick_first(attribute, arrays):
    """Declare a method that takes so many arrays, of any library, and options.

    Without options its kernel of numbers, that of the function's *attribute*, is tried first: on 16 elements prelu takes 1.9 us
    so, and 2.7 where arguments are looked at one by one before it.
    """

    def decorate(method):
        long = takes_any_array(method)

        @functools.wraps(method)
        def call(self, *given, out=None, **options):
            if not options and len(given) == arrays and (quick := self._of_numbers.get(getattr(self, attribute))):
                result = quick(given[-1], out, given[:-1], self._defaults)
                if result is not None:
                    return result
            return long(self, *given, out=out, **options)

        return call

    return decorate


def _taking(parameters):
    """Declare the parameters of a method that takes any, and looks for wrong ones where it does not cost small arrays time."""

    def decorate(method):
        method.__signature__ = inspect.signature(parameters)
        return method

    return decorate


def _check_call(method, owner, given, more, unknown):
    if more or unknown or given[0] is _MISSING:
        check_call(method, (owner, *(() if given[0] is _MISSING else given), *more), unknown)


class ActivationFunction:
    """An activation over arrays: ``f(x)``, ``f.derivative(x)``, ``f.backward(grad, x)``; ``f.scalar`` for kernels.

    *kernels* are its declarations (`numbadl.kernels.catalog.activation_kernels`); those of the catalog go by their names.
    """

    def __init__(self, record, kernels=None):
        self.record = record
        self.__name__ = record.name
        self.scalar = record.forward
        self.scalar_derivative = record.derivative
        self.__doc__, self.__signature__ = _doc(self), _PLAIN
        self._label = record.name if kernels is None else kernels[0].name
        self._declared = {declaration.name: declaration for declaration in kernels or ()}
        self._kernel, self._derivative, self._backward = map(self._quick, ("", ".derivative", ".backward"))
        self._of_result = self._quick(".backward.of_result") if record.of_result else None

    @_taking(lambda self, x, out=None: None)
    def __call__(self, x=_MISSING, out=None, *more, **unknown):
        if not (more or unknown) and (result := self._kernel(x, out)) is not None:
            return result
        _check_call(ActivationFunction.__call__, self, (x, out), more, unknown)
        return elementwise(self._kernel.kernel, out, x=x)

    @_taking(lambda self, x, out=None: None)
    def derivative(self, x=_MISSING, out=None, *more, **unknown):
        """f'(x), element by element; at a kink the value that the record states."""
        if not (more or unknown) and (result := self._derivative(x, out)) is not None:
            return result
        _check_call(ActivationFunction.derivative, self, (x, out), more, unknown)
        return elementwise(self._derivative.kernel, out, x=x)

    @_taking(lambda self, grad, x=None, out=None, *, result=None: None)
    def backward(self, grad=_MISSING, x=None, out=None, *more, result=None, **unknown):
        """grad * f'(x) in one pass: the gradient with respect to x, given the gradient with respect to f(x).

        sigmoid, tanh and exponential take ``result=f(x)`` in place of x, too, and are then as fast as a copy; but f'(x) is then
        as exact as the rounded f(x) allows: 0 where a sigmoid or tanh is 1.
        """
        if result is None and not (more or unknown) and (found := self._backward(x, out, (grad,))) is not None:
            return found
        _check_call(ActivationFunction.backward, self, (grad, x, out), more, unknown)
        if result is not None:
            return self._backward_of_result(grad, x, result, out)
        return elementwise(self._backward.kernel, out, grad=grad, x=x)

    def _backward_of_result(self, grad, x, result, out):
        if x is not None:
            raise TypeError("result: got x, too; give one of the two")
        if self._of_result is None:
            raise TypeError(
                f"result: {self.__name__}.backward takes x, for its derivative is no simple function of f(x)"
            )
        if (found := self._of_result(result, out, (grad,))) is not None:
            return found
        return elementwise(self._of_result.kernel, out, grad=grad, result=result)

    def kernels(self, dtype, **options):
        """(kernel, kernel of backward, numbers) for flat arrays of *dtype*: f is ``kernel(x, out, *numbers)``.

        None for an activation with operands beside x and numbers: parameters of channels, random ones.
        """
        return *(DEVICES["cpu"].kernel(quick.kernel) for quick in (self._kernel, self._backward)), ()

    def kernel_of_result(self):
        """The kernel of backward that takes f(x) in place of x, for flat arrays."""
        return DEVICES["cpu"].kernel(self._of_result.kernel)

    def _quick(self, what):
        name = f"{self._label}{what}"
        return _Quick(self._declared.get(name, name))

    def layer(self, **options):
        """A layer for `numbadl.nn.Sequential` that applies this activation; *options* are its parameters."""
        from .nn import activation_layer

        return activation_layer(self, **options)

    @property
    def _numba_type_(self):
        return ScalarHolder(self._kernel.name, {"scalar": self.scalar, "scalar_derivative": self.scalar_derivative})

    def __repr__(self):
        return f"<numbadl activation {self.__name__}: {self.record.formula}>"


class ParametricFunction(ActivationFunction):
    """An activation with parameters, which follow x: ``f(x, alpha)``, ``f.backward(grad, x, alpha)``.

    Learnable ones are numbers or arrays with one for each channel, along *axis*; backward then gives a tuple, the gradients of
    x and of each of them. They come before those that are not learnable.
    """

    def __init__(self, record, kernels=None):
        self.options = {p.name: p.default for p in record.parameters}
        if record.learnable or record.alternating:
            self.options["axis"] = 1
        if record.random:
            self.options |= {"training": False, "seed": 0, "offset": 0}
        self._names, self._parameters = tuple(self.options), tuple(p.name for p in record.parameters)
        self._defaults = tuple(tuple(dtype.type(p.default) for p in record.parameters) for dtype in DTYPES)
        super().__init__(record, kernels)
        self._of_numbers = self._kernels_of_numbers()
        self.__signature__ = _signature(("x",), self.options)

    @_quick_first("_kernel", 1)
    def __call__(self, x, *parameters, out=None, **options):
        return self._run(self._kernel, {"x": x}, out, parameters, options)

    @_quick_first("_derivative", 1)
    def derivative(self, x, *parameters, out=None, **options):
        """f'(x), element by element; at a kink the value that the record states."""
        return self._run(self._derivative, {"x": x}, out, parameters, options)

    @_quick_first("_backward", 2)
    def backward(self, grad, x, *parameters, out=None, **options):
        """grad * f'(x) in one pass; with learnable parameters (dx, *their gradients), of the shapes that they came in."""
        return self._run(self._backward, {"grad": grad, "x": x}, out, parameters, options)

    def check(self, *parameters, **options):
        """Name -> value of every option, after the checks that need no array."""
        if len(parameters) > len(self._names):
            raise TypeError(f"{self.__name__}: takes {len(self._names)} arguments after x, got {len(parameters)}")
        given = dict(zip(self._names, parameters, strict=False))
        for name, value in options.items():
            if name not in self.options:
                raise TypeError(f"{self.__name__}: unknown argument {name!r}, accepted are {', '.join(self._names)}")
            if name in given:
                raise TypeError(f"{self.__name__}: got two values for {name}")
            given[name] = value
        values = {**self.options, **given}
        for parameter in self.record.parameters:
            _check_parameter(parameter, values[parameter.name])
        if self.record.check is not None and (problem := self.record.check(*(values[n] for n in self._parameters))):
            raise ValueError(problem)
        return values

    def kernels(self, dtype, **options):
        if self.record.learnable or self.record.random or self.record.alternating:
            return None
        return *super().kernels(dtype)[:2], typed(self.check(**options).values(), dtype)

    def _kernels_of_numbers(self):
        """Kernel -> the one that takes the parameters as numbers: itself, or for learnable ones one without gradients."""
        if self.record.random or self.record.alternating:
            return {}
        if not self.record.learnable:
            return {kernel: kernel for kernel in (self._kernel, self._derivative, self._backward)}
        return {self._kernel: self._quick(".numbers"), self._derivative: self._quick(".derivative.numbers")}

    def _run(self, kernel, inputs, out, parameters, options):
        record, values = self.record, self.check(*parameters, **options) if parameters or options else self.options
        of_numbers, x = self._of_numbers.get(kernel), inputs["x"]
        given = {n: values[n] for n in self._parameters}
        if record.random and not values["training"]:
            return self._in_evaluation(kernel, inputs, out, given)
        if record.random:
            scalars = (*map(float, given.values()), *stream_of(values["seed"], values["offset"]))
            return elementwise(kernel.kernel, out, scalars, ordered=True, **inputs)
        if of_numbers and not any(hasattr(v, "shape") and v.shape for v in given.values()):
            numbers, (*before, x), result = tuple(map(float, given.values())), inputs.values(), None
            if type(x) is np.ndarray and x.dtype in DTYPES:
                result = of_numbers(x, out, before, [typed(numbers, x.dtype)] * len(DTYPES))
            return elementwise(of_numbers.kernel, out, numbers, **inputs) if result is None else result
        learnt = {p.name: given.pop(p.name) for p in record.learnable}
        channels, scalars = None, tuple(given.values())
        if learnt:
            channels = by_channel(x, values["axis"], len(learnt) if kernel is self._backward else 0, **learnt)
        elif record.alternating:
            channels = _signs(x, values["axis"])
        (out,), sums = run_any(kernel.kernel, inputs, (out,), scalars, channels)
        if sums is None:
            return out
        return out, *(like_parameter(total, value) for total, value in zip(sums, learnt.values(), strict=True))

    def _in_evaluation(self, kernel, inputs, out, given):
        """A random parameter takes its mean: the record names the activation that then results."""
        name = self.record.evaluation + kernel.name.removeprefix(self.__name__)
        return elementwise(name, out, (sum(given.values()) / len(given),), **inputs)


class VariantsFunction(ActivationFunction):
    """An activation with an option that chooses among several: ``gelu(x, approximate="tanh")``."""

    def __init__(self, record, option, variants):
        self._option, self._variants = option, {"none": ActivationFunction(record), **variants}
        self.options = {option: "none"}
        super().__init__(record)
        self.__signature__ = _signature(("x",), self.options)

    def __call__(self, x=_MISSING, *chosen, out=None, **option):
        return self._chosen(chosen, option)(x, out)

    def derivative(self, x=_MISSING, *chosen, out=None, **option):
        """f'(x), element by element."""
        return self._chosen(chosen, option).derivative(x, out)

    def backward(self, grad=_MISSING, x=None, *chosen, out=None, **option):
        """grad * f'(x) in one pass."""
        return self._chosen(chosen, option).backward(grad, x, out)

    def kernels(self, dtype, **option):
        return self._chosen((), option).kernels(dtype)

    def check(self, *chosen, **option):
        """Name -> value of the option, if it is an accepted one."""
        if len(chosen) + len(option) > 1 or set(option) - {self._option}:
            raise TypeError(f"{self.__name__}: got other arguments than {self._option}")
        value = (*chosen, *option.values(), "none")[0]
        if not isinstance(value, str) or value not in self._variants:
            raise ValueError(f"{self._option}: got {value!r}, accepted are {', '.join(map(repr, self._variants))}")
        return {self._option: value}

    def _chosen(self, chosen, option):
        if not chosen and not option:
            return self._variants["none"]
        return self._variants[self.check(*chosen, **option)[self._option]]


def _check_parameter(parameter, value):
    accepted = f"accepted are {parameter.accepted}"
    if parameter.gradient is not None and hasattr(value, "shape"):
        return  # an array is checked where its shape is; its values belong to whoever trains it
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{parameter.name}: got {type(value).__name__}, {accepted}")
    if not parameter.valid(value):
        raise ValueError(f"{parameter.name}: got {value!r}, {accepted}")


def _signs(x, axis):
    """1 on even channels, -1 on odd ones."""
    axis = channel_axis(x, axis)
    signs = _host_signs(x.shape[axis], x.dtype)
    return Channels(axis, signs.size, (device_of(x).from_host(signs),))


@functools.lru_cache(maxsize=16)
def _host_signs(count, dtype):
    signs = np.ones(count, dtype)
    signs[1::2] = -1
    return signs


def _signature(arrays, options):
    kind = inspect.Parameter
    positional = [kind(name, kind.POSITIONAL_OR_KEYWORD) for name in arrays]
    positional += [kind(name, kind.POSITIONAL_OR_KEYWORD, default=value) for name, value in options.items()]
    return inspect.Signature([*positional, kind("out", kind.KEYWORD_ONLY, default=None)])


def functions_of(records):
    """Name -> the array function of each record."""
    found = {}
    for name, record in records.items():
        plain = not (record.parameters or record.random or record.alternating)
        found[name] = ActivationFunction(record) if plain else ParametricFunction(record)
    for record in records.values():
        if record.variant:
            name, option, value = record.variant
            found[name] = VariantsFunction(records[name], option, {value: found[record.name]})
    return found


_OPTION_DOCS = {
    "axis": "int, the channels' axis of x, for parameters that have one value for each channel",
    "training": "bool; False takes the mean of the random parameter",
    "approximate": "'none', or 'tanh' for the approximation by a tanh",
    "seed": "int, with offset the random stream: backward with the same ones draws the same numbers again",
    "offset": "int, another one is another, independent stream",
}


def _doc(function):
    record, options = function.record, getattr(function, "options", {})
    arguments = "".join(f", {name}={value!r}" for name, value in options.items())
    kinks = (
        f"    Kinks at {', '.join(map(str, record.kinks))}.\n"
        if isinstance(record.kinks, tuple) and record.kinks
        else ""
    )
    bounds = f"range {record.range}; " if isinstance(record.range, tuple) else ""
    lines = "".join(f"    {_option_doc(record, name)}\n" for name in options)
    x = "np.zeros((2, 2), np.float32)" if "axis" in options else "np.zeros(2, np.float32)"
    return f"""{record.name}(x{arguments}, out=None): f(x) = {record.formula}

    f'(x) = {record.derivative_formula}; {bounds}{record.continuity}.
{kinks}
    Parameters
    ----------
    x : array of float32 or float64, any shape and layout, on CPU or CUDA
{lines}    out : array like x, optional; x itself to work in place

    Returns
    -------
    array of x's kind, shape and dtype

    Raises
    ------
    TypeError : an argument is of another kind or dtype
    ValueError : out has another shape, is read-only or overlaps x in part; a parameter is out of range

    Source: {record.source}

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> nd.{record.name}({x}).dtype
    dtype('float32')
    """


def _option_doc(record, name):
    for parameter in record.parameters:
        if parameter.name == name:
            array = ", or an array with one for each channel" if parameter.gradient else ""
            return f"{name} : number{array}; {parameter.accepted}"
    return f"{name} : {_OPTION_DOCS[name]}"
