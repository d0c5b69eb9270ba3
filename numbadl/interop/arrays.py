"""Arrays of other libraries: taken without a copy, and results given back as arrays of the same library.

A public function is wrapped by `takes_any_array`. NumPy's arrays and numba's device arrays pass; anything else with
``__cuda_array_interface__``, ``__array_interface__`` or DLPack becomes a view for the call. PyTorch's tensors have a module
of their own, `torch_arrays`, because it is faster than the protocols and knows about gradients.
"""

import contextlib
import functools
import importlib
import inspect

import numpy as np

from . import dlpack

PROTOCOLS = ("__cuda_array_interface__", "__dlpack__", "__array_interface__")
WRAPPED = (
    "__call__", "derivative", "backward", "value_and_grad", "sum_and_count", "sum_count_and_grad",
    "gradient", "add_gradient", "shrink", "target_gradient",
)  # fmt: skip
_DLPACK_CPU = 1


class Refused(TypeError):
    """Why an array cannot be taken; whoever knows the argument's name puts it in front."""


class _Kind:
    """Arrays of one foreign class, by the protocols."""

    @staticmethod
    def native(value):
        """*value* as a NumPy array or a numba device array of the same memory."""
        if hasattr(value, "__cuda_array_interface__"):
            return _cuda().as_device_array(value, wait=False)
        if hasattr(value, "__array_interface__"):
            return np.asarray(value)
        device = int(value.__dlpack_device__()[0])
        if device not in (_DLPACK_CPU, *dlpack.CUDA_DEVICES):
            raise Refused(f"is on the DLPack device {value.__dlpack_device__()}, accepted are the CPU and CUDA GPUs")
        gpu = None if device == _DLPACK_CPU else _gpu()
        try:
            return np.from_dlpack(value) if gpu is None else gpu.as_device_array(dlpack.OnDevice(value))
        except (BufferError, RuntimeError, TypeError) as error:
            raise Refused(f"cannot be taken by DLPack: {error}") from None

    @staticmethod
    def device(value):
        """What two arrays of one call have to agree on."""
        if hasattr(value, "__dlpack_device__"):
            return tuple(map(int, value.__dlpack_device__()))
        return ("cuda",) if hasattr(value, "__cuda_array_interface__") else (_DLPACK_CPU, 0)

    @staticmethod
    def foreign(array, like):
        """*array* as one of the library of *like*, of the same memory; NumPy's or numba's where that cannot be asked."""
        if not hasattr(like, "__array_namespace__"):
            return array
        library = like.__array_namespace__()
        if isinstance(array, np.ndarray):
            return library.from_dlpack(array)
        return library.asarray(array) if hasattr(like, "__cuda_array_interface__") else array

    @staticmethod
    def stream(value):
        """The CUDA stream on which *value* was made, as a pointer; None if it may be used on any.

        DLPack gives no stream: whoever gives an array by it has made sure that the default stream may use it.
        """
        return getattr(value, "__cuda_array_interface__", {}).get("stream")


class _Kinds(dict):
    """Class -> how its instances are taken; None for what is no foreign array."""

    def __missing__(self, cls):
        self[cls] = kind = _kind_of(cls)
        return kind


def _kind_of(cls):
    if any(base.__module__.partition(".")[0] == "torch" and base.__name__ == "Tensor" for base in cls.__mro__):
        return importlib.import_module(".torch_arrays", __package__)
    if issubclass(cls, (np.ndarray, np.generic)) or hasattr(cls, "copy_to_host"):  # NumPy's, numba's
        return None
    return _Kind if any(hasattr(cls, name) for name in PROTOCOLS) else None


KINDS = _Kinds()


def takes_any_array(function):
    """*function*, a method or a class, so that it takes and gives arrays of any library; of a class, its public methods."""
    if inspect.isclass(function):
        for name in WRAPPED:
            if name in vars(function):
                setattr(function, name, takes_any_array(vars(function)[name]))
        return function

    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            for value in args:
                if KINDS[type(value)] is not None:
                    return _converted(function, args, kwargs)
            for value in kwargs.values():
                if KINDS[type(value)] is not None:
                    return _converted(function, args, kwargs)
            return function(*args, **kwargs)
        except TypeError:
            check_call(function, args, kwargs)
            raise

    return call


def check_call(function, args, kwargs):
    """Raise a TypeError with the public name of *function* if it does not take such arguments."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        accepted = [n for n, p in signature.parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        name = function.__name__
        if accepted[0] == "self":
            owner = getattr(args[0], "__name__", type(args[0]).__name__)
            accepted, name = accepted[1:], owner if name == "__call__" else f"{owner}.{name}"
            accepted += getattr(args[0], "options", ())
        raise TypeError(f"{name}: {error}, accepted are {', '.join(accepted)}") from None


def native(value, name):
    """*value*, or a NumPy array or numba device array of the same memory if it is a foreign array."""
    kind = KINDS[type(value)]
    try:
        return value if kind is None else kind.native(value)
    except Refused as error:
        raise TypeError(f"{name}: {error}") from None


def _converted(function, args, kwargs):
    """function(*args, **kwargs) with views in place of foreign arrays, and foreign arrays in place of its results."""
    views, first = [], None  # (view, what it is a view of)

    def taken(place, value):
        nonlocal first
        kind = KINDS[type(value)]
        if kind is None:  # a pair of outputs is one argument
            return type(value)(taken(place, v) for v in value) if type(value) in (tuple, list) else value
        try:
            view = kind.native(value)
        except Refused as error:
            raise TypeError(f"{_argument(function, place)}: {error}") from None
        if first is None:
            first = kind, value, kind.device(value)
        elif kind.device(value) != first[2]:
            raise TypeError(f"{_argument(function, place)}: is on {kind.device(value)}, others are on {first[2]}")
        views.append((view, value))
        return view

    args = [taken(k, value) for k, value in enumerate(args)]
    kwargs = {name: taken(name, value) for name, value in kwargs.items()} if kwargs else kwargs
    kind, like, _ = first
    if type(views[0][0]) is np.ndarray:
        return _foreign(function(*args, **kwargs), kind, like, views)
    with on_stream(kind.stream(like)):
        return _foreign(function(*args, **kwargs), kind, like, views)


def _foreign(result, kind, like, views):
    if isinstance(result, np.ndarray) or hasattr(result, "copy_to_host"):
        for view, value in views:
            if result is view:  # it was given as out
                return value
        return kind.foreign(result, like)
    if type(result) in (tuple, list):
        return type(result)(_foreign(r, kind, like, views) for r in result)
    return result  # numbers; what a forward saved for its backward


def _argument(function, place):
    if isinstance(place, str):
        return place
    names, rest = [], "arguments"
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = parameter.name
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            names.append(parameter.name)
    return names[place] if place < len(names) else f"{rest}[{place - len(names)}]"


def _cuda():
    from ..kernels import cuda

    return cuda


def _gpu():
    """`numbadl.kernels.cuda` where there is a GPU, not the simulator."""
    with contextlib.suppress(ImportError):
        if _cuda().is_available() and not _cuda().SIMULATOR:
            return _cuda()
    raise Refused("is in the memory of a GPU, which numba-cuda cannot use here (`numbadl info` says why)")


def on_stream(pointer):
    """A context in which kernels are launched on the caller's CUDA stream, given as a pointer."""
    return _cuda().use_stream(_cuda().external_stream(pointer)) if pointer else contextlib.nullcontext()
