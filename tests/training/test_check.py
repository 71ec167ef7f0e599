"""What a network cannot do with the declared examples is known when a recipe is checked, before any data are loaded."""

import pytest
import torch
from small_runs import CLASSIFIER, recipe_file, small
from torch import nn

from sslkuramoto.cli import main
from sslkuramoto.data import DATA
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.encoders.features import Encoder, Features, check_takes
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Images
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.training import check

SMALL_OF = {name: ENCODERS.small(name) for name in ENCODERS}
LIMITED = [  # options that only some sides of images fit
    ("winfree", {"group_size": 1}),
    ("winfree", {"group_size": 3, "influence": "sin"}),
    ("winfree", {"group_size": 2, "patch": 2}),
    ("akorn", {}),
    ("akorn", {"initial": "learned", "image_size": 6}),
    ("patch_akorn", {"image_size": 8, "patch": 2}),
    ("patch_akorn", {"image_size": 8, "patch": 2, "initial": "learned"}),
    ("patch_akorn", {"image_size": 8, "patch": 2, "positions": "none", "coupling": "dense_symmetric"}),
    ("iterative", {"image_size": 8, "patch": 2}),
    ("iterative", {"image_size": 8, "patch": 1, "widen": True, "layers": 3, "mixer": "conv"}),
]
WINFREE = {"name": "winfree", **SMALL_OF["winfree"], "group_size": 9}
TIMM = {"name": "timm", "model": "convnext_atto"}


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where anything is loaded."""

    def refuse(*_: object) -> None:
        raise AssertionError("data were loaded")

    monkeypatch.setattr(DATA, "build", refuse)


@pytest.mark.parametrize(("name", "options"), LIMITED, ids=str)
def test_an_encoder_takes_exactly_the_sides_that_it_declares(name, options):
    with borrowed_global(generator("cpu", "weights")):
        encoder = ENCODERS.build(name, {**SMALL_OF[name], **options}).eval()
    taken = []
    for side in range(1, 11):
        spec = Images(side, 2)
        try:
            check_takes(f"encoder {name}", encoder, "data digits", spec)
        except UserError:
            with pytest.raises(UserError), torch.no_grad():
                encoder(spec.random(2, generator("cpu", side)).inputs, draw=generator("cpu", 0))
            continue
        with torch.no_grad():
            features = encoder(spec.random(2, generator("cpu", side)).inputs, draw=generator("cpu", 0))
        assert features.pooled.isfinite().all()
        taken.append(side)
    assert 8 in taken or 6 in taken


@pytest.mark.usefixtures("no_data")
@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"encoder": WINFREE}, "encoder winfree, group_size=9, patch=1: takes images of at least 9 pixels; data"),
        (
            {"encoder": {"name": "akorn", "channels": 8, "initial": "learned", "image_size": 9}},
            "encoder akorn, initial=learned, image_size=9: takes images of 9 pixels; data digits gives",
        ),
        ({"encoder": TIMM}, "encoder timm: cannot encode .*Kernel size can't be greater than actual input size"),
        ({"encoder": {"name": "timm", "model": "vit_tiny_patch16_224"}}, "images of 8 x 8 pixels: Input height"),
        ({"batch_size": 1}, "batch_size=1: every part of a batch needs two images"),
        ({"batch_size": 4, "accumulate": 4}, "batch_size=4: every part of a batch needs two images"),
    ],
)
def test_what_the_first_step_would_refuse_is_refused_by_the_check(changes, line):
    with pytest.raises(UserError, match=line):
        check(small(**{**CLASSIFIER, **changes}))


def test_the_command_refuses_a_group_that_is_larger_than_the_grid(tmp_path, capsys):
    file = recipe_file(tmp_path / "recipe.yaml", **CLASSIFIER, encoder=WINFREE)
    assert main(["train", file, "--check"]) == 2
    assert capsys.readouterr().err.startswith("sslkuramoto: encoder winfree, group_size=9, patch=1: takes images of at")
    assert main(["train", file, "--check", "data.size=9"]) == 0


@pytest.mark.usefixtures("no_data")
def test_nothing_is_refused_for_its_size_where_only_the_images_tell_it():
    folder = {"name": "image_folder", "root": "nowhere"}
    for encoder in ({**WINFREE, "group_size": 40}, TIMM):
        check(small(**{**CLASSIFIER, "data": folder, "encoder": encoder}))
        with pytest.raises(UserError, match=r"at least 40 pixels|cannot encode"):
            check(small(**{**CLASSIFIER, "data": {**folder, "size": 8}, "encoder": encoder}))


class Reading(Encoder):
    """A network of another package that reads values of tensors, which a check without memory has not."""

    num_features = 3

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        least = float(images.min())
        return Features((images.mean(dim=(2, 3)) - least) * self.scale, images)


def test_a_network_that_reads_values_of_tensors_passes_the_check(monkeypatch):
    monkeypatch.setitem(ENCODERS._members, "reading", Reading)
    check(small(**CLASSIFIER, encoder={"name": "reading"}))


def test_the_check_of_a_network_of_timm_takes_no_memory_for_images():
    huge = {"name": "digits", "size": 100_000}  # two images would take 240 GB
    check(small(**{**CLASSIFIER, "data": huge, "encoder": {"name": "timm", "model": "test_resnet"}}))
