"""What an audit costs is known before it runs: its own attacks, counted and never undercounted."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from sslkuramoto.cli import main
from sslkuramoto.cost import Cost
from sslkuramoto.data.images.image_set import MemorySet
from sslkuramoto.encoders import ENCODERS, AKOrN
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import Subject
from sslkuramoto.evaluation.audit import Audit
from sslkuramoto.evaluation.audit.protocol import CHECKS, GRID
from sslkuramoto.randomness import generator

TINY = {
    "eps": 0.1,
    "images": 8,
    "chunk": 8,
    "steps": [1, 2],
    "k": [1, 2],
    "restarts": 2,
    "queries": 100,
    "samples": 2,
    "directions": 8,
    "select_draws": 20,
    "grid": [0.05],
}
EVERY = [question.name for question in CHECKS]


def cost_of(subject: Subject, **options) -> Cost:
    ((way, cost),) = Audit(**TINY | options).estimate(subject)
    assert way == ""
    return cost


def rows_seen(subject: Subject, **options) -> int:
    """Return how many images the encoder really met."""
    rows = 0

    def seen(module, arguments) -> None:
        nonlocal rows
        rows += len(arguments[0])

    hook = subject.encoder.register_forward_pre_hook(seen)
    Audit(**TINY | options)(subject)
    hook.remove()
    return rows


@pytest.fixture(scope="module")
def known() -> Callable[[str, Subject], Cost]:
    """What an audit of a network costs, counted once for each name."""
    costs: dict[str, Cost] = {}

    def cost(network: str, subject: Subject) -> Cost:
        if network not in costs:
            costs[network] = cost_of(subject)
        return costs[network]

    return cost


@pytest.mark.parametrize("network", ["cnn", "noisy"])
def test_it_is_never_below_what_the_audit_takes_and_not_far_above(network, subject_of, request, known) -> None:
    subject = subject_of(request.getfixturevalue(network))
    cost = known(network, subject)
    actual = rows_seen(subject)
    # images that are wrong when clean are not attacked, a deterministic network's broken ones are left alone
    slack = 3.0 if network == "cnn" else 1.4
    assert actual <= cost.forward + cost.backward <= slack * actual


@pytest.mark.parametrize("initial", ["random", "fixed"])
def test_it_is_what_the_audit_takes_where_every_image_stands_to_the_end(initial, subject_of) -> None:
    """Without black boxes, which give up where they find no place to start, and surrogates that did no better."""
    encoder = AKOrN(channels=4, kernel_sizes=(3,), num_steps=1).eval()
    images = torch.randint(0, 256, (8, 3, 8, 8), generator=generator("cpu", "images"), dtype=torch.uint8)
    data = MemorySet("any", "test", tuple("0123456789"), torch.zeros(8, dtype=torch.long), 8, "any", images)
    head = nn.Linear(encoder.num_features, 10)
    with torch.no_grad():
        head.bias[0] += 50  # class 0, whatever is done to an image, with gradients that attacks can follow
    subject = subject_of((encoder, head), data=lambda split: data)
    options = {"initial": initial, "skip": ["control", "black_box", "surrogate"]}
    cost, actual = cost_of(subject, **options), rows_seen(subject, **options)
    over = cost.forward + cost.backward - actual
    plane, finds = 7 * 5 * 17, 8 * 25  # of the first image only, counted for all 8; a look at what no attack found
    assert 0 <= over <= plane + finds


def test_it_attacks_nothing_and_leaves_no_ledger(subject_of, cnn) -> None:
    lines: list[str] = []
    subject = subject_of(cnn, report=lines.append)
    cost = cost_of(subject)
    assert cost.forward > 8 * 100
    assert lines == []
    assert not subject.run_dir.exists()


@pytest.mark.parametrize("network", ["cnn", "noisy"])
def test_a_network_that_cuts_the_graph_is_counted_and_timed_too(network, subject_of, request, known) -> None:
    subject = subject_of(request.getfixturevalue(network))
    whole, cut = known(network, subject), cost_of(subject, plant="detached")
    assert cut.passes == whole.passes
    assert cut.seconds > 0


def test_a_question_that_is_skipped_costs_nothing(subject_of, noisy, known) -> None:
    subject = subject_of(noisy)
    everything = known("noisy", subject)
    assert {"black_box", "eps", "k", "fixed_random", "gradient diagnostics", "eot"} <= set(everything.passes)
    less = cost_of(subject, skip=["black_box", "k"])
    assert not {"black_box", "k"} & set(less.passes)
    assert less.forward < everything.forward
    nothing = cost_of(subject, skip=EVERY)
    # what is left is the headline: the plain attack on the network and on its fixed twin, and EoT
    eot = nothing.passes["eot"].backward
    assert eot == TINY["images"] * 2 * 2 * 16, "two losses, two steps, sixteen draws"
    assert nothing.backward - eot < (everything.backward - eot) / 4
    assert rows_seen(subject, skip=EVERY) <= nothing.forward + nothing.backward


def test_it_grows_with_the_budget(subject_of, cnn) -> None:
    subject, skip = subject_of(cnn), [name for name in EVERY if name != "black_box"]
    few, many = (cost_of(subject, skip=skip, queries=queries).passes["black_box"].forward for queries in (100, 200))
    assert 8 * 0.9 * 200 <= many - few <= 8 * 200, "two searches"
    two, nine = (cost_of(subject, steps=[1, steps], grid=None).passes["eps"].backward for steps in (2, 9))
    radii = len(GRID) + 1  # and without bounds
    assert nine - two == 8 * radii * (9 - 2)


def test_a_surrogate_that_does_better_gets_its_full_budget_in_the_count(subject_of) -> None:
    encoder = AKOrN(channels=4, kernel_sizes=(3,), num_steps=1).eval()
    subject = subject_of((encoder, nn.Linear(encoder.num_features, 10)))
    skip = [name for name in EVERY if name != "surrogate"]
    options = {"k": [1, 3, 50], "steps": [1, 2, 4], "images": 16}  # of 8 no gain of one among four can be told
    passes = cost_of(subject, skip=skip, **options).passes
    usual, most, four, reference = 3 * 2, 50 * 4, 4, 3 * 2
    assert passes["surrogate"].backward == 16 * (usual * (1 + four) + reference)
    assert passes["a surrogate that does better"].backward == 16 * most


def test_too_few_draws_are_refused_before_anything_is_attacked(subject_of, noisy) -> None:
    lines: list[str] = []
    for option in ("draws", "select_draws"):
        for act in (Audit(**TINY | {option: 19}), Audit(**TINY | {option: 19}).estimate):
            with pytest.raises(UserError, match=f"^{option}=19: must be at least 20"):
                act(subject_of(noisy, report=lines.append))
    assert lines == []


def test_the_command_line_prints_passes_and_time(trained, capsys, monkeypatch) -> None:
    subject = trained("classification")
    monkeypatch.setitem(ENCODERS._members, "three_convolutions", type(subject.encoder))
    options = ["images=8", "steps=[1,2]", "queries=100", "samples=2", "directions=8"]
    assert main(["evaluate", str(subject.run_dir), "audit-quick", *options, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "audit-quick, 8 images:" in said
    assert "  black_box: " in said
    assert "together at most" in said
    assert "on this device" in said
