"""How large the stack of this thread is: a product of matrices keeps 360 KB on it, and without them the process would die."""

import ctypes
import threading

LEAST = 1 << 19  # bytes
_known = threading.local()


def check_stack():
    """Raise RuntimeError in a thread whose stack is too small for a product of matrices; looks once in each thread."""
    if getattr(_known, "is_enough", False):
        return
    size = stack_size()
    if size is not None and size < LEAST:
        raise RuntimeError(
            f"matmul: this thread has a stack of {size:,} bytes, needed are {LEAST:,}; threading.stack_size sets it for new ones"
        )
    _known.is_enough = True


def stack_size():
    """That of this thread in bytes, as the system's C library tells it; None where it does not (macOS, Windows)."""
    try:
        library = ctypes.CDLL(None)
        attributes, start, size = ctypes.create_string_buffer(256), ctypes.c_void_p(), ctypes.c_size_t()
        library.pthread_self.restype = ctypes.c_void_p
        if library.pthread_getattr_np(ctypes.c_void_p(library.pthread_self()), attributes):
            return None
        library.pthread_attr_getstack(attributes, ctypes.byref(start), ctypes.byref(size))
        library.pthread_attr_destroy(attributes)
    except (AttributeError, OSError, TypeError):
        return None
    return size.value
