"""Result files: what is written is read back, damage is named, old ones state what leaves no doubt, newer ones wait."""

import json
import math

import pytest

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import load_protocol, protocol_files
from sslkuramoto.evaluation.described import departures, is_described
from sslkuramoto.measured import shown
from sslkuramoto.results import FORMAT, Metric, Result

QUICK = [{"name": "autoattack", "member": "apgd-ce", "iterations": 10}, {"name": "autoattack", "member": "square"}]
RAND = [{"name": "autoattack", "version": "rand"}]


def test_a_result_reads_back_as_it_was_written(tmp_path):
    metrics = {
        "a": Metric(0.5, 0.4, 0.6, 10, 20, 0.01, reading="EoT"),
        "b": Metric(3.0, None, None, 10, 1, unit="nats"),
    }
    result = Result(metrics, {"eps": "8/255"}, {"n": 10}, "random", {"correct": [1.0]}, ["a note"], {"curve": [1]})
    result.protocol, result.kind, result.described_by, result.seed, result.seconds = "x+y=1", "robustness", "x", 3, 1.5
    result.write(tmp_path / "x.json")
    again = Result.read(tmp_path / "x.json")
    assert again.path == tmp_path / "x.json"
    assert again.to_dict() == result.to_dict()
    assert again.metrics == metrics
    assert Result.read(tmp_path / "x.json", per_image=False).per_image == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "metrics=None: must be an object from names to numbers"),
        ({"metrics": {"a": 1}}, "metrics.a=1: must be an object with a value"),
        ({"metrics": {"a": {"value": True}}}, "metrics.a.value=True: must be a number"),
        ({"metrics": {"a": {"value": 1, "n": 2.5}}}, "metrics.a.n=2.5: must be a whole number"),
        ({"metrics": {"a": {"value": 1, "reading": "best"}}}, "metrics.a.reading='best': must be one of as published,"),
        ({"metrics": {}, "options": []}, "options=[]: must be an object"),
        ({"metrics": {}, "per_image": {"correct": 3}}, "per_image.correct=3: must be a list"),
        ({"metrics": {}, "notes": "one"}, "notes='one': must be a list of sentences"),
        ({"metrics": {}, "format": "two"}, "format='two': must be a number"),
        ({"metrics": {}, "data": {"changed_options": [1]}}, "data.changed_options=[1]: must be an object"),
        ({"metrics": {}, "encoder": {"changed_options": "a"}}, "encoder.changed_options='a': must be an object"),
    ],
)
def test_a_damaged_file_is_one_line_with_file_key_and_what_is_wanted(tmp_path, content, message):
    path = tmp_path / "knn.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        Result.read(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_file_of_a_newer_version_is_refused_in_one_line(tmp_path):
    (tmp_path / "knn.json").write_text(json.dumps({"format": FORMAT + 1, "metrics": "another shape"}))
    with pytest.raises(UserError, match=rf"knn\.json: a result file of a newer version \(format {FORMAT + 1},.*update"):
        Result.read(tmp_path / "knn.json")


def old(options, metrics=("robust_accuracy",), **encoder):
    """Return the readings of a file without a version."""
    content = {"protocol": "robustness+eps=0", "options": options, "encoder": encoder}
    content["metrics"] = {name: {"value": 0.5, "unit": "fraction"} for name in metrics}
    read = Result.from_dict(content)
    assert read.kind == ("robustness" if any(metric.reading for metric in read.metrics.values()) else "")
    return {name: metric.reading for name, metric in read.metrics.items() if metric.reading}


@pytest.mark.parametrize(
    ("options", "reading"),
    [
        ({"attacks": QUICK}, "as published"),
        ({"attacks": QUICK, "initial": "fixed"}, "fixed"),
        ({"attacks": RAND}, "EoT"),
        ({"attacks": ["held_noise", "random_sign"]}, "adaptive"),
        ({"attacks": QUICK[1:]}, None),
        ({"attacks": [*QUICK, "transfer"]}, None),
        ({"attacks": ["square_eot"]}, None),
        ({"attacks": [{"name": "apgd"}]}, None),
        ({"attacks": QUICK, "initial": "averaged"}, None),
        ({}, None),
    ],
)
def test_an_old_file_states_what_its_options_leave_no_doubt_about(options, reading):
    assert old(options) == ({"robust_accuracy": reading} if reading else {})


def test_an_old_file_of_a_network_without_noise_was_read_in_one_way():
    assert old({"attacks": RAND}, stochastic=False) == {"robust_accuracy": "as published"}
    assert old({"attacks": RAND}, stochastic=False, initial="fixed") == {"robust_accuracy": "fixed"}


@pytest.mark.parametrize("name", [name for name in protocol_files() if name.startswith("robustness")])
def test_old_files_of_our_own_protocols_fill_the_columns_that_they_filled(name):
    options = load_protocol(name).options
    found = old(options, [f"{way}/robust_accuracy" for way in (*options["ways"], "union")])
    assert list(found.values()) == ["as published", "fixed", "EoT", "adaptive", "union"]


def test_what_described_an_old_file_is_the_first_part_of_its_name():
    read = Result.from_dict({"protocol": "knn+neighbours=3", "metrics": {}})
    assert (read.protocol, read.described_by, read.kind) == ("knn+neighbours=3", "knn", "")


ODD = [
    *(None, True, 0, -1, 2.5, 10**400, math.nan, math.inf, "", "text", "two\nlines"),
    *([], [1], [[]], [{}], [{"name": []}], [None], {}, {"a": 1}, {"a": []}, {"a": {}}, {"a\nb": {"value": "x"}}),
]
PLACES = [
    *("format", "protocol", "kind", "described_by", "options", "metrics", "data", "seed", "batch_size", "encoder"),
    *("environment", "seconds", "notes", "details", "per_image", "options.attacks", "options.ways", "options.initial"),
    *("options.ways.a", "encoder.initial", "encoder.stochastic", "metrics.robust_accuracy", "per_image.correct"),
    *("data.name", "data.changed_options", "encoder.changed_options", "encoder.weights"),
    *(f"metrics.robust_accuracy.{key}" for key in Metric.__dataclass_fields__),
]


def with_odd(place, odd, version):
    """Return a file whose value at a place is odd."""
    content = {
        "options": {"attacks": ["held_noise"], "ways": None},
        "encoder": {},
        "metrics": {"robust_accuracy": {"value": 0.5}},
        "per_image": {"correct": [1.0]},
    } | ({"format": FORMAT} if version == FORMAT else {})
    *above, key = place.split(".")
    owner = content
    for name in above:
        owner[name] = owner.get(name) or {}
        owner = owner[name]
    owner[key] = odd
    return content


def said(content, path):
    """Return the result that a content stands for, or the line that refuses it."""
    try:
        return Result.from_dict(content, path)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("version", [1, FORMAT])
@pytest.mark.parametrize("place", PLACES)
def test_whatever_stands_in_a_file_it_is_read_or_is_one_line(place, version, tmp_path):
    for odd in ODD:
        found = said(with_odd(place, odd, version), tmp_path / "knn.json")
        if isinstance(found, str):
            assert "\n" not in found
            assert found.startswith(f"{tmp_path / 'knn.json'}: ")
        else:
            found.write(tmp_path / "again.json")
            assert Result.read(tmp_path / "again.json").metrics.keys() == found.metrics.keys()
            assert not is_described(found) or all(map(str, departures(found, "robust_accuracy")))


@pytest.mark.parametrize(
    "attacks", [3, "pgd", [3], [None], [{"version": "rand"}], [{"name": ["pgd"]}], {"name": "pgd"}]
)
def test_attacks_of_an_old_file_that_are_none_are_damage(attacks):
    with pytest.raises(UserError, match=r"options\.attacks=.*must be a list of names, or of objects with a name"):
        old({"attacks": attacks})


@pytest.mark.parametrize("content", [None, [], 3, "text"])
def test_what_is_no_object_is_damage(content, tmp_path):
    with pytest.raises(UserError, match="must be an object"):
        Result.from_dict(content, tmp_path / "knn.json")


def test_a_number_that_is_none_is_missing_with_its_reason_and_the_rest_is_kept(tmp_path):
    metrics = {"a": Metric(math.nan, 0.1, math.inf, 10), "b": Metric(0.5)}
    result = Result(
        metrics, {}, {"n": 10}, "random", {"correct": [1.0, math.nan]}, ["a note"], {"curve": (1.0, -math.inf)}
    )
    result.write(tmp_path / "x.json")
    assert "NaN" not in (tmp_path / "x.json").read_text()
    read = Result.read(tmp_path / "x.json")
    assert math.isnan(read.metrics["a"].value)
    assert (read.metrics["a"].low, read.metrics["a"].high, read.metrics["b"].value) == (0.1, None, 0.5)
    assert read.per_image == {"correct": [1.0, None]}
    assert read.details == {"curve": [1.0, None]}
    assert read.notes == result.notes
    reason = "not finite, written as missing: metrics.a.value (nan), metrics.a.high (inf), details.curve (-inf)"
    assert read.notes == ["a note", f"{reason}, per_image.correct (nan)"]
    assert shown(read.metrics["a"]) == "missing"
    once = read.to_dict()["notes"]
    assert once == read.to_dict()["notes"] == result.to_dict()["notes"] == read.notes, "no second note"
    read.write(tmp_path / "again.json")
    assert Result.read(tmp_path / "again.json").notes == read.notes


def test_an_interval_of_a_mean_over_draws_is_printed_with_what_it_covers() -> None:
    one = shown(Metric(0.5, 0.4, 0.6, 64, 1, 0.0))
    many = shown(Metric(0.5, 0.4, 0.6, 64, 20, 0.03))
    assert one == "50.00 %  [40.00, 60.00]  n 64"
    assert many == "50.00 %  [40.00, 60.00] over examples, not draws  n 64, 20 draws, std over draws 3.00"
