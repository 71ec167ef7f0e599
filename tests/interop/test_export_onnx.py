"""An ONNX file gives torch's outputs for given initial oscillators, for batches of any size."""

import builtins

import numpy as np
import onnxruntime
import pytest
import torch
from small_runs import AKORN, small

from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import subject_of
from sslkuramoto.interop import export_onnx as onnx
from sslkuramoto.interop.trained import trained
from sslkuramoto.randomness import generator
from sslkuramoto.training import train


def test_a_stochastic_classifier_takes_its_oscillators_as_an_input(finetuned, tmp_path):
    lines = onnx.export_onnx(trained(finetuned), tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [(item.name, item.shape) for item in session.get_inputs()] == [
        ("images", ["batch", 3, 8, 8]),
        ("initial", ["batch", 4, 8, 8]),
    ]
    subject, images = subject_of(finetuned), torch.rand(5, 3, 8, 8)
    initial = subject.encoder.sample_initial(images, generator("cpu", 7))
    (logits,) = session.run(None, {"images": images.numpy(), "initial": initial.numpy()})
    ours = subject.head(subject.encoder(images, initial=initial).pooled)
    assert np.abs(logits - ours.numpy()).max() <= 1e-5 * ours.abs().max().item()
    assert lines[1].startswith("largest difference from torch on 8 images: ")
    text = (tmp_path / "README.md").read_text()
    assert lines[1].partition(": ")[2] in text
    assert '"initial": initial' in text


def test_a_fixed_field_is_part_of_the_file(tmp_path):
    data = {"name": "digits", "limit": 48, "limit_test": 30}
    run = train(small(epochs=1, data=data, encoder={**AKORN, "kernel_sizes": [3], "initial": "fixed"}), tmp_path / "r")
    onnx.export_onnx(trained(run.path), tmp_path / "out")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert [item.name for item in session.get_inputs()] == ["images"]
    encoder, images = subject_of(run.path).encoder, torch.rand(2, 3, 8, 8)
    (features,) = session.run(None, {"images": images.numpy()})
    assert np.abs(features - encoder(images).pooled.numpy()).max() <= 1e-5


def test_the_fixed_field_is_the_one_that_an_encoder_starts_from():
    encoder = ENCODERS.build(
        "akorn", {"channels": 4, "kernel_sizes": [3], "initial": "fixed", "initial_seed": 2}
    ).eval()
    images = torch.rand(2, 3, 6, 6)
    field = encoder.fixed_initial(images)
    assert field.shape == (1, 4, 6, 6)
    assert torch.equal(encoder(images).map, encoder(images, initial=field).map)
    assert ENCODERS.build("akorn", {"channels": 4, "kernel_sizes": [3]}).fixed_initial(images) is None


def test_outputs_that_differ_from_torch_are_refused(finetuned, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "_converted", lambda *_: b"")
    for apart in (0.01, float("nan")):
        monkeypatch.setattr(onnx, "_differences", lambda *_, apart=apart: (apart, 1.0))
        with pytest.raises(UserError, match=r"differ from torch's by .*; nothing was written"):
            onnx.export_onnx(trained(finetuned), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_one_line_that_names_the_extra(missing, finetuned, tmp_path, monkeypatch):
    found = builtins.__import__

    def absent(name, *arguments, **rest):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return found(name, *arguments, **rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UserError, match=rf"needs the package {missing}, .* pip install 'sslkuramoto\[onnx\]'"):
        onnx.export_onnx(trained(finetuned), tmp_path)
