"""Votes of several draws against counting them one by one, and what the protocol reports of them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from sslkuramoto.data import DATA
from sslkuramoto.dynamics.layer import LayerTrace
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import Subject, load_protocol
from sslkuramoto.evaluation.boards.scores import distributions
from sslkuramoto.evaluation.boards.sudoku import judged
from sslkuramoto.evaluation.boards.votes import VOTES, Draw, Groups
from sslkuramoto.examples import Boards
from sslkuramoto.randomness import generator
from sslkuramoto.results import Result

N = 10
EVERY = tuple(VOTES)


def drawn(seed: int, boards: int = 5, symbols: int = 4) -> Draw:
    draw = generator("cpu", "made", seed)
    probabilities = torch.rand(boards, symbols, symbols, symbols, generator=draw, dtype=torch.float64).softmax(dim=1)
    energies = {name: torch.rand(boards, generator=draw) for name in ("energy_last", "energy_sum")}
    return Draw(probabilities.argmax(dim=1) + 1, probabilities, energies)


def by_hand(vote: str, draws: list[Draw]) -> torch.Tensor:
    """The answer of a vote, board by board and cell by cell."""
    boards, symbols, side, _ = draws[0].probabilities.shape
    answer = torch.zeros(boards, side, side, dtype=torch.int64)
    for b in range(boards):
        if vote in ("energy_last", "energy_sum", "confidence"):
            confidence = [d.probabilities[b].max(dim=0).values.mean().item() for d in draws]
            low = [-c for c in confidence] if vote == "confidence" else [d.energies[vote][b].item() for d in draws]
            answer[b] = draws[low.index(min(low))].answers[b]
            continue
        for y in range(side):
            for x in range(side):
                if vote == "majority":
                    count = [sum(int(d.answers[b, y, x]) == k + 1 for d in draws) for k in range(symbols)]
                else:
                    count = [sum(d.probabilities[b, k, y, x].item() for d in draws) for k in range(symbols)]
                best = max(count)
                answer[b, y, x] = count.index(best) + 1 if count.count(best) == 1 else 0
    return answer


@pytest.mark.parametrize("vote", EVERY)
@pytest.mark.parametrize("size", [1, 2, 5, 8, 11])
def test_a_vote_of_k_draws_is_that_of_counting_them_one_by_one(vote: str, size: int) -> None:
    draws, seen = [drawn(seed) for seed in range(2 * size)], []
    groups = Groups((vote,), size, lambda name, count, answers: seen.append((count, answers)))
    for draw in draws:
        groups.add(draw)
    whole = [answers for count, answers in seen if count == size]
    assert len(whole) == 2
    for place, answers in enumerate(whole):
        assert torch.equal(answers, by_hand(vote, draws[place * size : (place + 1) * size]))


@pytest.mark.parametrize("vote", EVERY)
def test_votes_of_2_and_4_draws_on_the_way_are_of_draws_that_follow_each_other(vote: str) -> None:
    draws, seen = [drawn(seed) for seed in range(11)], []
    groups = Groups((vote,), 11, lambda name, count, answers: seen.append((count, answers)))
    for draw in draws:
        groups.add(draw)
    assert [count for count, _ in seen].count(2) == 5
    for count in (2, 4, 8):
        for place, answers in enumerate(each for number, each in seen if number == count):
            assert torch.equal(answers, by_hand(vote, draws[place * count : (place + 1) * count]))


def test_a_draw_that_is_not_finite_never_wins_a_vote() -> None:
    good, bad = drawn(0), drawn(1)
    energies = {name: torch.full((5,), torch.nan) for name in bad.energies}
    bad = Draw(torch.zeros_like(bad.answers), torch.zeros_like(bad.probabilities), energies)
    for order in ([good, bad], [bad, good]):
        for name, vote in VOTES.items():
            state = vote.merged(vote.start(order[0]), vote.start(order[1]))
            assert torch.equal(vote.answers(state), good.answers), name


def test_consistent_boards_obey_the_rules_and_keep_their_givens() -> None:
    data = DATA.build("sudoku", {"puzzles": 3, "givens": 5}, "train")
    other = data.solutions % 4 + 1  # obeys the rules, with other symbols in given cells
    broken = data.solutions.clone()
    broken[:, 0, 0] = broken[:, 0, 1]
    for answers, wanted in ((data.solutions, True), (other, False), (broken, False)):
        assert judged(answers, data.puzzles, data.solutions, 4).consistent_boards.tolist() == [wanted] * 3
    empty = torch.zeros_like(data.puzzles)
    assert judged(other, empty, data.solutions, 4).consistent_boards.all(), "nothing is given: another solution"


def test_distributions_hold_every_draw_of_boards_with_both_kinds_once() -> None:
    draw = generator("cpu", "hist")
    scores, right = torch.rand(9, 8, generator=draw), torch.rand(9, 8, generator=draw) < 0.5
    right[:, 3] = True
    found = distributions({"energy_sum": scores}, right)["energy_sum"]
    both = [board for board in range(8) if board != 3]
    assert sum(found["right"]) == int(right[:, both].sum())
    assert sum(found["wrong"]) == int((~right[:, both]).sum())
    assert [each["index"] for each in found["boards"]] == both[:6]
    assert found["boards"][0]["right"] == right[:, 0].int().tolist()


class Guessing(Encoder):
    """Is right with probability T / 8; its energy is low where it is right, and its confidence high."""

    num_features = 4
    reads = (Boards,)
    stochastic = True
    num_steps = (2,)
    has_energy = True

    def __init__(self, boards, sign: float = 1.0):
        super().__init__()
        self.puzzles, self.solutions, self.sign = boards.puzzles, boards.solutions, sign

    def forward(self, images, *, initial=None, draw=None, trace=False, num_steps=None):
        assert trace == "energy"
        steps = num_steps or 2
        places = [int((self.puzzles == board).flatten(1).all(dim=1).nonzero()[0]) for board in images]
        right = torch.rand(len(images), generator=draw) < steps / 8
        answers = torch.where(right[:, None, None], self.solutions[places], self.solutions[places] % 4 + 1)
        answers = torch.where(images > 0, images, answers)
        logits = nn.functional.one_hot(answers - 1, 4).permute(0, 3, 1, 2) * (1.0 + right)[:, None, None, None]
        energy = self.sign * (1.0 - right.float()).expand(steps + 1, -1)
        return Features(logits.mean(dim=(2, 3)), logits, (LayerTrace(logits.new_empty(0), energy, 2 * energy),))


@pytest.fixture(scope="module")
def boards():
    return DATA.build("sudoku", {"puzzles": 4, "puzzles_test": N}, "test")


def subject(boards, encoder: Encoder, path: Path) -> Subject:
    return Subject(
        encoder=encoder,
        head=nn.Identity(),
        data=lambda split: boards,
        device=torch.device("cpu"),
        run_dir=path,
        encoder_hash="0",
        batch_size=4,
    )


VOTING = ["votes=[energy_sum,energy_last,confidence,majority,mean]", "draws=8", "groups=4"]


def test_the_vote_by_a_telling_energy_is_right_where_one_of_its_draws_is(boards, tmp_path: Path) -> None:
    result = load_protocol("sudoku", VOTING).measure(subject(boards, Guessing(boards), tmp_path))
    one = result.metrics["board_accuracy_blanks"]
    assert one.draws == 32
    assert 0.1 < one.value < 0.45
    for vote in ("energy_sum", "energy_last", "confidence"):
        found = result.metrics[f"{vote}/board_accuracy_blanks"]
        assert found.value > 0.75
        assert found.value == pytest.approx(sum(result.per_image[f"{vote}/correct"]) / N)
        assert found.std_over_draws is not None
        assert result.metrics[f"{vote}/auc"].value == 1.0
    assert result.metrics["majority/board_accuracy_blanks"].value < 0.2, "most draws are wrong in the same way"
    assert result.verdicts == ["correct", "correct_all_cells", *(f"{vote}/correct" for vote in (
        "energy_sum", "energy_last", "confidence", "majority", "mean",
    ))]  # fmt: skip
    curve = result.details["sudoku"]["draws"]["energy_sum"]
    assert list(curve) == [2, 4, 8]
    assert one.value < curve[2]["value"] < curve[4]["value"] < curve[8]["value"]
    assert set(result.per_image) >= {"energy_sum", "energy_last", "givens", "consistent"}
    assert any(boards.fingerprint in note for note in result.notes)
    assert "steps per layer at test time: 2; as trained: 2" in result.notes


def test_an_energy_that_is_high_where_the_network_is_right_votes_for_wrong_boards(boards, tmp_path: Path) -> None:
    measured = subject(boards, Guessing(boards, sign=-1.0), tmp_path)
    metrics = load_protocol("sudoku", VOTING).measure(measured).metrics
    assert metrics["energy_sum/auc"].value == 0.0
    assert metrics["energy_sum/board_accuracy_blanks"].value < metrics["board_accuracy_blanks"].value


def test_the_stated_energy_is_the_one_that_counts(boards, tmp_path: Path) -> None:
    code, paper = (
        load_protocol("sudoku", [f"energy={energy}"]).measure(subject(boards, Guessing(boards), tmp_path)).per_image
        for energy in ("code", "paper")
    )
    assert code["energy_last"] == pytest.approx([2 * value for value in paper["energy_last"]])
    assert paper["energy_sum"] == pytest.approx([2 * value for value in paper["energy_last"]]), "two steps"


def test_more_steps_at_test_time_are_measured_and_drawn_as_a_curve(boards, tmp_path: Path) -> None:
    measured = subject(boards, Guessing(boards), tmp_path)
    few = load_protocol("sudoku").measure(measured)
    many = load_protocol("sudoku", ["num_steps=6", "steps=[2,6,4]", "votes=[confidence]"]).measure(measured)
    assert few.metrics["board_accuracy_blanks"].value < many.metrics["board_accuracy_blanks"].value
    curve = many.details["sudoku"]["steps"]
    assert list(curve) == [2, 4, 6]
    assert curve[2]["one draw"]["value"] == few.metrics["board_accuracy_blanks"].value, "the same draws"
    assert curve[6]["one draw"]["value"] == many.metrics["board_accuracy_blanks"].value
    assert curve[6]["confidence"]["value"] >= curve[6]["one draw"]["value"]


def test_a_result_is_read_back_as_it_was_written(boards, tmp_path: Path) -> None:
    result = load_protocol("sudoku", [*VOTING, "steps=[2]"]).measure(subject(boards, Guessing(boards), tmp_path))
    result.write(tmp_path / "sudoku.json")
    assert Result.read(tmp_path / "sudoku.json").metrics == result.metrics


def test_the_draws_of_a_vote_and_its_repetitions_are_at_least_twenty(boards, tmp_path: Path) -> None:
    measured = subject(boards, Guessing(boards), tmp_path)
    assert load_protocol("sudoku", ["draws=5", "groups=4"]).measure(measured).metrics
    with pytest.raises(UserError, match="draws=19"):
        load_protocol("sudoku", ["draws=19"]).measure(measured)
    with pytest.raises(UserError, match=r"^draws=9 times groups=2: must be at least 20"):
        load_protocol("sudoku", ["draws=9", "groups=2"]).measure(measured)


class Still(Encoder):
    """Is always right, without oscillators."""

    num_features = 4
    reads = (Boards,)

    def __init__(self, boards):
        super().__init__()
        self.boards = boards

    def forward(self, images, *, initial=None, draw=None, trace=False):
        places = [int((self.boards.puzzles == board).flatten(1).all(dim=1).nonzero()[0]) for board in images]
        logits = nn.functional.one_hot(self.boards.solutions[places] - 1, 4).permute(0, 3, 1, 2).float()
        return Features(logits.mean(dim=(2, 3)), logits)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("votes=[energy_sum]", "votes=.*energy_sum.*: this network has no energy; confidence, majority and mean"),
        ("num_steps=4", "num_steps=4: this network does not iterate"),
        ("steps=[4]", "steps=.*4.*: this network does not iterate"),
        ("energy=paper", "energy=paper: this network has no energy"),
    ],
)
def test_what_a_network_cannot_do_is_one_line(boards, override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^sudoku: {message}"):
        load_protocol("sudoku", [override]).measure(subject(boards, Still(boards), tmp_path))


def test_a_deterministic_network_has_one_answer_and_the_result_says_so(boards, tmp_path: Path) -> None:
    loaded = load_protocol("sudoku", ["votes=[confidence,majority]"])
    result = loaded.measure(subject(boards, Still(boards), tmp_path))
    assert result.metrics["confidence/board_accuracy_blanks"].value == 1.0
    assert result.metrics["confidence/board_accuracy_blanks"].draws == 1
    assert any("deterministic" in note for note in result.notes)


def test_boards_of_another_source_are_measured_instead_of_those_of_the_run(boards, tmp_path: Path) -> None:
    other = DATA.build("sudoku", {"puzzles": 4, "puzzles_test": 6, "givens": 5}, "test")
    overrides = ["boards={name: sudoku, side: 4, puzzles: 4, puzzles_test: 6, givens: 5}"]
    result = load_protocol("sudoku", overrides).measure(subject(boards, Still(other), tmp_path))
    assert result.data["fingerprint"] == other.fingerprint != boards.fingerprint
    assert result.data["n"] == 6
    assert result.metrics["board_accuracy_blanks"].value == 1.0


@pytest.mark.parametrize(
    ("boards", "message"),
    [
        ("{side: 4}", r"needs the key 'name', one of .*sudoku"),
        ("{name: sudokus}", r"unknown data 'sudokus': did you mean 'sudoku'"),
        ("{name: digits}", r"boards reads boards; data digits gives images"),
        ("{name: sudoku, given: 4}", r"unknown key of data sudoku 'given': did you mean 'givens'"),
    ],
)
def test_a_wrong_source_of_boards_is_one_line_before_anything_is_measured(boards: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_protocol("sudoku", [f"boards={boards}"])


def test_the_former_name_of_the_protocol_keeps_working(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    loaded = load_protocol("boards")
    assert (loaded.name, loaded.file, loaded.described_by) == ("sudoku", "sudoku", "sudoku")
    (tmp_path / "mine.yaml").write_text("name: boards\ndraws: 30\n")
    assert load_protocol(str(tmp_path / "mine.yaml")).name == "sudoku"
    Result({}, {}, {}, "random", protocol="boards", kind="boards", described_by="boards").write(
        tmp_path / "boards.json"
    )
    read = Result.read(tmp_path / "boards.json")
    assert (read.kind, read.described_by) == ("sudoku", "sudoku")


def test_the_note_on_votes_speaks_of_energies_only_where_there_are_some(boards, tmp_path: Path) -> None:
    class Drawing(Still):
        stochastic = True

    def notes(network) -> str:
        return " ".join(
            load_protocol("sudoku", ["votes=[confidence]"]).measure(subject(boards, network, tmp_path)).notes
        )

    assert "energies as in the code" in notes(Guessing(boards))
    assert "each vote is of 20 draws" in notes(Drawing(boards))
    assert "energies" not in notes(Drawing(boards))
