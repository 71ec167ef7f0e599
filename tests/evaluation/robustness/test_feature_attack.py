"""The attack on features: exact on a linear encoder, nothing on a constant one, beside a stochastic one's own noise."""

import pytest
import torch
from safetensors import safe_open
from torch import nn

from sslkuramoto.attacks import Work
from sslkuramoto.attacks.counting import counted
from sslkuramoto.attacks.feature_objective import FeatureObjective, apart, compared
from sslkuramoto.attacks.held_noise import climb
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.evaluation.robustness.feature_attack import FeatureAttack
from sslkuramoto.evaluation.robustness.feature_scores import retrieved
from sslkuramoto.randomness import generator
from sslkuramoto.threat import Threat

QUICK = {"eps": [0.05, 0.1], "images": 12, "chunk": 5, "iterations": 8, "k": 3, "neighbours": 5}


def build(**options) -> FeatureAttack:
    protocol = PROTOCOLS.build("feature_attack", {**QUICK, **options})
    assert isinstance(protocol, FeatureAttack)
    return protocol


class LinearEncoder(Encoder):
    """Features W x."""

    def __init__(self, features: int = 6, side: int = 4) -> None:
        super().__init__()
        self.num_features = features
        draw = generator("cpu", "linear encoder")
        self.weight = nn.Parameter(torch.randn(features, 3 * side * side, generator=draw))

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        pooled = images.flatten(1) @ self.weight.T
        return Features(pooled, pooled[:, :, None, None])


class Constant(LinearEncoder):
    """The same feature for every image, through a graph."""

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        pooled, grid, _ = super().forward(images, initial=initial, draw=draw, trace=trace)
        return Features(0 * pooled + 1, grid)


class Cut(LinearEncoder):
    """Features without a graph to the pixels."""

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        pooled, grid, _ = super().forward(images, initial=initial, draw=draw, trace=trace)
        return Features(pooled.detach(), grid)


def ascended(encoder: Encoder, images, references, threat: Threat, **options) -> torch.Tensor:
    found = {"direction": "away", "distance": "l2", **options}
    objective = FeatureObjective(encoder, references, found["direction"], found["distance"])
    start = threat.random_start(images, Work(0, 0).generator("cpu", "start"))
    return climb(objective, images, start, threat=threat, iterations=100, optimiser="apgd")


def test_the_worst_l2_perturbation_of_a_linear_encoder_is_its_top_right_singular_vector() -> None:
    encoder, images, eps = LinearEncoder(), torch.full((3, 3, 4, 4), 0.5), 0.3
    found = ascended(encoder, images, encoder(images).pooled.detach(), Threat("l2", eps))
    _, values, right = torch.linalg.svd(encoder.weight.detach())
    moved = (found - images).flatten(1)
    torch.testing.assert_close((moved @ right[0]).abs(), torch.full((3,), eps), rtol=1e-4, atol=0)
    torch.testing.assert_close((moved @ encoder.weight.detach().T).norm(dim=1), eps * values[:1].expand(3))


def test_of_one_feature_the_worst_linf_perturbation_is_the_sign_of_its_weights() -> None:
    encoder, images, eps = LinearEncoder(features=1), torch.full((2, 3, 4, 4), 0.5), 0.1
    found = ascended(encoder, images, encoder(images).pooled.detach(), Threat("linf", eps))
    away = (encoder(found).pooled - encoder(images).pooled).detach()
    assert away.abs().flatten().tolist() == pytest.approx(
        [eps * encoder.weight.detach().abs().sum().item()] * 2, rel=1e-5
    )


def test_towards_ends_at_the_target_where_the_ball_reaches_it_and_at_its_edge_where_not() -> None:
    encoder = LinearEncoder(features=2)
    images = torch.full((2, 3, 4, 4), 0.5)
    wanted = encoder(images).pooled.detach() + torch.tensor([[0.1, -0.1], [100.0, 0.0]])
    found = ascended(encoder, images, wanted, Threat("l2", 0.2), direction="towards").detach()
    left = apart(encoder(found).pooled, wanted, "l2").sqrt()
    shortest = 2 * 0.2 / 2**8  # APGD halves its step at eight checkpoints at most
    assert left[0] <= shortest * torch.linalg.matrix_norm(encoder.weight, 2)
    assert float((found - images)[1].norm()) == pytest.approx(0.2, rel=1e-5)


def test_the_cosine_ignores_the_length_of_a_feature_and_l2_does_not() -> None:
    feature = torch.tensor([[3.0, 4.0]])
    assert apart(2 * feature, compared(feature, "cosine"), "cosine").item() == pytest.approx(0, abs=1e-6)
    assert apart(2 * feature, compared(feature, "l2"), "l2").item() == 25
    assert apart(-feature, compared(feature, "cosine"), "cosine").item() == pytest.approx(2)


def test_a_mean_reference_gives_the_mean_distance_from_the_draws_up_to_a_constant() -> None:
    draw = generator("cpu", "draws")
    draws, features = torch.randn(7, 1, 4, generator=draw), torch.randn(2, 4, generator=draw)
    for distance in ("l2", "cosine"):
        mean = apart(features, compared(draws, distance).mean(dim=0).expand(2, -1), distance)
        each = torch.stack([apart(features, compared(one.expand(2, -1), distance), distance) for one in draws])
        torch.testing.assert_close(mean.diff(), each.mean(dim=0).diff())


def test_an_image_is_retrieved_unless_another_one_is_nearer_and_a_tie_is_no_other() -> None:
    clean = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
    attacked = torch.tensor([[[0.0, 3.0], [1.0, 2.0], [2.0, 1.0]]])
    assert retrieved(attacked, clean, torch.arange(3)).tolist() == [[False, True, True]]


@pytest.mark.parametrize("direction", ["away", "towards"])
def test_a_constant_encoder_does_not_move(direction, some_set, subject_of) -> None:
    subject = subject_of((Constant(side=8), None), data=lambda split: some_set(20, split=split))
    result = build(direction=direction)(subject)
    for eps in ("0", "0.05", "0.1"):
        assert result.metrics[f"cosine_{eps}"].value == pytest.approx(1, abs=1e-6)
        assert result.metrics[f"relative_l2_{eps}"].value == 0
        assert result.metrics[f"retrieved_{eps}"].value == 1


def test_a_deterministic_encoder_is_itself_at_0_and_moves_farther_with_eps(cnn, subject_of) -> None:
    kept = {}
    result = build()(subject_of(cnn, keep=kept.__setitem__))
    values = {name: metric.value for name, metric in result.metrics.items()}
    assert values["cosine_0"] == pytest.approx(1, abs=1e-6)
    assert (values["relative_l2_0"], values["retrieved_0"]) == (0, 1)
    assert values["cosine_0"] > values["cosine_0.05"] > values["cosine_0.1"]
    assert 0 < values["relative_l2_0.05"] < values["relative_l2_0.1"]
    assert values["retrieved_0"] >= values["retrieved_0.05"] >= values["retrieved_0.1"]
    assert values["knn_accuracy_0.1"] < values["knn_accuracy_0"]
    assert {metric.draws for metric in result.metrics.values()} == {1}
    assert {metric.reading for metric in result.metrics.values()} == {None}, "no column of robust accuracy takes them"
    low, value, high = (getattr(result.metrics["cosine_0.1"], end) for end in ("low", "value", "high"))
    assert low < value < high
    assert value == pytest.approx(sum(result.per_image["cosine_0.1"]) / 12, abs=1e-6)
    threat = Threat("linf", 0.1)
    clean = torch.stack([subject_of(cnn).images("test").images[i] for i in result.per_image["index"]]) / 255
    threat.check(kept["adversarial"], clean, "the largest radius")


def test_a_stochastic_encoder_differs_from_itself_without_an_attack(noisy, cnn, subject_of) -> None:
    """Noise s z on each feature: the difference of two draws is 2 s^2 d in the mean, and eps adds to it."""
    result = build()(subject_of(noisy))
    assert {metric.draws for metric in result.metrics.values()} == {20}
    assert result.metrics["cosine_0"].value < 0.99
    assert result.metrics["retrieved_0"].value < 1
    assert result.metrics["cosine_0"].value > result.metrics["cosine_0.1"].value
    assert any("eps 0 is the encoder's own difference" in note for note in result.notes)
    still = build()(subject_of(cnn))
    assert still.metrics["cosine_0"].value > result.metrics["cosine_0"].value


def test_attack_and_score_use_other_draws_and_a_seed_repeats_them(noisy, subject_of, tmp_path) -> None:
    found = [
        build()(subject_of(noisy, seed=seed, run_dir=tmp_path / name)) for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    ]
    values = [{name: metric.value for name, metric in result.metrics.items()} for result in found]
    assert values[0] == values[1] != values[2]


def test_towards_comes_nearer_to_a_partner_and_no_image_is_its_own(cnn, subject_of) -> None:
    result = build(direction="towards", distance="cosine", images=40, chunk=40)(subject_of(cnn))
    index, target = result.per_image["index"], result.per_image["target"]
    assert sorted(index) == sorted(target)
    assert all(own != other for own, other in zip(index, target, strict=True))
    values = {name: metric.value for name, metric in result.metrics.items()}
    assert values["nearer_target_0"] == 0 < values["nearer_target_0.1"]
    assert "nearer_target_0.05" in result.per_image


def test_a_run_that_was_killed_resumes_with_equal_numbers(noisy, subject_of, monkeypatch) -> None:
    whole = build(ledger=None)(subject_of(noisy))
    subject = subject_of(noisy, run_dir=subject_of(noisy).run_dir / "killed")
    attack, done = FeatureAttack._unit, []

    def killed(*arguments):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(arguments)
        return attack(*arguments)

    monkeypatch.setattr(FeatureAttack, "_unit", killed)
    with pytest.raises(KeyboardInterrupt):
        build()(subject)
    monkeypatch.setattr(FeatureAttack, "_unit", lambda *arguments: done.append(arguments) or attack(*arguments))
    again = build()(subject)
    assert len(done) == 6, "three chunks at two radii, four of which were in the ledger"
    assert again.to_dict() == whole.to_dict()
    for path in (subject.run_dir / "ledger").rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            assert file.get_tensor("candidates").shape[1:] == (3, 8, 8)


def test_without_labels_there_is_no_knn_and_all_else_is_the_same(cnn, some_set, subject_of, tmp_path) -> None:
    found = {
        labelled: build()(
            subject_of(
                cnn,
                data=lambda split, labelled=labelled: some_set(20, labelled=labelled, split=split),
                run_dir=tmp_path / str(labelled),
            )
        )
        for labelled in (True, False)
    }
    with_labels, without = found[True].metrics, found[False].metrics
    assert set(with_labels) - set(without) == {name for name in with_labels if name.startswith("knn_accuracy")}
    assert {name: with_labels[name] for name in without} == without
    assert "no k-NN accuracy: no labels" in found[False].notes


def test_an_encoder_that_cuts_its_gradient_is_said_to_be_unmeasured(some_set, subject_of) -> None:
    result = build()(subject_of((Cut(side=8), None), data=lambda split: some_set(20, split=split)))
    assert any("no gradient reaches the pixels" in note for note in result.notes)


def test_an_encoder_that_draws_on_attacked_images_only_is_refused(cnn, subject_of, monkeypatch) -> None:
    subject = subject_of(cnn)
    plain = subject.encoder.forward

    def unsure(images, **options):
        found = plain(images, **options)
        levels = 255 * images.flatten(1)
        attacked = ((levels - levels.round()).abs() > 0.01).any(dim=1, keepdim=True)
        return found._replace(pooled=found.pooled + 1e-3 * attacked * torch.randn_like(found.pooled))

    monkeypatch.setattr(subject.encoder, "forward", unsure)
    with pytest.raises(UserError, match="on attacked images the encoder counts as deterministic"):
        build()(subject)


def test_the_estimate_is_of_the_passes_that_are_made(cnn, subject_of) -> None:
    subject = subject_of(cnn)
    _, _, (_, cost) = build().estimate(subject)
    build()(subject)  # the features of both splits are in the cache now
    before = (encoder := subject.encoder).calls
    shown = build(iterations=9).estimate(subject)[-1][1]
    assert cost.backward == 12 * 2 * 8
    assert shown.backward == 12 * 2 * 9
    assert encoder.calls > before


@pytest.mark.parametrize("name", ["cnn", "noisy"])
def test_the_estimate_is_never_exceeded(request, name, subject_of) -> None:
    subject = subject_of(request.getfixturevalue(name))
    costs = [cost for _, cost in build().estimate(subject)]
    with counted(subject.encoder) as count:
        build()(subject)
    assert count.backward == sum(cost.backward for cost in costs)
    assert 0 <= sum(cost.forward + cost.backward for cost in costs) - count.all <= 2 * 12, "two looks at most"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": []}, r"eps=\[\]: name at least one radius"),
        ({"eps": [0.0, 0.1]}, "each above 0"),
        ({"eps": ["8/255", "8/255"]}, "same radius twice"),
        ({"direction": "away", "k": 0}, "k=0: must be"),
    ],
)
def test_impossible_options_are_refused_in_one_line(options, message) -> None:
    with pytest.raises(UserError, match=message) as error:
        build(**options)
    assert "\n" not in str(error.value)


def test_towards_needs_two_images_and_knn_no_more_voters_than_images(cnn, subject_of) -> None:
    with pytest.raises(UserError, match="at least two images"):
        build(direction="towards", images=1)(subject_of(cnn))
    for asked in (build(neighbours=5000), build(neighbours=5000).estimate):
        with pytest.raises(UserError, match="larger than the training set"):
            asked(subject_of(cnn))
    with pytest.raises(UserError, match="at least two images"):
        build(direction="towards", images=1).estimate(subject_of(cnn))
