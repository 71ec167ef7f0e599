"""The contract of every source and encoder of pairs, and of the objectives that train on them."""

import copy
from typing import get_type_hints

import pytest
import torch
from torch import nn

from sslkuramoto.data import DATA, DataSet, batches, expected_spec, in_order
from sslkuramoto.encoders import ENCODERS, Encoder
from sslkuramoto.encoders.features import check_takes
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Images, Pairs, joined_pictures
from sslkuramoto.heads import HEADS
from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.randomness import borrowed_global, generator

SOURCES = [name for name in DATA if get_type_hints(DATA.result_class(name, DataSet).expected).get("return") is Pairs]
VARIANTS = {
    "relational": [
        {"initial": "fixed"},
        {"initial": "stimulus", "between": False},
        {"symmetric": True, "natural_frequency": False, "oscillator_dim": 3},
        {"learn_step_size": True, "oscillator_dim": 4, "learn_frequency": False},
    ],
    "relational_control": [{"compare": "concatenated"}],
}
NAMES = [name for name in ENCODERS if Pairs in ENCODERS[name].reads]
CASES = [
    pytest.param(name, {**ENCODERS.small(name), **changes, "pictures": pictures}, id=f"{name}{number}-{pictures}")
    for name in NAMES
    for number, changes in enumerate([{}, *VARIANTS.get(name, [])])
    for pictures in (2, 6)
]
every_source = pytest.mark.parametrize("source", SOURCES)
every_encoder = pytest.mark.parametrize(("name", "options"), CASES)


def build(name: str, options: dict) -> Encoder:
    with borrowed_global(generator("cpu", "contract", name)):
        return ENCODERS.build(name, options).eval()


def pictures(options: dict, count: int = 3) -> torch.Tensor:
    side, p = options["size"], options["pictures"]
    return torch.rand(count, p, 3, side, side, generator=generator("cpu", "pictures", side))


def draw(number: int = 0) -> torch.Generator:
    return generator("cpu", "draw", number)


def test_there_are_sources_of_two_and_of_six_pictures_and_encoders_with_and_without_oscillators() -> None:
    assert {expected_spec(name, DATA.resolved(name, DATA.small(name))).per_example for name in SOURCES} == {2, 6}
    assert {build(*case.values).stochastic for case in CASES} == {False, True}


@every_source
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_source_gives_what_it_declares_with_balanced_labels(source: str, split: str) -> None:
    options = DATA.small(source)
    data = DATA.build(source, options, split)
    spec = expected_spec(source, DATA.resolved(source, options))
    assert data.spec == spec
    assert data.split == split
    assert data.class_names is not None
    assert len(data.class_names) == spec.num_classes == 2
    labels = []
    for batch in batches(data, in_order(len(data), 7), device="cpu"):
        assert batch.inputs.shape[1:] == (spec.per_example, 3, spec.side, spec.side)
        assert batch.inputs.dtype == torch.float32
        assert 0 <= batch.inputs.min() <= batch.inputs.max() <= 1
        assert batch.targets.dtype == torch.int64
        assert batch.extra["icons"].shape == batch.inputs.shape[:2]
        labels.append(batch.targets)
    assert abs(int(torch.cat(labels).sum()) * 2 - len(data)) <= 1


@every_source
def test_an_encoder_of_other_examples_is_refused_in_one_line(source: str) -> None:
    spec = expected_spec(source, DATA.resolved(source, {}))
    with pytest.raises(UserError, match=rf"encoder akorn reads images; data {source} gives pairs"):
        check_takes("encoder akorn", ENCODERS.build("akorn", ENCODERS.small("akorn")), f"data {source}", spec)
    other = ENCODERS.build("relational", {"pictures": 8 - spec.per_example})
    with pytest.raises(UserError, match=rf"is built for pairs.*; data {source} gives pairs"):
        check_takes("encoder relational", other, f"data {source}", spec)
    with pytest.raises(UserError, match="encoder relational reads pairs; data digits gives images"):
        check_takes("encoder relational", other, "data digits", Images(32, 10))


@every_encoder
def test_features_have_the_promised_shapes(name: str, options: dict) -> None:
    encoder = build(name, options)
    with torch.no_grad():
        features = encoder(pictures(options), draw=draw(), trace=True)
    assert encoder.built_for == Pairs(Images(options["size"]), options["pictures"])
    assert features.pooled.shape == (3, encoder.num_features)
    assert features.pooled.isfinite().all()
    assert features.map.ndim == 4
    assert len(features.map) == 3
    assert (features.trace is not None) == encoder.has_energy == bool(encoder.num_steps)
    if features.trace is not None:
        (trace,), (steps,) = features.trace, encoder.num_steps
        channels = options["dimensions"] * encoder.oscillator_dim
        assert trace.states.shape == (steps, 3, channels, options["pictures"], 1)
        assert trace.energy.shape == trace.energy_code.shape == (steps + 1, 3)
        assert torch.equal(trace.states[-1], features.map)
        lengths = features.map.unflatten(1, (-1, encoder.oscillator_dim)).norm(dim=2)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))


@every_encoder
def test_randomness_is_an_argument_and_oscillators_can_be_passed_in(name: str, options: dict) -> None:
    encoder, given = build(name, options), pictures(options)
    with torch.no_grad():
        one, again, other = (encoder(given, draw=draw(number)).pooled for number in (0, 0, 1))
        assert torch.equal(one, again)
        assert torch.equal(one, other) is not encoder.stochastic
        if not encoder.stochastic:
            assert torch.equal(one, encoder(given).pooled)
            return
        with pytest.raises(UserError, match="draw="):
            encoder(given)
        field = encoder.sample_initial(given, draw())
        assert torch.equal(encoder(given, initial=field).pooled, one)
        torch.testing.assert_close(encoder(given, initial=3 * field).pooled, one, rtol=1e-4, atol=1e-5)
        assert encoder(given, initial=field[:1]).pooled.shape == one.shape
        with pytest.raises(UserError, match="initial of shape"):
            encoder(given, initial=field[:, :, :1])


@every_encoder
@pytest.mark.parametrize("training", [False, True])
def test_no_call_reads_or_changes_the_global_generator(name: str, options: dict, training: bool) -> None:
    encoder, found = build(name, options).train(training), []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            found.append(copy.deepcopy(encoder)(pictures(options), draw=draw()).pooled)
            assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(*found)


@every_encoder
def test_weights_go_through_a_state_dict_strictly_and_double_precision_agrees(name: str, options: dict) -> None:
    encoder, given = build(name, options), pictures(options)
    with borrowed_global(generator("cpu", "another")):
        other = ENCODERS.build(name, options).eval()
    with torch.no_grad():
        wanted = encoder(given, draw=draw()).pooled
        assert not torch.equal(wanted, other(given, draw=draw()).pooled)
        other.load_state_dict(encoder.state_dict(), strict=True)
        assert torch.equal(wanted, other(given, draw=draw()).pooled)
        double = copy.deepcopy(encoder).double()(given.double(), draw=draw()).pooled
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), wanted, rtol=1e-3, atol=1e-4)


@every_encoder
def test_an_example_is_encoded_alike_whatever_else_is_in_its_batch(name: str, options: dict) -> None:
    encoder, given = build(name, options), pictures(options)
    field = {"initial": encoder.sample_initial(given, draw())} if encoder.stochastic else {}
    alone = {key: value[1:2] for key, value in field.items()}
    with torch.no_grad():
        torch.testing.assert_close(encoder(given, **field).pooled[1:2], encoder(given[1:2], **alone).pooled)


@pytest.mark.parametrize("name", NAMES)
def test_six_pictures_are_three_pairs_of_the_same_weights(name: str) -> None:
    options = {**ENCODERS.small(name), "pictures": 6}
    three, one = build(name, options), build(name, {**options, "pictures": 2})
    one.load_state_dict(three.state_dict(), strict=True)
    given = pictures(options)
    field = three.sample_initial(given, draw()) if three.stochastic else None
    with torch.no_grad():
        whole = three(given, initial=field, trace=True)
        parts = []
        for first in (0, 2, 4):
            own = None if field is None else field[:, :, first : first + 2]
            parts.append(one(given[:, first : first + 2], initial=own, trace=True))
    torch.testing.assert_close(whole.pooled, torch.cat([part.pooled for part in parts], dim=1))
    if whole.trace is not None:
        traces = [part.trace[0] for part in parts]
        torch.testing.assert_close(whole.trace[0].states, torch.cat([each.states for each in traces], dim=3))
        torch.testing.assert_close(whole.trace[0].energy, sum(each.energy for each in traces))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(2, 2, 3, 16, 12), (2, 2, 3, 24, 24), (2, 3, 3, 16, 16), (2, 6, 3, 16, 16)])
def test_pictures_of_another_size_or_number_are_refused_in_one_line(name: str, shape: tuple[int, ...]) -> None:
    encoder = build(name, ENCODERS.small(name))
    with pytest.raises(UserError, match=r"examples of shape \(.*\): this encoder was built for \(2, 3, 16, 16\)"):
        encoder(torch.zeros(shape), draw=draw())


def test_pictures_that_differ_in_size_make_no_pairs() -> None:
    one, other = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 12)
    assert torch.equal(joined_pictures(one, one)[:, 1], one)
    with pytest.raises(
        UserError, match=r"\(2, 3, 16, 16\) and \(2, 3, 16, 12\): those of an example must have one size"
    ):
        joined_pictures(one, other)
    with pytest.raises(UserError, match="one size"):
        joined_pictures()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("relational", {"oscillator_dim": 3}, "oscillator_dim=3: must be even with natural frequencies"),
        ("relational", {"oscillator_dim": 1}, "oscillator_dim=1: must be"),
        ("relational", {"size": 30}, "size=30: must be divisible by 8"),
        ("relational", {"pictures": 4}, "pictures=4"),
        ("relational", {"num_steps": 0}, "num_steps=0: must be"),
        ("relational_control", {"size": 30}, "size=30: must be divisible by 8"),
    ],
)
def test_options_that_build_no_network_are_refused_in_one_line(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        ENCODERS.build(name, options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_control_takes_no_oscillators() -> None:
    with pytest.raises(UserError, match="no oscillators"):
        build("relational_control", ENCODERS.small("relational_control"))(
            torch.zeros(1, 2, 3, 16, 16), initial=torch.zeros(1)
        )


def test_the_steps_of_a_call_may_be_others_than_in_training() -> None:
    options = {**ENCODERS.small("relational"), "pictures": 2}
    encoder, given = build("relational", options), pictures(options)
    longer = build("relational", {**options, "num_steps": 7})
    longer.load_state_dict(encoder.state_dict(), strict=True)
    with torch.no_grad():
        found = encoder(given, draw=draw(), num_steps=7, trace=True)
        assert torch.equal(found.pooled, longer(given, draw=draw()).pooled)
    assert len(found.trace[0].states) == 7


@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if Pairs in OBJECTIVES[name].reads])
@every_encoder
def test_two_steps_of_an_optimizer_change_encoder_and_head(objective: str, name: str, options: dict) -> None:
    with borrowed_global(generator("cpu", 0)):
        encoder = ENCODERS.build(name, options)
        trained = OBJECTIVES.build(objective, {**OBJECTIVES.small(objective), "hidden": 16}, encoder, 2)
    learner = nn.ModuleList([encoder, trained])
    before = {key: value.clone() for key, value in learner.named_parameters() if value.requires_grad}
    optimizer = torch.optim.Adam([value for value in learner.parameters() if value.requires_grad], lr=1e-2)
    for step in range(2):
        outcome = trained(encoder, {"a": pictures(options, 6)}, draw=draw(step), labels=torch.arange(6) % 2)
        outcome.loss.backward()
        assert outcome.loss.isfinite()
        assert outcome.features.shape == (6, encoder.num_features)
        optimizer.step()
        optimizer.zero_grad()
    same = [key for key, value in learner.named_parameters() if key in before and torch.equal(value, before[key])]
    assert same == []


@pytest.mark.parametrize("head", [name for name in HEADS if Pairs in HEADS[name].reads])
def test_heads_of_pairs_give_one_logit_for_each_answer(head: str) -> None:
    assert HEADS.build(head, {}, 12, 2)(torch.zeros(4, 12)).shape == (4, 2)


def test_a_fixed_start_of_six_pictures_is_that_of_each_pair_alone() -> None:
    options = {**ENCODERS.small("relational"), "initial": "fixed"}
    alone, three = (build("relational", {**options, "pictures": count}) for count in (2, 6))
    three.load_state_dict(alone.state_dict())
    images = pictures({**options, "pictures": 6})
    each = [alone(pair).pooled for pair in images.unflatten(1, (3, 2)).unbind(1)]
    torch.testing.assert_close(three(images).pooled, torch.cat(each, dim=1))
    field = three.fixed_initial(images)
    assert field is not None
    torch.testing.assert_close(three(images, initial=field).pooled, three(images).pooled)
