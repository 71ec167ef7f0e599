"""timm builds, reads and changes AKOrN as it does its own models."""

import copy

import pytest
import timm
import torch
from small_runs import AKORN

import sslkuramoto.interop.timm_models  # noqa: F401  registers the models
from sslkuramoto.classifier import Classifier
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import subject_of
from sslkuramoto.interop.export_folder import export_timm
from sslkuramoto.interop.trained import trained
from sslkuramoto.run_directory import RunDirectory

OPTIONS = {key: value for key, value in AKORN.items() if key != "name"}


def made(**arguments):
    return timm.create_model("sslkuramoto_akorn", **(OPTIONS | {"num_classes": 3} | arguments))


def test_timm_lists_and_builds_it():
    assert timm.list_models("sslkuramoto*") == ["sslkuramoto_akorn"]
    model = made()
    assert model(torch.rand(2, 3, 8, 8)).shape == (2, 3)
    assert model.pretrained_cfg["mean"] == (0.0, 0.0, 0.0)


def test_forward_is_head_of_features_and_pre_logits_are_pooled():
    model, images = made().eval(), torch.rand(2, 3, 8, 8)
    grid = model.forward_features(images)
    assert grid.shape[:2] == (2, model.num_features)
    assert torch.equal(model.forward_head(grid), model(images))
    assert torch.equal(model.forward_head(grid, pre_logits=True), grid.mean(dim=(2, 3)))


def test_the_classifier_can_be_reset():
    model = made()
    model.reset_classifier(7)
    assert (model.num_classes, model(torch.rand(1, 3, 8, 8)).shape[1]) == (7, 7)
    model.reset_classifier(0)
    assert model(torch.rand(1, 3, 8, 8)).shape == (1, model.num_features)
    model.reset_classifier(0, "")
    assert model(torch.rand(1, 3, 8, 8)).ndim == 4
    with pytest.raises(UserError, match="global_pool='max'"):
        model.reset_classifier(0, "max")


def test_eval_starts_from_one_seeded_field_and_training_from_new_oscillators():
    model, images = made().eval(), torch.rand(2, 3, 8, 8)
    state = torch.get_rng_state()
    assert torch.equal(model(images), model(images))
    assert not torch.equal(model(images), copy.deepcopy(_with_seed(model, 1))(images))
    model.train()
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.eval()
    assert not torch.equal(model(images), model(images))
    assert torch.equal(torch.get_rng_state(), state)


def _with_seed(model, seed):
    other = copy.deepcopy(model)
    other.field_seed = seed
    return other


def test_a_copy_of_a_trained_model_draws_as_a_new_one():
    model, images = made().train(), torch.rand(2, 3, 8, 8)
    model(images)
    copied = copy.deepcopy(model)
    assert torch.equal(copied.eval()(images), model.eval()(images))


def test_the_exported_folder_is_a_local_dir_of_timm(finetuned, tmp_path):
    export_timm(trained(finetuned), tmp_path / "out")
    subject, images = subject_of(finetuned), torch.rand(3, 3, 8, 8)
    ours = Classifier(subject.encoder, subject.head, "fixed", seed=0)(images)
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    assert torch.equal(model(images), ours)
    path = str(tmp_path / "out" / "model.safetensors")
    assert torch.equal(made(num_classes=10, checkpoint_path=path).eval()(images), ours)
    other = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True, num_classes=4).eval()
    assert torch.equal(other.forward_features(images), model.forward_features(images))


def test_the_encoder_file_of_a_run_is_a_checkpoint_of_timm(pretrained):
    path = str(RunDirectory(pretrained).encoder_file())
    model, images = made(num_classes=0, checkpoint_path=path).eval(), torch.rand(2, 3, 8, 8)
    encoder = subject_of(pretrained).encoder
    field = Classifier(encoder, torch.nn.Identity(), "fixed", seed=0).field(images)
    assert torch.equal(model(images), encoder(images, initial=field).pooled)


def test_three_channels_only():
    with pytest.raises(UserError, match="in_chans=1: the encoder reads 3 channels"):
        made(in_chans=1)
