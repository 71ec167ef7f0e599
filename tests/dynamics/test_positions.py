"""Tables of positions: their first values, rotations inside the attention, other grids than the trained one."""

import math

import pytest
import torch

from sslkuramoto.dynamics.coupling import AttentionCoupling
from sslkuramoto.dynamics.position import FixedRotations, PositionTable, Rotations
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global, generator


def attention(positions, channels=16, heads=2, grid=(4, 5)) -> AttentionCoupling:
    with borrowed_global(generator("cpu", "weights")):
        return AttentionCoupling(channels, heads, positions, grid).double()


def normal(*shape) -> torch.Tensor:
    return torch.randn(shape, generator=generator("cpu", "states"), dtype=torch.float64)


def turned(rotations, x, grid) -> torch.Tensor:
    """Return the rotated "b e s d", its planes being pairs of consecutive channels; a last odd channel stays."""
    even = 2 * (x.shape[-1] // 2)
    planes = rotations(x[..., :even].unflatten(-1, (-1, 2)), grid)
    return torch.cat([planes.flatten(-2), x[..., even:]], dim=-1)


@torch.no_grad()
def test_rotations_begin_as_the_angles_of_the_two_coordinates() -> None:
    rotations = Rotations(8, (3, 4))  # two frequencies for y, then two for x
    for site, (y, x) in enumerate((y, x) for y in range(3) for x in range(4)):
        for plane, angle in enumerate((y, y / 100, x, x / 100)):
            wanted = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
            torch.testing.assert_close(rotations.matrices[site, plane], torch.tensor(wanted))


@torch.no_grad()
def test_each_plane_of_two_channels_is_multiplied_by_its_matrix() -> None:
    rotations, x = Rotations(6, (2, 3)).double(), normal(2, 5, 6, 6)
    rotations.matrices.add_(normal(*rotations.matrices.shape))
    found = turned(rotations, x, (2, 3))
    for site in range(6):
        for plane in range(3):
            pair = x[:, :, site, 2 * plane : 2 * plane + 2]
            wanted = torch.einsum("ij,bej->bei", rotations.matrices[site, plane], pair)
            torch.testing.assert_close(found[:, :, site, 2 * plane : 2 * plane + 2], wanted)


@torch.no_grad()
def test_the_inverse_undoes_the_rotation() -> None:
    x = normal(1, 2, 12, 8)
    there, back = Rotations(8, (3, 4)).double(), Rotations(8, (3, 4), inverse=True).double()
    torch.testing.assert_close(turned(back, turned(there, x, (3, 4)), (3, 4)), x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("positions", ["rope", "gta"])
@torch.no_grad()
def test_at_first_only_differences_of_positions_matter(positions) -> None:
    coupling, x = attention(positions, grid=(4, 4)), normal(1, 16, 3, 3)
    placed = torch.zeros(2, 1, 16, 4, 4, dtype=torch.float64)
    placed[0, :, :, :3, :3] = placed[1, :, :, 1:, 1:] = x
    # attention also sees the empty sites, so compare scores and values of the nine sites alone
    for name, table in coupling.rotations.items():
        assert name in ("query", "key", "value", "output")
        first = turned(table, placed[0].view(1, 2, 8, 16).transpose(2, 3), (4, 4)).view(1, 2, 4, 4, 8)[:, :, :3, :3]
        moved = turned(table, placed[1].view(1, 2, 8, 16).transpose(2, 3), (4, 4)).view(1, 2, 4, 4, 8)[:, :, 1:, 1:]
        gram = [torch.einsum("bexyd,beuvd->bexyuv", part, part) for part in (first, moved)]
        torch.testing.assert_close(*gram, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_without_positions_attention_commutes_with_permutations_of_the_sites_and_with_them_it_does_not() -> None:
    x, order = normal(2, 16, 4, 5), torch.randperm(20, generator=generator("cpu", "order"))

    def permuted(state: torch.Tensor) -> torch.Tensor:
        return state.flatten(2)[:, :, order].view(state.shape)

    plain = attention("none")
    torch.testing.assert_close(plain(permuted(x)), permuted(plain(x)))
    for positions in ("rope", "gta"):
        coupling = attention(positions)
        assert not torch.allclose(coupling(permuted(x)), permuted(coupling(x)), atol=1e-3)


@torch.no_grad()
def test_rope_leaves_values_and_outputs_alone_and_gta_does_not() -> None:
    assert set(attention("rope").rotations) == {"query", "key"}
    assert set(attention("gta").rotations) == {"query", "key", "value", "output"}
    rope, plain = attention("rope"), attention("none")
    plain.load_state_dict({name: value for name, value in rope.state_dict().items() if "rotations" not in name})
    for table in rope.rotations.values():
        table.matrices.copy_(torch.eye(2, dtype=torch.float64).expand(table.matrices.shape))
    x = normal(2, 16, 4, 5)
    torch.testing.assert_close(rope(x), plain(x))


@torch.no_grad()
def test_another_grid_gets_the_tables_by_interpolation() -> None:
    table = PositionTable(8, (4, 4))
    x = torch.zeros(1, 8, 8, 8)
    wanted = torch.nn.functional.interpolate(table.table[None], size=(8, 8), mode="bilinear")
    torch.testing.assert_close(table(x), wanted)
    coupling = attention("gta", grid=(4, 4))
    assert coupling(normal(1, 16, 8, 6)).shape == (1, 16, 8, 6)
    constant = Rotations(4, (2, 2))
    constant.matrices.fill_(0.5)
    x = normal(1, 1, 9, 4).float()
    torch.testing.assert_close(turned(constant, x, (3, 3))[..., 0], 0.5 * (x[..., 0] + x[..., 1]))


@torch.no_grad()
def test_no_two_sites_have_the_same_table_entry() -> None:
    table = PositionTable(16, (9, 9)).table.flatten(1)
    assert (torch.cdist(table.T, table.T) + torch.eye(81)).min() > 0.1


def test_an_odd_number_of_channels_per_head_is_an_error() -> None:
    with pytest.raises(UserError, match="positions=gta: rotates pairs of channels, and each of the 2 heads has 3"):
        AttentionCoupling(6, 2, "gta", (4, 4))


def test_fixed_rotations_need_heads_of_four_channels() -> None:
    with pytest.raises(UserError, match="positions=rope: each of the 4 heads has 3 of 12 channels and needs 4"):
        AttentionCoupling(12, 4, "fixed_rope")


@pytest.mark.parametrize("d", [4, 6, 7, 8, 16])
def test_fixed_rotations_turn_planes_of_the_first_half_by_y_and_of_the_second_by_x(d) -> None:
    h, w, planes = 3, 4, d // 4
    x = normal(2, 2, h * w, d)
    found = turned(FixedRotations(d), x, (h, w))
    for site in range(h * w):
        place = divmod(site, w)
        for plane in range(2 * planes):
            angle = torch.tensor(place[plane // planes] * 10_000 ** (-2 * (plane % planes) / (d // 2)))
            a, b = x[:, :, site, 2 * plane], x[:, :, site, 2 * plane + 1]
            cos, sin = angle.cos().double(), angle.sin().double()
            torch.testing.assert_close(found[:, :, site, 2 * plane], a * cos - b * sin, rtol=0, atol=1e-6)
            torch.testing.assert_close(found[:, :, site, 2 * plane + 1], a * sin + b * cos, rtol=0, atol=1e-6)
    assert torch.equal(found[..., 4 * planes :], x[..., 4 * planes :])
    assert not list(FixedRotations(d).parameters())


@torch.no_grad()
def test_scores_of_fixed_rotations_depend_on_offsets_of_sites_only() -> None:
    rotate, one = FixedRotations(8), normal(1, 1, 1, 8)
    same = turned(rotate, one.expand(1, 1, 20, 8), (4, 5)).view(4, 5, 8)
    scores = torch.einsum("yxd,vud->yxvu", same, same)
    torch.testing.assert_close(scores[0, 0, 1, 2], scores[2, 1, 3, 3], rtol=0, atol=1e-6)
    torch.testing.assert_close(scores[1, 0, 0, 0], scores[3, 4, 2, 4], rtol=0, atol=1e-6)


@torch.no_grad()
def test_rotations_that_pair_channels_of_two_halves_are_these_with_the_channels_in_another_order() -> None:
    """Both conventions of RoPE are one family of networks: scores agree where queries and keys are permuted alike."""
    d, h, w = 16, 3, 4
    query, key = normal(2, 1, 2, h * w, d).unbind(0)

    def in_halves(x: torch.Tensor) -> torch.Tensor:
        turned = x.clone()
        for site in range(h * w):
            for coordinate, at in enumerate(divmod(site, w)):
                for plane in range(d // 4):
                    first = coordinate * d // 2 + plane
                    second = first + d // 4
                    angle = torch.tensor(at * 10_000 ** (-2 * plane / (d // 2)))
                    a, b = x[:, :, site, first], x[:, :, site, second]
                    turned[:, :, site, first] = a * angle.cos() - b * angle.sin()
                    turned[:, :, site, second] = a * angle.sin() + b * angle.cos()
        return turned

    order = torch.arange(d).view(2, 2, -1).transpose(1, 2).flatten()
    rotate = FixedRotations(d)
    found = turned(rotate, query[..., order], (h, w)) @ turned(rotate, key[..., order], (h, w)).transpose(-1, -2)
    torch.testing.assert_close(found, in_halves(query) @ in_halves(key).transpose(-1, -2), rtol=0, atol=1e-5)
    plain = turned(rotate, query, (h, w)) @ turned(rotate, key, (h, w)).transpose(-1, -2)
    assert (found - plain).abs().max() > 0.1  # so weights of the other convention need the permutation


def by_definition(coupling: AttentionCoupling, x: torch.Tensor) -> torch.Tensor:
    """Return J(x) x: channel i belongs to head i modulo e, a plane is two consecutive channels of a head."""
    b, c, h, w = x.shape
    d = c // coupling.heads
    query, key, value = (
        part.view(b, d, coupling.heads, h * w).permute(0, 2, 3, 1) for part in coupling.to_qkv(x).chunk(3, dim=1)
    )

    def placed(name: str, part: torch.Tensor) -> torch.Tensor:
        return turned(coupling.rotations[name], part, (h, w)) if name in coupling.rotations else part

    scores = placed("query", query) @ placed("key", key).transpose(2, 3) / d**0.5
    mixed = placed("output", torch.softmax(scores, dim=-1) @ placed("value", value))
    return coupling.to_out(mixed.permute(0, 3, 1, 2).reshape(b, c, h, w))


@pytest.mark.parametrize(
    ("positions", "channels", "heads"),
    [("none", 15, 5), ("none", 16, 2), ("rope", 16, 2), ("gta", 24, 4), ("fixed_rope", 18, 3), ("fixed_rope", 14, 2)],
)
def test_attention_and_its_gradients_are_those_of_the_definition(positions, channels, heads) -> None:
    coupling = attention(positions, channels, heads)
    for table in coupling.parameters():
        table.data.add_(0.1 * normal(*table.shape))
    x = normal(2, channels, 4, 5).requires_grad_()
    wanted, found = by_definition(coupling, x), coupling(x)
    torch.testing.assert_close(found, wanted)
    inputs = [x, *coupling.parameters()]
    weights = normal(*wanted.shape)
    for ours, theirs in zip(
        torch.autograd.grad((found * weights).sum(), inputs),
        torch.autograd.grad((wanted * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_rotations_have_derivatives_to_second_order() -> None:
    rotations = Rotations(4, (1, 3)).double()
    planes, matrices = normal(2, 1, 3, 2, 2).requires_grad_(), normal(3, 2, 2, 2).requires_grad_()

    def apply(planes: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(rotations, {"matrices": matrices}, (planes, (1, 3)))

    assert torch.autograd.gradcheck(apply, (planes, matrices))
    assert torch.autograd.gradgradcheck(apply, (planes, matrices))


def test_attention_without_rotations_keeps_no_matrix_of_weights() -> None:
    """The largest tensor kept for the backward pass is linear in the sites."""
    coupling, largest = AttentionCoupling(16, 2), []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        largest.append(tensor.numel())
        return tensor

    x = torch.randn((1, 16, 16, 16), generator=generator("cpu", "states"), requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        coupling(x)
    assert max(largest) <= 3 * x.numel() < 256**2
