import os
import time

import pytest
from scipy.stats import spearmanr
from scripts_by_name import script_named
from small_runs import AKORN, CLASSIFIER, small

from sslkuramoto.results import Metric, Result
from sslkuramoto.training import train


@pytest.fixture(scope="module")
def script():
    return script_named("gradient_signs")


def test_the_rank_correlation_is_that_of_scipy_and_its_p_that_of_all_orders(script):
    x, y = [0.1, 0.2, 0.2, 0.5, 0.9, 1.0], [3.0, 1.0, 2.0, 5.0, 4.0, 6.0]
    rho, p = script.rank_correlation(x, y)
    assert rho == pytest.approx(spearmanr(x, y)[0])
    rho, p = script.rank_correlation([1, 2, 3, 4], [1, 2, 3, 4])
    assert rho == pytest.approx(1)
    assert p == pytest.approx(2 / 24, abs=0.01), "of 24 orders one has +1 and one -1"
    assert all(value != value for value in script.rank_correlation([1, 1, 1], [1, 2, 3]))


def test_a_sign_is_compared_over_the_runs_that_have_it(script, tmp_path):
    left = [{"published": 90.0 - k, "eot": 50.0, "union": 10.0 + k} for k in range(6)]
    cosines = [0.0, 0.1, 0.2, 0.3, 0.4, None]
    signs = [script.Signs(tmp_path / str(k), cosines[k], 1 - k / 10, None, left[k]) for k in range(6)]
    unknown = {"published": 1.0, "eot": float("nan"), "union": 1.0}
    lines = script.correlations([*signs, *(script.Signs(tmp_path, 0.3, 0.3, None, left) for left in ({}, unknown))])
    assert lines[0].startswith("cosine between two draws, published less union: -1.00 (p = 0.0")
    assert lines[0].endswith("5 runs)")
    assert lines[5].startswith("correlation with finite differences, union: -1.00")
    assert lines[5].endswith("6 runs)")
    assert len(lines) == 6, "no run has a Kuramoto step"
    assert script.table(signs)[-1] == "| 5 | - | 0.50 | - | 85.0 | 50.0 | 15.0 |"


def test_runs_are_measured_and_the_newest_result_with_all_readings_is_read(script, tmp_path, capsys):
    data = {"name": "digits", "limit": 48, "limit_test": 30}
    parts = {**CLASSIFIER, "data": data, "epochs": 1}
    random, fixed = (
        train(small(**parts, encoder={**AKORN, "initial": initial}), tmp_path / initial)
        for initial in ("random", "fixed")
    )
    metrics = {}
    for age, share in ((20, 0.25), (10, 0.5)):
        metrics = {f"{reading}/robust_accuracy": Metric(share) for reading in script.READINGS}
        Result(metrics, {"eps": 0.1}, {}, "random").write(random.results / f"robust-{share}.json")
        os.utime(random.results / f"robust-{share}.json", (time.time() - age, time.time() - age))
    Result({"accuracy": Metric(0.9)}, {}, {}, "random").write(random.results / "clean.json")
    Result(metrics, {"eps": "8/255"}, {}, "random").write(random.results / "another-radius.json")
    Result(metrics, {"eps": 0.1}, {}, "random", encoder={"sha256": "of others"}).write(random.results / "others.json")
    assert script.main([str(random.path), str(fixed.path), "--images", "8"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[2].startswith("| random | ")
    assert out[2].endswith(" | 50.0 | 50.0 | 50.0 |")
    assert out[3].startswith("| fixed | - | ")
    assert out[3].endswith(" | - | - | - |")
    cosine, agreement, turn = (float(word) for word in out[2].split(" | ")[1:4])
    assert -1 <= cosine <= 1
    assert -1 <= agreement <= 1
    assert turn > 0


def test_bad_input_is_one_line(script, tmp_path, capsys):
    for words in ([str(tmp_path)], [str(tmp_path), "--eps", "0"], [str(tmp_path), "--eps", "half"]):
        assert script.main(words) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
