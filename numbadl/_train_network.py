"""The network that ``numbadl train`` builds: convolutions, if they are asked for, then hidden layers."""

import math

from ._commandline import CommandError
from ._train_options import sizes


def image_shape(arguments, table):
    """(channels, height, width) of the images that the rows are; None where nothing asks for it."""
    of_images = [name for name in arguments.augment or () if not name.startswith("noise")]
    asking = ["--conv"] * bool(arguments.conv) + [f"--augment {name}" for name in of_images]
    if not asking:
        if arguments.image:
            raise CommandError("--image: accepted with --conv and with --augment shift or flip, which look at images")
        return None
    if arguments.image:
        shape = sizes(arguments.image)
        shape = shape if len(shape) == 3 else (1, *shape)
        features = table.x.shape[1]
        if math.prod(shape) != features:
            raise CommandError(
                f"--image: got {arguments.image}, {math.prod(shape)} numbers; {table.source} has {features} features"
            )
        return shape
    if table.image_shape is None:
        raise CommandError(
            f"{asking[0]}: {table.source} does not say what images its rows are; --image HxW or CxHxW does"
        )
    return table.image_shape


def network(arguments, table, n_features, image):
    """For each hidden layer linear, batch norm, activation, dropout; a linear layer for the outputs."""
    from . import nn
    from ._tasks import n_outputs

    layers, width = _convolutions(arguments, image) if arguments.conv else ([], n_features)
    for next_width in arguments.layers:
        layers += [nn.Linear(width, next_width), *_behind(arguments, next_width), *_dropout(arguments)]
        width = next_width
    layers.append(nn.Linear(width, n_outputs(table)))
    return nn.Sequential(*layers, seed=arguments.seed)


def _convolutions(arguments, image):
    """Stages of convolution, batch norm, activation; pooling and dropout at their end. And the numbers that come out."""
    from . import nn

    channels, height, width = image
    stages = [(*sizes(stage), 1)[:2] for stage in arguments.conv]
    most = min(height, width).bit_length() - 1
    if len(stages) > most:
        raise CommandError(
            f"--conv: got {len(stages)} stages, each of which halves the image; accepted for {height}x{width} are up to {most}"
        )
    layers = [nn.Reshape(image)]
    for wanted, count in stages:
        for _ in range(count):
            layers += [
                nn.Conv2d(channels, wanted, 3, padding=1, bias=not arguments.batch_norm),
                *_behind(arguments, wanted),
            ]
            channels = wanted
        layers += [nn.MaxPool2d(2), *_dropout(arguments)]
        height, width = height // 2, width // 2
    return [*layers, nn.Flatten()], channels * height * width


def _behind(arguments, width):
    from . import nn

    norm = [nn.BatchNorm(width)] if arguments.batch_norm else []
    return [*norm, nn.activation_layer(arguments.activation)]


def _dropout(arguments):
    from . import nn

    return [nn.Dropout(arguments.dropout)] if arguments.dropout else []
