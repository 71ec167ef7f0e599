"""The contract of every view policy: named views with pixels in [0, 1], drawn from the caller's generator."""

import pytest
import torch

from sslkuramoto.examples import Images
from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.randomness import generator
from sslkuramoto.views import VIEWS, ViewPolicy

OF_IMAGES = [name for name in VIEWS if Images in VIEWS.result_class(name, ViewPolicy).reads]
every_policy = pytest.mark.parametrize("name", OF_IMAGES)  # boards: tests/views/test_sudoku_symmetries.py


def images(size: int, count: int = 6) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@every_policy
@pytest.mark.parametrize("size", [8, 33])
def test_views_are_float32_pixels_in_0_1_of_the_size_of_the_images(name: str, size: int) -> None:
    policy = VIEWS.build(name, {}, size)
    batch = images(size)
    before = batch.clone()
    views = policy(batch, generator("cpu", 0))
    assert tuple(views) == policy.names
    for view in views.values():
        assert view.shape == batch.shape
        assert view.dtype == torch.float32
        assert view.min() >= 0
        assert view.max() <= 1
    assert torch.equal(batch, before), "the images themselves are not touched"


@every_policy
def test_the_same_generator_state_gives_the_same_views_and_another_does_not(name: str) -> None:
    policy = VIEWS.build(name, {}, 16)
    first, again, other = (policy(images(16), generator("cpu", seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[view], again[view]) for view in policy.names)
    if name not in ("plain", "unchanged"):
        assert not torch.equal(first["a"], other["a"])


@every_policy
def test_the_global_generator_neither_changes_views_nor_is_changed_by_them(name: str) -> None:
    policy = VIEWS.build(name, {}, 16)
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        results.append(policy(images(16), generator("cpu", 3)))
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(results[0][view], results[1][view]) for view in policy.names)


@every_policy
def test_a_policy_has_no_weights_and_no_state(name: str) -> None:
    policy = VIEWS.build(name, {}, 16)
    assert not list(policy.parameters())
    assert not policy.state_dict()


@every_policy
def test_views_of_images_leave_a_batch_as_it_is_and_draw_nothing_for_it(name: str) -> None:
    batch, draw = Images(16, 3).random(4, generator("cpu", 0)), generator("cpu", 1)
    before = draw.get_state()
    assert VIEWS.build(name, {}, 16).moved(batch, draw) is batch
    assert torch.equal(draw.get_state(), before)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_some_policy_gives_each_objective_the_views_it_reads(name: str) -> None:
    wanted = set(OBJECTIVES[name].views)  # pyright: ignore[reportFunctionMemberAccess]
    assert any(wanted <= set(VIEWS.build(policy, {}, 16).names) for policy in OF_IMAGES)
