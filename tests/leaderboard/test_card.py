"""A card is what its run gives: a changed card, other weights and numbers that no image supports are refused."""

import json
import re
import shutil
from html import unescape

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sslkuramoto import files
from sslkuramoto.checkpoint import load_encoder, load_head, weights_hash
from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.leaderboard import CARD, card_of, check_card, checked_card, keep_card
from sslkuramoto.leaderboard.page import board_page
from sslkuramoto.recipe import dump_recipe, load_recipe
from sslkuramoto.results import Result


def changed(file, act):
    """Change a JSON file."""
    content = json.loads(file.read_text())
    act(content)
    file.write_text(json.dumps(content))


def kept(run):
    """Write the card of a run that has none."""
    card = checked_card(run)
    keep_card(run, card)
    return card


def refused(capsys, *words):
    assert main(["board", *map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_card_holds_weights_threat_readings_audit_and_bracket(run):
    card = card_of(run)
    assert card["network"]["encoder"] == weights_hash(load_encoder(run / "encoder.safetensors"))
    assert card["network"]["head"]
    (robust,) = card["robust"]
    assert robust["threat"] == {"norm": "linf", "eps": 0.1}
    values = {reading: entry["value"] for reading, (entry,) in robust["readings"].items()}
    assert values == {"as published": 0.8, "fixed": 0.4, "EoT": 0.6, "adaptive": 0.4, "union": 0.2}
    assert robust["environment"]["versions"] == {"sslkuramoto": "0.0.1", "torch": "2.6.0"}
    (audit,) = card["audits"]
    assert audit["word"] == "suspicious"
    assert audit["curve"]["series"] == {"apgd": [0.9, 0.4, 0.1]}
    assert card["brackets"][0]["lines"][1] == "between 72 and 91 % at l2 0.4"


def test_a_written_card_matches_its_run(run, tmp_path, capsys):
    card = kept(run)
    assert check_card(run / CARD, run) == card == checked_card(run)
    sent = tmp_path / "sent.json"
    sent.write_bytes((run / CARD).read_bytes())
    assert main(["board", "--check", str(sent), "--run", str(run)]) == 0
    assert capsys.readouterr().out == f"{sent}: matches {run} (akorn)\n"


def test_the_name_of_a_card_is_free(run):
    kept(run)
    changed(run / CARD, lambda card: card.update(name="our network"))
    assert checked_card(run)["name"] == "our network"


@pytest.mark.parametrize("name", ["tab\tname", "joined\u200dname", "wide\u3000space", " ", "of two\nlines"])
def test_a_directory_of_any_name_gets_a_card_that_is_accepted_again(run, name):
    odd = run.rename(run.parent / name)
    card = kept(odd)
    assert card["name"].strip()
    assert card["name"].isprintable()
    assert checked_card(odd) == card
    assert len(card_of(odd, "n" * 300)["name"]) == 255


CHANGES = {
    "robust[0].readings.union[0].value is 0.9 in the card and 0.2 in the run": lambda card: card["robust"][0][
        "readings"
    ]["union"][0].update(value=0.9),
    "audits[0].word is 'sound' in the card": lambda card: card["audits"][0].update(word="sound"),
    "audits has 0 entries in the card and 1 in the run": lambda card: card.update(audits=[]),
    "praise is missing in the run": lambda card: card.update(praise="best"),
    "network.head is missing in the card": lambda card: card["network"].pop("head"),
    "format is True in the card": lambda card: card.update(format=True),
    "name=' ': must be text": lambda card: card.update(name=" "),
    "name='\\u200b\\u2060': must be text": lambda card: card.update(name="\u200b\u2060"),
    "must be text of at most 255 printable characters": lambda card: card.update(name="n" * 256),
}


@pytest.mark.parametrize("difference", CHANGES)
def test_a_changed_card_is_refused_in_one_line(run, tmp_path, capsys, difference):
    kept(run)
    changed(run / CARD, CHANGES[difference])
    assert difference in refused(capsys, "--check", run / CARD, "--run", run)
    assert difference in refused(capsys, run, "--html", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def exchange(file):
    """Change the weights of a file."""
    tensors = load_file(file)
    name = next(key for key, value in tensors.items() if value.is_floating_point() and value.numel() > 4)
    tensors[name] = tensors[name] + torch.ones_like(tensors[name])
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    save_file(tensors, file, about)


def test_results_of_other_weights_are_refused(run):
    exchange(run / "encoder.safetensors")
    with pytest.raises(UserError, match="was measured on other weights than"):
        card_of(run)


def test_a_head_that_was_exchanged_before_the_card_was_written_is_refused(run, tmp_path, capsys):
    exchange(run / "head.safetensors")
    line = refused(capsys, run, "--html", tmp_path / "page.html")
    assert "was measured on other weights than the run holds now; remove" in line
    assert not (run / CARD).exists()


def test_a_result_of_an_earlier_version_states_no_head_and_the_page_says_so(run):
    changed(run / "results" / "robustness-quick.json", lambda result: result.pop("head"))
    card = checked_card(run)
    assert card["network"]["head"]
    assert (card["robust"][0]["head"], card["audits"][0]["head"]) == (None, card["network"]["head"])
    page = unescape(board_page([card]))
    assert page.count("the head's hash is not stated") == 1


def test_a_protocol_that_measures_the_head_states_its_hash_and_the_board_finds_the_exchange(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "measured")
    attack = "attacks: [{name: autoattack, member: apgd-ce, iterations: 1}]"
    words = [f"ways={{published: {{initial: random, decided_by: one draw, {attack}}}}}", "images=4", "control=0"]
    assert main(["evaluate", str(run), "robustness-quick", "knn", *words, "draws=20", "--device", "cpu"]) == 0
    stated = {result.kind: result for result in map(Result.read, (run / "results").glob("*.json"))}
    assert stated["robustness"].head == {"sha256": weights_hash(load_head(run / "head.safetensors"))}
    assert stated["knn"].head == {}, "k-NN measures the encoder alone"
    assert card_of(run)["network"]["head"] == stated["robustness"].head["sha256"]
    exchange(run / "head.safetensors")
    with pytest.raises(UserError, match="was measured on other weights than"):
        card_of(run)


def test_a_number_that_its_images_do_not_give_is_refused(run):
    file = run / "results" / "robustness-quick.json"
    changed(file, lambda result: result["metrics"]["union/robust_accuracy"].update(value=0.9))
    with pytest.raises(UserError, match=r"metrics.union/robust_accuracy is 0\.9, its images give 0\.2"):
        card_of(run)
    changed(file, lambda result: result["per_image"].pop("union/correct"))
    with pytest.raises(UserError, match=r"there is no list per_image\.union/correct"):
        card_of(run)


def published(result):
    return result["metrics"]["published/robust_accuracy"]


NUMBERS = {
    "metrics.zzz: states a reading, which only robust_accuracy has": lambda result: (
        result["metrics"].update(zzz=published(result)),
        result["per_image"].update(zzz=[0, 1]),
    ),
    "robust_accuracy.n: 10000 images, the list has 5": lambda result: published(result).update(n=10000),
    "robust_accuracy.low is 0.9, its images give 0.37": lambda result: published(result).update(low=0.9),
    "robust_accuracy.high is 1, its images give 0.96": lambda result: published(result).update(high=1.0),
    "robust_accuracy.draws is 1000, options.draws is 20": lambda result: (
        result["options"].update(draws=20),
        published(result).update(draws=1000),
    ),
    "its images are no shares of 1 draws": lambda result: (
        result["per_image"].update({"published/correct": [0.9, 0.9, 0.9, 0.9, 0.4]}),
        published(result).update(draws=1),
    ),
    "robust_accuracy.n: 5 images, the list has 1": lambda result: (
        result["per_image"].update({"published/correct": [1.0]}),
        published(result).update(value=1.0),
    ),
    "data.n: 5 images, the list has 1": lambda result: (
        result["per_image"].update({"published/correct": [1.0]}),
        published(result).update(value=1.0, n=1),
    ),
    "per_image.index: 3 images, the list has 5": lambda result: result["per_image"].update(index=[1, 2, 3]),
    "per_image.index: names an image twice": lambda result: result["per_image"].update(index=[1, 2, 3, 3, 4]),
    **{
        f"robust_accuracy: lacks its value, its interval or its number of images (no {key})": lambda result, key=key: (
            published(result).update({key: None})
        )
        for key in ("value", "low", "high", "n")
    },
    "per_image.published/correct: must hold numbers from 0 to 1": lambda result: result["per_image"].update(
        {"published/correct": [10**400]}
    ),
}


@pytest.mark.parametrize("line", NUMBERS)
def test_value_interval_images_and_draws_of_a_reading_are_those_of_its_images(run, line):
    changed(run / "results" / "robustness-quick.json", NUMBERS[line])
    with pytest.raises(UserError, match=re.escape(line.partition(" (no ")[0])):
        card_of(run)


def test_readings_at_other_radii_are_lines_of_their_own_and_options_that_were_changed_are_told(run):
    ways = {"published": {"eps": 0.001}, "fixed": {"norm": "l2", "eps": 3.0}, "eot": {}, "held": {"eps": 0.3}}

    def weaker(result):
        result["options"].update(eps=0.3, images=16, ways=ways)
        del result["metrics"]["union/robust_accuracy"]["reading"]  # of a union that leaves readings out

    changed(run / "results" / "robustness-quick.json", weaker)
    found = [(entry["threat"], sorted(entry["readings"])) for entry in card_of(run)["robust"]]
    assert found == [
        ({"norm": "linf", "eps": 0.001}, ["as published"]),
        ({"norm": "l2", "eps": 3.0}, ["fixed"]),
        ({"norm": "linf", "eps": 0.3}, ["EoT", "adaptive"]),
    ]
    assert "eps 0.3 (there 8/255)" in card_of(run)["robust"][2]["changed"]
    assert "images 16 (there 64)" in board_page([card_of(run)])


def test_equal_radii_are_one_threat_and_the_union_has_that_of_the_first(run):
    ways = {"published": {"eps": 0.03137254901960784}, "fixed": {"eps": None}, "eot": {}, "held": {"eps": "8/255"}}
    changed(run / "results" / "robustness-quick.json", lambda result: result["options"].update(eps="8/255", ways=ways))
    (entry,) = card_of(run)["robust"]
    assert set(entry["readings"]) == {"as published", "fixed", "EoT", "adaptive", "union"}
    ways["published"]["eps"] = ways["eot"]["eps"] = 0.001
    changed(run / "results" / "robustness-quick.json", lambda result: result["options"].update(ways=ways))
    first, second = card_of(run)["robust"]
    assert (first["threat"]["eps"], set(first["readings"])) == (0.001, {"as published", "EoT", "union"})
    assert set(second["readings"]) == {"fixed", "adaptive"}


FIELDS = {
    "options.ways='l7': must be an object": lambda result: result["options"].update(ways="l7"),
    "options.eps=[0.1, 0.2]: must be": lambda result: result["options"].update(eps=[0.1, 0.2]),
    "options.eps='banana': must be": lambda result: result["options"].update(eps="banana"),
    "options.eps: is a number beyond all floats": lambda result: result["options"].update(eps=10**400),
    "options.norm=[7]: must be": lambda result: result["options"].update(norm=[7], eps=None, ways={"published": {}}),
    "options.norm=7: must be": lambda result: result["options"].update(norm=7),
    "details.brackets: lines must be": lambda result: result["details"].update(brackets=[{"lines": 7}]),
    "details.brackets: lines must be a list": lambda result: result["details"].update(brackets=[{"lines": "abc"}]),
    "environment.versions='x': must be": lambda result: result["environment"].update(versions="x"),
    "environment.versions={'torch': [2]}": lambda result: result["environment"].update(versions={"torch": [2]}),
    "data.name={'a': 1}: ": lambda result: result["data"].update(name={"a": 1}),
    "environment.hardware=[1]: must be text": lambda result: result["environment"].update(hardware=[1]),
    "series.apgd: holds a number beyond all floats": lambda result: result["details"].update(
        audit={"verdict": "", "curves": {"eps": {"x": [0], "series": {"apgd": [10**400]}}}}
    ),
}


@pytest.mark.parametrize("line", FIELDS)
def test_a_field_of_another_kind_is_one_line_that_names_the_file_and_writes_no_card(run, tmp_path, capsys, line):
    file = run / "results" / "robustness-quick.json"
    changed(file, lambda result: FIELDS[line](result | {"details": result.setdefault("details", {})}))
    told = refused(capsys, run, "--html", tmp_path / "page.html")
    assert str(file) in told
    assert line in told
    assert not (run / CARD).exists()
    assert not (tmp_path / "page.html").exists()


def test_the_recipe_of_another_network_is_refused(run):
    recipe = run / "recipe.yaml"
    other = load_recipe(recipe, ["encoder.num_steps=3"])
    recipe.write_text(dump_recipe(other))
    with pytest.raises(UserError, match=r"recipe\.yaml: is not the recipe of .*encoder\.num_steps is 3 in the recipe"):
        card_of(run)


def test_results_on_data_that_the_recipe_does_not_name_are_refused(run):
    changed(run / "results" / "audit-quick.json", lambda result: result["data"].update(name="cifar10"))
    with pytest.raises(UserError, match=r"audit-quick\.json: data.name='cifar10': the recipe has 'digits'"):
        card_of(run)


def test_no_card_is_kept_where_the_page_cannot_be_written(run, tmp_path, capsys, monkeypatch):
    (tmp_path / "page.html").write_text("before")
    monkeypatch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert "no space left" in refused(capsys, run, "--html", tmp_path / "page.html")
    assert not (run / CARD).exists()


def test_results_of_changed_options_are_left_out(run):
    file = run / "results" / "robustness-quick.json"
    (run / "results" / "other.json").write_text(file.read_text())
    changed(run / "results" / "other.json", lambda result: result["encoder"].update(changed_options={"num_steps": 9}))
    card = card_of(run)
    assert len(card["robust"]) == 1
    assert card["left_out"] == 1


def test_a_network_of_a_function_is_known_by_what_its_results_state(run):
    for file in (*run.glob("*.safetensors"), run / "recipe.yaml"):
        file.unlink()
    with pytest.raises(UserError, match=r"holds no encoder\.safetensors and no model\.json"):
        card_of(run)
    (run / "model.json").write_text("{}")
    network = card_of(run)["network"]
    assert network["weights_checked"] is False
    assert network["head"], "as the results state it"
    for part in ("head", "encoder"):
        changed(run / "results" / "robustness-quick.json", lambda result, part=part: result[part].update(sha256="0"))
        with pytest.raises(UserError, match="its results are of 2 different networks"):
            card_of(run)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name at least one RUN or DIR, and --html FILE"),
        (["RUN"], "name at least one RUN or DIR, and --html FILE"),
        (["RUN", "--html", "FOLDER"], "must name a file"),
        (["--check", "card.json"], "--check CARD and --run RUN belong together"),
        (["RUN", "--check", "card.json", "--run", "RUN"], "--check takes no further run, no --html and no --title"),
        (["--check", "card.json", "--run", "RUN", "--title", "x"], "no --html and no --title"),
        (["--check", "FOLDER/no.json", "--run", "RUN"], "no.json"),
        (["FOLDER/no", "--html", "page.html"], "is not a directory"),
    ],
)
def test_bad_words_are_one_line(run, tmp_path, capsys, words, message):
    given = [word.replace("FOLDER", str(tmp_path)).replace("RUN", str(run)) for word in words]
    assert message in refused(capsys, *given)


def test_a_run_without_a_robust_accuracy_says_what_to_measure(run, tmp_path, capsys):
    (run / "results" / "robustness-quick.json").unlink()
    told = refused(capsys, run, "--html", tmp_path / "page.html")
    assert "holds no robust accuracy of its weights; measure images with: sslkuramoto evaluate" in told


def test_of_a_folder_runs_without_a_robust_accuracy_are_left_out_by_name(run, other, tmp_path, capsys):
    page = tmp_path / "page.html"
    (run / "results" / "robustness-quick.json").unlink()
    unfinished = shutil.copytree(other, tmp_path / "unfinished")
    (unfinished / "encoder.safetensors").unlink()
    assert main(["board", str(tmp_path), "--html", str(page)]) == 0
    told = capsys.readouterr()
    assert told.err.splitlines()[0].startswith(f"left out: {run}: holds no robust accuracy")
    assert told.err.splitlines()[1].startswith(f"left out: {unfinished}: holds no encoder.safetensors")
    assert told.out.startswith("1 card matches its run")
    assert not (run / CARD).exists()
    (other / "results" / "robustness-quick.json").unlink()
    (other / CARD).unlink()
    assert main(["board", str(tmp_path), "--html", str(tmp_path / "none.html")]) == 2
    assert "board: no run below" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "none.html").exists()


def test_a_damaged_card_is_one_line(run, capsys):
    for content in ("{", "[]", "{}"):
        (run / CARD).write_text(content)
        assert CARD in refused(capsys, "--check", run / CARD, "--run", run)
