"""What the threads of a block do together: combine one value of each, in a fixed tree."""

from .compile import cuda, function
from .elements import read, write


def combiner(join):
    """A compiled function: the values of a group of threads, joined two by two, in an order that never changes.

    A group has *members* threads (a power of two), *apart* in the block; *member* counts them. Every thread of the
    block calls it, with the same *members* and *apart*, and gets its group's result. *buffer* is shared memory with
    an element for each thread.
    """

    @function
    def combine(buffer, value, member, members, apart):
        thread = cuda.threadIdx.x
        write(buffer, thread, value)
        half = members // 2
        while half > 0:
            cuda.syncthreads()
            if member < half:
                write(buffer, thread, join(read(buffer, thread), read(buffer, thread + half * apart)))
            half //= 2
        cuda.syncthreads()
        result = read(buffer, thread - member * apart)
        cuda.syncthreads()  # before the next call writes into the buffer
        return result

    return combine


@function
def total(a, b):
    return a + b


@function
def maximum(a, b):
    """IEEE 754-2019's maximum, as on the CPU: NaN wins."""
    return a if a > b or a != a else b


combine_total, combine_maximum = combiner(total), combiner(maximum)

# How a number of many elements is combined: what to start from, a thread's own step, that of a group of threads.
COMBINERS = {"sum": (0.0, total, combine_total), "max": (-float("inf"), maximum, combine_maximum)}
COMBINERS["top"] = COMBINERS["max"]
