import json
import math
import re
from statistics import fmean, stdev

import pytest
import torch
from torch import nn

from sslkuramoto.classifier import Classifier
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.corruptions.baseline import Baseline, load_baseline
from sslkuramoto.evaluation.corruptions.scores import (
    Cell,
    answers,
    corruption_errors,
    error_of,
    increase,
    mean_accuracy,
    mean_ece,
)
from sslkuramoto.evaluation.corruptions.sources import Chunk
from sslkuramoto.statistics import wilson


def cell(*rows: list[int], ece: tuple[float, ...] = ()) -> Cell:
    """Return the cell of draws whose answers are right (1) or wrong (0)."""
    right = torch.tensor(rows, dtype=torch.float64)
    return Cell(right.mean(dim=0), right.mean(dim=1).tolist(), list(ece))


def constant(error: float) -> Cell:
    return Cell(torch.full((10,), 1 - error, dtype=torch.float64), [1 - error], [])


def test_means_are_over_cells_and_intervals_over_images():
    one, two = cell([1, 1, 0, 1], [1, 0, 0, 1]), cell([0, 0, 0, 1], [1, 1, 0, 1])
    found = mean_accuracy([one, two])
    assert found.value == pytest.approx((3 + 2 + 1 + 3) / 16)
    assert (found.n, found.draws) == (4, 2)
    assert (found.low, found.high) == wilson(found.value, 4)
    assert found.std_over_draws == pytest.approx(math.sqrt(2) * (5 / 8 - 4 / 8) / 2)
    error = error_of(found)
    assert (error.value, error.low, error.high) == (1 - found.value, 1 - found.high, 1 - found.low)


def test_the_increase_is_paired_with_the_clean_images_draw_by_draw():
    clean, corrupt = cell([1, 1, 1, 1], [1, 1, 1, 0]), cell([1, 1, 0, 0], [1, 0, 0, 0])
    found = increase([corrupt], clean)
    assert found.value == pytest.approx(0.5)
    assert found.std_over_draws == pytest.approx(0.0)
    assert found.low is None


def test_calibration_errors_are_averaged():
    found = mean_ece([cell([1], [1], ece=(2.0, 4.0)), cell([1], [1], ece=(6.0, 12.0))])
    assert found.value == pytest.approx(6.0)
    assert found.unit == "percent"


def test_mce_by_hand():
    cells = {
        "fog": [constant(e) for e in (0.1, 0.2, 0.3, 0.4, 0.5)],  # sum 1.5
        "snow": [constant(0.4) for _ in range(5)],  # sum 2.0
    }
    baseline = Baseline({"fog": 2.0, "snow": 2.5}, 0.2, {})
    found = corruption_errors(cells, constant(0.1), baseline)
    assert found["mce"].value == pytest.approx(100 * (1.5 / 2.0 + 2.0 / 2.5) / 2)
    # minus five times the clean error, 0.1 here and 0.2 there
    assert found["relative_mce"].value == pytest.approx(100 * (1.0 / 1.0 + 1.5 / 1.5) / 2)
    assert found["mce"].unit == "percent"


def test_each_draw_has_an_mce_of_its_own():
    def drawn(first: float, second: float) -> Cell:
        return Cell(torch.full((10,), 1 - (first + second) / 2, dtype=torch.float64), [1 - first, 1 - second], [])

    cells = {"fog": [drawn(0.4, 0.6)] * 5, "snow": [drawn(0.2, 0.2)] * 5}
    found = corruption_errors(cells, drawn(0.1, 0.2), Baseline({"fog": 2.5, "snow": 2.0}, 0.1, {}))
    mce = [100 * (2.0 / 2.5 + 1.0 / 2.0) / 2, 100 * (3.0 / 2.5 + 1.0 / 2.0) / 2]
    relative = [100 * (1.5 / 2.0 + 0.5 / 1.5) / 2, 100 * (2.0 / 2.0 + 0.0 / 1.5) / 2]
    for name, values in (("mce", mce), ("relative_mce", relative)):
        assert found[name].value == pytest.approx(fmean(values))
        assert found[name].std_over_draws == pytest.approx(stdev(values))
        assert found[name].draws == 2


def test_relative_mce_needs_a_baseline_that_loses_something():
    cells = {"fog": [constant(0.4) for _ in range(5)]}
    found = corruption_errors(cells, constant(0.1), Baseline({"fog": 1.0}, 0.2, {}))
    assert set(found) == {"mce"}


def test_a_baseline_whose_losses_cancel_up_to_rounding_loses_nothing():
    clean, errors = 1 - 11 / 30, [1 - (11 + more) / 30 for more in (1, -1, 0, 1, -1)]
    baseline = Baseline({"fog": sum(errors)}, clean, {})
    assert 0 < baseline.errors["fog"] - 5 * clean < 1e-15, "as many wrong answers as without the corruption"
    found = corruption_errors({"fog": [constant(0.4) for _ in range(5)]}, constant(0.1), baseline)
    assert set(found) == {"mce"}


def result_file(path, table, *, clean=0.9, source="ours"):
    content = {
        "details": {"corruptions": table},
        "data": {"source": source, "n": 10},
        "metrics": {"clean_accuracy": {"value": clean}},
    }
    path.write_text(json.dumps(content))
    return str(path)


def row(error: float, severities=range(1, 6)) -> dict:
    return {str(severity): {"error": error, "accuracy": 1 - error} for severity in severities}


def test_a_baseline_is_read_from_a_result(tmp_path):
    path = result_file(tmp_path / "other.json", {"fog": row(0.2), "snow": row(0.4)})
    found = load_baseline(path, ["fog"], "ours")
    assert found.errors == {"fog": pytest.approx(1.0)}
    assert found.clean_error == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("table", "source", "message"),
    [
        ({"snow": row(0.2)}, "ours", "lacks fog at the severities 1 to 5"),
        ({"fog": row(0.2, (1, 5))}, "ours", "lacks fog at the severities 1 to 5"),
        ({"fog": row(0.0)}, "ours", "makes no error on fog"),
        ({"fog": row(0.2)}, "archive", "measured with source=archive, this with source=ours"),
        (["fog"], "ours", "must be a result of the protocol corruptions"),
        ({"fog": [0.2] * 5}, "ours", "must be a result of the protocol corruptions"),
        ({"fog": row(20.0)}, "ours", r"error of fog at severity 1: 20\.0: must be a share in \[0,1\]"),
        (
            {"fog": row(0.2) | {"3": {"error": float("nan")}}},
            "ours",
            "error of fog at severity 3: nan: must be a share",
        ),
        ({"fog": row(float("inf"))}, "ours", "error of fog at severity 1: inf: must be a share"),
        ({"fog": row(-0.1)}, "ours", "error of fog at severity 1: -0.1: must be a share"),
        ({"fog": row(0.2) | {"5": {"error": None}}}, "ours", "error of fog at severity 5: None: must be a share"),
        ({"fog": row(0.2) | {"5": {"error": True}}}, "ours", "error of fog at severity 5: True: must be a share"),
        ({"fog": row(0.2) | {"5": {"error": "x" * 99}}}, "ours", "error of fog at severity 5: 'x{39}: must be a share"),
    ],
)
def test_an_unfit_baseline_is_one_clear_line(table, source, message, tmp_path):
    path = result_file(tmp_path / "other.json", table, source=source)
    with pytest.raises(UserError, match=f"baseline=.*: {message}") as caught:
        load_baseline(path, ["fog"], "ours")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("clean", [None, 90.0, float("nan")])
def test_a_baseline_without_a_clean_accuracy_is_refused(clean, tmp_path):
    path = result_file(tmp_path / "other.json", {"fog": row(0.2)}, clean=clean)
    with pytest.raises(UserError, match=r"baseline=.*: clean_accuracy: .*: must be a share in \[0,1\]"):
        load_baseline(path, ["fog"], "ours")


def test_a_baseline_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    result_file(tmp_path / "other.json", {"fog": row(0.2)})
    assert load_baseline("~/other.json", ["fog"], "ours").clean_error == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        (
            {"fingerprint": "b"},
            {},
            ["other images: name digits, split test, n 9, fingerprint b; here .* fingerprint a$"],
        ),
        ({"n": 8}, {}, ["other images"]),
        ({"split": "val"}, {}, ["other images"]),
        ({"corruption_seed": 3}, {"corruption_seed": 0}, ["other noise: its corruption_seed is 3, here it is 0"]),
        ({"corruption_seed": 1}, {"corruption_seed": 1}, []),
        ({"archive_files": {"fog": "1"}}, {"archive_files": {"fog": "2", "snow": "3"}}, ["archive: fog, snow$"]),
        ({"archive_files": {"fog": "1", "snow": "3"}}, {"archive_files": {"fog": "1"}}, []),
        ({"archive_files": "x"}, {"archive_files": {"fog": "1"}}, ["archive: fog$"]),
    ],
)
def test_a_baseline_on_other_images_has_a_word_for_it(theirs, ours, words):
    data = {"name": "digits", "split": "test", "n": 9, "fingerprint": "a"}
    found = Baseline({}, 0.0, data | theirs).differences(data | ours)
    assert len(found) == len(words)
    for sentence, word in zip(found, words, strict=True):
        assert re.search(word, sentence)


def test_a_baseline_that_is_no_result_or_not_there(tmp_path):
    (tmp_path / "text.json").write_text("no JSON")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    (tmp_path / "folder.json").mkdir()
    messages = dict.fromkeys(("text", "deep", "bytes"), "baseline=.*truncated or not JSON")
    messages |= {"none": "No such file", "folder": "is no regular file"}
    for name, message in messages.items():
        with pytest.raises(UserError, match=message):
            load_baseline(str(tmp_path / f"{name}.json"), ["fog"], "ours")


class Answering(Encoder):
    """An encoder whose features are the first pixel's channels: with a head that scales, chosen confidences."""

    num_features = 3

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        return Features(images[:, :, 0, 0], images)


def test_answers_hold_accuracy_and_calibration_error():
    images = torch.zeros(4, 3, 2, 2)
    images[:, 0] = 1.0  # class 0 is always the answer, with confidence e^4 / (e^4 + 2)
    head = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        head.weight.copy_(4 * torch.eye(3))
    labels = torch.tensor([0, 0, 0, 1])
    chunks = [Chunk(images[:3], torch.arange(3)), Chunk(images[3:], torch.tensor([3]))]
    found = answers(Classifier(Answering(), head), chunks, labels, 1, ece=True, where="here")
    assert found.shares.tolist() == [1, 1, 1, 0]
    assert found.accuracy == 0.75
    confidence = math.exp(4) / (math.exp(4) + 2)
    assert found.entry() == {
        "accuracy": 0.75,
        "error": 0.25,
        "ece": pytest.approx(100 * (confidence - 0.75), abs=1e-4),
    }


def test_answers_that_are_no_numbers_name_the_images_and_are_no_class(cnn):
    encoder, head = cnn
    with torch.no_grad():
        head.bias[7] = float("nan")
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    classifier, chunks = Classifier(encoder, head), [Chunk(images, torch.arange(4))]
    for ece in (True, False):
        with pytest.raises(UserError, match=r"^fog at severity 3: .*NaN or infinite, on 4 of 4 images"):
            answers(classifier, chunks, torch.zeros(4).long(), 1, ece=ece, where="fog at severity 3")
