from pathlib import Path

import pytest
import torch
from torch import nn

from sslkuramoto.checkpoint import export_head, load_head, save
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Boards, Images
from sslkuramoto.heads import HEADS, check_head
from sslkuramoto.recipe import Part

every_head = pytest.mark.parametrize("name", list(HEADS))


@every_head
def test_a_head_states_its_sizes_and_comes_back_from_its_file(name: str, tmp_path: Path) -> None:
    options = HEADS.small(name)
    head = HEADS.build(name, options, 6, 3)
    assert (head.in_features, head.out_features) == (6, 3)
    export_head(tmp_path / "head", head, Part(name, options))
    again = load_head(tmp_path / "head")
    assert type(again) is type(head)
    for key, value in head.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_a_cell_is_answered_by_the_features_of_its_own_place() -> None:
    head = HEADS.build("per_cell", {}, 6, 3)
    grid = torch.randn(2, 6, 4, 4)
    changed = grid.clone()
    changed[:, :, 0, 1] += 1
    moved = (head(grid) != head(changed)).any(dim=1)
    assert head(grid).shape == (2, 3, 4, 4)
    assert moved[:, 0, 1].all()
    assert moved.sum() == 2


def test_a_classifier_file_of_before_there_were_heads_still_loads(tmp_path: Path) -> None:
    old = nn.Linear(5, 2)
    save(tmp_path / "classifier", {"kind": "classifier", "weights": dict(old.state_dict())})
    head, features = load_head(tmp_path / "classifier"), torch.randn(4, 5)
    assert torch.equal(head(features), old(features))
    assert (head.in_features, head.out_features) == (5, 2)


def test_a_head_for_another_spec_is_refused() -> None:
    check_head("linear", "data digits", Images(8, 10))
    check_head("per_cell", "data sudoku", Boards(4, 4))
    with pytest.raises(UserError, match=r"^head per_cell reads boards; data digits gives images$"):
        check_head("per_cell", "data digits", Images(8, 10))


@pytest.mark.parametrize("size", [{}, {"in_features": "many", "out_features": 2}])
def test_a_damaged_size_is_said(size: dict, tmp_path: Path) -> None:
    save(tmp_path / "head", {"kind": "head", "head": {"name": "linear"}, "size": size, "weights": {}})
    with pytest.raises(UserError, match="damaged checkpoint"):
        load_head(tmp_path / "head")
