"""Files of torch.save that others wrote: tensors and plain values are read, code never."""

import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sslkuramoto.errors import UserError
from sslkuramoto.files import content_of


def read_saved(path: Path) -> Any:
    """Return the content of a file of torch.save, on the CPU. No code in it is run.

    Raises:
        UserError: no such file, a damaged one, or one that needs code to be read.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    data = io.BytesIO(content_of(path))
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's remarks on the format
            return torch.load(data, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: damaged, or holds more than tensors and plain values; reading that could run its author's code. "
            "Save the tensors alone with torch.save"
        ) from None
    except Exception:  # what damaged bytes make of the reader is any kind of error
        raise UserError(f"{path}: damaged, cut off, or no file that torch.save wrote") from None


def check_plain(where: str, tensor: Tensor) -> None:
    """Check that a tensor is dense, on the CPU, and stores every number that its shape says it has.

    A stride of 0 lets a small file claim a tensor of any size, and whoever computes with it takes the memory.

    Args:
        where: file and name of the tensor, for errors.
        tensor: as it was read.

    Raises:
        UserError: it is something else.
    """
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise UserError(f"{where}: is no plain tensor that stores all of its numbers; save tensor.contiguous() of it")


def check_finite(where: str, tensor: Tensor) -> None:
    """Check that a tensor holds no nan and no infinity, and none after it is made float32.

    Args:
        where: file and name of the tensor, for errors.
        tensor: a plain one.

    Raises:
        UserError: it does.
    """
    if tensor.is_floating_point() and not tensor.float().isfinite().all():
        raise UserError(f"{where}: holds values that are not finite (nan or inf)")
