"""Projectors and predictors have the widths, depth and norms that the papers give."""

from itertools import pairwise

import pytest
import torch
from lightly.models.modules.heads import ProjectionHead
from torch import nn

from sslkuramoto.errors import UserError
from sslkuramoto.objectives import OBJECTIVES, Predictor, Projector
from sslkuramoto.objectives.projector import Norm


def shapes(module: nn.Module) -> list[str]:
    out = []
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            out.append(f"{layer.in_features}-{layer.out_features}")
        elif isinstance(layer, nn.BatchNorm1d):
            out.append("bn" if layer.affine else "bn-plain")
        elif isinstance(layer, nn.ReLU):
            out.append("relu")
    return out


def test_hidden_layers_carry_norm_and_relu_and_the_output_only_its_norm() -> None:
    module = Projector(layers=3, hidden=8, out=5, norm="batch", out_norm="plain").build(6)
    assert shapes(module) == ["6-8", "bn", "relu", "8-8", "bn", "relu", "8-5", "bn-plain"]


def test_a_linear_layer_has_a_bias_exactly_where_no_batchnorm_follows() -> None:
    linears = [m for m in Predictor(hidden=8).build(5).modules() if isinstance(m, nn.Linear)]
    assert [m.bias is not None for m in linears] == [False, True]


def test_one_layer_is_a_linear_map() -> None:
    assert shapes(Projector(layers=1, hidden=8, out=5, out_norm="none").build(6)) == ["6-5"]


PAPER = {
    "simclr": {"projector": ["6-2048", "bn", "relu", "2048-128", "bn"]},
    "simsiam": {
        "projector": ["6-2048", "bn", "relu", "2048-2048", "bn"],
        "predictor": ["2048-512", "bn", "relu", "512-2048"],
    },
    "byol": {
        "projector": ["6-4096", "bn", "relu", "4096-256"],
        "predictor": ["256-4096", "bn", "relu", "4096-256"],
        "target.projector": ["6-4096", "bn", "relu", "4096-256"],
    },
    "phinet": {
        "projector": ["6-2048", "bn", "relu", "2048-2048", "bn"],
        "hippocampus.predictor": ["2048-512", "bn", "relu", "512-2048"],
        "hippocampus.second_predictor": ["2048-512", "bn", "relu", "512-2048"],
    },
}
PAPER["xphinet"] = {**PAPER["phinet"], "target.projector": PAPER["phinet"]["projector"]}


@pytest.mark.parametrize("objective", sorted(PAPER))
def test_default_heads_are_those_of_the_paper(objective: str, build) -> None:
    encoder, _ = build("simclr")
    member = OBJECTIVES.build(objective, {}, encoder, None)
    assert {path: shapes(member.get_submodule(path)) for path in PAPER[objective]} == PAPER[objective]


@pytest.mark.parametrize("key", ["layers", "hidden", "out"])
def test_a_size_below_one_is_refused_by_name(key: str, build) -> None:
    with pytest.raises(UserError, match=rf"objective\.projector\.{key}=0: must be >= 1"):
        build("simclr", projector={key: 0})
    with pytest.raises(UserError, match=f"^{key}=0: must be >= 1"):
        Projector(**{key: 0})


@pytest.mark.parametrize("out_norm", ["batch", "plain", "none"])
@pytest.mark.parametrize("norm", ["batch", "plain", "none"])
@pytest.mark.parametrize("layers", [1, 3])
def test_names_first_weights_and_outputs_are_those_of_lightly(layers: int, norm: Norm, out_norm: Norm) -> None:
    def batch_norm(kind: Norm, width: int) -> nn.Module | None:
        return None if kind == "none" else nn.BatchNorm1d(width, affine=kind == "batch")

    widths = [6, *[8] * (layers - 1)]
    torch.manual_seed(0)
    hidden = [(a, b, batch_norm(norm, b), nn.ReLU()) for a, b in pairwise(widths)]
    theirs = ProjectionHead([*hidden, (widths[-1], 5, batch_norm(out_norm, 5), None)])
    torch.manual_seed(0)
    ours = Projector(layers=layers, hidden=8, out=5, norm=norm, out_norm=out_norm).build(6)
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    features = torch.randn(4, 6)
    assert torch.equal(ours(features), theirs(features))
