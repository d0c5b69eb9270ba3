"""Seeds of random streams, from PyTorch's generator: ``torch.manual_seed`` makes them the same again."""

import torch

_SEED = torch.empty((), dtype=torch.int64)


def draw():
    """A seed as a tensor of one integer; a compiled graph draws another one in each call, too."""
    if torch.compiler.is_compiling():
        return torch.randint(0, 2**62, (), dtype=torch.int64)
    return torch.empty_like(_SEED).random_(0, 2**62)
