"""Rules for the repository that a test can check: sizes and names of files, and no path of a particular machine."""

import re
from collections import Counter
from pathlib import Path

import pytest
from house_files import ROOT

from sslkuramoto import __version__

FOLDERS = ("sslkuramoto", "tests", "docs", "recipes", "eval", "scripts", ".ci", ".github")
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".cff", ".css", ".js", ""}
FILES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix in TEXT and "__pycache__" not in path.parts
) + [
    ROOT / name
    for name in (
        *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "Makefile", "pyproject.toml"),
        *("Dockerfile", ".dockerignore", ".pre-commit-config.yaml"),
    )
]
CODE = [path for path in FILES if path.suffix == ".py"]
# Written in two parts, so that this file does not contain the text that it searches for.
MACHINE_PATHS = [f"/{name}/" for name in ("home", "root", "Users", "work", "mnt", "scratch")]
INDEX_HOSTS = ["pypi" + ".org", "python" + "hosted", "index" + "-url", "download.py" + "torch.org"]


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CODE, ids=shown)
def test_no_file_is_longer_than_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_no_file_has_a_name_without_meaning() -> None:
    assert [shown(path) for path in CODE if path.stem in ("utils", "helpers", "manager", "misc", "common")] == []


def test_no_two_test_files_have_one_name() -> None:
    """pytest, without packages, imports each by its bare name."""
    count = Counter(path.name for path in (ROOT / "tests").rglob("*.py"))
    assert [name for name, n in count.items() if n > 1 and name != "conftest.py"] == []


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in CODE
        if path.relative_to(ROOT).parts[0] != "tests" and path.parent.name != "tutorials" and path.stat().st_size
    ],
    ids=shown,
)
def test_every_file_of_the_package_begins_with_a_sentence_about_itself(path: Path) -> None:
    assert path.read_text().startswith('"""')


def test_no_file_holds_a_path_of_a_machine_or_a_package_index() -> None:
    wanted = re.compile(
        rf"(?<![\w.}}>])({'|'.join(map(re.escape, MACHINE_PATHS))})|{'|'.join(map(re.escape, INDEX_HOSTS))}"
    )
    here = Path(__file__)
    found = [
        f"{shown(path)}: {match[0]}" for path in FILES if path != here for match in wanted.finditer(path.read_text())
    ]
    assert found == []


def test_losses_and_draws_never_touch_the_global_generator_by_name() -> None:
    reading = re.compile(r"torch\.manual_seed|np\.random\.(?!default_rng|Generator|SeedSequence)|random\.seed\(")
    package = [path for path in CODE if "sslkuramoto" in path.relative_to(ROOT).parts[:1]]
    found = [shown(path) for path in package if reading.search(path.read_text())]
    assert found == ["sslkuramoto/randomness.py"], "the one place that lends them to foreign code, and puts them back"


def test_continuous_integration_runs_the_test_command_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["set -euo pipefail", 'cd "$(dirname "${BASH_SOURCE[0]}")/.."', "make test"]


def test_workflows_call_the_commands_of_the_makefile_and_nothing_else() -> None:
    runs = {
        path.name: re.findall(r"^ *- run: (.+)$", path.read_text(), flags=re.MULTILINE)
        for path in (ROOT / ".github/workflows").glob("*.yml")
    }
    assert runs == {
        "tests.yml": ["make check PYTHON=python"],
        "docs.yml": ["make docs PYTHON=python"],
        "links.yml": ["make linkcheck PYTHON=python"],
    }


def test_one_version_stands_in_the_package_and_in_the_citation() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
