"""Networks of timm behind the contract of an encoder."""

import warnings

import pytest
import torch
from torch import nn

from sslkuramoto.checkpoint import build_encoder
from sslkuramoto.encoders import ENCODERS, TimmEncoder
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global, generator


def built(model: str, **options) -> TimmEncoder:
    with borrowed_global(generator("cpu", "timm", model)):
        return TimmEncoder(model=model, **options).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 32, 32, generator=generator("cpu", "images"))


def test_features_are_those_of_the_network_on_normalised_pixels(images):
    encoder = built("resnet10t")
    features = encoder(images)
    with torch.no_grad():
        torch.testing.assert_close(features.pooled, encoder.network((images - 0.5) / 0.5))
        torch.testing.assert_close(features.map, encoder.network.forward_features((images - 0.5) / 0.5))
    torch.testing.assert_close(features.pooled, features.map.mean(dim=(2, 3)))
    assert features.trace is None


def test_normalisation_of_published_weights_is_imagenets(images):
    encoder = built("resnet10t", normalisation="imagenet")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normed = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images).pooled, encoder.network(normed))


def test_a_small_stem_keeps_the_resolution_that_the_usual_one_divides_by_four(images):
    usual, small = built("resnet18"), built("resnet18", small_stem=True)
    assert usual(images).map.shape == (2, 512, 1, 1)
    assert small(images).map.shape == (2, 512, 4, 4)
    assert small.network.conv1.weight.shape == (64, 3, 3, 3)
    assert isinstance(small.network.maxpool, nn.Identity)
    assert sum(p.numel() for p in small.parameters()) == 11_168_832  # ResNet-18 for CIFAR, without classifier


@pytest.mark.parametrize("model", ["mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_a_network_without_a_plain_stem_cannot_have_it_replaced(model):
    with pytest.raises(UserError, match=f"small_stem=true: {model} has no plain ResNet stem"):
        TimmEncoder(model=model, small_stem=True)


def test_arguments_reach_the_network_and_tokens_become_one_row_of_the_map(images):
    encoder = built(
        "vit_tiny_patch16_224", arguments={"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 48, "num_heads": 3}
    )
    features = encoder(images)
    assert encoder.num_features == 48
    assert features.pooled.shape == (2, 48)
    assert features.map.shape == (2, 48, 1, 17)  # 16 patches and the class token
    with torch.no_grad():
        tokens = encoder.network.forward_features(2 * images - 1)
    torch.testing.assert_close(features.map[0, :, 0, 3], tokens[0, 3])


def test_channels_last_networks_give_channels_first_maps(images):
    arguments = {
        "img_size": 32,
        "patch_size": 2,
        "embed_dim": 24,
        "depths": (1, 1),
        "num_heads": (2, 2),
        "window_size": 4,
    }
    encoder = built("swin_tiny_patch4_window7_224", arguments=arguments)
    features = encoder(images)
    assert features.map.shape == (2, 48, 8, 8)
    assert features.pooled.shape == (2, 48)
    assert encoder.num_features == 48


def test_a_network_with_a_hidden_layer_after_pooling_states_the_length_of_what_it_returns(images):
    encoder = built("mobilenetv3_small_050")
    features = encoder(images)
    assert features.pooled.shape == (2, encoder.num_features)


def test_initial_oscillators_are_refused_and_a_draw_has_no_effect(images):
    encoder = built("resnet10t")
    with pytest.raises(UserError, match="initial: this encoder has no oscillators"):
        encoder(images, initial=torch.ones(2, 8, 32, 32))
    draw = generator("cpu", 0)
    before = draw.get_state()
    assert torch.equal(encoder(images, draw=draw).pooled, encoder(images).pooled)
    assert torch.equal(before, draw.get_state())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"model": "resnet81"}, "unknown timm model 'resnet81': did you mean 'resnet18'?"),
        ({"model": "resnet10t", "arguments": {"colour": 3}}, "arguments={'colour': 3}:"),
        ({"model": "vit_tiny_patch16_224", "arguments": {"embed_dim": 10}}, "arguments={'embed_dim': 10}:"),
        ({}, "needs the key 'model'"),
        ({"model": "resnet10t", "normalisation": "none"}, "encoder.normalisation='none'"),
    ],
    ids=str,
)
def test_what_timm_cannot_build_is_one_line(options, line):
    with pytest.raises(UserError) as raised:
        ENCODERS.build("timm", options)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_images_of_a_size_that_the_network_does_not_take_are_one_line():
    encoder = TimmEncoder(model="vit_tiny_patch16_224")
    with pytest.raises(UserError, match=r"images of 16 x 16 pixels: .*img_size"):
        encoder(torch.zeros(1, 3, 16, 16))


class Payload:
    """Creates a file when it is unpickled, which shows that code ran."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_run_of_a_stranger_runs_no_code_and_reads_no_other_file(tmp_path):
    evil, mark = tmp_path / "evil.pth", tmp_path / "mark"
    torch.save({"state_dict": Payload(mark)}, evil)
    options = {"model": "test_resnet", "small_stem": False}
    section = {"name": "timm", **options, "pretrained": True, "arguments": {"checkpoint_path": str(evil)}}
    weights = ENCODERS.build("timm", options).state_dict()
    assert build_encoder(section, weights, "a file").num_features > 0
    assert not mark.exists()
    for key in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        with pytest.raises(UserError, match=f"arguments.{key}: names files or code"):
            build_encoder({**section, "arguments": {key: {"file": str(evil)}}}, weights, "a file")


def test_a_recipes_own_file_of_weights_is_read_as_weights_only(tmp_path):
    options = {"model": "test_resnet", "small_stem": False}
    source = ENCODERS.build("timm", options)
    classifier = {"fc.weight": torch.ones(10, source.num_features), "fc.bias": torch.ones(10)}  # left out
    torch.save({**source.network.state_dict(), **classifier}, tmp_path / "good.pth")
    found = ENCODERS.build("timm", {**options, "arguments": {"checkpoint_path": str(tmp_path / "good.pth")}})
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), source.parameters(), strict=True))
    with torch.device("meta"), warnings.catch_warnings():  # as a recipe is checked: no line for every weight
        warnings.simplefilter("error")
        ENCODERS.build("timm", {**options, "arguments": {"checkpoint_path": str(tmp_path / "good.pth")}})
    torch.save({"state_dict": Payload(tmp_path / "mark")}, tmp_path / "evil.pth")
    whole = (tmp_path / "good.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    other = {key: value[..., :1] if value.ndim == 4 else value for key, value in source.network.state_dict().items()}
    torch.save(other, tmp_path / "other.pth")
    torch.save(source.state_dict(), tmp_path / "run.pth")  # of this package's encoder: each name begins with "network."
    own = source.network.state_dict()
    torch.save({key: value for key, value in own.items() if key != "conv1.0.weight"}, tmp_path / "part.pth")
    damaged = "damaged, or holds more than weights; reading that could run its author's code"
    reasons = {"evil": damaged, "cut": damaged, "empty": damaged, "none": "no such file"}
    reasons["other"] = "weight 'conv1.0.weight' has another shape in this network"
    random = [weight for weight in source.network.parameters() if weight.ndim > 1]
    lacks = f"of the {len(random)} matrices and kernels of this network, 'conv1.0.weight' among them: they would"
    lacks += " stay random"
    reasons |= {"run": f"lacks {len(random)} {lacks}", "part": f"lacks 1 {lacks}"}
    for name, reason in reasons.items():
        file = tmp_path / f"{name}.pth"
        with pytest.raises(UserError) as caught:
            ENCODERS.build("timm", {**options, "arguments": {"checkpoint_path": str(file)}})
        assert str(caught.value) == f"encoder timm: arguments.checkpoint_path={file}: {reason}"
    assert not (tmp_path / "mark").exists()
