"""Philox4x32-10, a counter-based generator: any element's random bits follow from the seed and the element's index.

Nothing is stored and nothing is sequential, so a backward pass draws the same dropout mask again, and the mask does not
depend on threads, on the device, or on how an array was split.

Element e of a stream takes word ``(e // 256) % 4`` of counter ``(e // 1024) * 256 + e % 256``: a block of 1024 elements
is four runs of 256, one for each word, so that the four words of consecutive counters go to contiguous memory
and the loop over counters vectorises.

Source: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import numpy as np

from .language import scalar

RUN = 256  # consecutive elements that take the same word
BLOCK = 4 * RUN

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@scalar
def philox(c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64):
    """The four 32-bit words (each in a uint64) of counter (c0, c1, c2, c3) under key (k0, k1): ten rounds.

    Words are kept in 64-bit integers: the products need them, and plain Python then needs no wrap-around.
    """
    for _ in range(10):
        p, q = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (q >> _HALF) ^ c1 ^ k0, q & _LOW, (p >> _HALF) ^ c3 ^ k1, p & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@scalar
def random_words(counter: np.uint64, seed: np.uint64, offset: np.uint64):
    """The four words of block counter *counter* in the stream (*seed*, *offset*)."""
    return philox(counter & _LOW, counter >> _HALF, offset & _LOW, offset >> _HALF, seed & _LOW, seed >> _HALF)


@scalar
def random_bits(element: np.uint64, seed: np.uint64, offset: np.uint64):
    """The 32 random bits of one element: what the vectorised loops compute 1024 at a time."""
    block, run = element // np.uint64(BLOCK), np.uint64(RUN)
    w0, w1, w2, w3 = random_words(block * run + element % run, seed, offset)
    word = (element // run) % np.uint64(4)
    low = w0 if word == np.uint64(0) else w1
    high = w2 if word == np.uint64(2) else w3
    return np.uint32(low if word < np.uint64(2) else high)
