"""An exported folder rebuilds the network without its run, and its card says what was measured."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import sslkuramoto as sk
from sslkuramoto.checkpoint import weights_hash
from sslkuramoto.classifier import Classifier
from sslkuramoto.encoders import AKOrN
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import subject_of
from sslkuramoto.interop import load_exported
from sslkuramoto.interop.export_folder import export_torch
from sslkuramoto.interop.export_hub import export_hub_folder
from sslkuramoto.interop.trained import trained
from sslkuramoto.randomness import generator


@pytest.fixture(scope="module")
def folder(finetuned, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "folder"
    export_hub_folder(trained(finetuned), out)
    return out


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_a_classifier_comes_back_with_equal_logits(folder, finetuned):
    found, subject = load_exported(folder), subject_of(finetuned)
    assert isinstance(found, Classifier)
    assert not found.training
    images = torch.rand(2, 3, 8, 8)
    ours = Classifier(subject.encoder, subject.head)
    assert torch.equal(found(images, draw=generator("cpu", 1)), ours(images, draw=generator("cpu", 1)))


def test_the_card_says_how_the_folder_is_loaded_and_that_loads_it(folder):
    assert 'model = sk.load("FOLDER")' in (folder / "README.md").read_text()
    found = sk.load(str(folder))
    assert isinstance(found, sk.Classifier)
    assert weights_hash(found) == weights_hash(load_exported(folder))


def test_an_encoder_alone_comes_back(pretrained, tmp_path):
    export_torch(trained(pretrained), tmp_path / "out")
    found = load_exported(tmp_path / "out")
    assert isinstance(found, AKOrN)
    assert weights_hash(found) == subject_of(pretrained).encoder_hash
    assert not (tmp_path / "out" / "README.md").read_text().startswith("---")


def test_the_folder_holds_three_files_and_named_weights(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    names = load_file(folder / "model.safetensors").keys()
    assert {"encoder.layers.0.coupling.weight", "head.weight", "head.bias"} <= names


def test_the_card_has_each_figure_with_interval_images_draws_protocol_and_seed(folder):
    text = (folder / "README.md").read_text()
    assert "| clean | accuracy | 50.00 % | 33.00 to 67.00 | 30 | 20 | 3 | digits test |" in text
    assert "- clean: eps=8/255" in text
    assert "- clean: a note" in text
    assert "trained by `classification` on `digits`" in text
    assert "It started from the encoder of the run `pre`, trained by `simclr`." in text


def test_figures_of_other_weights_or_other_data_are_left_out_and_counted(folder):
    text = (folder / "README.md").read_text()
    assert "| older |" not in text
    assert "| few |" not in text
    assert "| streamed |" in text, "where the images are kept changes no number"
    assert "Left out: 2 results of the run, of other weights or with changed options of encoder or data." in text


def test_figures_of_weights_that_a_protocol_trained_from_these_are_a_sentence_and_no_entry_for_hubs(folder):
    header, text = (folder / "README.md").read_text().split("---\n", 2)[1:]
    assert "| finetuned |" not in text
    assert "Not of these weights, but of those that finetuned trained from them: accuracy 50.00 %." in text
    assert "finetuned" not in header


def test_no_folder_of_this_machine_is_written(folder, pretrained):
    for name in ("README.md", "config.json"):
        assert str(pretrained.parent) not in (folder / name).read_text()
    assert json.loads((folder / "config.json").read_text())["recipe"]["init"] == "pre"


def test_the_front_matter_is_what_hubs_read(folder):
    _, header, _ = (folder / "README.md").read_text().split("---\n", 2)
    said = yaml.safe_load(header)
    assert said["pipeline_tag"] == "image-classification"
    assert said["library_name"] == "sslkuramoto"
    measured, streamed = said["model-index"][0]["results"]
    assert measured["metrics"] == [{"type": "accuracy", "value": 0.5, "name": "clean: accuracy"}]
    assert streamed["metrics"][0]["name"] == "streamed: accuracy"


def test_huggingface_hub_reads_the_card(folder):
    from huggingface_hub import ModelCard

    result, _ = ModelCard.load(folder / "README.md").data.eval_results
    assert (result.metric_value, result.dataset_name) == (0.5, "digits")


def test_the_size_can_be_given_where_the_data_are_not_here(finetuned, tmp_path):
    model = trained(finetuned, size=12)
    export_torch(model, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["image_size"], config["classes"]) == (12, None)
    with pytest.raises(UserError, match="--size=0: must be between 1 and 4096"):
        trained(finetuned, size=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2; this version reads up to 1: update sslkuramoto"),
        ({"library_name": "timm"}, "of another program"),
        ({"encoder": None}, "encoder=None: must be a dict"),
        ({"encoder": {"name": "akorm"}}, "unknown encoder 'akorm'"),
        ({"encoder": {"name": "akorn", "channels": 6}}, r"model\.safetensors: .*weight"),
    ],
)
def test_a_changed_config_is_one_clear_line(change, message, copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=message) as caught:
        load_exported(copy)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_named(copy, tmp_path):
    with pytest.raises(UserError, match="no exported model"):
        load_exported(tmp_path)
    weights = copy / "model.safetensors"
    whole = load_file(weights)
    save_file({**whole, "tail.weight": torch.ones(1)}, weights)
    with pytest.raises(UserError, match=r"weight 'tail\.weight' has no place here"):
        load_exported(copy)
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match=r"model\.safetensors: truncated"):
        load_exported(copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: truncated or not JSON"):
        load_exported(copy)


def test_pushing_without_a_login_is_refused_before_anything_is_written(finetuned, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="--push=me/net: no login found"):
        export_hub_folder(trained(finetuned), tmp_path / "out", push="me/net")
    with pytest.raises(UserError, match="--push=net: must read OWNER/NAME"):
        export_hub_folder(trained(finetuned), tmp_path / "out", push="net")
    assert not (tmp_path / "out").exists()


def test_a_logged_in_user_pushes_the_folder(finetuned, tmp_path, monkeypatch):
    calls = []

    class Hub:
        def create_repo(self, repository, exist_ok):
            calls.append(repository)

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            calls.append(sorted(path.name for path in folder_path.iterdir()))
            return type("Commit", (), {"commit_url": "the commit"})

    monkeypatch.setattr("huggingface_hub.get_token", lambda: "token")
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    lines = export_hub_folder(trained(finetuned), tmp_path / "out", push="me/net")
    assert calls == ["me/net", ["README.md", "config.json", "model.safetensors"]]
    assert lines[-1] == "pushed to the commit"
