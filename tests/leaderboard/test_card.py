"""A card is what its run gives: a changed card, other weights and numbers that no image supports are refused."""

import json
import shutil
from html import unescape

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sslkuramoto.checkpoint import load_encoder, load_head, weights_hash
from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.leaderboard import CARD, card_of, check_card, checked_card
from sslkuramoto.leaderboard.page import board_page
from sslkuramoto.results import Result


def changed(file, act):
    """Change a JSON file."""
    content = json.loads(file.read_text())
    act(content)
    file.write_text(json.dumps(content))


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
    card = checked_card(run)
    assert check_card(run / CARD, run) == card == checked_card(run)
    sent = tmp_path / "sent.json"
    sent.write_bytes((run / CARD).read_bytes())
    assert main(["board", "--check", str(sent), "--run", str(run)]) == 0
    assert capsys.readouterr().out == f"{sent}: matches {run} (akorn)\n"


def test_the_name_of_a_card_is_free(run):
    checked_card(run)
    changed(run / CARD, lambda card: card.update(name="our network"))
    assert checked_card(run)["name"] == "our network"


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
}


@pytest.mark.parametrize("difference", CHANGES)
def test_a_changed_card_is_refused_in_one_line(run, tmp_path, capsys, difference):
    checked_card(run)
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
    with pytest.raises(UserError, match="was measured of other weights than"):
        card_of(run)


def test_a_head_that_was_exchanged_before_the_card_was_written_is_refused(run, tmp_path, capsys):
    exchange(run / "head.safetensors")
    line = refused(capsys, run, "--html", tmp_path / "page.html")
    assert f"was measured with another head than {run} holds; measure again" in line
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
    with pytest.raises(UserError, match="was measured with another head than"):
        card_of(run)


def test_a_number_that_its_images_do_not_give_is_refused(run):
    file = run / "results" / "robustness-quick.json"
    changed(file, lambda result: result["metrics"]["union/robust_accuracy"].update(value=0.9))
    with pytest.raises(UserError, match=r"metrics.union/robust_accuracy is 0\.9, its images give 0\.2"):
        card_of(run)
    changed(file, lambda result: result["per_image"].pop("union/correct"))
    with pytest.raises(UserError, match=r"there is no list per_image\.union/correct"):
        card_of(run)


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
        (["RUN", "--check", "card.json", "--run", "RUN"], "--check takes no further run and no --html"),
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
    assert "holds no robust accuracy of its weights; measure: sslkuramoto evaluate" in told


def test_a_damaged_card_is_one_line(run, capsys):
    for content in ("{", "[]", "{}"):
        (run / CARD).write_text(content)
        assert CARD in refused(capsys, "--check", run / CARD, "--run", run)
