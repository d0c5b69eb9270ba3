"""``nd.silu.scalar(x)`` inside ``@njit``: a Numba type for objects that carry scalar functions as attributes."""

from numba import types
from numba.core.imputils import lower_constant, lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import models, register_model


class ScalarHolder(types.Dummy):
    """The type of an object whose attributes are scalar functions; compiled code sees nothing else of it."""

    def __init__(self, name, functions):
        self.functions = functions
        super().__init__(f"ScalarHolder({name})")


register_model(ScalarHolder)(models.OpaqueModel)


@infer_getattr
class _Attributes(AttributeTemplate):
    key = ScalarHolder

    def generic_resolve(self, holder, name):
        function = holder.functions.get(name)
        return None if function is None else self.context.resolve_value_type(function)


@lower_getattr_generic(ScalarHolder)
def _attribute(context, builder, holder, value, name):
    return context.get_dummy_value()  # a function is known by its type


@lower_constant(ScalarHolder)
def _constant(context, builder, holder, value):
    return context.get_dummy_value()
