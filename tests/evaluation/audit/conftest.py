"""Audits of networks whose robustness is known: a plain CNN that has none, others that were trained to have some."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from audited_networks import FEWER, ThreeConvolutions, digits_recipe, nearest_mean, stored
from hand_made_cases import build as build

from sslkuramoto.checkpoint import export_encoder, export_head
from sslkuramoto.data import ImageSet
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.evaluation import Result, Subject, subject_of
from sslkuramoto.evaluation.audit import Audit
from sslkuramoto.evaluation.audit.plants.random_pixels import noisy_encoder
from sslkuramoto.recipe import Part
from sslkuramoto.training import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Subject]:
    """A finished run of two steps with the stored weights of a CNN in place of its own."""
    done: dict[tuple[str, int], Subject] = {}

    def build(kind: str, seed: int = 0) -> Subject:
        if (kind, seed) not in done:
            path = tmp_path_factory.mktemp(kind) / "run"
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(ENCODERS._members, "three_convolutions", ThreeConvolutions)
                run = train(digits_recipe(data={"name": "digits", "size": 8, "limit": 128}), path)
                encoder, head = stored(kind, seed)
                export_encoder(run.encoder_file(), encoder, Part("three_convolutions"))
                export_head(run.head_file(), head, Part("linear"))
                done[kind, seed] = subject_of(path)
        return done[kind, seed]

    return build


@pytest.fixture(scope="session")
def linear(digits: dict[str, ImageSet], tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """The classifier by the nearest mean of a class, whose robustness is a formula."""
    train = digits["train"]
    encoder, head = nearest_mean(train.images / 255, train.labels)
    folder = tmp_path_factory.mktemp("linear")
    return Subject(encoder, head, digits.__getitem__, torch.device("cpu"), folder, "0" * 64)


@pytest.fixture(scope="session")
def audited(trained: Callable[..., Subject]) -> Callable[..., Result]:
    """Audit a stored CNN once, with Gaussian noise of ``noise`` added to its pixels; options are the protocol's."""
    done: dict[str, Result] = {}

    def audit(kind: str, *, seed: int = 0, noise: float = 0.0, **options) -> Result:
        asked = repr((kind, seed, noise, sorted(options.items())))
        if asked not in done:
            subject = trained(kind, seed)
            if noise:
                folder = subject.run_dir / "noisy"
                subject = replace(subject, encoder=noisy_encoder(subject.encoder, noise).eval(), run_dir=folder)
            done[asked] = Audit(**{**FEWER, **options})(subject)
        return done[asked]

    return audit
