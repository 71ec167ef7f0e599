"""Pictures of views and phases: recorded, read back, drawn."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from sslkuramoto.encoders import ENCODERS
from sslkuramoto.encoders.features import Features, LayerTrace
from sslkuramoto.errors import UserError
from sslkuramoto.report.pictures.oscillators import (
    PHASES_FILE,
    VIEWS_FILE,
    chosen,
    coloured,
    energies_picture,
    load_phases,
    load_views,
    phases_picture,
    record_phases,
    record_views,
    views_picture,
)


def images_in(svg):
    found = re.findall(r'href="data:image/png;base64,([^"]*)"', svg)
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in found]


def trace(n, layers=2, steps=3, batch=2, channels=12):
    draw = torch.Generator().manual_seed(0)
    sizes = [8 // 2**layer for layer in range(layers)]
    states = [torch.randn(steps, batch, channels, size, size, generator=draw) for size in sizes]
    energy = torch.arange(steps + 1.0)[:, None].expand(steps + 1, batch)
    return tuple(LayerTrace(state, -energy, energy) for state in states)


class Oscillating(torch.nn.Module):
    stochastic = True

    def forward(self, images, *, draw, trace):
        assert trace
        assert not self.training
        state = torch.randn(3, len(images), 4, 5, 5, generator=draw)
        energy = torch.zeros(4, len(images))
        return Features(images.mean((2, 3)), images, (LayerTrace(state, energy, energy),))


def test_views_keep_their_pixels():
    draw = torch.Generator().manual_seed(0)
    views = {name: torch.rand(2, 3, 6, 6, generator=draw) for name in ("clean", "a", "b")}
    svg = views_picture(views)
    assert [picture.size for picture in images_in(svg)] == [(6, 6)] * 6
    assert all(f">{name}<" in svg for name in views)
    seen = np.asarray(images_in(svg)[0].convert("RGB"))
    assert np.abs(seen - 255 * views["clean"][0].permute(1, 2, 0).numpy()).max() <= 1


def test_large_images_are_shrunk_and_at_most_eight_shown():
    pictures = images_in(views_picture({"a": torch.rand(20, 3, 224, 112)}))
    assert len(pictures) == 8
    assert pictures[0].size == (32, 64)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_phases_show_a_tile_for_each_image_layer_and_step(n):
    assert len(images_in(phases_picture(trace(n), n))) == 2 * 2 * 3
    assert len(images_in(phases_picture(trace(n), n, images=torch.rand(2, 3, 8, 8)))) == 2 * (1 + 2 * 3)


def test_colours_of_phases_are_cyclic_and_tell_phases_apart():
    angle = torch.linspace(0, 2 * torch.pi, 65)
    colours = coloured(torch.stack([angle.cos(), angle.sin()])[:, None])[0].astype(int)
    steps = abs(colours[1:] - colours[:-1]).sum(-1)
    assert abs(colours[0] - colours[-1]).sum() <= steps.max(), "0 and 2 pi look alike"
    assert steps.max() < 60, "no edge where the phase has none"
    assert len({tuple(colour) for colour in colours[:-1]}) > 60


def test_length_does_not_change_the_colour():
    for n in (2, 4):
        field = torch.randn(n, 3, 3, generator=torch.Generator().manual_seed(n))
        assert np.abs(coloured(field).astype(int) - coloured(7 * field)).max() <= 1


def test_the_oscillator_shown_is_the_one_with_structure():
    draw = torch.Generator().manual_seed(0)
    noise = torch.rand(8, 8, generator=draw) * 2 * torch.pi
    uniform, halves = torch.ones(8, 8), torch.cat([torch.zeros(4, 8), torch.full((4, 8), torch.pi)])
    angles = torch.stack([noise, uniform, halves])
    states = torch.stack([angles.cos(), angles.sin()], dim=1).reshape(1, 1, 6, 8, 8)
    assert torch.allclose(chosen(states, 2)[0, 0, 0], halves.cos())


def test_energies_are_told_in_words():
    assert "Layer 1: 0 to -3." in energies_picture(trace(2))


def test_recorded_views_come_back(tmp_path):
    images = torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    record_views(tmp_path, lambda x, draw: {"file": x.flip(-1)}, images, torch.Generator())
    views = load_views(tmp_path)
    assert list(views) == ["clean", "file"]
    assert torch.allclose(views["file"], images[:8].flip(-1), atol=1 / 255)


def test_recorded_phases_come_back_and_the_encoder_keeps_its_mode(tmp_path):
    encoder, images = Oscillating().train(), torch.rand(5, 3, 6, 6)
    record_phases(tmp_path, encoder, images, 2, torch.Generator().manual_seed(3))
    assert encoder.training
    layers, dim, shown, _ = load_phases(tmp_path)
    expected = torch.randn(3, 3, 4, 5, 5, generator=torch.Generator().manual_seed(3))
    assert (dim, len(layers), len(shown)) == (2, 1, 3)
    assert torch.allclose(layers[0].states, expected, atol=2e-3)


def test_the_phases_of_akorn_can_be_recorded_and_drawn(tmp_path):
    encoder = ENCODERS.build("akorn", {"channels": 8})
    record_phases(tmp_path, encoder, torch.rand(2, 3, 16, 16), 2, torch.Generator().manual_seed(0))
    layers, dim, images, _ = load_phases(tmp_path)
    steps = sum(len(layer.states) for layer in layers)
    assert len(images_in(phases_picture(layers, dim, images=images))) == 2 * (1 + steps)
    assert energies_picture(layers).startswith("<svg")


def test_an_encoder_without_dynamics_leaves_no_phases(tmp_path):
    class Plain(torch.nn.Module):
        stochastic = False

        def forward(self, images, *, draw, trace):
            assert draw is None
            return Features(images.mean((2, 3)), images)

    assert record_phases(tmp_path, Plain(), torch.rand(1, 3, 4, 4), 2, torch.Generator()) is None
    assert load_phases(tmp_path) is None
    assert load_views(tmp_path) is None


@pytest.mark.parametrize(("file", "read"), [(VIEWS_FILE, load_views), (PHASES_FILE, load_phases)])
def test_a_broken_or_foreign_record_is_named(tmp_path, file, read):
    path = tmp_path / file
    path.parent.mkdir()
    path.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(UserError, match=path.name):
        read(tmp_path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(UserError, match=path.name):
        read(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"energy_0": np.zeros((3, 3), np.float32)},
        {"energy_0": np.zeros((4, 2), np.float32)},
        {"energy_0": np.zeros(4, np.float32)},
        {"images": np.zeros((2, 3, 6, 6), np.float32)},
        {"images": np.zeros((3, 1, 6, 6), np.float32)},
        {"images": np.zeros((3, 6), np.float32)},
        {"states_0": np.zeros((3, 3, 4, 5, 0), np.float16)},
        {"oscillator_dim": np.array(0)},
    ],
)
def test_a_record_whose_parts_do_not_fit_together_is_named(tmp_path, changed):
    record_phases(tmp_path, Oscillating(), torch.rand(3, 3, 6, 6), 2, torch.Generator().manual_seed(0))
    with np.load(tmp_path / PHASES_FILE) as file:
        arrays = dict(file)
    assert load_phases(tmp_path)
    np.savez(tmp_path / PHASES_FILE, **(arrays | changed))
    with pytest.raises(UserError, match=r"phases\.npz: its states.*delete it and record again"):
        load_phases(tmp_path)


def test_a_pickle_in_a_record_is_not_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / VIEWS_FILE
    path.parent.mkdir()
    np.savez(path, **{"view.a": np.array([Hostile()], dtype=object)}, allow_pickle=True)
    with pytest.raises(UserError, match=r"views\.npz"):
        load_views(tmp_path)
    assert not (tmp_path / "ran").exists()
