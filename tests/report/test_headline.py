"""Of several results of one protocol the headline is what its file describes; variants are named, never chosen."""

import csv
import io
import json
import re

import pytest

from sslkuramoto.columns import Column
from sslkuramoto.evaluation import PROTOCOLS, described, load_protocol
from sslkuramoto.evaluation.described import comparable
from sslkuramoto.report import Row, columns, discover, load, markdown, summarise
from sslkuramoto.report.tables.columns import find
from sslkuramoto.report.tables.html import summary_table
from sslkuramoto.report.tables.latex import summary_latex
from sslkuramoto.report.tables.text import csv_text, plain
from sslkuramoto.values import Mark

TODAY = (
    "knn linear rankme feature_attack feature_attack_knn clustering_accuracy clustering_nmi clustering_ari "
    "objects_fg_ari objects_mbo objects_mbo_class objects_up4_fg_ari objects_up4_mbo objects_up4_mbo_class clean "
    "robust_as_published robust_fixed robust_eot robust_held robust_union "
    "distance_l2 never_fooled_l2 distance_linf never_fooled_linf "
    "noise_accuracy worst_state worst_joint smoothed certified_radius corruption_accuracy corruption_mce "
    "archive_accuracy archive_mce calibration_ece "
    "boards_blanks boards_all_cells boards_t128 boards_energy boards_confidence "
    "boards_rule boards_rule_energy boards_rule_confidence boards_dug "
    "mazes_exact mazes_valid mazes_optimal mazes_f1 "
    "mazes_energy_last_exact mazes_energy_last_valid mazes_energy_last_optimal "
    "mazes_energy_sum_exact mazes_energy_sum_valid mazes_energy_sum_optimal "
    "mazes_confidence_exact mazes_confidence_valid mazes_confidence_optimal "
    "relations_unseen relations_seen relations_rho relations_energy"
)


@pytest.fixture
def robust(metric):
    return lambda value, **rest: {"published/robust_accuracy": metric(value, reading="as published", **rest)}


def shown(run, key="robust_as_published"):
    """Return the number of a column and its footnotes."""
    table = summarise([load(Row("a", run.path))])
    place = next(i for i, head in enumerate(table.heads) if head.column.key == key)
    cell = table.cells[0][place]
    return cell.value, [table.footnotes[mark - 1] for mark in cell.marks]


def test_the_columns_of_all_protocols_stand_in_their_order():
    assert [column.key for column in columns()] == TODAY.split()
    assert [column.group for column in columns() if column.key.startswith("robust")] == ["Robust accuracy"] * 5


def test_protocols_that_fill_one_column_declare_it_alike():
    declared: dict[str, set] = {}
    for name in PROTOCOLS:
        for column in PROTOCOLS[name].columns:
            assert isinstance(column, Column)
            alike = (column.title, column.group, column.frozen, column.optional, column.reading, column.made_with)
            declared.setdefault(column.key, set()).add(alike)
    assert all(len(kinds) == 1 for kinds in declared.values())


def test_the_result_that_the_protocols_file_describes_comes_before_every_variant(fabricate, robust):
    options = load_protocol("robustness-digits").options
    run = fabricate("a", "classification").result("robustness-digits", robust(0.3), options=options)
    for name, changed, value in (("robustness-digits+eps=0", {"eps": 0}, 0.9), ("a-control", {"images": 12}, 0.8)):
        run.result(name, robust(value), options=options | changed, described_by="robustness-digits", kind="robustness")
    value, (note,) = shown(run)
    assert value == 30
    assert note == (
        "robustness-digits, as its file describes it; beside it, not shown: a-control (images 12 (there 64)), "
        "robustness-digits+eps=0 (eps 0 (there 0.1))"
    )


@pytest.fixture
def quick(fabricate, robust):
    """A run with results of robustness-quick: name -> (value, changed options)."""

    def build(*results, **more):
        run, options = fabricate("a", "classification"), load_protocol("robustness-quick").options
        for name, value, changed in results:
            common = {"described_by": "robustness-quick", "kind": "robustness", **more}
            run.result(name, robust(value), options=options | changed, **common)
        return run

    return build


def test_a_result_put_in_the_place_of_the_described_one_is_shown_and_the_cell_says_what_is_other(quick):
    """As the quickstart does: evaluate RUN robustness-quick eps=0.1 --as robustness-quick."""
    run = quick(("robustness-quick", 0.3, {"eps": 0.1}))
    assert shown(run) == (30, ["robustness-quick: a variant of robustness-quick, other in eps 0.1 (there 8/255)"])
    summary = summarise([load(Row("a", run.path))])
    assert re.search(r"30\.0\(\d\) \+- 0\.4 eps 0\.1", plain(summary))
    assert re.search(r"30\.0\\textsuperscript{\d}.*0\.4\\\\\\footnotesize eps 0\.1", summary_latex(summary, "a"))
    assert '<span class="interval">eps 0.1</span></td>' in summary_table(summary)
    assert re.search(r"\| 30\.0<sup>\d</sup> ± 0\.4 eps 0\.1 \|", markdown(summary))
    (line,) = csv.DictReader(io.StringIO(csv_text(summary)))
    assert (line["robust_as_published"], line["robust_as_published_departs"]) == ("30.0", "eps 0.1")


@pytest.mark.parametrize("changed", [{"eps": 0.1}, {"eps": 0}, {"images": 16}, {"norm": "l2", "eps": 0.5}])
def test_a_single_variant_leaves_the_cell_empty_and_is_named_beside(quick, changed):
    name = "+".join(["robustness-quick", *(f"{key}={value}" for key, value in changed.items())])
    run = quick((name, 0.3, changed))
    value, (note,) = shown(run)
    assert value is None
    assert note.startswith(f"left out: measured with other options than its protocol file: {name} (")
    assert all(f"{key} {value}" in note for key, value in changed.items())
    assert "30.0" not in plain(summarise([load(Row("a", run.path))]))


@pytest.mark.parametrize("eps", [8 / 255, 0.031372549])
def test_a_radius_is_the_same_however_it_is_written(quick, eps):
    run = quick((f"robustness-quick+eps={eps}", 0.3, {"eps": eps}))
    assert shown(run) == (30, [f"robustness-quick+eps={eps}, as robustness-quick describes it"])
    ways = load_protocol("robustness-quick").options["ways"]
    both = ({"ways": {**ways, "fixed": ways["fixed"] | {"eps": each}}} for each in ("8/255", eps))
    assert len({str(comparable("robustness", options)) for options in both}) == 1


def test_radii_in_lists_are_compared_as_numbers_and_other_options_as_they_are():
    options = {"sizes": [8 / 255, "64/255"], "kinds": ["sign"], "samples": 10}
    assert comparable("noise", options) == comparable("noise", options | {"sizes": ["8/255", 64 / 255]})
    assert comparable("noise", options) != comparable("noise", options | {"sizes": ["8/255", "63/255"]})
    assert comparable("noise", options)["kinds"] == ["sign"]


def test_a_changed_option_of_one_way_counts_for_the_numbers_of_that_way_alone(quick, metric):
    ways = load_protocol("robustness-quick").options["ways"]
    changed = {"ways": {**ways, "fixed": ways["fixed"] | {"eps": 0.1}}}
    run = quick(("robustness-quick+ways.fixed.eps=0.1", 0.3, changed))
    value, (note,) = shown(run)
    assert (value, note) == (30, "robustness-quick+ways.fixed.eps=0.1, as robustness-quick describes it")
    path = run.path / "results" / "robustness-quick+ways.fixed.eps=0.1.json"
    content = json.loads(path.read_text())
    content["metrics"] = {
        "fixed/robust_accuracy": metric(0.4, reading="fixed"),
        "union/robust_accuracy": metric(0.2, reading="union"),
    }
    path.write_text(json.dumps(content))
    value, (note,) = shown(run, "robust_fixed")
    assert value is None
    assert "(eps 0.1 (there 8/255))" in note
    assert shown(run, "robust_union")[0] is None, "the union is over all ways, one of which is other"


def test_two_results_of_which_none_is_as_described_and_one_bears_the_name_show_that_one(quick):
    run = quick(("robustness-quick", 0.3, {"eps": 0.1}), ("robustness-quick+eps=0.2", 0.1, {"eps": 0.2}))
    value, (note,) = shown(run)
    assert value == 30
    assert note.endswith("beside it, not shown: robustness-quick+eps=0.2 (eps 0.2 (there 8/255))")


def test_what_changes_no_meaning_is_as_described_whatever_its_name(quick):
    idle = {"chunk": 32, "store": 0, "control": 0, "ledger": "/shared"}
    run = quick(("robustness-quick+chunk=32", 0.2, idle))
    assert shown(run) == (20, ["robustness-quick+chunk=32, as robustness-quick describes it"])
    run = quick(("robustness-quick+chunk=32", 0.2, idle), ("robustness-quick", 0.3, {}))
    value, (note,) = shown(run)
    assert value == 30
    assert note.endswith("beside it, not shown: robustness-quick+chunk=32")


def test_a_result_that_does_not_know_an_option_and_has_another_name_is_no_headline(fabricate, robust):
    """Its name may say eps = 0 where its options say nothing."""
    run = fabricate("a", "classification").result(
        "robustness-quick+eps=0", robust(0.9), described_by="robustness-quick"
    )
    assert shown(run)[0] is None


def test_rows_of_other_protocol_files_say_which_in_the_cell(fabricate, robust):
    runs = []
    for name in ("robustness-quick", "robustness-digits"):
        run = fabricate(name.upper(), "classification").result(name, robust(0.3), options=load_protocol(name).options)
        runs.append(run.path)

    def lines(chosen):
        """Return per row all lines of its cells."""
        summary = summarise([load(row) for row in discover(chosen)])
        return [[line for cell in row for line in (cell.text, *cell.beside)] for row in summary.cells]

    quick, digits = lines(runs)
    assert "robustness-quick" in quick
    assert "robustness-digits" in digits
    (alone,) = lines(runs[:1])
    assert "robustness-quick" not in alone


def test_where_the_archive_lies_and_what_mce_is_relative_to_make_no_variant(fabricate, metric):
    options = load_protocol("corruptions-archive").options | {"archive": "/data", "baseline": "other.json"}
    name = "corruptions-archive+archive=_data+baseline=other.json"
    run = fabricate("a", "classification").result(
        name, {"mce": metric(0.8, unit="percent")}, options=options, described_by="corruptions-archive"
    )
    assert shown(run, "archive_mce")[0] == 0.8


def test_where_a_published_data_set_lies_makes_no_variant_and_another_folder_of_images_does(fabricate, metric):
    def measured(data):
        changed = {"name": data, "n": 9, "changed_options": {"root": "/elsewhere"}}
        options = load_protocol("knn").options
        return fabricate(data).result("knn+data.root=x", {"accuracy": metric(0.4)}, data=changed, options=options,
                                      described_by="knn")  # fmt: skip

    assert shown(measured("cifar10"), "knn")[0] == 40
    assert shown(measured("image_folder"), "knn")[0] is None


def test_options_that_change_no_meaning_are_those_that_their_signature_marks():
    assert PROTOCOLS.marked("robustness", Mark.INCIDENTAL) == {"chunk", "control", "store", "ledger"}
    assert PROTOCOLS.marked("audit", Mark.INCIDENTAL) == {"chunk", "ledger"}
    assert PROTOCOLS.marked("corruptions", Mark.OPEN) == {"baseline"}


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"encoder": {"stochastic": True, "weights": "raw"}}, "raw weights"),
        ({"encoder": {"stochastic": True, "changed_options": {"num_steps": 8}}}, "encoder.num_steps 8"),
        ({"data": {"n": 9, "changed_options": {"limit_test": 9}}}, "data.limit_test 9"),
    ],
)
def test_other_weights_or_data_make_a_variant(fabricate, metric, changed, word):
    run = fabricate("a").result("knn", {"accuracy": metric(0.4)}, **changed)
    assert shown(run, "knn") == (40, [f"knn: a variant of knn, other in {word}"])


def test_a_result_of_a_file_of_ones_own_is_shown_and_named(fabricate, robust):
    run = fabricate("a", "classification").result("mine", robust(0.3), kind="robustness", described_by="mine")
    assert shown(run) == (30, ["mine: described by no file of eval/protocols"])
    assert re.search(r"30\.0\(\d\) \+- 0\.4 mine", plain(summarise([load(Row("a", run.path))])))
    run.result("mine+eps=0", robust(0.9), kind="robustness", described_by="mine")
    assert shown(run)[0] == 30, "not the variant of it"
    run.result("yours", robust(0.9), kind="robustness", described_by="yours")
    assert shown(run)[0] is None, "neither comes before the other"


def test_a_registered_protocol_without_a_file_is_described_by_its_defaults(fabricate, metric, monkeypatch):
    monkeypatch.setattr(described, "_has_file", lambda name: False)
    monkeypatch.setattr(described, "_description", described._description.__wrapped__)  # which other tests have asked
    options = PROTOCOLS.resolved("knn", {})
    run = fabricate("a").result("knn", {"accuracy": metric(0.4)}, options=options)
    assert shown(run, "knn") == (40, [])
    run.result("knn+neighbours=3", {"accuracy": metric(0.5)}, options=options | {"neighbours": 3}, described_by="knn")
    value, (note,) = shown(run, "knn")
    assert value == 40
    assert note == "knn, as its file describes it; beside it, not shown: knn+neighbours=3"


def test_of_several_ways_of_one_reading_none_is_shown(fabricate, robust):
    """The first of them need not be the strongest."""
    ((_, metric),) = robust(0.8).items()
    ways = {"weak/robust_accuracy": metric, "strong/robust_accuracy": {**metric, "value": 0.1}}
    run = fabricate("a", "classification").result("mine", ways, kind="robustness", described_by="mine")
    value, (note,) = shown(run)
    assert value is None
    assert note == "not shown: mine.json holds 2 numbers of one reading: weak/robust_accuracy, strong/robust_accuracy"


def test_the_l_inf_ball_comes_before_the_l2_ball_and_many_images_before_few(fabricate, robust):
    run = fabricate("a", "classification")
    for name, value, n in (("robustness-quick", 0.5, 64), ("robustness-linf", 0.3, 1000), ("robustness-l2", 0.9, 2000)):
        run.result(name, robust(value, n=n), options={"norm": load_protocol(name).options["norm"]})
    value, (note,) = shown(run)
    assert value == 30
    assert note.endswith("not shown: robustness-l2, robustness-quick")


def test_clean_accuracy_comes_from_its_own_protocol_first_and_from_an_attack_last(fabricate, metric):
    ways = {f"{way}/clean_accuracy": metric(value) for way, value in (("fixed", 0.1), ("first", 0.7), ("eot", 0.2))}
    stated = {
        "fixed/robust_accuracy": metric(0.1, reading="fixed"),
        "first/robust_accuracy": metric(0.3, reading="as published"),
    }
    run = fabricate("a", "classification").result("robustness-linf", ways | stated)
    assert shown(run, "clean") == (70, [])
    run.result("finetune-digits", {"accuracy": metric(0.8)})
    assert shown(run, "clean") == (80, [])
    run.result("clean", {"accuracy": metric(0.9)})
    assert shown(run, "clean") == (90, [])


def test_every_column_can_be_asked_of_a_run_without_results(fabricate):
    model = load(Row("a", fabricate("a", "classification").path))
    assert {find(column, model) for column in columns()} == {"not measured: no result for it in the run directory"}


def test_boards_of_each_protocol_file_have_columns_of_their_own(fabricate, metric):
    """Which one a number belongs in is known from the options of the measurement, under whatever name it was kept."""
    solved = "board_accuracy_blanks"
    given = {"sudoku": 0.1, "sudoku-vote": 0.2, "sudoku-ood": 0.3, "sudoku-ood-dug": 0.4}
    run = fabricate("a", "cells")
    for name, value in given.items():
        metrics = {solved: metric(value), "board_accuracy_all_cells": metric(value / 2)}
        metrics |= {f"energy_sum/{solved}": metric(value + 0.05), f"confidence/{solved}": metric(value + 0.07)}
        votes = name in ("sudoku-vote", "sudoku-ood")
        kept = {key: each for key, each in metrics.items() if "/" not in key or votes}
        run.result(name, kept, options=load_protocol(name).options, described_by=name, kind="sudoku")
    found = {key: shown(run, f"boards_{key}") for key in ["blanks", "all_cells", "t128", "energy", "confidence"]}
    assert {key: value for key, (value, _) in found.items()} == {
        "blanks": 10,
        "all_cells": 5,
        "t128": 20,
        "energy": 25,
        "confidence": 27,
    }
    assert [shown(run, f"boards_rule{key}")[0] for key in ("", "_energy", "_confidence")] == [30, 35, 37]
    assert shown(run, "boards_dug") == (40, [])


def test_boards_of_another_source_than_the_files_leave_the_cell_empty_and_are_named(fabricate, metric):
    run, options = fabricate("a", "cells"), load_protocol("sudoku-ood").options
    run.result("sudoku-ood", {"board_accuracy_blanks": metric(0.3)}, options=options, described_by="sudoku-ood")
    other = {"boards": {**options["boards"], "puzzles_test": 36}}
    changed = {"options": options | other, "described_by": "sudoku-ood", "kind": "sudoku"}
    run.result("sudoku-ood+few", {"board_accuracy_blanks": metric(0.9)}, **changed)
    value, (note,) = shown(run, "boards_rule")
    assert value == 30
    assert "beside it, not shown: sudoku-ood+few (boards)" in note


def test_fewer_votes_or_curves_change_no_number_of_those_that_were_measured(fabricate, metric):
    """A network without an energy is measured with votes=[confidence,majority,mean]."""
    options = load_protocol("sudoku-vote", ["votes=[confidence,majority,mean]", "steps=[]"]).options
    run = fabricate("a", "cells")
    metrics = {"confidence/board_accuracy_blanks": metric(0.6)}
    run.result("sudoku-vote", metrics, options=options, described_by="sudoku-vote", kind="sudoku")
    assert shown(run, "boards_confidence") == (60, [])


def test_exact_valid_and_optimal_mazes_have_columns_side_by_side_of_one_draw_and_of_votes(fabricate, metric):
    scores = {"exact": 0.1, "valid": 0.3, "optimal": 0.2}
    run, options = fabricate("a", "cells"), {"maze": load_protocol("maze").options}
    options["maze-vote"] = load_protocol("maze-vote", ["num_steps=25"]).options
    one = {name: metric(value) for name, value in scores.items()}
    voted = {f"energy_last/{name}": metric(value + 0.5) for name, value in scores.items()}
    run.result("maze", one, options=options["maze"], described_by="maze", kind="maze")
    more = {name: metric(0.9) for name in scores}  # one draw, of another T
    run.result("maze-vote", more | voted, options=options["maze-vote"], described_by="maze-vote", kind="maze")
    assert [shown(run, f"mazes_{name}") for name in scores] == [(10, []), (30, []), (20, [])]
    assert [shown(run, f"mazes_energy_last_{name}")[0] for name in scores] == [60, 80, 70]
    table = summarise([load(Row("a", run.path))])
    keys = [head.column.key for head in table.heads if head.column.key.startswith("mazes")]
    assert keys == [f"mazes_{vote}{name}" for vote in ("", "energy_last_") for name in scores]


def test_numbers_are_of_boards_mazes_or_images_as_their_protocol_declares(fabricate, metric):
    run = fabricate("a", "cells")
    for name, number in (("maze", "exact"), ("sudoku", "board_accuracy_blanks"), ("clean", "accuracy")):
        options = load_protocol(name).options
        run.result(name, {number: metric(0.5)}, options=options, described_by=name, kind=name)
    lines = summarise([load(Row("a", run.path))]).scoring
    for words in (", 360 mazes of digits test", ", 360 boards of digits test", ", 360 images of digits test"):
        assert sum(words in line for line in lines) == 1, words
