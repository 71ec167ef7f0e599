"""The contract of every source of scenes, on a tiny tree of its layout, and of the protocol that needs masks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from house_files import PROTOCOLS, ROOT, train_tiny
from scene_trees import LAYOUTS

from sslkuramoto.cli import main
from sslkuramoto.data import DATA, DataSet, batches, expected_spec, in_order
from sslkuramoto.data.scenes.scene_set import SceneSet
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import evaluate, load_protocol, subject_of
from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.sections.objects import scenes
from sslkuramoto.results import Result

SCENES = [name for name in DATA if issubclass(DATA.result_class(name, DataSet), SceneSet)]
every_source = pytest.mark.parametrize("name", SCENES)
NEED_MASKS = [path.stem for path in PROTOCOLS if "masks" in load_protocol(path.stem).measure.needs]
FEW = ["clusters=3", "draws=2", "images=6", "store=2"]


@pytest.fixture(scope="module")
def options_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    made: dict[str, dict[str, Any]] = {}

    def options(name: str) -> dict[str, Any]:
        if name not in made:
            own = LAYOUTS[name](tmp_path_factory.mktemp(name)) if name in LAYOUTS else {}
            made[name] = {**DATA.small(name), **own}
        return dict(made[name])

    return options


@every_source
@pytest.mark.parametrize("split", ["train", "test"])
def test_scenes_are_pixels_in_0_1_with_a_mask_of_the_same_size(name: str, split: str, options_of: Callable) -> None:
    data = DATA.build(name, options_of(name), split)
    assert data.spec == expected_spec(name, options_of(name)) or "size" not in options_of(name)
    assert data.spec.masks
    assert data.spec.num_classes is None
    seen, objects = [], 0
    for batch in batches(data, in_order(len(data), 3), device="cpu"):
        assert batch.targets is None
        assert batch.inputs.shape[1:] == (3, data.size, data.size)
        assert 0 <= batch.inputs.min() <= batch.inputs.max() <= 1
        assert set(batch.extra) >= {"masks"}
        for mask in batch.extra.values():
            assert mask.dtype == torch.int64
            assert mask.shape == (len(batch.indices), data.size, data.size)
            assert mask.min() >= -1
        objects += int((batch.extra["masks"] > 0).sum())
        seen += batch.indices.tolist()
    assert seen == list(range(len(data)))
    assert objects


@every_source
def test_the_same_options_give_the_same_scenes_and_splits_differ(name: str, options_of: Callable) -> None:
    first, again, other = (DATA.build(name, options_of(name), split) for split in ("train", "train", "test"))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    everything = [next(iter(batches(each, [torch.arange(len(each))], device="cpu"))) for each in (first, again)]
    assert torch.equal(everything[0].inputs, everything[1].inputs)
    assert torch.equal(everything[0].extra["masks"], everything[1].extra["masks"])


@every_source
def test_reading_scenes_leaves_the_global_generator_alone(name: str, options_of: Callable) -> None:
    before = torch.get_rng_state()
    data = DATA.build(name, options_of(name), "train")
    for batch in batches(data, in_order(len(data), 3), device="cpu"):
        assert batch.extra["masks"].numel()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", LAYOUTS)
def test_streamed_scenes_are_those_in_memory_and_state_the_times_of_their_files(
    name: str, options_of: Callable
) -> None:
    resident, streamed = (
        DATA.build(name, {**options_of(name), "size": 8, "device_resident": way}, "test") for way in (True, False)
    )
    for one, other in zip(
        *(batches(each, in_order(len(each), 2), device="cpu") for each in (resident, streamed)), strict=True
    ):
        assert torch.equal(one.inputs, other.inputs)
        assert set(one.extra) == set(other.extra)
        assert all(torch.equal(one.extra[kind], other.extra[kind]) for kind in one.extra)
    assert resident.covers == "content"
    assert not resident.stamp
    assert streamed.stamp


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_root_without_scenes_is_named_in_one_line(name: str, options_of: Callable, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere") as caught:
        DATA.build(name, {**options_of(name), "root": str(tmp_path / "nowhere")}, "train")
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps that was pretrained on generated scenes."""
    changes = ["data={name: sprites, size: 16, scenes: 16, scenes_test: 8}", "encoder.kernel_sizes=[3,3,3]"]
    path = ROOT / "recipes" / "digits-akorn-simsiam.yaml"
    recipe_run = tmp_path_factory.mktemp("runs") / "scenes"
    return train_tiny(path, recipe_run, *changes, "measure.monitor_every=0").path


@pytest.mark.parametrize("name", NEED_MASKS)
def test_a_run_on_scenes_is_measured_and_its_report_shows_the_clusters(name: str, run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    _, path = evaluate(subject_of(copy), load_protocol(name, FEW), {})
    result = json.loads(path.read_text())
    assert {"fg_ari", "mbo"} <= set(result["metrics"])
    for metric in result["metrics"].values():
        assert metric["low"] <= metric["value"] <= metric["high"]
        assert metric["draws"] == 2
        assert metric["n"] <= 6
    shares = result["per_image"]["mbo"]
    assert len(shares) == len(result["per_image"]["index"])
    assert all(0 <= share <= 1 for share in shares)
    html = scenes([Evidence("a run", 0, Result.read(path))])
    assert html.count("<image") == 2 * 4, "two rows of image, clusters, objects, map"


@pytest.mark.parametrize("name", NEED_MASKS)
def test_without_a_number_of_clusters_nothing_is_loaded(
    name: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(DATA, "build", lambda *_: pytest.fail("data were read"))
    assert main(["evaluate", str(run), name, "--device", "cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "objects needs a number of clusters: set clusters=K" in line
