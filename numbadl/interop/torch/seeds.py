"""Seeds of random streams, from PyTorch's generator: ``torch.manual_seed`` makes them the same again."""

import torch


def draw():
    """A seed as a tensor of one integer; a compiled graph draws another one in each call, too."""
    return torch.randint(2**62, ())
