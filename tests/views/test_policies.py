"""Each view policy: names of views, pixels, randomness and probabilities."""

import pytest
import torch

from sslkuramoto.errors import UserError
from sslkuramoto.views import VIEWS

SIZE = 16
NAMES = {
    "simclr": ("a", "b"),
    "byol": ("a", "b"),
    "simsiam": ("a", "b"),
    "phinet": ("a", "b", "clean"),
    "akorn_supervised": ("a",),
    "randaugment": ("a",),
    "flip_crop": ("a",),
    "plain": ("a",),
}
RANDOM = sorted(set(NAMES) - {"plain"})
PAIRED = ("simclr", "byol", "simsiam", "phinet")
STILL = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "horizontal_flip": 0.0, "jitter_probability": 0.0}


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(count=8, size=SIZE, seed=1):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=sorted(NAMES))
def name(request):
    return request.param


def test_registry_holds_these_policies_under_these_view_names():
    others = {"unchanged": ("a",), "sudoku_symmetries": ("a",), "maze_symmetries": ("a",)}
    sizes = {name: 9 if name == "sudoku_symmetries" else SIZE for name in VIEWS}
    assert {name: VIEWS.build(name, {}, sizes[name]).names for name in VIEWS} == NAMES | others


def test_views_are_float32_in_the_unit_interval_and_of_the_image_size(name):
    images = (noise(64) * 2 - 0.5).clamp(0, 1)  # many pixels at 0 and 1
    views = VIEWS.build(name, {}, SIZE)(images, draw())
    assert tuple(views) == NAMES[name]
    for view in views.values():
        assert view.dtype == torch.float32
        assert view.shape == images.shape
        assert view.min() >= 0
        assert view.max() <= 1
        assert not view.isnan().any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_views_are_float32_whatever_the_images_are(name, dtype):
    views = VIEWS.build(name, {}, SIZE)(noise().to(dtype), draw())
    assert all(view.dtype == torch.float32 for view in views.values())


def test_same_generator_state_gives_the_same_views(name):
    policy = VIEWS.build(name, {}, SIZE)
    first, second = policy(noise(), draw(3)), VIEWS.build(name, {}, SIZE)(noise(), draw(3))
    assert all(torch.equal(first[view], second[view]) for view in first)
    again = policy(noise(), draw(3))  # the policy itself keeps nothing between calls
    assert all(torch.equal(first[view], again[view]) for view in first)


@pytest.mark.parametrize("name", RANDOM)
def test_the_generator_advances_so_that_the_next_batch_gets_other_parameters(name):
    policy, generator = VIEWS.build(name, {}, SIZE), draw()
    assert not torch.equal(policy(noise(), generator)["a"], policy(noise(), generator)["a"])


def test_global_generator_is_neither_read_nor_moved(name):
    policy = VIEWS.build(name, {}, SIZE)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = policy(noise(), draw())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(policy(noise(), draw())["a"], first["a"])


def test_images_are_left_as_they_were(name):
    images = noise()
    copy = images.clone()
    VIEWS.build(name, {}, SIZE)(images, draw())
    assert torch.equal(images, copy)


@pytest.mark.parametrize("name", RANDOM)
def test_every_image_of_a_batch_gets_parameters_of_its_own(name):
    same = noise(1).expand(12, -1, -1, -1)
    views = VIEWS.build(name, {}, SIZE)(same, draw())["a"]
    assert len(views.flatten(1).unique(dim=0)) >= 11


@pytest.mark.parametrize("name", PAIRED)
def test_views_a_and_b_are_drawn_independently(name):
    images = noise(1, 4).expand(4000, -1, -1, -1)
    options = STILL | {"horizontal_flip": 0.5, "grayscale": 0.0}
    options |= {"solarize_b": 0.0} if name == "byol" else {}
    views = VIEWS.build(name, options, 4)(images, draw())
    flipped = {view: (views[view] - images.flip(-1)).abs().amax((1, 2, 3)) < 1e-4 for view in ("a", "b")}
    assert all(abs(flags.float().mean() - 0.5) < 0.03 for flags in flipped.values())
    assert abs(torch.corrcoef(torch.stack([flipped["a"], flipped["b"]]).float())[0, 1]) < 0.05


@pytest.mark.parametrize("name", ["simclr", "akorn_supervised"])
def test_moving_or_casting_a_policy_changes_no_view_and_it_saves_nothing(name):
    policy = VIEWS.build(name, {"solarize": 0.5}, SIZE)
    views = policy(noise(), draw())
    assert torch.equal(policy.to(torch.float64)(noise(), draw())["a"], views["a"])
    assert policy.state_dict() == {}


def test_autocast_does_not_coarsen_the_pixels(name):
    policy = VIEWS.build(name, {}, SIZE)
    views = policy(noise(), draw())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(policy(noise(), draw())["a"], views["a"])


@pytest.mark.parametrize("name", [*PAIRED, "akorn_supervised"])
def test_digits_can_switch_off_flips_and_colour(name):
    colourless = {"horizontal_flip": 0.0, "jitter_strength": 0.0, "grayscale": 0.0, "crop_scale": [1.0, 1.0]}
    colourless |= {"crop_ratio": [1.0, 1.0]}
    colourless |= {"solarize_b": 0.0} if name == "byol" else {"solarize": 0.0}
    colourless |= {"augmix": False} if name == "akorn_supervised" else {}
    images = noise()
    for view in ("a", "b"):
        if view in NAMES[name]:
            assert torch.allclose(VIEWS.build(name, colourless, SIZE)(images, draw())[view], images, atol=1e-5)


def test_plain_is_the_image():
    assert torch.equal(VIEWS.build("plain", {}, SIZE)(noise(), draw())["a"], noise())


def test_clean_view_is_the_image_or_a_third_view_when_asked():
    images = noise()
    clean = {kind: VIEWS.build("phinet", {"clean": kind}, SIZE)(images, draw()) for kind in ("identity", "augmented")}
    assert torch.equal(clean["identity"]["clean"], images)
    third = clean["augmented"]
    assert not any(torch.allclose(third["clean"], other, atol=0.05) for other in (third["a"], third["b"], images))


def test_clean_view_by_default_is_the_same_at_every_draw():
    policy = VIEWS.build("phinet", {}, SIZE)
    assert torch.equal(policy(noise(), draw(1))["clean"], policy(noise(), draw(2))["clean"])


def blurred(view, images):
    return view.var((1, 2, 3)) < 0.9 * images.var((1, 2, 3))


def test_byol_blurs_a_always_and_b_in_a_tenth_and_solarizes_b_alone_in_a_fifth():
    options = STILL | {"grayscale": 0.0, "blur_sigma": (1.0, 2.0)}
    images = noise(1000, 33)
    views = VIEWS.build("byol", options | {"solarize_b": 0.0}, 33)(images, draw())
    assert blurred(views["a"], images).all()
    assert abs(blurred(views["b"], images).float().mean() - 0.1) < 0.03

    dark = noise(4000, 4) * 0.4 + 0.6  # solarized, everything falls below one half
    views = VIEWS.build("byol", options, 4)(dark, draw())
    assert (views["a"] > 0.5).all()
    assert abs((views["b"] < 0.5).all(1).all(1).all(1).float().mean() - 0.2) < 0.02


@pytest.mark.parametrize("name", ["simclr", "simsiam", "phinet"])
def test_half_of_the_views_are_blurred_above_32_pixels_and_none_up_to_them(name):
    options = STILL | {"grayscale": 0.0, "blur_sigma": (1.0, 2.0)}
    for size, share, tolerance in ((32, 0.0, 0.0), (33, 0.5, 0.06)):
        images = noise(400, size)
        view = VIEWS.build(name, options, size)(images, draw())["a"]
        assert abs(blurred(view, images).float().mean() - share) <= tolerance


def test_small_images_are_blurred_when_asked():
    images = noise(600)
    options = STILL | {"grayscale": 0.0, "blur": 1.0, "blur_sigma": (1.0, 2.0)}
    assert blurred(VIEWS.build("simclr", options, SIZE)(images, draw())["b"], images).all()


def test_grayscale_falls_on_a_fifth_of_the_images():
    views = VIEWS.build("simsiam", STILL, 4)(noise(4000, 4), draw())["a"]
    grey = ((views - views[:, :1]).abs() < 1e-6).all(1).all(1).all(1)
    assert abs(grey.float().mean() - 0.2) < 0.02


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("simclr", {"horizontal_flip": 1.5}, "horizontal_flip=1.5: must be in [0, 1]"),
        ("simclr", {"grayscale": -0.1}, "grayscale=-0.1: must be in [0, 1]"),
        ("simclr", {"grayscale": float("nan")}, "grayscale=nan: must be in [0, 1]"),
        ("simclr", {"blur": 2.0}, "blur=2.0: must be in [0, 1]"),
        ("byol", {"blur_b": 2.0}, "blur_b=2.0: must be in [0, 1]"),
        ("byol", {"solarize_b": -1.0}, "solarize_b=-1.0: must be in [0, 1]"),
        ("simsiam", {"jitter_probability": 1.01}, "jitter_probability=1.01: must be in [0, 1]"),
        ("simclr", {"crop_scale": [0.0, 1.0]}, "crop_scale=[0.0, 1.0]: must be (low, high) with 0 < low <= high <="),
        ("simclr", {"crop_scale": [0.2, 1.1]}, "crop_scale=[0.2, 1.1]"),
        ("phinet", {"crop_scale": [0.9, 0.2]}, "crop_scale=[0.9, 0.2]"),
        ("phinet", {"crop_ratio": [-1.0, 1.0]}, "crop_ratio=[-1.0, 1.0]"),
        ("phinet", {"clean": "clear"}, "resize_crop"),
        ("simclr", {"jitter": [0.4, -0.4, 0.4, 0.1]}, "jitter=[0.4, -0.4, 0.4, 0.1]: entry 2 must be >= 0"),
        ("simclr", {"jitter_strength": -1.0}, "jitter_strength=-1.0: must be >= 0"),
        ("simclr", {"jitter_strength": 3.0}, "be in [0, 0.5]"),
        ("simclr", {"jitter": [0.4, 0.4, 0.4]}, "jitter"),
        ("simclr", {"blur_sigma": [0.0, 2.0]}, "blur_sigma=[0.0, 2.0]"),
        ("flip_crop", {"padding": -1}, "padding=-1: must be >= 0"),
        ("flip_crop", {"padding": 16}, "padding=16: must be below 16"),
        ("akorn_supervised", {"augmix_severity": 11}, "augmix_severity=11: must be in [1, 10]"),
        ("akorn_supervised", {"augmix_width": 0}, "augmix_width=0: must be >= 1"),
        ("akorn_supervised", {"augmix_depth": 0}, "augmix_depth=0: must be -1 or >= 1"),
        ("akorn_supervised", {"augmix_alpha": 0.0}, "augmix_alpha=0.0: must be > 0"),
        ("randaugment", {"magnitude": 31}, "magnitude=31: must be in [0, 30]"),
        ("randaugment", {"erase": 1.5}, "erase=1.5: must be in [0, 1]"),
        ("akorn_supervised", {"noise": -0.1}, "noise=-0.1: must be >= 0"),
        ("akorn_supervised", {"noise": float("inf")}, "noise=inf: must be finite and >= 0"),
        ("simclr", {"horizontal_flips": 0.0}, "did you mean 'horizontal_flip'?"),
        ("simclr", {"crop_scale": 0.5}, "views.crop_scale=0.5"),
        ("plain", {"blur": 0.0}, "unknown key"),
    ],
)
def test_option_out_of_range_is_one_line_with_key_value_and_limits(name, options, message):
    with pytest.raises(UserError) as error:
        VIEWS.build(name, options, SIZE)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_image_size_below_four_pixels_is_refused(name):
    with pytest.raises(UserError, match="image_size=3: must be >= 4"):
        VIEWS.build(name, {}, 3)


def test_unknown_policy_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'phinet'"):
        VIEWS.build("phinett", {}, SIZE)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_generator_on_the_cpu_gives_the_same_views_on_a_gpu(name):
    policy = VIEWS.build(name, {}, SIZE)
    here, there = policy(noise(), draw()), policy(noise().cuda(), draw())
    for view, pixels in here.items():
        assert there[view].is_cuda
        difference = (there[view].cpu() - pixels).abs()
        assert difference.median() < 1e-4  # AugMix works in whole levels, and a half may round either way
        assert difference.mean() < 1e-3
