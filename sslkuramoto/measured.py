"""What a measurement from Python hands back: a result that prints as a table, and becomes a page, a mapping, images.

Shapes: n images, y x pixels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from sslkuramoto.errors import UserError, unknown
from sslkuramoto.results import Metric, Result

HEADLINES = (
    "union/correct",
    "smoothed_correct",
    "correct",
)  # lists that paired tests compare; the union of all readings comes first, of a certificate the vote


@dataclass(frozen=True)
class Measured:
    """A result, with what is too large for its file.

    Attributes:
        result: metrics, notes, per-image lists, details, options.
        adversarial: what the strongest attack made of each image, float32 pixels in [0,1], in the order of ``index``;
            None where the protocol attacks nothing.
        owner: holds the temporary folder, which exists as long as this does.
    """

    result: Result
    adversarial: Float[Tensor, "n 3 y x"] | None = None
    owner: Any = field(default=None, repr=False)

    @property
    def path(self) -> Path:
        """Its file; in a temporary folder, which is removed with this object, unless a folder was named."""
        return self.result.path

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Name -> number with its uncertainty."""
        return self.result.metrics

    @property
    def per_image(self) -> Mapping[str, list[Any]]:
        """Name -> one entry per image."""
        return self.result.per_image

    @property
    def notes(self) -> Sequence[str]:
        """What a reader must know of the numbers."""
        return self.result.notes

    @property
    def details(self) -> Mapping[str, Any]:
        """Curves, verdicts: what the page draws."""
        return self.result.details

    def __getitem__(self, metric: str) -> Metric:
        """Return a metric by its name.

        Raises:
            UserError: there is none; names those there are.
        """
        if metric not in self.metrics:
            raise unknown(f"metric of {self.path.stem}", metric, self.metrics)
        return self.metrics[metric]

    @property
    def correct(self) -> list[float]:
        """For each image the share of draws that are right (0 or 1 where nothing draws), of the headline."""
        return self.per_image[headline_of(self.per_image, self.path)]

    @property
    def index(self) -> list[int]:
        """The place of each measured image in the set."""
        return self.per_image.get("index") or list(range(len(self.correct)))

    def to_dict(self) -> dict[str, Any]:
        """Return the whole content of the result file: options, metrics, data, versions, per-image lists."""
        return self.result.to_dict()

    def to_html(self, title: str | None = None) -> str:
        """Return one self-contained page: the table, curves and pictures of all results in its folder."""
        from sslkuramoto.report import discover, load, page

        rows = discover([self.path.parents[1]])
        return page([load(row) for row in rows], title=title or self.path.stem)

    def __str__(self) -> str:
        width = max(map(len, self.metrics), default=0)
        lines = [self.path.stem, *(f"  {name:{width}s}  {shown(metric)}" for name, metric in self.metrics.items())]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def headline_of(per_image: Mapping[str, Any], where: object) -> str:
    """Return the name of the list of correctly classified images.

    Raises:
        UserError: there is none.
    """
    for name in HEADLINES:
        if name in per_image:
            return name
    raise UserError(f"{where}: no list of {' or '.join(HEADLINES)}; it has {', '.join(per_image) or 'none'}")


def shown(metric: Metric) -> str:
    """Return a metric as people read it: percent where it is a share, with its interval, images and draws; "missing"
    where there is no number."""
    if math.isnan(metric.value):
        return "missing"
    percent = metric.unit == "fraction"
    scale, sign = (100, " %") if percent else (1, f" {metric.unit}" if metric.unit else "")
    text = f"{metric.value * scale:.2f}{sign}"
    over_draws = metric.draws is not None and metric.draws > 1
    if metric.low is not None and metric.high is not None:
        covers = " over examples, not draws" if over_draws else ""
        text += f"  [{metric.low * scale:.2f}, {metric.high * scale:.2f}]{covers}"
    if metric.n is not None:
        text += f"  n {metric.n}"
    if over_draws:
        text += f", {metric.draws} draws"
        if metric.std_over_draws is not None:
            text += f", std over draws {metric.std_over_draws * scale:.2f}"
    return text
