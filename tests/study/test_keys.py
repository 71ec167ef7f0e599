"""Equal keys are computed once: what changes a key, and what does not."""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import timm
import torch

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import load_protocol
from sslkuramoto.evaluation.inputs import weights_in
from sslkuramoto.examples import Images
from sslkuramoto.recipe import Part, recipe_file
from sslkuramoto.sources import PACKAGE, code_behind, code_version, content_key, meaning
from sslkuramoto.study import load_study, plan_study
from sslkuramoto.study.keys import OPENING_FUNCTIONS, DataFacts, Facts, every_code, measuring_code, training_code
from sslkuramoto.study.plan import Plan

SOURCE = '''"""A file."""

# a comment
def half(x: float) -> float:
    """Return a half."""
    return x / 2  # why
'''


@pytest.mark.parametrize(
    "same",
    [
        SOURCE.replace("# a comment\n", ""),
        SOURCE.replace("Return a half.", "Give back one half."),
        SOURCE.replace('"""A file."""\n', ""),
        SOURCE.replace("return x / 2", "return (x\n            / 2)"),
    ],
)
def test_comments_docstrings_and_layout_do_not_change_what_code_means(same: str):
    assert meaning(same) == meaning(SOURCE)


@pytest.mark.parametrize(
    "other", [SOURCE.replace("2  #", "3  #"), SOURCE.replace("half(", "third("), SOURCE + "\nhalf(1)\n"]
)
def test_anything_else_does(other: str):
    assert meaning(other) != meaning(SOURCE)


def test_the_version_covers_every_file_of_the_rooms_it_names_and_no_other(tmp_path: Path):
    def version(**files: str) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, text in {"a/b.py": "x = 1", "c.py": "y = 1", "d.py": "z = 1", **files}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return code_version(("a", "c.py"), folder)

    first = version()
    assert version(**{"d.py": "z = 2"}) == version(**{"a/b.py": "x = 1  # one"}) == first
    assert len({first, version(**{"a/b.py": "x = 2"}), version(**{"c.py": "y = 2"}), version(**{"a/e.py": ""})}) == 4


@pytest.fixture(scope="module")
def files_of_codes() -> Iterator[dict[str, set[str]]]:
    """Which files of the package have their meaning hashed into each code."""
    measures = {name: load_protocol(name).measure for name in ("clean", "knn", "robustness-digits", "audit-quick")}
    codes: dict[str, Callable[[], str]] = {
        **{name: partial(measuring_code, measure) for name, measure in measures.items()},
        "function": partial(measuring_code, measures["clean"], OPENING_FUNCTIONS),
        "training": training_code,
        "workers": every_code,
    }
    named = {path.read_text(): path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    found: dict[str, set[str]] = {}

    def forget() -> None:
        code_behind.cache_clear()
        code_version.cache_clear()

    for name, code in codes.items():
        found[name] = set()

        def heard(source: str, files: set[str] = found[name]) -> str:
            files.add(named[source])
            return meaning(source)

        forget()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sslkuramoto.sources.meaning", heard)
            code()
    yield found
    forget()


MEASURED = {"clean", "knn", "robustness-digits", "audit-quick", "function", "workers"}
ATTACKED = {"robustness-digits", "audit-quick", "workers"}


@pytest.mark.parametrize(
    ("file", "codes"),
    [
        *((file, {"training", *MEASURED}) for file in (
            "data/images/digits.py", "views/crop.py", "dynamics/kuramoto.py", "encoders/akorn.py", "training/loop.py",
            "objectives/simclr.py", "recipe.py", "randomness.py", "registry.py", "checkpoint.py", "threat.py",
            "examples.py", "heads.py", "values.py", "run_directory.py", "files.py",
        )),
        *((file, MEASURED) for file in ("evaluation/protocol.py", "classifier.py", "noise_draws.py", "results.py")),
        *((file, ATTACKED) for file in ("attacks/square.py", "attacks/battery.py", "attacks/worst_candidate.py")),
        ("evaluation/representation/knn.py", {"knn", "workers"}),
        ("evaluation/audit/verdict.py", {"audit-quick", "workers"}),
        ("evaluation/boards/protocol.py", {"workers"}),
        ("any_network.py", {"function", "workers"}),
        ("model_checks.py", {"audit-quick", "function", "workers"}),
        ("report/tables/table.py", set()),
        ("columns.py", set()),
    ],
)  # fmt: skip
def test_a_changed_file_moves_the_keys_of_what_it_can_change_and_no_other(
    files_of_codes: dict[str, set[str]], file: str, codes: set[str]
):
    assert {name for name, files in files_of_codes.items() if file in files} == codes


def test_a_protocol_of_another_package_depends_on_its_own_file_and_on_the_whole_room():
    class Foreign:
        pass

    assert measuring_code(Foreign()) not in (every_code(), measuring_code(load_protocol("clean").measure))


def test_the_order_of_options_does_not_matter():
    assert (
        content_key({"a": 1, "b": [2, 3]}) == content_key({"b": [2, 3], "a": 1}) != content_key({"a": 1, "b": [3, 2]})
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where nothing is computed; what is known of the data stays."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def one(content, root: Path) -> Plan:
    """The plan of the unchanged study."""
    (root / "tiny.yaml").write_text(json.dumps(content()))
    return plan_study(load_study(root / "tiny.yaml"), root)


@pytest.mark.parametrize("key", ["epochs", "optimizer.lr", "data.limit", "encoder.channels", "batch_size"])
def test_an_option_of_the_method_changes_every_key_after_it(study, one: Plan, root: Path, key: str):
    values = {"epochs": 2, "optimizer.lr": 0.01, "data.limit": 24, "encoder.channels": 6, "batch_size": 4}
    other = plan_study(study(**{f"set__{key}": values[key]}), root)
    assert not set(one.tasks) & set(other.tasks)


def test_a_change_of_the_first_stage_changes_the_keys_of_the_second(study, one: Plan, root: Path):
    longer = {"recipe": "digits-akorn-simclr", "set": {"epochs": 2}}
    other = plan_study(study(rows__simclr__train=[longer, {"recipe": "digits-akorn-finetune"}]), root)
    assert not set(one.chains["simclr", 0]) & set(other.chains["simclr", 0])
    assert one.chains["steps", 0] == other.chains["steps", 0]


def test_measurement_engine_and_names_change_no_key(study, one: Plan, root: Path):
    changes = {"set__measure.monitor_every": 1, "set__engine.device": "auto", "title": "Another"}
    assert set(plan_study(study(**changes), root).tasks) == set(one.tasks)


def test_the_precision_of_the_weights_is_part_of_a_key_and_the_usual_one_need_not_be_named(
    study, one: Plan, root: Path
):
    named, other = (set(plan_study(study(**{"set__engine.precision": word}), root).tasks) for word in ("32", "bf16"))
    assert named == set(one.tasks)
    assert not named & other


def test_options_of_a_protocol_change_the_measurement_only(study, one: Plan, root: Path):
    other = plan_study(study(columns__knn__set={"neighbours": 7}), root)
    assert one.chains == other.chains
    assert one.cells["simclr", "clean", 0] == other.cells["simclr", "clean", 0]
    assert one.cells["simclr", "knn", 0] != other.cells["simclr", "knn", 0]


def test_facts_are_recorded_for_when_the_data_are_not_there(tmp_path: Path, monkeypatch):
    digits = Part("digits", {"limit": 16})
    facts = DataFacts(tmp_path)
    known, problem = facts.of(digits, "train")
    assert known is not None
    assert (known.n, known.spec, problem) == (16, Images(8, 10), None)
    facts.record()

    def gone(*_):
        raise UserError("root: no such folder")

    monkeypatch.setattr("sslkuramoto.study.keys.DATA.build", gone)
    assert DataFacts(tmp_path).of(digits, "train") == (known, "root: no such folder")
    assert DataFacts(tmp_path).of(digits, "test") == (None, "root: no such folder")
    (tmp_path / "data.json").write_text(json.dumps({"x": 1}))
    with pytest.raises(UserError, match=r"data.json: damaged"):
        DataFacts(tmp_path)


def test_another_seed_is_another_run_and_another_measurement(study, one: Plan, root: Path):
    other = plan_study(study(seeds=[1]), root)
    assert len(one.tasks) == len(other.tasks) == 6
    assert not set(one.tasks) & set(other.tasks)


def test_other_images_of_a_split_change_what_is_measured_on_it_only(study, one: Plan, root: Path):
    other = plan_study(study(**{"set__data.limit_test": 21}), root)
    assert one.chains == other.chains
    assert not set(one.cells.values()) & set(other.cells.values())


def test_changed_options_of_the_measured_encoder_change_the_measurement_only(study, one: Plan, root: Path):
    other = plan_study(study(columns__vote__encoder={"num_steps": 3}), root)
    assert one.chains == other.chains
    assert one.cells["simclr", "clean", 0] == other.cells["simclr", "clean", 0]
    assert one.cells["simclr", "vote", 0] != other.cells["simclr", "vote", 0]


def test_another_meaning_of_the_code_changes_every_key_and_no_content(study, one: Plan, root: Path, monkeypatch):
    monkeypatch.setattr("sslkuramoto.study.plan.training_code", lambda *_: "abcdef")
    monkeypatch.setattr("sslkuramoto.study.plan.measuring_code", lambda *_: "abcdef")
    other = plan_study(study(), root)
    assert not set(one.tasks) & set(other.tasks)
    assert [task.content for task in one.tasks.values()] == [task.content for task in other.tasks.values()]


def test_code_that_only_measures_changes_no_run(study, one: Plan, root: Path, monkeypatch):
    monkeypatch.setattr("sslkuramoto.study.plan.measuring_code", lambda *_: "abcdef")
    other = plan_study(study(), root)
    assert one.chains == other.chains
    assert not set(one.cells.values()) & set(other.cells.values())


def test_a_plan_reads_a_protocol_as_its_file_is_now(study, tmp_path: Path):
    file = tmp_path / "own.yaml"
    file.write_text("name: knn\n")
    loaded = study(columns__knn__protocol=str(file))
    before = plan_study(loaded, tmp_path / "root")
    file.write_text("name: knn\ntemperature: 0.5\n")
    after = plan_study(loaded, tmp_path / "root")
    assert before.cells["simclr", "knn", 0] != after.cells["simclr", "knn", 0]
    assert before.cells["simclr", "clean", 0] == after.cells["simclr", "clean", 0]


def test_renamed_files_of_recipes_and_protocols_share_what_is_there(study, tmp_path: Path, computed):
    loaded, root, _ = computed
    train = []
    for number, stage in enumerate(loaded.rows["simclr"].stages):
        copy = tmp_path / f"renamed-{number}.yaml"
        copy.write_text("# moved\n" + recipe_file(stage.recipe).read_text())
        train.append({"recipe": str(copy), "set": dict(stage.changes)})
    (tmp_path / "renamed-clean.yaml").write_text("name: clean\n")
    renamed = {"rows__simclr__train": train, "columns__clean__protocol": str(tmp_path / "renamed-clean.yaml")}
    plan, known = plan_study(study(**renamed), root), plan_study(loaded, root)
    assert plan.missing() == []
    assert set(plan.tasks) == set(known.tasks)
    empty = plan_study(study(**renamed), tmp_path / "empty")
    assert [task.content for task in empty.tasks.values()] == [task.content for task in known.tasks.values()]
    assert "renamed-0-" in empty.stages[0].key


def test_a_start_that_is_no_file_is_missing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    os.mkfifo(run / "encoder.safetensors")
    known, problem = DataFacts(tmp_path).of_start(str(run), None)
    assert known == f"unknown: {run}"
    assert problem == f"init={run}: no finished run (encoder.safetensors cannot be read: no such file)"


def test_other_weights_in_the_file_that_an_encoder_starts_from_are_another_run(tmp_path: Path) -> None:
    weights, file = tmp_path / "weights.pth", tmp_path / "timm.yaml"
    changes = {"encoder.model": "test_resnet", "encoder.small_stem": False}
    changes |= {"encoder.arguments": {"checkpoint_path": str(weights)}, "encoder.pretrained": False}
    row = {"train": [{"recipe": "digits-resnet18-supervised", "set": changes}]}
    column = {"protocol": "clean", "metric": "accuracy"}
    file.write_text(json.dumps({"title": "t", "seeds": [0], "columns": {"clean": column}, "rows": {"timm": row}}))

    def content(seed: int) -> str:
        torch.manual_seed(seed)
        torch.save(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
        return plan_study(load_study(file), tmp_path / "root").stages[0].content

    assert content(0) == content(0)
    assert content(0) != content(1)


def test_a_byte_anywhere_in_weights_named_by_their_path_is_noticed(tmp_path: Path) -> None:
    weights = tmp_path / "encoder.safetensors"
    spec = Facts("images", 1, Images(8, 3))
    hashes = set()
    for place in (0, 4097, 510_000):  # between the pieces by which an archive is known
        weights.write_bytes(bytes(place) + b"\1" + bytes(2**20 - place - 1))
        found, problem = DataFacts(tmp_path).of_input(weights_in(str(tmp_path)), spec)
        assert problem is None
        hashes.add(found.fingerprint)
    assert len(hashes) == 3
