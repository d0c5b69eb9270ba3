"""One mechanism for every operation: a torch operator for compilers, and the shortest way to the kernel in eager mode.

An `Operation` runs kernels on tensors and knows its gradient in terms of other operations. From that follow an operator in
``torch.ops.numbadl`` (schema, implementation, shapes for the compiler, autograd), with which ``torch.compile`` has no graph
breaks, and a ``torch.autograd.Function``, which costs a third of what such an operator costs in eager mode.

Where an operation has a `shortcuts.Shortcut`, eager calls on the CPU go from tensors to the kernel with what was checked for
their shapes before; everything that it does not take goes the long way, which says why it refuses.
"""

import torch
from torch.autograd import forward_ad
from torch.library import Library, register_autograd, register_fake

from .prepared import FROM_OBJECT

LIBRARY = Library("numbadl", "DEF")
_PLAIN = (torch.Tensor, torch.nn.Parameter)
_OPERATOR, _TRANSFORMED, _AUTOGRAD, _RUN = "operator", "transformed", "autograd", "run"
# What the short way meets, the long way explains.
_NOT_SHORT = (AttributeError, LookupError, TypeError, ValueError, RuntimeError)
_modes, _transforms = torch._C._len_torch_dispatch_stack, torch._C._are_functorch_transforms_active


class Operation:
    """An operation on tensors: call it as a function.

    Parameters
    ----------
    name : of the operator in ``torch.ops.numbadl``
    schema : its arguments and results as torch.library writes them; tensors come first
    run : function of the arguments -> tensor, or tuple of tensors; new ones, never an argument
    gradient : function (saved tensors, options, *gradients of the results) -> gradients of the tensor arguments, in terms of
        operations; None where there is none, which only backward then says
    save : function (arguments, results) -> the tensors that *gradient* needs; left out, those among the arguments
    shapes : function of the arguments -> results without values, for the compiler; left out, one like the first argument
    differentiable : how many of the results have gradients, the first ones
    short : the `Shortcut` for the first result, which `first` takes; only where that alone has a gradient
    """

    def __init__(
        self, name, schema, run, gradient=None, save=None, shapes=torch.empty_like, differentiable=1, short=None
    ):
        self.name, self.run, self._short = name, run, short if FROM_OBJECT else None
        self.__name__ = self.__qualname__ = name
        inputs = [argument.strip().split(" ") for argument in schema[1 : schema.index(")")].split(",")]
        self.tensors = sum(kind.startswith("Tensor") for kind, _ in inputs)
        self._gradient, self._save, self._differentiable = gradient, save, differentiable
        shapes = _of_first(shapes) if shapes is torch.empty_like else shapes
        self._define(schema, shapes, len(inputs) - self.tensors)
        self.operator = getattr(torch.ops.numbadl, name).default

    def __call__(self, *arguments):
        way = self._way(arguments)
        if way is _OPERATOR:
            return self.operator(*arguments)
        if way is _TRANSFORMED:
            return self._transformed.apply(*arguments)
        return (self._function.apply if way is _AUTOGRAD else self.run)(*arguments)

    def first(self, *arguments):
        """The first result alone, by the short way; or, where that does not take the arguments, all of them as a call gives."""
        way = self._way(arguments)
        if way is _OPERATOR:
            return self.operator(*arguments)
        if way is _TRANSFORMED:
            return self._transformed.apply(*arguments)
        if way is _AUTOGRAD:
            return self._apply_short(*arguments)
        try:
            found = self._short.value(*arguments)
        except _NOT_SHORT:
            found = None
        return self.run(*arguments) if found is None else found

    def _way(self, arguments):
        """How a call is made: by the operator where anybody watches or traces, or else with autograd or without."""
        if torch.compiler.is_compiling() or _modes():
            return _OPERATOR
        wanted = False
        for tensor in arguments[: self.tensors]:
            if tensor is not None:
                # Another library's subclass, one that only has a shape, or a view whose signs are in a flag.
                if type(tensor) not in _PLAIN or tensor.is_neg():
                    return _OPERATOR
                wanted = wanted or tensor.requires_grad
        # Operators lose tangents without a word, and functorch refuses their gradients.
        if _transforms() or forward_ad._current_level >= 0:
            return _TRANSFORMED
        return _AUTOGRAD if wanted and torch.is_grad_enabled() else _RUN

    def _define(self, schema, shapes, options):
        LIBRARY.define(f"{self.name}{schema}", tags=(torch.Tag.pt2_compliant_tag,))
        LIBRARY.impl(self.name, self._implementation, "CompositeExplicitAutograd")
        qualified = f"numbadl::{self.name}"
        register_fake(qualified, shapes, lib=LIBRARY)
        register_autograd(qualified, self._backward, setup_context=self._setup, lib=LIBRARY)
        operation, self._nothing = self, (None,) * options

        def forward(ctx, *arguments):
            result = operation.run(*arguments)
            operation._setup(ctx, arguments, result)
            return result

        self._function = _autograd_function(self.name, forward, self._backward)

        def run(*arguments):  # torch would add the defaults of other arguments
            return operation.run(*arguments)

        more = {"setup_context": self._setup, "vmap": self._each, "jvp": self._no_tangents}
        self._transformed = _autograd_function(self.name, run, self._backward, **more)
        if self._short is None:
            self.first = self
        else:
            shortened = _autograd_function(self.name, self._forward_shortly, self._backward_shortly)
            # Function.apply looks for functorch's transforms first, as `_way` did.
            self._apply_short = super(torch.autograd.Function, shortened).apply

    def _forward_shortly(self, ctx, *arguments):
        try:
            found = self._short.forward(*arguments)
        except _NOT_SHORT:
            found = None
        if found is None:
            result, ctx.told = self.run(*arguments), None
            self._setup(ctx, arguments, result)
            return result
        result, save, ctx.told = found
        ctx.save_for_backward(*save)
        ctx.options = arguments[self.tensors :]
        return result

    def _backward_shortly(self, ctx, *grads):
        if ctx.told is None:
            return self._backward(ctx, *grads)
        saved, grad = ctx.saved_tensors, grads[0]
        if not (torch.is_grad_enabled() or watched()) and type(grad) is torch.Tensor and not grad.is_neg():
            try:
                found = self._short.backward(saved, ctx.told, grad)
            except _NOT_SHORT:
                found = None
            if found is not None:
                return *found, *self._nothing
        return self._gradients(self._short.unpacked(saved, ctx.told), ctx.options, grads)

    def _each(self, info, in_dims, *arguments):
        """vmap: one call after the other."""
        found = []
        for k in range(info.batch_size):
            given = zip(arguments, in_dims, strict=True)
            found.append(self(*(a.select(d, k) if type(d) is int else a for a, d in given)))
        if type(found[0]) is tuple:
            return tuple(map(torch.stack, zip(*found, strict=True))), (0,) * len(found[0])
        return torch.stack(found), 0

    def _no_tangents(self, ctx, *tangents):
        raise NotImplementedError(f"numbadl's {self.name} has no derivative in forward mode")

    def _implementation(self, *arguments):
        with torch.no_grad():
            return self.run(*arguments)

    def _setup(self, ctx, inputs, output):
        save = inputs[: self.tensors] if self._save is None else self._save(inputs, output)
        ctx.save_for_backward(*save)
        ctx.options = inputs[self.tensors :]
        if type(output) is tuple and len(output) > self._differentiable:
            ctx.mark_non_differentiable(*output[self._differentiable :])
            ctx.set_materialize_grads(False)

    def _backward(self, ctx, *grads):
        if self._gradient is None:
            raise NotImplementedError(f"numbadl's {self.name} has no derivative: it cannot be differentiated once more")
        if grads[0] is None:  # nothing depends on the result
            return (*[None] * self.tensors, *self._nothing)
        return self._gradients(ctx.saved_tensors, ctx.options, grads)

    def _gradients(self, saved, options, grads):
        found = self._gradient(saved, options, *grads[: self._differentiable])
        return (*found, *self._nothing) if type(found) is tuple else (found, *self._nothing)

    def __repr__(self):
        return f"<numbadl.interop.torch operation {self.name}>"


def watched():
    """Whether a mode or a transform has to see the operators that are called."""
    return _modes() or _transforms()


def _autograd_function(name, forward, backward, **more):
    methods = {"forward": forward, "backward": backward, **more}
    methods = {name: staticmethod(method) for name, method in methods.items()}
    return type(torch.autograd.Function)(name.title(), (torch.autograd.Function,), methods)


def only_first(result):
    """The first of several results, or the only one: what `Operation.first` gave."""
    return result[0] if type(result) is tuple else result


def _of_first(shapes):
    def like_the_first(x, *rest):
        return shapes(x)

    return like_the_first


def once(name, tensor, *inputs):
    """*tensor*, a gradient that was computed beside a value, such that another derivative by the inputs is an error."""
    return _Once.apply(name, tensor, *inputs) if torch.is_grad_enabled() else tensor


class _Once(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(name, tensor, *inputs):
        return tensor.view_as(tensor)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.name = inputs[0]

    @staticmethod
    def backward(ctx, grad):
        raise NotImplementedError(f"numbadl's {ctx.name} has no second derivative")
