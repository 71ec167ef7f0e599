"""Each objective's loss against its paper's formula in numpy, float64, and where its gradient stops."""

import numpy as np
import pytest
import torch

from sslkuramoto.errors import UserError
from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.objectives.losses import nt_xent


@pytest.fixture
def make(build):
    return lambda name, **options: build(name, dtype=torch.float64, norms=False, **options)


@pytest.fixture
def views(views_of):
    return views_of(dtype=torch.float64)


def mean_cos(p: torch.Tensor, z: torch.Tensor) -> float:
    p, z = p.detach().numpy(), z.detach().numpy()
    return float(np.mean([u @ v / np.sqrt(u @ u) / np.sqrt(v @ v) for u, v in zip(p, z, strict=True)]))


def squared(y: torch.Tensor, z: torch.Tensor) -> float:
    return float(np.mean(np.sum((y.detach().numpy() - z.detach().numpy()) ** 2, axis=1)))


def project(encoder, objective, images):
    return objective.projector(encoder(images).pooled)


def test_simclr_is_nt_xent_of_the_projections(make, views, draw) -> None:
    encoder, objective = make("simclr", temperature=0.2)
    z1, z2 = (project(encoder, objective, views[v]) for v in "ab")
    assert objective(encoder, views, draw=draw()).loss.item() == nt_xent(z1, z2, temperature=0.2).item()


def test_simsiam_is_half_of_both_negative_cosines(make, views, draw) -> None:
    encoder, objective = make("simsiam")
    z1, z2 = (project(encoder, objective, views[v]) for v in "ab")
    expected = -(mean_cos(objective.predictor(z1), z2) + mean_cos(objective.predictor(z2), z1)) / 2
    assert objective(encoder, views, draw=draw()).loss.item() == pytest.approx(expected)


def test_byol_is_the_squared_distance_of_normalised_vectors_in_both_directions(make, views, draw) -> None:
    encoder, objective = make("byol")
    with torch.no_grad():
        objective.target.projector.layers[0].weight.add_(0.1)
    unit = torch.nn.functional.normalize
    expected = 0.0
    for v, w in ("ab", "ba"):
        q = unit(objective.predictor(project(encoder, objective, views[v])), dim=1)
        t = unit(objective.target.projector(objective.target.encoder(views[w]).pooled), dim=1)
        expected += squared(q, t)
    outcome = objective(encoder, views, draw=draw())
    assert outcome.loss.item() == pytest.approx(expected)
    assert outcome.loss.item() == pytest.approx(4 - 4 * outcome.metrics["prediction"].item())


@pytest.mark.parametrize("name", ["phinet", "xphinet"])
@pytest.mark.parametrize("form", ["mse", "cosine"])
def test_phinet_sums_its_three_weighted_terms(name, form, make, views, draw) -> None:
    encoder, objective = make(name, sim2=form, sim2_weight=0.7, original_weight=0.3)
    source = (encoder, objective)
    if name == "xphinet":
        with torch.no_grad():
            objective.target.encoder.linear.weight.add_(0.1)
        source = (objective.target.encoder, objective.target)
    z = project(*source, views["clean"])
    z1, z2 = (project(encoder, objective, views[v]) for v in "ab")
    h1, h2 = objective.hippocampus.predictor(z1), objective.hippocampus.predictor(z2)
    y1, y2 = objective.hippocampus.second_predictor(h1), objective.hippocampus.second_predictor(h2)
    terms = {
        "sim1": -(mean_cos(h1, z2) + mean_cos(h2, z1)) / 2,
        "sim2": -(mean_cos(y1, z) + mean_cos(y2, z)) / 2
        if form == "cosine"
        else (squared(y1, z) + squared(y2, z)) / 2 / z.shape[1],
        "original": -(mean_cos(h1, z) + mean_cos(h2, z)) / 2,
    }
    outcome = objective(encoder, views, draw=draw())
    assert {key: outcome.metrics[key].item() for key in terms} == pytest.approx(terms)
    assert outcome.loss.item() == pytest.approx(terms["sim1"] + 0.7 * terms["sim2"] + 0.3 * terms["original"])


@pytest.mark.parametrize("name", ["phinet", "xphinet"])
def test_summing_sim2_over_features_multiplies_it_by_their_number(name, make, views, draw) -> None:
    mean, total = (
        objective(encoder, views, draw=draw()).metrics["sim2"].item()
        for encoder, objective in (make(name, sim2_reduction=r) for r in ("mean", "sum"))
    )
    assert total == pytest.approx(5 * mean)


def test_the_original_term_is_left_out_by_default(make, views, draw) -> None:
    encoder, objective = make("xphinet")
    outcome = objective(encoder, views, draw=draw())
    assert "original" not in outcome.metrics
    parts = outcome.metrics
    assert outcome.loss.item() == pytest.approx(parts["sim1"].item() + 0.5 * parts["sim2"].item())


def test_vicreg_sums_its_three_weighted_terms(make, views, draw) -> None:
    weights = {"invariance": 3.0, "variance": 2.0, "covariance": 0.5}
    encoder, objective = make("vicreg", **{f"{key}_weight": value for key, value in weights.items()})
    outcome = objective(encoder, views, draw=draw())
    expected = sum(weight * outcome.metrics[key].item() for key, weight in weights.items())
    assert outcome.loss.item() == pytest.approx(expected)


def test_barlow_twins_weights_the_redundancy(make, views, draw) -> None:
    encoder, objective = make("barlow_twins", redundancy_weight=0.3)
    outcome = objective(encoder, views, draw=draw())
    parts = outcome.metrics
    assert outcome.loss.item() == pytest.approx(parts["invariance"].item() + 0.3 * parts["redundancy"].item())


@pytest.mark.parametrize("fresh", [False, True])
def test_lejepa_mixes_prediction_and_sigreg(fresh, make, views, draw) -> None:
    encoder, objective = make("lejepa", sigreg_weight=0.3, fresh_directions=fresh)
    outcome = objective(encoder, views, draw=draw())
    parts = outcome.metrics
    assert outcome.loss.item() == pytest.approx(0.7 * parts["invariance"].item() + 0.3 * parts["sigreg"].item())


def test_lejepa_draws_its_directions_from_the_generator(make, views) -> None:
    encoder, objective = make("lejepa", fresh_directions=True)
    first, second, third = (
        objective(encoder, views, draw=torch.Generator().manual_seed(seed)).metrics["sigreg"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    with pytest.raises(UserError, match=r"^draw=None: SIGReg draws its directions; give draw= a torch\.Generator$"):
        objective(encoder, views)


@pytest.mark.parametrize("name", ["classification", "adversarial"])
def test_one_class_is_no_classification_task(name, build) -> None:
    encoder, _ = build("simsiam")
    with pytest.raises(UserError, match=f"objective {name}: needs at least two classes, but the data has one"):
        OBJECTIVES.build(name, {}, encoder, 1)


def test_classification_is_the_mean_negative_log_softmax_of_the_label_smoothed(make, views, labels_of, draw) -> None:
    encoder, objective = make("classification", label_smoothing=0.3)
    logits = objective.head(encoder(views["a"]).pooled).detach().numpy()
    labels = labels_of().numpy()
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    wanted = 0.7 * np.eye(3)[labels] + 0.3 / 3
    outcome = objective(encoder, views, draw=draw(), labels=labels_of())
    assert outcome.loss.item() == pytest.approx(-np.mean(np.sum(wanted * logs, axis=1)))
    assert outcome.metrics["accuracy"].item() == pytest.approx(np.mean(logits.argmax(axis=1) == labels))


@pytest.mark.parametrize(
    ("name", "silent"),
    [
        ("simsiam", ()),
        ("byol", ()),
        ("phinet", ("clean",)),
        ("xphinet", ("clean",)),
        ("simclr", ()),
        ("vicreg", ()),
        ("barlow_twins", ()),
        ("lejepa", ()),
    ],
)
def test_pixels_of_the_clean_view_receive_no_gradient_and_those_of_the_others_do(
    name, silent, make, views, draw
) -> None:
    encoder, objective = make(name)
    leaves = {key: images.requires_grad_() for key, images in views.items() if key in objective.views}
    objective(encoder, leaves, draw=draw()).loss.backward()
    reached = {key for key, images in leaves.items() if images.grad is not None and images.grad.abs().sum() > 0}
    assert reached == set(objective.views) - set(silent)


@pytest.mark.parametrize("name", ["simsiam", "byol", "phinet", "xphinet"])
def test_a_view_is_a_constant_where_it_is_the_target(name, make, views, draw) -> None:
    """The gradient equals that of the formula with every target replaced by a number, checked by finite differences."""
    encoder, objective = make(name)
    hippocampus = getattr(objective, "hippocampus", objective)
    weight = encoder.linear.weight

    def targets():
        with torch.no_grad():
            if name == "byol":
                return [objective.target(views[v], draw()) for v in "ab"]
            fixed = [project(encoder, objective, views[v]) for v in "ab"]
            if name == "phinet":
                fixed.append(project(encoder, objective, views["clean"]))
            if name == "xphinet":
                fixed.append(objective.target(views["clean"], draw()))
            return fixed

    fixed = targets()

    def loss_with_fixed_targets() -> float:
        h1, h2 = (hippocampus.predictor(project(encoder, objective, views[v])) for v in "ab")
        cosines = mean_cos(h1, fixed[1]) + mean_cos(h2, fixed[0])
        if name == "byol":
            return 4 - 2 * cosines
        if name == "simsiam":
            return -cosines / 2
        y1, y2 = (hippocampus.second_predictor(h) for h in (h1, h2))
        sim2 = (squared(y1, fixed[2]) + squared(y2, fixed[2])) / 2 / fixed[2].shape[1]
        return -cosines / 2 + {"phinet": 1.0, "xphinet": 0.5}[name] * sim2

    objective(encoder, views, draw=draw()).loss.backward()
    direction = torch.randn(weight.shape, generator=draw(), dtype=torch.float64)
    slope = (weight.grad * direction).sum().item()
    with torch.no_grad():
        weight.add_(1e-5 * direction)
        up = loss_with_fixed_targets()
        weight.sub_(2e-5 * direction)
        down = loss_with_fixed_targets()
    assert slope == pytest.approx((up - down) / 2e-5, rel=1e-6)


@pytest.mark.parametrize("name", ["byol", "xphinet"])
def test_the_target_moves_after_the_step_and_not_in_the_forward_pass(name, make, views, draw) -> None:
    encoder, objective = make(name, momentum=0.75, momentum_schedule="constant")
    before = objective.target.encoder.linear.weight.clone()
    with torch.no_grad():
        encoder.linear.weight.add_(1.0)
    objective(encoder, views, draw=draw())
    assert torch.equal(objective.target.encoder.linear.weight, before)
    objective.after_step(encoder, 0.1)
    expected = 0.75 * before + 0.25 * encoder.linear.weight
    torch.testing.assert_close(objective.target.encoder.linear.weight, expected, rtol=1e-14, atol=1e-15)


def test_the_logged_momentum_is_that_of_the_latest_update(make, views, draw) -> None:
    encoder, objective = make("byol", momentum=0.9)
    assert objective(encoder, views, draw=draw()).metrics["momentum"].item() == pytest.approx(0.9)
    objective.after_step(encoder, 0.5)
    assert objective(encoder, views, draw=draw()).metrics["momentum"].item() == pytest.approx(0.95)


def test_xphinet_exports_its_long_term_encoder_or_the_online_one(make) -> None:
    encoder, objective = make("xphinet")
    assert objective.exported(encoder) is objective.target.encoder
    encoder.load_state_dict(objective.exported(encoder).state_dict(), strict=True)
    encoder, objective = make("xphinet", export="online")
    assert objective.exported(encoder) is encoder


@pytest.mark.parametrize("name", ["phinet", "xphinet"])
def test_phinet_trains_on_bfloat16_as_it_does_on_float32(name, build, views_of, draw) -> None:
    """Older torch caches what autocast makes of a weight under no_grad, so the clean view comes last."""
    gradients = []
    for enabled in (False, True):
        encoder, objective = build(name)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = objective(encoder, views_of(), draw=draw()).loss
        loss.backward()
        gradients.append(encoder.linear.weight.grad.flatten())
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.98


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("simclr", {"temperature": 0.0}, "objective.temperature=0.0: must be > 0"),
        ("simclr", {"temperature": float("inf")}, "temperature=inf: must be finite and > 0"),
        ("simclr", {"temperatur": 1.0}, "did you mean 'temperature'"),
        ("simclr", {"temperature": "1e-1"}, "read as text"),
        ("simclr", {"projector": {"norm": "layer"}}, "objective.projector.norm='layer'"),
        ("byol", {"momentum": 1.5}, "momentum=1.5: must be in [0, 1]"),
        ("byol", {"predictor": {"layers": 0}}, "objective.predictor.layers=0: must be >= 1"),
        ("xphinet", {"sim2_weight": -1.0}, "sim2_weight=-1.0: must be >= 0"),
        ("xphinet", {"original_weight": -1.0}, "original_weight=-1.0: must be >= 0"),
        ("phinet", {"sim2": "cosine", "sim2_reduction": "sum"}, "sim2_reduction='sum': only for sim2='mse'"),
        ("phinet", {"predictor": {"hidden": 0}}, "objective.predictor.hidden=0: must be >= 1"),
        ("vicreg", {"variance_weight": -1.0}, "variance_weight=-1.0: must be >= 0"),
        ("classification", {"label_smoothing": 1.5}, "label_smoothing=1.5: must be in [0, 1]"),
    ],
)
def test_a_bad_option_is_refused_in_one_line_by_name(name, options, message, build) -> None:
    with pytest.raises(UserError) as caught:
        build(name, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_classification_refuses_data_without_labels(build) -> None:
    from sslkuramoto.objectives import OBJECTIVES

    encoder, _ = build("simclr")
    with pytest.raises(UserError, match="objective classification: needs labels"):
        OBJECTIVES.build("classification", {}, encoder, None)
