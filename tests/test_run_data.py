"""A run knows its data: from where it was, by content and by the names of classes."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import small

from sslkuramoto.errors import Interrupted, UserError
from sslkuramoto.evaluation import subject_of
from sslkuramoto.randomness import seed_of
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import train

CLASSES = ("ant", "bee", "cat")


def save(path: Path) -> None:
    """Write an image whose pixels depend on the last two parts of its path alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed_of(*path.parts[-2:])).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def tree(root: Path, classes: tuple[str, ...] = CLASSES) -> Path:
    for split, count in (("train", 8), ("test", 4)):
        for label in classes:
            for number in range(count):
                save(root / split / label / f"{split}{number}.png")
    return root


def recipe(root: Path | str = "pictures", **data: object):
    return small(
        data={"name": "image_folder", "root": str(root), **data},
        objective={"name": "classification"},
        views={"name": "akorn_supervised", "augmix": False},
        epochs=1,
        batch_size=8,
    )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with images in ``pictures``."""
    tree(tmp_path / "here/pictures")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def known(run: RunDirectory) -> dict:
    return json.loads(run.data_file.read_text())


def fault(run: RunDirectory, split: str = "train", **changed: object) -> str:
    with pytest.raises(UserError) as caught:
        subject_of(run.path, data_options=changed).data(split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_first_session_keeps_root_number_classes_and_fingerprint(place):
    run = train(recipe(), place / "run")
    kept = known(run)
    assert kept["places"] == {"root": {"written": "pictures", "absolute": str(place / "pictures")}}
    assert kept["splits"]["train"]["n"] == 24
    assert kept["splits"]["train"]["classes"] == list(CLASSES)
    assert run.recipe().data.options["root"] == "pictures", "the recipe stays as it was written"


def test_from_another_directory_the_same_images_are_read(place, tmp_path, monkeypatch):
    run = train(recipe(), place / "run")
    here = subject_of(run.path).data("test")
    tree(tmp_path / "there/pictures", ("ant", "bee"))
    monkeypatch.chdir(tmp_path / "there")
    assert subject_of(run.path).data("test").fingerprint == here.fingerprint
    monkeypatch.chdir(tmp_path)
    assert subject_of(run.path).data("test").fingerprint == here.fingerprint


def test_a_folder_that_moved_with_its_run_is_found_where_the_recipe_says(place, tmp_path, monkeypatch):
    run = train(recipe(), place / "run")
    moved = place.rename(tmp_path / "moved")
    monkeypatch.chdir(moved)
    subject = subject_of(moved / "run")
    assert len(subject.data("train")) == 24
    subject.remember_data()
    assert known(RunDirectory(moved / "run"))["places"]["root"]["absolute"] == str(moved / "pictures")
    assert not run.path.exists()


def test_images_added_between_two_sessions_are_refused(place, monkeypatch):
    def kill(*_):
        raise Interrupted("stopped")

    with monkeypatch.context() as patch:
        patch.setattr("sslkuramoto.training.loop.export", kill)
        with pytest.raises(Interrupted):
            train(recipe(), place / "run")
    save(place / "pictures/train/ant/more.png")
    with pytest.raises(
        UserError, match=r"its train examples are not those that it has seen before \(24 then, 25 now\)"
    ):
        train(recipe(), place / "run")
    (place / "pictures/train/ant/more.png").unlink()
    assert train(recipe(), place / "run").finished


@pytest.mark.parametrize("resident", [True, False])
def test_images_replaced_in_place_are_refused_in_memory_and_streamed(place, resident):
    run = train(recipe(device_resident=resident), place / "run")
    subject = subject_of(run.path)
    subject.data("test")
    subject.remember_data()
    file = place / "pictures/test/ant/test0.png"
    with Image.open(file) as image:
        turned = image.rotate(180)
    size = file.stat().st_size
    turned.save(file)
    os.truncate(file, max(size, file.stat().st_size))  # zeros behind the image: a size alone would not tell
    what = "content" if resident else "names, sizes and times"
    assert f"its test examples are not those that it has seen before (their {what} differ)" in fault(run, "test")


def test_files_that_were_copied_are_the_same_images(place, capsys):
    run = train(recipe(device_resident=False), place / "run")
    for file in (place / "pictures").rglob("*.png"):
        os.utime(file, (1, 1))
    assert len(subject_of(run.path).data("train")) == 24
    assert "a sample of them is unchanged: copied" in capsys.readouterr().err


def test_reading_a_run_writes_nothing_into_it_and_measuring_keeps_what_was_seen(place):
    run = train(recipe(), place / "run")
    before = run.data_file.read_bytes()
    subject = subject_of(run.path)
    subject.data("test")
    assert run.data_file.read_bytes() == before
    subject.remember_data()
    assert known(run)["splits"]["test"]["n"] == 12


def test_a_class_renamed_in_place_is_refused_by_name(place):
    run = train(recipe(), place / "run")
    (place / "pictures/train/ant").rename(place / "pictures/train/zebu")
    shutil.rmtree(place / "pictures/test")
    assert "(classes ant, bee, cat then, bee, cat, zebu now)" in fault(run)


def test_other_images_are_measured_on_purpose_where_their_classes_are_known(place, tmp_path):
    run = train(recipe(), place / "run")
    other = tree(tmp_path / "other", ("bee", "cat"))
    found = subject_of(run.path, data_options={"root": str(other)}).data("test")
    assert found.class_names == CLASSES
    assert found.labels.tolist() == [1] * 4 + [2] * 4, "a label means the class of training"
    strange = tree(tmp_path / "strange", ("asp", "bee", "cat"))
    line = fault(run, "test", root=str(strange))
    assert "was trained on the classes ant, bee, cat; these data have asp besides" in line
    assert "test" not in known(run)["splits"], "images changed for a measurement are not the run's"


def test_an_encoder_alone_is_measured_on_any_classes(place, tmp_path):
    pretrained = small(data={"name": "image_folder", "root": "pictures"}, epochs=1, batch_size=8)
    run = train(pretrained, place / "run")
    strange = tree(tmp_path / "strange", ("asp", "bee"))
    assert subject_of(run.path, data_options={"root": str(strange)}).data("test").class_names == ("asp", "bee")


def test_a_run_continues_with_images_that_were_moved(place, tmp_path):
    run = train(recipe(), place / "run")
    (place / "pictures").rename(tmp_path / "elsewhere")
    assert "no such file or folder" in fault(run)
    train(recipe(tmp_path / "elsewhere"), run.path)
    run.encoder_file().unlink()  # as if it had been stopped before its end
    moved = train(recipe(tmp_path / "elsewhere"), run.path)
    assert moved.recipe().data.options["root"] == str(tmp_path / "elsewhere")
    assert len(subject_of(run.path).data("test")) == 12


def test_a_run_of_before_is_taken_as_it_is_and_known_from_then_on(place):
    run = train(recipe(), place / "run")
    run.data_file.unlink()
    subject = subject_of(run.path)
    subject.data("train")
    subject.remember_data()
    assert known(run)["splits"]["train"]["n"] == 24


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"places": 1, "splits": {}}',
        '{"places": {}, "splits": {"train": {"n": 1}}}',
        '{"places": {"root": {"written": "x", "absolute": 5}}, "splits": {}}',
    ],
)
def test_a_damaged_file_is_one_line(place, text):
    run = train(recipe(), place / "run")
    run.data_file.write_text(text)
    assert "data.json" in fault(run)


def test_a_class_renamed_before_the_first_measurement_is_refused(place):
    run = train(recipe(), place / "run")
    for split in ("train", "test"):
        (place / "pictures" / split / "ant").rename(place / "pictures" / split / "zebu")
    assert "was trained on the classes ant, bee, cat; these data have zebu besides" in fault(run, "test")
