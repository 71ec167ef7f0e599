"""The two balls: nearest points, insides and outsides, and what may not be measured at all."""

import math

import pytest
import torch

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import load_protocol
from sslkuramoto.evaluation.protocol import PROTOCOLS
from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.randomness import generator
from sslkuramoto.threat import DEFAULT_EPS, Threat, check_images, check_logits, lengths, parse_eps, shown_eps

DRAW = generator("cpu", "threat")
IMAGES = torch.rand(6, 3, 5, 5, generator=DRAW)
IMAGES[0, :, :2], IMAGES[1, :, 2:] = 0.0, 1.0  # some lie on the faces of the cube
FAR = IMAGES + torch.randn(IMAGES.shape, generator=DRAW)
THREATS = [Threat("linf", 0.1), Threat("l2", 0.5), Threat("linf", 1.0), Threat("l2", 30.0)]
every_threat = pytest.mark.parametrize("threat", THREATS, ids=str)
every_norm = pytest.mark.parametrize("norm", ["linf", "l2"])


@pytest.mark.parametrize(
    ("eps", "value"), [("8/255", 8 / 255), (" 0.5 / 255", 0.5 / 255), (0.1, 0.1), (0.0, 0.0), (1.0, 1.0), (0, 0.0)]
)
def test_eps_is_a_number_or_a_fraction(eps, value):
    assert parse_eps(eps) == value


@pytest.mark.parametrize(
    ("eps", "message"),
    [
        (8.0, r"eps=8: .*did you mean 8/255\?"),
        (8, r"eps=8: .*did you mean 8/255\?"),
        (1.5, r"did you mean 1.5/255\?"),
        (300.0, "must not exceed 1"),
        (-0.1, "must be a finite number >= 0"),
        (float("nan"), "must be a finite number"),
        (float("inf"), "must be a finite number"),
        ("8/0", "divides by zero"),
        ("9/8", "must not exceed 1"),
        ("__import__('os')", "a fraction such as 8/255"),
        ("8/255/2", "a fraction such as 8/255"),
        ("-8/255", "a fraction such as 8/255"),
    ],
)
def test_a_wrong_eps_is_explained(eps, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_eps(eps)
    assert "\n" not in str(caught.value)


def test_an_l2_radius_may_exceed_one_and_is_never_negative():
    assert parse_eps(1.5, "l2") == 1.5
    assert parse_eps("128/255", "l2") == 128 / 255
    with pytest.raises(UserError, match="finite number >= 0"):
        parse_eps(-1.0, "l2")


def test_eps_is_shown_as_people_write_it():
    assert [shown_eps(eps) for eps in (8 / 255, 0.1, 0.2, 0.6, 0.0, 1.0, 0.5 / 255, 2.5)] == [
        "8/255", "0.1", "0.2", "0.6", "0", "1", "0.00196078", "2.5",
    ]  # fmt: skip
    assert str(Threat("l2", 0.5)) == "l2, eps 0.5"


@every_threat
def test_a_projection_lies_in_the_ball_and_in_range(threat):
    threat.check(threat.project(FAR, IMAGES), IMAGES, "projection")
    assert float(threat.distances(threat.project(FAR, IMAGES), IMAGES).max()) <= threat.eps * (1 + 1e-6)


@every_threat
def test_projecting_twice_is_projecting_once(threat):
    once = threat.project(FAR, IMAGES)
    torch.testing.assert_close(threat.project(once, IMAGES), once, rtol=0, atol=2e-7)


@every_threat
def test_a_point_inside_stays_where_it_is(threat):
    inside = (IMAGES + 0.01 * torch.randn(IMAGES.shape, generator=generator("cpu", "in"))).clamp(0, 1)
    assert float(threat.distances(inside, IMAGES).max()) < threat.eps
    torch.testing.assert_close(threat.project(inside, IMAGES), inside, rtol=0, atol=1.2e-7)


@pytest.mark.parametrize("threat", [Threat("linf", 0.1), Threat("linf", 1.0)], ids=str)
def test_no_point_of_the_linf_ball_is_nearer_than_the_projection(threat):
    """Obtuse angle criterion of projections on convex sets: <far - P(far), z - P(far)> <= 0 for all z inside."""
    projected = threat.project(FAR, IMAGES)
    for k in range(50):
        inside = threat.random_start(IMAGES, generator("cpu", "z", k))
        assert float(((FAR - projected) * (inside - projected)).flatten(1).sum(dim=1).max()) <= 1e-5
        assert bool((lengths(projected - FAR) <= lengths(inside - FAR) + 1e-6).all())


def test_the_l2_projection_is_the_nearest_point_where_the_cube_does_not_cut():
    grey, threat = torch.full((4, 3, 5, 5), 0.5), Threat("l2", 0.4)
    far = grey + torch.randn(grey.shape, generator=generator("cpu", "grey"))
    projected = threat.project(far, grey)
    torch.testing.assert_close(lengths(projected - grey), torch.full((4,), 0.4))
    torch.testing.assert_close(lengths(far - projected), lengths(far - grey) - 0.4)


def test_clamping_never_lengthens_an_l2_perturbation():
    for k in range(20):
        far = IMAGES + 3 * torch.randn(IMAGES.shape, generator=generator("cpu", "clamp", k))
        for eps in (0.05, 0.7, 5.0):
            shortened = lengths(far - IMAGES).clamp(max=eps)
            assert bool((lengths(Threat("l2", eps).project(far, IMAGES) - IMAGES) <= shortened * (1 + 1e-6)).all())


@every_norm
def test_an_endless_ball_reaches_every_image(norm):
    threat = Threat(norm, math.inf)
    assert torch.allclose(threat.project(FAR, IMAGES), FAR.clamp(0, 1), atol=2e-7)
    threat.check(threat.random_start(IMAGES, generator("cpu", 0)), IMAGES, "start")


@every_norm
def test_no_room_means_the_images_themselves(norm):
    threat = Threat(norm, 0.0)
    assert torch.equal(threat.project(FAR, IMAGES), IMAGES)
    assert torch.equal(threat.random_start(IMAGES, generator("cpu", 0)), IMAGES)
    assert threat.project(FAR, IMAGES).data_ptr() != IMAGES.data_ptr(), "callers write into what they get"


@every_threat
def test_random_starts_lie_inside_differ_and_repeat(threat):
    first, again, other = (threat.random_start(IMAGES, generator("cpu", name)) for name in ("a", "a", "b"))
    for start in (first, other):
        threat.check(start, IMAGES, "start")
    assert torch.equal(first, again)
    assert bool((threat.distances(first, other) > 0).all())
    assert float(threat.distances(first, IMAGES).max()) > 0.1 * min(threat.eps, 1.0), "and fill the ball"


def test_an_linf_start_is_uniform():
    grey = torch.full((400, 3, 2, 2), 0.5)
    moved = (Threat("linf", 0.2).random_start(grey, generator("cpu", 1)) - grey).flatten()
    assert float(moved.mean()) == pytest.approx(0, abs=0.01)
    assert float(moved.var()) == pytest.approx(0.4**2 / 12, rel=0.05)


@every_threat
def test_the_steepest_direction_has_unit_norm_and_gains_the_dual_norm(threat):
    gradient = torch.randn(IMAGES.shape, generator=generator("cpu", "gradient"))
    direction = threat.steepest(gradient)
    torch.testing.assert_close(threat.distances(direction, torch.zeros_like(direction)), torch.ones(6))
    gain = (direction * gradient).flatten(1).sum(dim=1)
    dual = gradient.abs().flatten(1).sum(dim=1) if threat.norm == "linf" else lengths(gradient)
    torch.testing.assert_close(gain, dual)


@every_norm
@pytest.mark.parametrize("scale", [1e-36, 1e-22, 1e18])
def test_the_steepest_direction_does_not_depend_on_the_size_of_the_gradient(norm, scale):
    """Saturated networks have gradients of 1e-20, whose squares float32 cannot hold."""
    gradient = torch.randn(IMAGES.shape, generator=generator("cpu", "gradient"))
    threat = Threat(norm, 0.1)
    torch.testing.assert_close(threat.steepest(gradient * scale), threat.steepest(gradient), rtol=1e-3, atol=1e-6)


@every_norm
def test_an_image_without_a_gradient_has_no_direction(norm):
    gradient = torch.zeros(2, 3, 4, 4)
    gradient[1] = 1.0
    direction = Threat(norm, 0.1).steepest(gradient)
    assert torch.equal(direction[0], gradient[0])
    assert bool(direction[1].all())


def test_distances_are_those_of_the_norm():
    moved = torch.zeros(2, 3, 2, 2)
    moved[0, 0, 0, 0], moved[0, 2, 1, 1], moved[1, 1] = 0.3, -0.4, 0.1
    base = torch.full_like(moved, 0.5)
    assert Threat("linf", 1).distances(base + moved, base).tolist() == pytest.approx([0.4, 0.1])
    assert Threat("l2", 1).distances(base + moved, base).tolist() == pytest.approx([0.5, 0.2])


@every_norm
def test_what_an_attack_may_not_return_is_noticed(norm):
    threat, images = Threat(norm, 0.1), torch.full((4, 3, 5, 5), 0.95)
    nan, one_pixel = images.clone(), images.clone()
    nan[2, 0, 0, 0], one_pixel[3, 1, 2, 2] = float("nan"), 0.95 - 0.10001
    for beyond, words in (
        (images - 0.2, "left the ball"),
        (one_pixel, "left the ball"),
        (images + 0.0501, r"left \[0,1\]"),
        (nan, "no numbers"),
        (images.double(), "float64"),
        (images[:3], r"\(3, 3, 5, 5\)"),
    ):
        with pytest.raises(AssertionError, match=rf"square.*{words}"):
            threat.check(beyond, images, "square")


@every_norm
def test_rounding_is_no_reason_to_cry(norm):
    images, threat = torch.rand(50, 3, 8, 8, generator=generator("cpu", 3)), Threat(norm, 8 / 255)
    sign = torch.rand(images.shape, generator=generator("cpu", 4)).sub(0.5)
    edge = threat.project(images + threat.eps * threat.steepest(sign), images)
    threat.check(edge, images, "edge")
    threat.check(images[:0], images[:0], "nobody")
    Threat(norm, 0.0).check(images, images, "control")
    with pytest.raises(AssertionError, match="control left the ball"):  # without room there is no rounding
        Threat(norm, 0.0).check((images - 1e-7).clamp(0, 1), images, "control")


@pytest.mark.parametrize(
    ("images", "shown"),
    [
        (IMAGES * 255, r"\[0, 255\]"),
        (IMAGES - 0.5, r"\[-0.5, 0.5\]"),
        (IMAGES * 1.01, r"\[0, 1.01\]"),
        (torch.full((1, 3, 2, 2), float("nan")), "nan"),
    ],
)
def test_images_outside_the_range_are_refused(images, shown):
    with pytest.raises(UserError, match=rf"images lie in .*{shown}.*attacks need pixels in \[0,1\]"):
        check_images(images)
    check_images(IMAGES)


def test_probabilities_are_refused_and_logits_are_not():
    logits = torch.randn(8, 10, generator=generator("cpu", "logits"))
    with pytest.raises(UserError, match="probabilities: attacks need its logits"):
        check_logits(logits.softmax(dim=1))
    for short in (torch.bfloat16, torch.float16):
        with pytest.raises(UserError, match="probabilities: attacks need its logits"):
            check_logits(logits.softmax(dim=1).to(short).float())
    of_no_half = 1.002 * logits.softmax(dim=1)
    for fine in (logits, logits.log_softmax(dim=1), logits.abs(), torch.zeros(8, 10), logits.sigmoid(), of_no_half):
        check_logits(fine)


PGD = "attacks=[pgd]"
BOTH = [("robustness", {"attacks": ["pgd"]}), ("audit", {})]


@pytest.mark.parametrize(("name", "options"), BOTH)
@every_norm
def test_each_norm_has_a_radius_of_its_own_and_the_result_states_it(name, options, norm):
    measure = PROTOCOLS.build(name, {**options, "norm": norm})
    assert measure.options["eps"] == DEFAULT_EPS[norm] == {"linf": "8/255", "l2": 0.5}[norm]
    assert measure.threat == Threat(norm, parse_eps(DEFAULT_EPS[norm], norm))
    assert PROTOCOLS.resolved(name, {**options, "norm": norm})["eps"] == DEFAULT_EPS[norm]
    assert list(measure.options) == list(PROTOCOLS.options(name)), "the order of keys is that of the signature"


@every_norm
def test_adversarial_training_has_the_radius_of_its_norm(norm):
    assert OBJECTIVES.resolved("adversarial", {"norm": norm})["eps"] == DEFAULT_EPS[norm]
    assert OBJECTIVES.resolved("adversarial", {"norm": norm, "eps": 0.1})["eps"] == 0.1
    encoder = torch.nn.Flatten()
    encoder.num_features = 3
    objective = OBJECTIVES.build("adversarial", {"norm": norm}, encoder, 2)
    assert objective.threat == Threat(norm, parse_eps(DEFAULT_EPS[norm], norm))


@pytest.mark.parametrize(
    ("name", "overrides", "threat"),
    [
        ("robustness", [PGD], Threat("linf", 8 / 255)),
        ("robustness", [PGD, "norm=l2"], Threat("l2", 0.5)),
        ("robustness", [PGD, "norm=l2", "eps=8/255"], Threat("l2", 8 / 255)),
        ("robustness-linf", ["norm=l2", "eps=0.25"], Threat("l2", 0.25)),
        ("robustness-linf", ["norm=linf"], Threat("linf", 8 / 255)),
        ("robustness-linf", ["norm=l2", "eps=null"], Threat("l2", 0.5)),
        ("audit", ["norm=l2"], Threat("l2", 0.5)),
    ],
)
def test_a_radius_that_is_stated_stays_as_it_is(name, overrides, threat):
    assert load_protocol(name, overrides).measure.threat == threat


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("robustness-linf", ["norm=l2"], r"^norm=l2: eps=8/255 was stated for norm=linf; set eps too \(usual: 0.5\)$"),
        ("robustness-l2", ["norm=linf"], r"^norm=linf: eps=0.5 was stated for norm=l2; set eps too \(usual: 8/255\)$"),
        ("audit-quick", ["norm=l2"], "norm=l2: eps=8/255 was stated for norm=linf"),
        ("robustness", ["ways={a: {attacks: [pgd], norm: l2}}"], r"ways\.a: norm=l2: eps=8/255 was stated"),
        ("robustness-linf", ["norm=l3"], "norm='l3': must be 'linf' or 'l2'"),
    ],
)
def test_a_radius_of_one_norm_is_never_taken_for_that_of_another(name, overrides, message):
    with pytest.raises(UserError, match=message):
        load_protocol(name, overrides)
