"""PyTorch's tensors as arrays, and arrays as tensors, without a copy."""

from pathlib import Path

import numpy as np
import torch

from ..kernels.cpu import share_openmp
from .arrays import Refused, _cuda

ACCEPTED = (torch.float32, torch.float64, torch.int64, torch.int32, torch.bool)
for _library in sorted(
    Path(torch.__file__).parent.glob("lib/libgomp*")
):  # Linux; elsewhere both have their own threads
    share_openmp(str(_library))


def native(tensor):
    """The memory of *tensor* as a NumPy array or a numba device array."""
    if tensor.requires_grad:
        if torch.is_grad_enabled():
            raise Refused(
                "requires grad, which this function would lose; numbadl.interop.torch has one with autograd, and"
                " x.detach() one without gradients"
            )
        tensor = tensor.detach()
    try:
        return _cuda().as_device_array(tensor, wait=False) if tensor.is_cuda else tensor.numpy()
    except (TypeError, RuntimeError) as error:
        raise Refused(_reason(tensor) or str(error)) from None


def _reason(tensor):
    if tensor.device.type not in ("cpu", "cuda"):
        return f"is on {tensor.device}, accepted are cpu and cuda"
    if tensor.layout is not torch.strided:
        return f"got layout {tensor.layout}, accepted is torch.strided"
    if tensor.dtype not in ACCEPTED:
        return f"got dtype {tensor.dtype}, accepted are torch.float32 and torch.float64"
    return None


def device(tensor):
    return tensor.device


def foreign(array, like):
    """*array*, on the device of the tensor *like*, as a tensor of the same memory."""
    if type(array) is np.ndarray:
        return torch.from_numpy(array)
    return torch.as_tensor(array, device=like.device)


def stream(tensor):
    """The pointer of PyTorch's current CUDA stream."""
    return torch.cuda.current_stream(tensor.device).cuda_stream
