"""Stored adversarial images come out exact as NPZ, and as PNG to look at."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from sslkuramoto.errors import UserError
from sslkuramoto.interop.card import check_folder
from sslkuramoto.interop.export_images import ROUNDED, export_images

CLEAN = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
MOVED = (CLEAN + 0.031).clamp(0, 1)


@pytest.fixture
def stored(tmp_path):
    def write(name, options, files):
        folder = tmp_path / "run" / "results"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        content = {"protocol": name, "metrics": {"robust_accuracy": {"value": 0.1}}, "options": options}
        (folder / f"{name}.json").write_text(json.dumps(content))
        tensors = {
            "index": torch.tensor([4, 9]),
            "labels": torch.tensor([1, 2]),
            "clean": CLEAN,
            "adversarial": MOVED,
            "prediction": torch.tensor([7, 8]),
        }
        for file in files:
            save_file(tensors, folder / "images" / f"{file}.safetensors")
        return tmp_path / "run"

    return write


def test_the_npz_holds_exact_pixels_labels_predictions_index_and_threat(stored, tmp_path):
    run = stored("rob", {"eps": "8/255", "norm": "linf"}, ["rob"])
    lines = export_images(run, "rob", tmp_path / "out")
    found = np.load(tmp_path / "out" / "images.npz")
    assert np.array_equal(found["clean"], CLEAN.numpy())
    assert np.array_equal(found["adversarial"], MOVED.numpy())
    assert found["adversarial"].dtype == np.float32
    assert found["labels"].tolist() == found["clean_prediction"].tolist() == [1, 2]
    assert found["adversarial_prediction"].tolist() == [7, 8]
    assert found["index"].tolist() == [4, 9]
    assert (float(found["eps"]), str(found["norm"])) == (8 / 255, "linf")
    assert lines[-1] == ROUNDED
    check_folder(tmp_path / "out", "images")  # its card says that an export wrote it


def test_png_files_are_the_pixels_in_8_bits(stored, tmp_path):
    export_images(stored("rob", {"eps": 0.1, "norm": "l2"}, ["rob"]), "rob", tmp_path / "out")
    names = ["4-adversarial-7.png", "4-clean.png", "9-adversarial-8.png", "9-clean.png"]
    assert sorted(path.name for path in (tmp_path / "out" / "images").iterdir()) == names
    pixels = np.asarray(Image.open(tmp_path / "out" / "images" / "4-adversarial-7.png"))
    assert np.array_equal(pixels, (MOVED[0].permute(1, 2, 0) * 255).round().byte().numpy())


def test_each_way_and_their_union_have_files_and_a_threat_of_their_own(stored, tmp_path):
    ways = {"held": {"eps": 0.2}, "eot": {"norm": "l2", "eps": 0.5}}
    run = stored("rob", {"eps": 0.1, "norm": "linf", "ways": ways}, ["rob-held", "rob-eot", "rob-union"])
    export_images(run, "rob", tmp_path / "out")
    found = {path.stem: np.load(path) for path in (tmp_path / "out").glob("*.npz")}
    threats = {name: (float(content["eps"]), str(content["norm"])) for name, content in found.items()}
    assert threats == {"held": (0.2, "linf"), "eot": (0.5, "l2"), "union": (0.2, "linf")}


def test_an_export_of_a_later_attack_replaces_the_earlier_one_and_leaves_files_of_others(stored, tmp_path):
    ways = {"held": {"eps": 0.2}, "eot": {"eps": 0.2}}
    run, out = stored("rob", {"norm": "l2", "ways": ways}, ["rob-held", "rob-eot"]), tmp_path / "out"
    export_images(run, "rob", out)
    (out / "held" / "1-holiday.png").write_text("of somebody")
    (run / "results" / "images" / "rob-eot.safetensors").unlink()
    later = {"labels": [1], "prediction": [3], "index": [5]}
    content = {name: torch.tensor(value) for name, value in later.items()}
    content |= {"clean": CLEAN[:1], "adversarial": MOVED[:1]}
    save_file(content, run / "results" / "images" / "rob-held.safetensors")
    export_images(run, "rob", out)
    left = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    pictures = ["held/1-holiday.png", "held/5-adversarial-3.png", "held/5-clean.png"]
    assert left == ["README.md", "held.npz", *pictures]


def test_a_card_names_no_files_elsewhere(stored, tmp_path):
    run, out = stored("rob", {"eps": 0.1, "norm": "l2"}, ["rob"]), tmp_path / "out"
    export_images(run, "rob", out)
    others = [tmp_path / "mine.npz", tmp_path / "1-clean.png", out / "1-clean.png"]
    for path in others:
        path.write_text("of somebody")
    card = (out / "README.md").read_text()
    (out / "README.md").write_text(card.replace("Readings: images.", "Readings: ../mine, .., , images."))
    export_images(run, "rob", out)
    assert all(path.is_file() for path in others)
    assert (out / "README.md").read_text() == card


@pytest.mark.parametrize("other", ["result", "network"])
def test_images_of_another_result_or_network_are_refused(stored, tmp_path, other):
    run = stored("rob", {"eps": 0.1, "norm": "l2"}, ["rob"])
    export_images(run, "rob", tmp_path / "out")
    name = "rob"
    if other == "result":
        name = "other"
        run = stored(name, {"eps": 0.1, "norm": "l2"}, [name])
    else:
        file = run / "results" / "rob.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"encoder": {"sha256": "1" * 64}}))
    with pytest.raises(UserError, match="holds images of another network or result; choose a new folder"):
        export_images(run, name, tmp_path / "out")


def test_a_folder_with_files_of_others_is_left_as_it_is(stored, tmp_path):
    run = stored("rob", {"eps": 0.1, "norm": "l2"}, ["rob"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("mine")
    with pytest.raises(UserError, match=r"no README\.md of an export of files for images; choose a new folder"):
        export_images(run, "rob", tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == "mine"


def test_what_is_missing_is_one_line(stored, tmp_path):
    run = stored("rob", {"eps": 0.1}, [])
    with pytest.raises(UserError, match="no adversarial images are stored beside it; measure it with store=N"):
        export_images(run, "rob", tmp_path / "out")
    none = {name: torch.zeros(0, dtype=torch.long) for name in ("index", "labels", "prediction")}
    none |= {name: torch.zeros(0, 3, 8, 8) for name in ("clean", "adversarial")}
    save_file(none, run / "results" / "images" / "rob.safetensors")
    with pytest.raises(UserError, match="stored beside it; the attack fools none of the images that are right without"):
        export_images(run, "rob", tmp_path / "out")
    with pytest.raises(UserError, match=r"unknown result of .* 'rub'.* 'rob'"):
        export_images(run, "rub", tmp_path / "out")
    silent = stored("silent", {}, ["silent"])
    with pytest.raises(UserError, match=r"silent\.json: states no eps"):
        export_images(silent, "silent", tmp_path / "out")
