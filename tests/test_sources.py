"""Code that is not ours is known by its meaning: plug-ins enter the keys of what they made."""

import ast
import importlib
import importlib.util
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch

from sslkuramoto.attacks import ATTACKS
from sslkuramoto.sources import PACKAGE, _statements, code_behind, code_beside, code_version, foreign_code, package_code


def instance(path: Path, text: str) -> object:
    """Return an object of the class that a file of somebody else's defines."""
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Mine()


KINDS_OF_STATEMENTS = """
try:
    import a
except* E:
    import b
else:
    import c
finally:
    import d
for x in y:
    import e
else:
    import f
match x:
    case 1 if True:
        import g
        def h():
            async def i(j=lambda: 0):
                with k as l:
                    import m
class N:
    while o:
        import p
    else:
        import q
"""


def test_all_imports_and_definitions_are_found_among_the_statements() -> None:
    """Without looking into expressions, which hold none."""
    files = [file.read_text() for file in sorted(PACKAGE.rglob("*.py"))[::5]]
    for source in (KINDS_OF_STATEMENTS, *files):
        tree = ast.parse(source)
        found = {*map(id, _statements(tree))}
        assert {id(node) for node in ast.walk(tree) if isinstance(node, ast.stmt)} <= found


def test_foreign_classes_are_known_by_what_their_file_means(tmp_path: Path) -> None:
    path = tmp_path / "somebody_elses.py"
    first, commented, other = (
        foreign_code(instance(path, text))
        for text in ("class Mine: x = 1\n", "# a word\nclass Mine:\n    x = 1\n", "class Mine: x = 2\n")
    )
    assert list(first) == ["somebody_elses"]
    assert first == commented
    assert first != other
    del sys.modules["somebody_elses"]


def test_our_own_classes_are_not_foreign() -> None:
    assert foreign_code(ATTACKS.build("pgd", {})) == {}
    assert list(foreign_code(torch.nn.Linear(1, 1))) == ["torch.nn.modules.linear"]


def test_a_source_is_parsed_once_however_often_its_meaning_is_asked_for(tmp_path: Path, monkeypatch) -> None:
    parsed, parse = [], ast.parse
    monkeypatch.setattr(ast, "parse", lambda source, *rest: parsed.append(source) or parse(source, *rest))
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(f"import {tmp_path.name}.shared\n{name} = '{tmp_path}'\n")
    (tmp_path / "shared.py").write_text(f"shared = '{tmp_path}'\n")
    versions = {code_behind(f"{name}.py", rooms=("",), package=tmp_path) for name in ("one", "two", "shared")}
    assert len(versions) == len(parsed) == 3


def test_code_behind_a_file_is_what_it_imports_from_its_folder(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    (package / "room").mkdir(parents=True)
    sources = {
        "ascent": "from pack.room.losses import loss\nfrom pack.below import x\ny = 1\n",
        "losses": "import pack.room.margins\nz = 1\n",
        "margins": "w = 1\n",
        "other": "from pack.room.ascent import y\n",
        "__init__": "from pack.room.ascent import y\n",
    }

    def known(**changed: str) -> str:
        for name, text in (sources | changed).items():
            (package / "room" / f"{name}.py").write_text(text)
        code_behind.cache_clear()
        code_version.cache_clear()
        return code_behind("room/ascent.py", package=package)

    before = known()
    assert known(other="v = 2\n", __init__="", newcomer="u = 1\n") == before
    assert known(margins="# a word\nw = 1\n") == before
    assert len({before, known(margins="w = 2\n"), known(losses="z = 1\n"), known(ascent="y = 1\n")}) == 4
    whole = {"ascent": "from pack.room import v\n", "__init__": "from pack.room.other import v\n", "other": "v = 1\n"}
    assert known(**whole) != known(**whole | {"other": "v = 2\n"})
    assert known(**whole) == known(**whole, newcomer="u = 2\n"), "which nothing imports"


def test_code_behind_a_file_follows_imports_through_the_folders_of_a_room_and_not_out_of_it(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    sources = {
        "room/measure.py": "from pack.room import tools\nfrom pack.room.inner import near\nfrom pack.below import x\n",
        "room/tools.py": "a = 1\n",
        "room/inner/__init__.py": "from pack.room.inner.near import b\n",
        "room/inner/near.py": "b = 1\n",
        "room/inner/far.py": "c = 1\n",
        "room/__init__.py": "from pack.room.inner.far import c\n",
        "below.py": "x = 1\n",
    }

    def known(**changed: str) -> str:
        for name, text in (sources | {name.replace("__", "/") + ".py": text for name, text in changed.items()}).items():
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            (package / name).write_text(text)
        code_behind.cache_clear()
        code_version.cache_clear()
        return code_behind("room/measure.py", rooms=("room",), package=package)

    before = known()
    assert before == known(below="x = 2\n"), "of another room"
    assert len({before, known(room__tools="a = 2\n"), known(room__inner__near="b = 2\n")}) == 3
    # ``from pack.room import tools`` runs the room's __init__, and so far.py counts here
    assert known(room__inner__far="c = 2\n") != before
    sources["room/measure.py"] = "from pack.room.inner import near\n"
    assert known() == known(room__inner__far="c = 2\n"), "nothing names it"


def test_code_beside_a_file_follows_relative_imports_and_the_packages_on_the_way(tmp_path: Path) -> None:
    files = {
        "net.py": "from parts.deep.layer import Layer\nimport torch",
        "parts/__init__.py": "from . import shared",
        "parts/shared.py": "",
        "parts/unused.py": "",
        "parts/deep/__init__.py": "",
        "parts/deep/layer.py": "from ..other import value\nfrom .own import *\nfrom ... import beyond",
        "parts/other.py": "",
        "parts/deep/own.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert set(code_beside(tmp_path / "net.py", root=tmp_path)) == set(files) - {"parts/unused.py"}


def test_the_code_of_a_package_is_all_of_its_files_and_its_neighbours_but_not_what_is_installed_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "plug/__init__.py": "import numpy\nimport beside",
        "plug/deep/loaded_by_name.py": "",
        "plug/kernel.cu": "__global__",
        "plug/notes.txt": "no code",
        "beside.py": "import installed",
        "unused.py": "",
        "installed.py": "",
        "installed-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: installed\nVersion: 1.0\n",
        "installed-1.0.dist-info/RECORD": "installed.py,,\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    package_code.cache_clear()
    counted = {"plug/__init__.py", "plug/deep/loaded_by_name.py", "plug/kernel.cu", "beside.py"}
    assert set(package_code("plug.deep.loaded_by_name")) == counted
    assert set(package_code("installed")) == {"installed.py"}


def test_all_modules_of_a_distribution_count_for_each_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pair-1.0.dist-info").mkdir()
    (tmp_path / "pair-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: pair\nVersion: 1.0\n")
    (tmp_path / "pair-1.0.dist-info" / "RECORD").write_text("pair_one.py,,\npair_two.py,,\n")
    for name in ("pair_one.py", "pair_two.py", "another.py"):
        (tmp_path / name).write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    package_code.cache_clear()
    assert set(package_code("pair_one")) == {"pair_one.py", "pair_two.py"}


def test_a_distribution_that_is_installed_meanwhile_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("late_one.py", "late_two.py"):
        (tmp_path / name).write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    package_code.cache_clear()
    assert set(package_code("late_one")) == {"late_one.py"}
    (tmp_path / "late-1.0.dist-info").mkdir()
    (tmp_path / "late-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1.0\n")
    (tmp_path / "late-1.0.dist-info" / "RECORD").write_text("late_one.py,,\nlate_two.py,,\n")
    package_code.cache_clear()
    assert set(package_code("late_one")) == {"late_one.py", "late_two.py"}


def test_code_in_a_zip_archive_is_known_by_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "zipped.zip"
    monkeypatch.syspath_prepend(archive)
    found = []
    for constant in (1, 2):
        with ZipFile(archive, "w") as file:
            file.writestr("zipped_module.py", f"class Mine:\n    constant = {constant}\n")
            file.writestr("zipped_package/__init__.py", "")
        importlib.invalidate_caches()
        package_code.cache_clear()
        sys.modules.pop("zipped_module", None)
        code = foreign_code(importlib.import_module("zipped_module").Mine())
        assert package_code("zipped_module") == package_code("zipped_package") == {"zipped.zip": code["zipped_module"]}
        found.append(code)
    assert found[0] != found[1]
