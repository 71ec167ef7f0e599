"""Of several results of one protocol the headline is what its file describes; variants are named, never chosen."""

import pytest

from sslkuramoto.columns import Column
from sslkuramoto.evaluation import PROTOCOLS, load_protocol
from sslkuramoto.report import Row, columns, load, summarise
from sslkuramoto.report.tables.columns import find, variant_of
from sslkuramoto.results import Result

TODAY = (
    "knn linear clustering_accuracy clustering_nmi clustering_ari clean "
    "robust_as_published robust_fixed robust_eot robust_held robust_union "
    "noise_accuracy corruption_accuracy corruption_mce archive_accuracy archive_mce calibration_ece "
    "boards_blanks boards_all_cells"
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
        "robustness-digits, as its file describes it; beside it, not shown: a-control, robustness-digits+eps=0"
    )


def test_a_file_of_the_protocols_name_with_other_options_is_a_variant(fabricate, robust):
    options = load_protocol("robustness-quick").options
    run = fabricate("a", "classification").result("robustness-quick", robust(0.3), options=options | {"eps": 0.1})
    assert shown(run) == (30, ["robustness-quick: a variant of robustness-quick, other in eps 0.1 (there 8/255)"])
    run.result("robustness-quick+chunk=32", robust(0.2), options=options | {"chunk": 32})
    value, (note,) = shown(run)
    assert value is None
    assert note.startswith("not shown: 2 variants and none that its protocol's file describes: robustness-quick")


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


def test_options_that_change_no_meaning_make_no_variant(fabricate):
    options = load_protocol("robustness-linf").options | {"ledger": "/shared", "store": 0, "control": 9, "chunk": 7}
    run = fabricate("a").result("robustness-linf", {}, options=options)
    assert variant_of(Result.read(run.path / "results" / "robustness-linf.json")) == ""


def test_a_result_of_a_file_of_ones_own_is_shown_and_named(fabricate, robust):
    run = fabricate("a", "classification").result("mine", robust(0.3), kind="robustness", described_by="mine")
    assert shown(run) == (30, ["mine: described by no file of eval/protocols"])


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
    run = fabricate("a", "classification").result("robustness-linf", {"published/clean_accuracy": metric(0.7)})
    assert shown(run, "clean") == (70, [])
    run.result("finetune-digits", {"accuracy": metric(0.8)})
    assert shown(run, "clean") == (80, [])
    run.result("clean", {"accuracy": metric(0.9)})
    assert shown(run, "clean") == (90, [])


def test_every_column_can_be_asked_of_a_run_without_results(fabricate):
    model = load(Row("a", fabricate("a", "classification").path))
    assert {find(column, model) for column in columns()} == {"not measured: no result for it in the run directory"}
