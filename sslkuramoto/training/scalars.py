"""What an objective logs beside its loss: scalars, under names that the loop does not use itself."""

from collections.abc import Collection, Mapping, Sequence
from numbers import Real

import torch
from torch import Tensor

from sslkuramoto.errors import UserError
from sslkuramoto.objectives import Step

OWN = ("step", "epoch", "loss", "grad_norm", "lr", "images_per_second", "feature_std", "effective_rank")
"""Columns of metrics.csv that the loop writes."""


def scalars(objective: str, parts: Sequence[Step], monitors: Collection[str] = ()) -> tuple[list[str], Tensor]:
    """Return the loss and the metrics of a step, averaged over the parts of its batch.

    Args:
        objective: its name, for errors.
        parts: what the objective returned, at least one.
        monitors: of the run; each measures under its own name, and some under further ones (:func:`with_monitored`).

    Returns:
        Names, of which the first is "loss", and float32 values on the device of the loss: "m".

    Raises:
        UserError: a metric that is no scalar, that has a name of the loop's own or of a monitor, or that not
            all parts have.
    """
    names = list(parts[0].metrics)
    for name in names:
        if name in OWN:
            raise UserError(f"objective {objective}: metric {name!r}: the name is the loop's own ({', '.join(OWN)})")
        if name in monitors:
            raise UserError(_twice(objective, name))
    for part in parts:
        if part.metrics.keys() != parts[0].metrics.keys():
            raise UserError(f"objective {objective}: the parts of a batch have different metrics; return the same ones")
    rows = []
    for part in parts:
        loss = part.loss.detach().float()
        rows.append(torch.stack([loss, *(_scalar(objective, name, part.metrics[name], loss) for name in names)]))
    return ["loss", *names], torch.stack(rows).mean(dim=0)


def with_monitored(objective: str, metrics: Mapping[str, float], monitored: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of a step with those of a monitor.

    Raises:
        UserError: both have a name.
    """
    if twice := [name for name in monitored if name in metrics]:
        raise UserError(_twice(objective, twice[0]))
    return {**metrics, **monitored}


def _twice(objective: str, name: str) -> str:
    return (
        f"objective {objective}: metric {name!r}: a monitor measures under this name too; give it another name, or "
        "change measure.monitors"
    )


def _scalar(objective: str, name: str, value: object, loss: Tensor) -> Tensor:
    """Return a metric as a scalar like the loss."""
    if isinstance(value, Tensor) and value.ndim == 0 and not value.is_complex():
        return value.detach().to(loss.device).float()
    if isinstance(value, Real):
        return loss.new_tensor(float(value))
    found = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    raise UserError(f"objective {objective}: metric {name!r} is {found}: must be a detached scalar tensor or a number")
