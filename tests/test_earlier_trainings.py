"""Which options decide what training shows, and which trainings a network has behind it."""

from pathlib import Path

import pytest
from small_runs import small

from sslkuramoto.cli import main
from sslkuramoto.data import DATA, batches, in_order
from sslkuramoto.data.glyphs.glyph_set import GlyphSet
from sslkuramoto.earlier_trainings import Training, division, trainings_of, unlike
from sslkuramoto.recipe import Part, dump_recipe
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.values import Mark

ICONS = {"train_icons": 90, "pairs": 200, "pairs_test": 20, "size": 16}
DECIDING = {
    Mark.UNSEEN: {
        *("icon_split", "train_icons", "glyphs", "font", "characters", "maze_seed", "puzzle_seed", "train_mazes"),
        *("train_boards", "val_share", "train_split", "test_split"),
    },
    Mark.HELD_OUT: {"holdout", "limit", "val_split"},
}


@pytest.mark.parametrize("name", DATA)
def test_a_source_marks_the_options_that_decide_what_training_shows(name):
    options = set(DATA.options(name))
    if "holdout" in options:
        held_out = DECIDING[Mark.HELD_OUT] | ({"labels"} if name == "timm" else set())  # image_folder goes by folders
        assert options & held_out == DATA.marked(name, Mark.HELD_OUT) - {"split_seed"}
        assert "split_seed" in DATA.marked(name, Mark.HELD_OUT) | DATA.marked(name, Mark.UNSEEN)
    assert options & DECIDING[Mark.UNSEEN] == DATA.marked(name, Mark.UNSEEN) - {"split_seed"}


def shown(name: str, split: str, options: dict) -> set:
    """Return what one split shows: icons, or images."""
    data = DATA.build(name, options, split)
    if isinstance(data, GlyphSet):
        return set(data.icons.flatten().tolist())
    (batch,) = batches(data, in_order(len(data), len(data)), device="cpu")
    return {image.numpy().tobytes() for image in batch.inputs}


@pytest.mark.parametrize(
    ("name", "key", "value", "other"),
    [
        ("same-different", "icon_split", 0, 2),
        ("same-different", "train_icons", 90, 50),
        ("digits", "split_seed", 0, 1),
    ],
)
def test_another_division_tests_what_training_showed(name, key, value, other):
    common = ICONS if name == "same-different" else {}
    trained, changed = common | {key: value}, common | {key: other}
    train, test = (shown(name, split, trained) for split in ("train", "test"))
    assert len(train & test) < 3, "few digits are there twice"
    assert len(train & shown(name, "test", changed)) > 3
    assert unlike(Part(name, changed), Part(name, trained), "test") == f"data.{key}={value}"
    assert unlike(Part(name, trained), Part(name, trained | {"size": 8}), "test") is None


def test_tasks_on_icons_divide_the_same_ones_and_other_sources_their_own():
    first, second = Part("same-different", {"icon_split": 1}), Part("match-to-sample", {"icon_split": 2})
    assert unlike(first, second, "test") == "data.icon_split=2"
    assert unlike(first, Part("match-to-sample", {"icon_split": 1, "size": 16, "pair_seed": 4}), "test") is None
    assert unlike(Part("digits", {"split_seed": 1}), Part("cifar10", {"split_seed": 2, "root": "."}), "val") is None


def test_what_is_kept_back_concerns_val_alone():
    ours, theirs = Part("digits", {"holdout": 0.1}), Part("digits", {})
    assert unlike(ours, theirs, "test") is None
    assert unlike(ours, theirs, "val") == "data.holdout=0.0"
    assert division("test") < division("val")


def test_images_of_timm_are_kept_back_otherwise_without_labels():
    ours, theirs = (Part("timm", {"dataset": "hfds/x", "holdout": 0.1, "labels": labels}) for labels in (True, False))
    assert unlike(ours, theirs, "val") == "data.labels=False"
    assert unlike(ours, theirs, "test") is None


def run_of(path: Path, init: str | None = None) -> RunDirectory:
    run = RunDirectory(path)
    path.mkdir()
    run.recipe_file.write_text(dump_recipe(small(init=init)))
    return run


def test_the_trainings_of_a_run_are_its_own_and_those_that_it_started_from(tmp_path):
    first = run_of(tmp_path / "first")
    second = run_of(tmp_path / "second", str(first.path))
    third = run_of(tmp_path / "third", str(second.path))
    assert [training.run.name for training in trainings_of(third)] == ["third", "second", "first"]
    first.recipe_file.unlink()
    assert trainings_of(third)[2] == Training(first.path, None)
    first.recipe_file.write_text(dump_recipe(small(init=str(third.path))))
    assert len(trainings_of(third)) == 3, "a circle ends"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A run on pairs of icons, and one on match-to-sample with other icons that started from it."""
    folder = tmp_path_factory.mktemp("icons")
    few = ["data.size=16", "data.pairs=24", "data.pairs_test=20", "batch_size=12", "epochs=1", "encoder.size=16"]
    few += ["encoder.channels=4", "encoder.hidden=8", "encoder.dimensions=4", "encoder.num_steps=3"]
    assert main(["train", "same-different-relational", *few, "--run", str(folder / "sd")]) == 0
    start = ["--init", str(folder / "sd"), "--run", str(folder / "mts")]
    assert main(["train", "match-to-sample-relational", *few, "data.icon_split=1", *start]) == 0
    return folder


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["sd", "relations", "data.icon_split=2"], "sd was trained with data.icon_split=0"),
        (["sd", "relations", "data.train_icons=50"], "sd was trained with data.train_icons=95"),
        (["mts", "relations"], "sd was trained with data.icon_split=0"),
    ],
)
def test_icons_of_a_training_are_not_measured_as_unseen(runs, capsys, words, line):
    assert main(["evaluate", str(runs / words[0]), *words[1:], "--device", "cpu"]) == 2
    (told,) = [each for each in capsys.readouterr().err.splitlines() if "relations:" in each]
    assert line in told
    assert not (runs / words[0] / "results").exists()


def test_the_division_of_training_may_be_named_and_other_options_changed(runs, capsys):
    words = ["relations", "data.icon_split=0", "data.pair_seed=3", "examples=8", "store=0", "--device", "cpu"]
    assert main(["evaluate", str(runs / "sd"), *words]) == 0
    assert "icons that training did not show" in capsys.readouterr().out
