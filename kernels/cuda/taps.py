"""taps: convolution as products of matrices whose elements are read from the images themselves, at places from tables."""

from .compile import flat, function
from .elements import read, write
from .matmul import product


def build(spec):
    """The kernel of a `Taps`."""
    return {"convolve": _build_convolve, "convolve.weight": _build_weight}[spec.name](spec)


def _build_convolve(spec):
    @function
    def weight(shape, operands, group, row, depth):
        _, _, size, _, _, pitch = shape
        return read(operands[1], group * size + row * pitch + read(operands[4], depth))

    @function
    def image(shape, operands, group, column, depth):
        count, groups, _, size, _, _ = shape
        sample = (column // count * groups + group) * size
        return read(operands[0], sample + read(operands[3], depth) + read(operands[5], column % count))

    @function
    def store(shape, operands, group, row, column, value):
        count, groups, _, _, (rows, length), _ = shape
        place = ((column // count * groups + group) * rows + row) * length + read(operands[6], column % count)
        write(operands[8], place, value + read(operands[2], group * rows + row))

    launch = product(spec, weight, image, store, False, True)

    def run(*arguments):
        *arrays, pitch = arguments
        source, weights, _, _, places, _, targets, _, out = arrays
        samples, groups, rows, length = out.shape
        count, depth = int(targets.shape[0]), int(places.shape[0])
        shape = count, groups, int(weights.shape[1]), int(source.shape[2]), (rows, length), int(pitch)
        launch((rows, samples * count, depth), groups, shape, flat(arrays))

    return run


def _build_weight(spec):
    @function
    def gradient(shape, operands, group, row, depth):
        count, groups, rows, _, _ = shape
        return read(operands[1], ((depth // count * groups + group) * rows + row) * count + depth % count)

    @function
    def image(shape, operands, group, column, depth):
        count, groups, _, size, _ = shape
        sample = (depth // count * groups + group) * size
        return read(operands[0], sample + read(operands[2], column) + read(operands[3], depth % count))

    @function
    def store(shape, operands, group, row, column, value):
        _, _, rows, _, taps = shape
        write(operands[5], (group * rows + row) * taps + column, value)

    launch = product(spec, gradient, image, store, False, False)

    def run(*arguments):
        source, grad, _, _, _, out, _ = arguments
        (samples, groups, rows, count), taps = grad.shape, int(out.shape[2])
        shape = count, groups, rows, int(source.shape[2]), taps
        launch((rows, taps, samples * count), groups, shape, flat(arguments[:-1]))

    return run
