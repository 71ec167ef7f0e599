"""``compare`` prints the paired tests of two runs on the same images, and refuses others with one line."""

import json

import pytest
from scipy.stats import binomtest

from sslkuramoto.cli import main
from sslkuramoto.study.paired import paired_test
from sslkuramoto.study.run_pairs import compare_runs

RIGHT, WRONG = [1.0] * 40, [1.0] * 30 + [0.0] * 10


@pytest.fixture
def measured(tmp_path):
    def write(run, protocol, per_image, **rest):
        folder = tmp_path / run / "results"
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "protocol": protocol,
            "metrics": {"accuracy": {"value": 1.0, "n": 40}},
            "options": {"seed": 0},
            "data": {"name": "digits", "split": "test", "fingerprint": "abc", "n": 40},
            "per_image": per_image,
        } | rest
        (folder / f"{protocol}.json").write_text(json.dumps(content))
        return tmp_path / run

    return write


@pytest.fixture
def pair(measured):
    return measured("a", "clean", {"correct": RIGHT}), measured("b", "clean", {"correct": WRONG})


def fails(capsys, *arguments):
    assert main(["compare", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_yes_or_no_verdicts_give_mcnemars_exact_p(pair):
    (found,) = compare_runs(*pair).tests
    assert found.test.difference == pytest.approx(0.25)
    assert found.test.p == pytest.approx(binomtest(10, 10).pvalue)
    assert (found.test.mcnemar.b, found.test.mcnemar.c) == (10, 0)


def test_the_command_prints_a_line_for_each_list_and_corrects_over_all_of_them(pair, measured, capsys):
    for run, moved in (("a", RIGHT), ("b", WRONG)):
        lists = {"index": list(range(40)), "clean_correct": RIGHT, "eot/correct": moved, "broken_by": ["apgd"] * 40}
        measured(run, "robustness", lists)
    assert main(["compare", *map(str, pair)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["protocol", "verdicts", "difference"]
    assert [line.split()[:3] for line in lines[:3]] == [
        ["clean", "correct", "+25.0"],
        ["robustness", "clean_correct", "0.0"],
        ["robustness", "eot/correct", "+25.0"],
    ]
    p = paired_test([(RIGHT, WRONG)]).p
    assert [item.holm for item in compare_runs(*pair).tests] == pytest.approx([3 * p, 1.0, 3 * p])
    assert lines[3].startswith(f"Difference of the mean shares of correct draws in points, {pair[0]} minus {pair[1]}")


def test_a_protocol_and_one_of_its_lists_can_be_chosen(pair, measured):
    for run in ("a", "b"):
        measured(run, "robustness", {"clean_correct": RIGHT, "eot/correct": WRONG})
    chosen = compare_runs(*pair, ["robustness:eot/correct"]).tests
    assert [(item.protocol, item.verdicts) for item in chosen] == [("robustness", "eot/correct")]
    assert chosen[0].holm == chosen[0].test.p == 1.0


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("fingerprint", {"data": {"split": "test", "fingerprint": "other", "n": 40}}),
        ("split", {"data": {"split": "val", "fingerprint": "abc", "n": 40}}),
        ("n", {"data": {"split": "test", "fingerprint": "abc", "n": 41}}),
        ("index", {"per_image": {"index": list(range(1, 41)), "correct": WRONG}}),
    ],
)
def test_results_on_different_images_are_refused(what, change, pair, measured, capsys):
    other = measured("other", "clean", **{"per_image": {"correct": WRONG}, **change})
    for words in ([], ["clean"]):
        said = fails(capsys, pair[0], other, *words)
        assert f"clean: measured on different images ({what} differs)" in said


def test_lists_of_unlike_length_are_refused(pair, measured, capsys):
    other = measured("other", "clean", {"correct": WRONG[:-1]})
    assert "clean: correct has 40 images in one run, 39 in the other" in fails(capsys, pair[0], other)


def test_a_result_that_cannot_be_compared_is_named_below_the_others(pair, measured, capsys):
    measured("a", "knn", {"correct": RIGHT})
    measured("b", "knn", {"correct": RIGHT}, data={"fingerprint": "other", "split": "test", "n": 40})
    assert main(["compare", *map(str, pair)]) == 0
    assert "knn: measured on different images (fingerprint differs)" in capsys.readouterr().out.splitlines()[-1]


def test_options_that_are_not_alike_are_said(pair, measured):
    """Those that the protocol marks as changing no meaning are no difference."""
    runs = [
        measured(run, "robustness", {"correct": moved}, options={"eps": eps, "chunk": chunk, "ledger": run})
        for run, moved, eps, chunk in (("a", RIGHT, 0.2, 7), ("b", WRONG, 0.1, 9))
    ]
    assert compare_runs(*runs, ["robustness"]).notes == [
        "robustness: not measured alike: eps is 0.2 in the first and 0.1 in the second"
    ]
    radii = zip("ab", ("8/255", 8 / 255), strict=True)
    runs = [measured(run, "robustness", {"correct": RIGHT}, options={"eps": eps}) for run, eps in radii]
    assert compare_runs(*runs, ["robustness"]).notes == [], "one radius in two spellings"


def test_the_lists_of_verdicts_are_those_that_a_result_states_whatever_their_names(measured):
    lists = {"won": RIGHT, "correct_but_no_verdict": RIGHT, "confidence": RIGHT}
    runs = [measured(run, "clean", lists, verdicts=["won"]) for run in "ab"]
    assert [test.verdicts for test in compare_runs(*runs).tests] == ["won"]
    runs = [measured(run, "clean", lists) for run in "ab"]  # files from before results stated them
    assert [test.verdicts for test in compare_runs(*runs).tests] == ["correct_but_no_verdict"]


def test_what_is_missing_is_one_line(pair, measured, tmp_path, capsys):
    assert "unknown result of" in fails(capsys, *pair, "claen")
    assert "did you mean 'clean'" in fails(capsys, *pair, "claen")
    assert "unknown list of verdicts of clean" in fails(capsys, *pair, "clean:wrong")
    assert "holds no results" in fails(capsys, pair[0], tmp_path / "nowhere")
    other = measured("other", "linear", {"correct": RIGHT})
    assert "hold no result of one name" in fails(capsys, pair[0], other)
    bare = measured("bare", "clean", {})
    assert "share no list of verdicts" in fails(capsys, pair[0], bare)
    odd = measured("odd", "clean", {"correct": ["right"] * 40})
    assert "clean: correct holds no shares of correct draws" in fails(capsys, odd, pair[1])
    (bare / "results" / "clean.json").write_text("{")
    assert "damaged result" in fails(capsys, pair[0], bare)
