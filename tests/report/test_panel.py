"""The panel on which a reader goes through the steps: what its bytes say, and that they stay few."""

import base64
import json
import math

import numpy as np
import pytest
import torch
from page_outline import Outline

from sslkuramoto.dynamics.layer import LayerTrace
from sslkuramoto.report.pictures.oscillators import chosen
from sslkuramoto.report.pictures.panel import MAX_BYTES, panel, quantised


def trace(n, *, layers=2, steps=3, batch=3, side=8, m=2):
    draw = torch.Generator().manual_seed(0)
    states = [torch.randn(steps, batch, m * n, side, side, generator=draw) for _ in range(layers)]
    energies = [torch.randn(steps + 1, batch, generator=draw) for _ in range(layers)]
    return tuple(LayerTrace(state, energy, energy) for state, energy in zip(states, energies, strict=True))


def data(drawn):
    (attributes,) = [attributes for _, attributes in Outline(drawn).tags if attributes.get("class") == "dynamics"]
    states = np.frombuffer(base64.b64decode(attributes["data-states"].partition(",")[2]), np.uint8)
    return json.loads(attributes["data-about"]), states, attributes


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_bytes_say_phases_signs_or_coordinates_to_half_a_level(n):
    field = torch.randn(2, 3, n, 4, 5, generator=torch.Generator().manual_seed(n))
    field = field / field.norm(dim=2, keepdim=True)
    found = quantised(field, n)
    assert found.shape == (2, 3, 4, 5, 4 if n > 2 else 1)
    if n == 1:
        assert np.array_equal(found[..., 0] == 255, field[:, :, 0].numpy() > 0)
        return
    if n == 2:
        angle = torch.atan2(field[:, :, 1], field[:, :, 0]) - torch.from_numpy(found[..., 0]) / 256 * 2 * math.pi
        assert (torch.remainder(angle + math.pi, 2 * math.pi) - math.pi).abs().max() <= math.pi / 256 + 1e-6
        return
    for axis in range(3):
        back = found[..., axis] / 127.5 - 1
        assert np.abs(back - field[:, :, axis].numpy()).max() <= 1 / 255 + 1e-6
    mean = field.mean((3, 4), keepdim=True)
    cosine = (field * mean / mean.norm(dim=2, keepdim=True)).sum(2)
    assert (torch.from_numpy(found[..., 3]) / 255 * math.pi - cosine.arccos()).abs().max() <= math.pi / 510 + 1e-3


def test_the_states_of_every_layer_image_and_step_lie_one_after_the_other():
    record = trace(2)
    about, states, _ = data(panel(record, 2, torch.rand(3, 3, 8, 8), label="a run"))
    assert [layer["steps"] for layer in about["layers"]] == [[1, 2, 3], [1, 2, 3]]
    wanted = [quantised(chosen(layer.states, 2).transpose(0, 1), 2).ravel() for layer in record]
    assert np.array_equal(states, np.concatenate(wanted))
    found = np.array(about["layers"][1]["energy"])
    assert np.allclose(found, record[1].energy.T, rtol=1e-4)
    assert np.shape(about["layers"][0]["order"]) == (3, 3)


@pytest.mark.parametrize(
    ("n", "layers", "steps", "side", "images", "stride"),
    [(2, 1, 8, 16, 3, 1), (2, 3, 512, 64, 1, 1), (4, 3, 64, 64, 1, 2), (2, 1, 4, 300, 3, 5)],
)
def test_a_large_record_gives_up_images_steps_and_sites_until_the_page_can_hold_it(
    n, layers, steps, side, images, stride
):
    record = trace(n, layers=layers, steps=steps, side=side, m=1)
    about, states, _ = data(panel(record, n, torch.rand(3, 3, 8, 8), label="a run"))
    assert len(states) <= MAX_BYTES
    layer = about["layers"][0]
    assert (layer["steps"][0], layer["steps"][-1]) == (1, steps)
    assert len(layer["energy"]) == images
    assert len(layer["energy"][0]) == steps + 1
    assert layer["stride"] == stride
    assert layer["width"] == -(-side // stride)


def test_what_no_choice_makes_small_enough_has_no_panel():
    record = trace(4, layers=30, steps=8, side=64, m=1, batch=1)
    assert panel(record, 4, torch.rand(1, 3, 8, 8), label="a run") == ""


def test_boards_bring_their_symbols_and_images_a_picture():
    boards = torch.randint(0, 5, (3, 4, 4), generator=torch.Generator().manual_seed(0))
    about, *_ = data(panel(trace(4, side=4), 4, boards, label="a run"))
    assert about["boards"] == boards.tolist()
    drawn = panel(trace(4), 4, torch.rand(3, 3, 8, 8), label="a run")
    assert data(drawn)[0]["boards"] is None
    assert drawn.count('src="data:image/png;base64,') == 3


def test_a_label_is_text_and_numbers_that_are_not_finite_are_zero():
    record = trace(2)
    record[0].energy[0, 0], record[0].states[0, 0, 0, 0, 0] = float("nan"), float("nan")
    hostile = '"><script>alert(1)</script>'
    about, _, attributes = data(panel(record, 2, torch.rand(3, 3, 8, 8), label=hostile))
    assert hostile in attributes["aria-label"]
    assert about["layers"][0]["energy"][0][0] == 0
    assert "hidden" in attributes, "until a script shows it"
