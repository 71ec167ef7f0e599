"""|gamma F| read from the states equals the force of the equations."""

import pytest
import torch

from sslkuramoto.dynamics.kuramoto import rotate_planes
from sslkuramoto.dynamics.sphere import normalise, tangent
from sslkuramoto.dynamics.winfree import winfree_step, wrap
from sslkuramoto.encoders import ENCODERS, AKOrN
from sslkuramoto.evaluation.audit.saturation import SATURATED, step_fields, step_turns, turning_angles
from sslkuramoto.randomness import borrowed_global, generator


def network(**options) -> tuple[AKOrN, torch.Tensor, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = AKOrN(channels=8, kernel_sizes=(3, 3), **options).eval()
    draw = generator("cpu", "saturation test")
    images = torch.rand(3, 3, 8, 8, generator=draw)
    return encoder, images, encoder.sample_initial(images, draw)


@pytest.mark.parametrize(("n", "step_size"), [(2, 1.0), (4, 0.5)])
@torch.no_grad()
def test_the_first_step_turns_by_the_arc_tangent_of_the_force(n: int, step_size: float) -> None:
    encoder, images, start = network(oscillator_dim=n, step_size=step_size)
    layer = encoder.layers[0]
    x = normalise(start, n)
    drive = layer.coupling.prepared(x)(x) + layer.norm(encoder.stem(2 * images - 1))
    force = tangent(x, drive, n) + rotate_planes(x, layer.frequencies())
    expected = step_size * force.unflatten(1, (-1, n)).norm(dim=2)
    turn = step_turns(encoder, images, start)[0]
    assert turn.median == pytest.approx(expected.median().item(), rel=1e-4)
    assert turn.saturated == pytest.approx((expected > SATURATED).double().mean().item(), abs=1e-3)
    assert sum(turn.count) == expected.numel()
    assert turn.backwards == 0.0


def test_every_layer_and_step_is_described_in_order() -> None:
    encoder, images, start = network(num_steps=2)
    assert [(turn.layer, turn.step) for turn in step_turns(encoder, images, start)] == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_larger_step_saturates_more() -> None:
    small, large = (step_turns(*network(step_size=size)) for size in (0.1, 10.0))
    assert large[0].median == pytest.approx(100 * small[0].median, rel=1e-3)
    assert large[0].saturated > 0.5 > small[0].saturated


def test_an_encoder_without_kuramoto_layers_has_no_turns(cnn) -> None:
    assert step_turns(cnn[0], torch.rand(2, 3, 8, 8), None) == []


def test_angles_are_exact_near_zero_and_near_a_half_turn() -> None:
    for angle in (1e-6, 1.0, torch.pi - 1e-6):
        a = torch.tensor([1.0, 0.0], dtype=torch.float64).view(1, 2, 1, 1)
        b = torch.tensor([angle], dtype=torch.float64)
        b = torch.cat([b.cos(), b.sin()]).view(1, 2, 1, 1)
        assert turning_angles(a, b, 2).item() == pytest.approx(angle, rel=1e-9)


@pytest.mark.parametrize("n", [2, 4])
def test_the_singular_values_of_a_step_are_those_of_its_jacobian(n: int) -> None:
    encoder, images, start = network(oscillator_dim=n, num_steps=1)
    layer = encoder.layers[0]
    met: list[tuple[torch.Tensor, torch.Tensor, dict]] = []
    own = layer.advance

    def seen(x: torch.Tensor, drive: torch.Tensor, **options) -> torch.Tensor:
        met.append((x.detach(), drive.detach(), options))
        return own(x, drive, **options)

    layer.advance = seen
    turn = step_turns(encoder, images, start)[0]
    (x, drive, options) = met[0]
    options = {**options, "omega": options["omega"].detach(), "step_size": options["step_size"].detach().double()}
    x, drive, least, most = x.double(), drive.double(), [], []
    side = options | {"omega": options["omega"].double()}
    for channel in range(0, x.shape[1], n):  # one oscillator does not see another's drive: all sites at once
        rows = []
        for k in range(n):
            moved = drive.clone().requires_grad_()
            out = own(x, moved, **side)[:, channel + k].sum()
            rows.append(torch.autograd.grad(out, moved)[0][:, channel : channel + n])
        jacobian = torch.stack(rows, dim=1).permute(0, 3, 4, 1, 2).reshape(-1, n, n)
        values = torch.linalg.svdvals(jacobian) / side["step_size"]
        most.append(values[:, 0])
        least.append(values[:, n - 2])  # the last is that of the radial direction, 0
        assert float(values[:, -1].max()) < 1e-6
    assert turn.least == pytest.approx(torch.cat(least).median().item(), rel=1e-3)
    assert turn.most == pytest.approx(torch.cat(most).median().item(), rel=1e-3)
    assert (turn.least == turn.most) == (n == 2)


def test_without_projection_no_singular_values_are_claimed() -> None:
    turn = step_turns(*network(project=False))[0]
    assert turn.least is None
    assert turn.most is None


@pytest.fixture
def winfree():
    with borrowed_global(generator("cpu", "winfree")):
        return ENCODERS.build("winfree", ENCODERS.small("winfree")).eval()


@torch.no_grad()
def test_open_fields_of_winfree_steps_are_counted_layer_by_layer_and_step_by_step(winfree) -> None:
    images = torch.rand(3, 3, 8, 8, generator=generator("cpu", "images"))
    start = winfree.sample_initial(images, generator("cpu", 0))
    found = step_fields(winfree, images, start)
    assert [(field.layer, field.step) for field in found] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    layer = winfree.layers[0]
    field = layer.rectified(layer.coupling(layer.influence(wrap(0.01 * start))))
    assert found[0].open == pytest.approx((field > 0).double().mean().item())
    assert found[0].median == pytest.approx(field[field > 0].median().item())
    assert not layer.rectifier._forward_hooks
    assert layer.advance is winfree_step


@pytest.mark.parametrize("sensitivity", ["cos", "mlp"])
def test_locking_is_the_derivative_of_a_winfree_step_by_each_phase(sensitivity: str) -> None:
    with borrowed_global(generator("cpu", "locking")):
        options = {**ENCODERS.small("winfree"), "sensitivity": sensitivity, "step_size": 0.9}
        encoder = ENCODERS.build("winfree", options).eval()
    images = torch.rand(3, 3, 8, 8, generator=generator("cpu", "images"))
    start = 100 * encoder.sample_initial(images, generator("cpu", 0))
    met: list[torch.Tensor] = []
    layer = encoder.layers[0]
    own = layer.advance

    def seen(theta: torch.Tensor, field: torch.Tensor, **options) -> torch.Tensor:
        phase = theta.detach().requires_grad_()
        with torch.enable_grad():
            met.append(torch.autograd.grad(own(phase, field.detach(), **options).sum(), phase)[0][field > 0])
        return own(theta, field, **options)

    layer.advance = seen
    found = step_fields(encoder, images, start)
    assert layer.advance is seen
    for step, derivative in zip(found[:2], met, strict=True):
        assert step.passed == pytest.approx(derivative.abs().median().item(), rel=1e-5)
        assert sum(step.count) == derivative.numel()
    assert encoder.step_size.grad is None
    assert all(parameter.grad is None for parameter in encoder.parameters())


@torch.no_grad()
def test_closed_fields_are_found_and_networks_without_rectifiers_have_none(winfree, cnn) -> None:
    images = torch.rand(3, 3, 8, 8, generator=generator("cpu", "images"))
    start = winfree.sample_initial(images, generator("cpu", 0))
    winfree.layers[1].norm.bias.fill_(-100.0)
    found = step_fields(winfree, images, start)
    assert [field.open == 0 for field in found] == [False, False, True, True]
    assert found[2].median == 0
    assert (found[2].passed, sum(found[2].count)) == (1, 0), "a closed field locks nothing"
    assert step_fields(cnn[0], images, None) == []
    assert step_turns(winfree, images, start) == []
