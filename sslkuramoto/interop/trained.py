"""What a finished run leaves for others: its networks, and what was measured of these very weights."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.checkpoint import HeadParts, head_parts, weights_hash
from sslkuramoto.data import DataSet
from sslkuramoto.encoders.features import Encoder, check_takes
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import subject_of
from sslkuramoto.evaluation.described import changed_options, trained_further
from sslkuramoto.evaluation.held_weights import Hashes
from sslkuramoto.evaluation.protocol import Subject
from sslkuramoto.examples import Images, Spec, shown_reads
from sslkuramoto.randomness import generator
from sslkuramoto.recipe import Recipe
from sslkuramoto.results import Result
from sslkuramoto.run_directory import RunDirectory, Weights
from sslkuramoto.training.learner import check_forward

LARGEST_SIDE = 4096  # pixels of --size


class Figures(NamedTuple):
    """Results of a run, for the card of its weights.

    Attributes:
        own: measured on these weights and on the data of the run, no option of encoder or data changed.
        further: likewise, but of weights that the protocol trained from these, such as finetuned ones.
        left_out: number of other results.
    """

    own: list[Result]
    further: list[Result]
    left_out: int


@dataclass(frozen=True)
class Trained:
    """A finished run that is to be exported.

    Attributes:
        subject: its networks and data.
        recipe: what it was trained by.
        given_size: side of the images in pixels, where the data shall not be read for it.
        weights: which of the run's.
    """

    subject: Subject
    recipe: Recipe
    given_size: int | None = None
    weights: Weights = "ema"

    @property
    def encoder(self) -> Encoder:
        """The encoder, in eval mode, on the CPU."""
        return self.subject.encoder

    @property
    def head(self) -> nn.Module | None:
        """The head on its features, None for an encoder alone."""
        return self.subject.head

    @cached_property
    def head_parts(self) -> HeadParts:
        """What rebuilds the head."""
        return head_parts(RunDirectory(self.subject.run_dir).head_file(self.weights))

    @property
    def kind(self) -> str:
        """What the networks read: images, boards, ..."""
        return self._spec.kind if self._spec is not None else self._reads

    @property
    def _reads(self) -> str:
        return shown_reads(self.encoder.reads)

    @property
    def name(self) -> str:
        """What its files call it."""
        return self.subject.run_dir.resolve().name

    @cached_property
    def _data(self) -> DataSet | None:
        if self.given_size is not None:
            return None
        try:
            return self.subject.data("test")
        except UserError as error:
            raise UserError(
                f"{error}; or give the side of the {self._reads} with --size, and the data are not read"
            ) from None

    @property
    def _spec(self) -> Spec | None:
        return None if self._data is None else self._data.spec

    @property
    def size(self) -> int:
        """Side of the images in pixels, of boards in cells."""
        if self._spec is not None:
            return self._spec.side
        assert self.given_size is not None
        return self.given_size

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, None where there are none or the data were not read."""
        known = self._data.class_names if self._data is not None and self.head is not None else None
        return None if known is None else list(known)

    def check_images(self, kind: str) -> None:
        """Refuse a network of other examples, for a kind of export that is for images.

        Raises:
            UserError: it reads no images.
        """
        if Images not in self.encoder.reads:
            raise UserError(
                f"--to {kind}: is for networks of images; the encoder of {self.subject.run_dir} reads "
                f"{shown_reads(self.encoder.reads)}; --to torch writes any network"
            )

    def examples(self, n: int) -> Float[Tensor, "n 3 y x"]:
        """Return images of uniform noise, always the same, to compare networks on."""
        return torch.rand(
            n, 3, self.size, self.size, generator=generator("cpu", 0, "images for the check of an export")
        )

    def results(self) -> Figures:
        """Return what the run holds of measurements, divided by the weights that they are of.

        Raises:
            UserError: a damaged result.
        """
        files = sorted((self.subject.run_dir / "results").glob("*.json"))
        found = [Result.read(path, per_image=False) for path in files]
        exported = Hashes(self.subject.encoder_hash, self.subject.head_hash or None)
        ours = [result for result in found if exported.are_of(result) and not changed_options(result)]
        further = [result for result in ours if trained_further(result)]
        return Figures([result for result in ours if result not in further], further, len(found) - len(ours))

    def public_recipe(self) -> dict[str, Any]:
        """Return the recipe without the folders of the machine that trained: of absolute paths the last name only."""
        return {key: _without_folders(value) for key, value in self.recipe.to_dict().items()}

    def hashes(self) -> dict[str, str]:
        """Return the hashes of the weights by network."""
        return {"encoder": weights_hash(self.encoder)} | (
            {} if self.head is None else {"head": weights_hash(self.head)}
        )


def _without_folders(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def trained(path: Path, weights: Weights = "ema", size: int | None = None) -> Trained:
    """Load a finished run.

    Args:
        path: the run directory.
        weights: ``"ema"`` (what the run leaves behind) or ``"raw"``.
        size: side of the images in pixels, in place of the data's.

    Raises:
        UserError: no finished run, weights that it does not have, a size that is out of range or that the encoder does
            not take.
    """
    if size is not None and not 1 <= size <= LARGEST_SIDE:
        raise UserError(f"--size={size}: must be between 1 and {LARGEST_SIDE} pixels")
    model = Trained(subject_of(path, weights=weights), RunDirectory(path).recipe(), size, weights)
    if size is not None:
        _check_size(model, size)
    return model


def _check_size(model: Trained, size: int) -> None:
    encoder, of = model.encoder, f"the encoder of {model.subject.run_dir}"
    if Images in encoder.reads:
        spec = Images(size)
        check_takes(of, encoder, f"--size={size}", spec)
        if encoder.sides is None:
            try:
                check_forward(deepcopy(encoder).to("meta"), of, spec, device="meta")
            except UserError as error:
                raise UserError(f"--size={size}: {error}") from None
        return
    wanted = encoder.built_for if encoder.inputs is None else encoder.inputs.at(size)
    if wanted is not None and wanted.side != size:
        raise UserError(f"--size={size}: {of} is built for {wanted}")
