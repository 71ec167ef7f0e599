import json
import math
import pickle
import struct
from pathlib import Path

import pytest
import torch
from hostile_files import HOSTILE
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_runs import small
from timm.models import load_state_dict as read_by_timm
from torch import nn

from sslkuramoto.checkpoint import (
    export_encoder,
    export_head,
    load,
    load_encoder,
    load_head,
    load_strictly,
    save,
    save_weights,
    weights_hash,
)
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.recipe import Part
from sslkuramoto.training.learner import check

OPTIONS = {"channels": 4, "kernel_sizes": [3, 3], "num_steps": 1}


@pytest.fixture
def encoder():
    with borrowed_global(generator("cpu", 0)):
        return ENCODERS.build("akorn", OPTIONS)


def test_nested_state_comes_back_as_it_was(tmp_path):
    shared = torch.arange(6.0).view(2, 3)
    state = {
        "step": 3,
        "flag": True,
        "none": None,
        "text": "ü\n",
        "rates": [0.1, float("inf"), 1],
        "betas": (0.9, 0.999),
        "state": {0: {"step": torch.tensor(4.0), "empty": torch.zeros(0, 3)}, 1: {}},
        "kinds": [torch.tensor([True]), torch.tensor([1], dtype=torch.uint8), torch.ones(2, dtype=torch.bfloat16)],
        "same": [shared, shared, shared.T],
    }
    save(tmp_path / "file", state)
    found = load(tmp_path / "file")

    def plain(value):
        if isinstance(value, torch.Tensor):
            return (str(value.dtype), tuple(value.shape), value.tolist())
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return type(value)(plain(item) for item in value) if isinstance(value, list | tuple) else (type(value), value)

    assert plain(found) == plain(state)


def test_the_same_state_gives_the_same_bytes(tmp_path, encoder):
    for name in ("one", "two"):
        export_encoder(tmp_path / name, encoder, Part("akorn", OPTIONS))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_an_exported_file_holds_the_parameters_under_their_names(tmp_path, encoder):
    head = nn.Linear(8, 2)
    export_encoder(tmp_path / "encoder.safetensors", encoder, Part("akorn", OPTIONS))
    export_head(tmp_path / "head.safetensors", head, Part("linear"))
    for name, module in (("encoder", encoder), ("head", head)):
        found = load_file(tmp_path / f"{name}.safetensors")
        assert found.keys() == module.state_dict().keys()
        assert all(torch.equal(value, found[key]) for key, value in module.state_dict().items())
    assert "layers.0.coupling.weight" in load_file(tmp_path / "encoder.safetensors")
    with safe_open(tmp_path / "encoder.safetensors", "pt") as file:
        said = json.loads(file.metadata()["sslkuramoto"])
    assert said == {"kind": "encoder", "encoder": {"name": "akorn", **OPTIONS}}


def test_timm_reads_an_exported_encoder_of_one_of_its_networks(tmp_path):
    options = {"model": "resnet18", "small_stem": True}
    encoder = ENCODERS.build("timm", options)
    export_encoder(tmp_path / "encoder.safetensors", encoder, Part("timm", options))
    found = read_by_timm(str(tmp_path / "encoder.safetensors"))
    assert torch.equal(found["network.conv1.weight"], encoder.state_dict()["network.conv1.weight"])


def test_files_of_numbered_tensors_as_they_were_written_before_still_load(tmp_path, encoder):
    weights = dict(encoder.state_dict())
    save(tmp_path / "encoder", {"kind": "encoder", "encoder": {"name": "akorn", **OPTIONS}, "weights": weights})
    assert set(load_file(tmp_path / "encoder")) == {str(k) for k in range(len(weights))}
    assert weights_hash(load_encoder(tmp_path / "encoder")) == weights_hash(encoder)
    head = nn.Linear(3, 2)
    save(tmp_path / "head", {"kind": "classifier", "weights": dict(head.state_dict())})
    assert weights_hash(load_head(tmp_path / "head")) == weights_hash(head)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('{"kind": 3}', "is a checkpoint of kind 3, not 'encoder'"),
        ('{"kind": "encoder"}', "its entry 'encoder' is no dict"),
        ('{"kind": "encoder", "encoder": {"name": "akorn"}}', "weight .0. has no place here"),
        ('{"kind": "encoder", "encoder": {}}', "unknown encoder None"),
    ],
)
def test_a_made_up_header_of_named_weights_is_one_clear_line(header, message, tmp_path):
    save_file({"0": torch.ones(1)}, tmp_path / "file", metadata={"sslkuramoto": header})
    with pytest.raises(UserError, match=message) as caught:
        load_encoder(tmp_path / "file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_named(share, tmp_path, encoder):
    path = tmp_path / "encoder.safetensors"
    export_encoder(path, encoder, Part("akorn", OPTIONS))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=r"encoder\.safetensors: truncated, or no checkpoint") as caught:
        load_encoder(path)
    assert "\n" not in str(caught.value)


def test_a_safetensors_file_of_another_program_is_foreign(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "theirs", metadata={"format": "pt"})
    save_file({"weight": torch.ones(2)}, tmp_path / "bare")
    for name in ("theirs", "bare"):
        with pytest.raises(UserError, match=f"{name}: a safetensors file of another program"):
            load_encoder(tmp_path / name)


class Hostile:
    """Unpickling it would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("how", ["zip", "legacy", "bare"])
def test_a_hostile_pickle_is_refused_and_runs_no_code(how, tmp_path):
    path, mark = tmp_path / "last.safetensors", tmp_path / "it ran"
    if how == "bare":
        path.write_bytes(pickle.dumps(Hostile(mark)))
    else:
        torch.save({"encoder": Hostile(mark)}, path, _use_new_zipfile_serialization=how == "zip")
    for read in (load, load_encoder, load_head):
        with pytest.raises(UserError, match=r"a pickle, as torch\.save writes; only safetensors are read"):
            read(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "header",
    [
        "no JSON",
        "3",
        '{"map": 3}',
        '{"tensor": "9"}',
        '{"map": [["a", {"tensor": "9"}]]}',
        '{"code": []}',
        "[1]",
        '{"map": [[{"map": []}, 1]]}',
        '{"list": [1]}',
        "[" * 100_000,
    ],
)
def test_a_made_up_header_is_a_damaged_checkpoint(header, tmp_path):
    save_file({"0": torch.ones(1)}, tmp_path / "file", metadata={"sslkuramoto": header})
    with pytest.raises(UserError, match="file: damaged checkpoint"):
        load(tmp_path / "file")


def test_a_header_that_is_no_mapping_is_refused(tmp_path):
    text = json.dumps([1]).encode()
    (tmp_path / "file").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(UserError, match="truncated, or no checkpoint"):
        load(tmp_path / "file")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such checkpoint"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path)


def test_an_encoder_comes_back_in_eval_mode_with_its_weights_and_draws_nothing(tmp_path, encoder):
    export_encoder(tmp_path / "file", encoder, Part("akorn", OPTIONS))
    state = torch.get_rng_state()
    again = load_encoder(tmp_path / "file")
    assert torch.equal(torch.get_rng_state(), state)
    assert weights_hash(again) == weights_hash(encoder)
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    images, encoder = torch.rand(2, 3, 8, 8), encoder.eval()
    assert torch.equal(again(images, draw=generator("cpu", 1)).pooled, encoder(images, draw=generator("cpu", 1)).pooled)


def test_options_that_leave_the_weights_alone_may_change_others_not(tmp_path, encoder):
    export_encoder(tmp_path / "file", encoder, Part("akorn", OPTIONS))
    assert load_encoder(tmp_path / "file", {"num_steps": 5}).num_steps == (5, 5)
    with pytest.raises(UserError, match=r"file: weight '.*' has shape \(.*\), here"):
        load_encoder(tmp_path / "file", {"channels": 6})
    with pytest.raises(UserError, match="unknown key of encoder akorn 'num_step': did you mean 'num_steps'"):
        load_encoder(tmp_path / "file", {"num_step": 5})


def test_published_weights_are_not_fetched_again_for_a_file_that_has_them(tmp_path, monkeypatch):
    asked = []

    class Fetching(nn.Module):
        def __init__(self, *, pretrained: bool = False) -> None:
            super().__init__()
            asked.append(pretrained)

    monkeypatch.setitem(ENCODERS._members, "fetching", Fetching)
    export_encoder(tmp_path / "file", Fetching(), Part("fetching", {"pretrained": True}))
    load_encoder(tmp_path / "file")
    assert asked == [False, False, False]  # twice to load it: without memory, then with


def test_a_checkpoint_of_another_kind_is_refused(tmp_path, encoder):
    export_encoder(tmp_path / "encoder", encoder, Part("akorn", OPTIONS))
    export_head(tmp_path / "head", nn.Linear(3, 2), Part("linear"))
    save(tmp_path / "other", {"step": 1})
    with pytest.raises(UserError, match="kind 'head', not 'encoder'"):
        load_encoder(tmp_path / "head")
    with pytest.raises(UserError, match="kind 'encoder', not 'head'"):
        load_head(tmp_path / "encoder")
    with pytest.raises(UserError, match="kind None, not 'encoder'"):
        load_encoder(tmp_path / "other")
    save(tmp_path / "other", {"kind": "encoder", "encoder": {"name": "akorn"}, "weights": [1]})
    with pytest.raises(UserError, match="its entry 'weights' is no dict"):
        load_encoder(tmp_path / "other")
    save(tmp_path / "other", {"kind": "classifier", "weights": {"weight": 3}})
    with pytest.raises(UserError, match="a classifier has a matrix"):
        load_head(tmp_path / "other")


def test_a_classifier_comes_back(tmp_path):
    head = nn.Linear(3, 2)
    export_head(tmp_path / "head", head, Part("linear"))
    assert weights_hash(load_head(tmp_path / "head")) == weights_hash(head)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": None}, "lacks the weight 'weight'"),
        ({"extra": torch.ones(1)}, "weight 'extra' has no place here"),
        ({"bias": torch.ones(3)}, r"weight 'bias' has shape \(3,\), here \(2,\)"),
        ({"bias": "text"}, "weight 'bias' has shape"),
        ({"bias": torch.tensor([0.0, math.nan])}, "weight 'bias' holds values that are not finite"),
        ({"weight": torch.full((2, 3), -math.inf)}, "weight 'weight' holds values that are not finite"),
    ],
)
def test_weights_load_all_or_none(change, message):
    head = nn.Linear(3, 2)
    before = weights_hash(head)
    weights = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)} | change
    weights = {key: value for key, value in weights.items() if value is not None}
    with pytest.raises(UserError, match=message):
        load_strictly(head, weights, "file")
    assert weights_hash(head) == before


def test_the_hash_depends_on_every_weight_its_name_and_its_type():
    def hashed(**weights):
        module = nn.Module()
        for name, value in weights.items():
            module.register_buffer(name, value)
        return weights_hash(module)

    a, b = torch.zeros(2, 2), torch.ones(2, 2)
    others = [
        hashed(a=b, b=a),
        hashed(a=a, c=b),
        hashed(a=a, b=b.double()),
        hashed(a=a, b=b.view(4)),
        hashed(a=a),
    ]
    assert len({hashed(a=a, b=b), *others}) == 6
    assert hashed(a=a, b=b) == hashed(b=b.clone(), a=a.T)


class ReadsItsRates(Encoder):
    """An encoder of another package, whose constructor reads values of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features = int(torch.linspace(1, 3, 3)[-1].item())


def test_an_encoder_whose_constructor_reads_tensors_is_one_line_when_checked_and_when_loaded(tmp_path, monkeypatch):
    monkeypatch.setitem(ENCODERS._members, "reads_its_rates", ReadsItsRates)
    save_weights(tmp_path / "a.safetensors", {}, kind="encoder", encoder={"name": "reads_its_rates"})
    recipe = small(encoder={"name": "reads_its_rates"})
    for act in (lambda: load_encoder(tmp_path / "a.safetensors"), lambda: check(recipe)):
        with pytest.raises(UserError, match=r"^encoder reads_its_rates: a constructor is first called without memory"):
            act()


def test_an_encoder_of_a_huge_size_takes_no_memory(tmp_path):
    """2^15 channels would take 36 GiB for a convolution of 3 x 3."""
    import resource

    path = tmp_path / "encoder.safetensors"
    path.write_bytes(HOSTILE["a huge encoder"](tmp_path))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="lacks the weight"):
        load_encoder(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB: a quarter of a GiB
