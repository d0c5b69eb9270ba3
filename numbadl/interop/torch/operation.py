"""One mechanism for every operation: a torch operator for compilers, and the shortest way to the kernel in eager mode.

An `Operation` runs kernels on tensors and knows its gradient in terms of other operations. From that follow an operator in
``torch.ops.numbadl`` (schema, implementation, shapes for the compiler, autograd), with which ``torch.compile`` has no graph
breaks, and a ``torch.autograd.Function``, which costs a third of what such an operator costs in eager mode.
"""

import torch
from torch.library import Library, register_autograd, register_fake

LIBRARY = Library("numbadl", "DEF")
_PLAIN = (torch.Tensor, torch.nn.Parameter)


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
    """

    def __init__(self, name, schema, run, gradient=None, save=None, shapes=torch.empty_like, differentiable=1):
        self.name, self.run = name, run
        self.__name__ = self.__qualname__ = name
        inputs = [argument.strip().split(" ") for argument in schema[1 : schema.index(")")].split(",")]
        self.tensors = sum(kind.startswith("Tensor") for kind, _ in inputs)
        self._gradient, self._save, self._differentiable = gradient, save, differentiable
        shapes = _of_first(shapes) if shapes is torch.empty_like else shapes
        self._define(schema, shapes, len(inputs) - self.tensors)
        self.operator = getattr(torch.ops.numbadl, name).default

    def __call__(self, *arguments):
        if torch.compiler.is_compiling():
            return self.operator(*arguments)
        wanted = False
        for tensor in arguments[: self.tensors]:
            if tensor is not None:
                if type(tensor) not in _PLAIN:  # another library's subclass, or one that only has a shape
                    return self.operator(*arguments)
                wanted = wanted or tensor.requires_grad
        if torch._C._len_torch_dispatch_stack() or torch._C._are_functorch_transforms_active():
            return self.operator(*arguments)
        if wanted and torch.is_grad_enabled():
            return self._function.apply(*arguments)
        return self.run(*arguments)

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

        methods = {"forward": staticmethod(forward), "backward": staticmethod(self._backward)}
        self._function = type(torch.autograd.Function)(self.name.title(), (torch.autograd.Function,), methods)

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
        found = self._gradient(ctx.saved_tensors, ctx.options, *grads[: self._differentiable])
        return (*found, *self._nothing) if type(found) is tuple else (found, *self._nothing)

    def __repr__(self):
        return f"<numbadl.interop.torch operation {self.name}>"


def _of_first(shapes):
    def like_the_first(x, *rest):
        return shapes(x)

    return like_the_first


def once(name, tensor, *inputs):
    """*tensor*, a gradient that was computed beside a value, such that another derivative by the inputs is an error."""
    return _Once.apply(name, tensor, *inputs) if torch.is_grad_enabled() else tensor


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, name, tensor, *inputs):
        ctx.name = name
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx, grad):
        raise NotImplementedError(f"numbadl's {ctx.name} has no second derivative")
