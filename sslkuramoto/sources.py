"""Hashes: of what our own sources mean (a comment changes nothing, a formula everything) and of plain values."""

import ast
import hashlib
import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parent
CODE_DIGITS = 6  # hexadecimal
_SOURCES = (".py", ".pyx", ".c", ".cc", ".cpp", ".cu", ".h", ".so", ".pyd")  # what a package can compute with
_CONTENT_DIGITS = 12

Plugins = Mapping[str, str]
"""Name of a package of others -> hash of its sources."""
NO_PLUGINS: Plugins = {}


def content_key(content: Any) -> str:
    """Return the hash of plain values, the same on every machine and whatever the order of the keys."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_CONTENT_DIGITS]


@cache
def code_version(rooms: tuple[str, ...], package: Path = PACKAGE) -> str:
    """Return the hash of the sources of ``rooms`` (folders and files of the package), comments and docstrings aside."""
    digest = hashlib.sha256()
    for room in rooms:
        path = package / room
        assert path.exists(), path
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            digest.update(f"{file.relative_to(package).as_posix()}\0{meaning(file.read_text())}\0".encode())
    return digest.hexdigest()[:CODE_DIGITS]


@cache
def code_behind(
    *starts: str, rooms: tuple[str, ...] = (), without: tuple[str, ...] = (), package: Path = PACKAGE
) -> str:
    """Return the hash of source files and of what they import, directly or not, from some rooms.

    A module of the rooms that none of these needs changes nothing. ``from FOLDER import name`` needs what the
    ``__init__.py`` of the folder imports.

    Args:
        starts: files of the package, such as ``attacks/pgd.py``, and folders, of which every file is one.
        rooms: folders of the package, with those in them, and files; ``""`` is all of it; the first start's own folder
            when empty.
        without: files that are left out, and not followed.
        package: its folder.
    """
    within = [package / room for room in rooms] or [(package / starts[0]).parent]
    paths = [package / start for start in starts]
    waiting = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))]
    needed, left_out = set[Path](), {package / file for file in without}
    while waiting:
        if (path := waiting.pop()) in needed:
            continue
        needed.add(path)
        found = [_file_of(name, package) for name in _read(path.read_text()).imports]
        waiting += [path for path in found if path and path not in left_out and any(map(path.is_relative_to, within))]
    return code_version(tuple(path.relative_to(package).as_posix() for path in sorted(needed)), package)


def imported(source: str, package: Sequence[str] = ()) -> set[str]:
    """Return the modules that a source may name in its imports: ``from a import b`` is a, and a.b where that is one.

    Args:
        source: Python text.
        package: names of the folders that contain it, for relative imports; without any these are left out.
    """
    return _named_in(_statements(ast.parse(source)), package)


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield a tree, its statements and theirs; the expressions, most of its nodes, hold none."""
    waiting = [tree]
    while waiting:
        yield (node := waiting.pop())
        waiting += (child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr))


def _named_in(nodes: Iterable[ast.AST], package: Sequence[str] = ()) -> set[str]:
    names = set[str]()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level <= len(package):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


@cache
def _file_of(module: str, package: Path) -> Path | None:
    """Return the file of a module of the package, or None."""
    first, *rest = module.split(".")
    path = package.joinpath(*rest)
    files = [path / "__init__.py", path.with_suffix(".py")] if first == package.name and rest else []
    return next((file for file in files if file.is_file()), None)


def code_beside(*files: Path, root: Path, top: str | None = None, without: Collection[str] = ()) -> dict[str, str]:
    """Return the hashes of source files and of what they import, directly or not, from their neighbours.

    Args:
        files: not of this package.
        root: where their imports are searched.
        top: only modules of this package; None: all that are there.
        without: packages that are left out.
    """
    found, waiting = dict[str, str](), [*files]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(root).as_posix()
        if name in found:
            continue
        found[name] = meaning_of(path)
        with suppress(SyntaxError, ValueError):
            for module in imported(path.read_text(), path.relative_to(root).parent.parts):
                parts = module.split(".")
                for place in (root.joinpath(*parts[: length + 1]) for length in range(len(parts))):
                    if top in (None, parts[0]) and parts[0] not in without:
                        waiting += filter(Path.is_file, (place.with_suffix(".py"), place / "__init__.py"))
    return dict(sorted(found.items()))


def foreign_code(*objects: object) -> dict[str, str]:
    """Return a hash of the file of each class that is not ours, by module: plug-ins and what users wrote themselves."""
    found = {}
    for kind in map(type, objects):
        if kind.__module__.partition(".")[0] != PACKAGE.name:
            file = getattr(sys.modules.get(kind.__module__), "__file__", None)
            held = _holder(Path(file)) if file else None
            found[kind.__module__] = meaning_of(held) if held else "no source"
    return found


def plugins_of(modules: Iterable[str]) -> Plugins:
    """Return the packages of modules that are neither ours nor torch's, whose version is recorded instead."""
    packages = {module.partition(".")[0] for module in modules} - {PACKAGE.name, "torch"}
    return {package: content_key(package_code(package)) for package in sorted(packages)}


def plugins_behind(*objects: object) -> Plugins:
    """Return the packages of others that the classes of objects belong to."""
    return plugins_of(type(one).__module__ for one in objects)


@cache
def package_code(module: str) -> dict[str, str]:
    """Return the hash of every source file of another package, by file, and of what it imports from its neighbours.

    All of the distribution that a module belongs to counts, for a member may import its own modules while it runs.
    What belongs to other distributions does not: their versions are recorded, not hashed. Read once in a process, when
    it is first asked for, as Python imports a module once.

    Args:
        module: that can be imported, such as ``"my_package.objective"``.
    """
    first = module.partition(".")[0]
    known = _distributions(_places())
    own = {first} | {name for name in known if {*known[name]} & {*known.get(first, ())}}
    found = dict[str, str]()
    for root, files in (place for name in sorted(own) for place in _files_of(name)):
        found |= code_beside(*files, root=root, without=known.keys() - own)
    return found or {first: "no source"}


def _places() -> tuple[tuple[str, int], ...]:
    """Return every folder that Python imports from, with the time of its last change, 0 where there is none."""
    return tuple((str(place), _changed(place or ".")) for place in sys.path)


def _changed(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except (OSError, ValueError):
        return 0


@cache
def _distributions(places: tuple[tuple[str, int], ...]) -> Mapping[str, list[str]]:
    """Return the distributions of each package. The search takes half a second: it is repeated for other places only.

    Args:
        places: of :func:`_places`. What is installed meanwhile changes the time of a folder.
    """
    return packages_distributions()


def _files_of(name: str) -> Iterator[tuple[Path, list[Path]]]:
    """Yield where a package, or a module outside any, is imported from, with its source files there.

    What is imported from a zip archive has one: the archive.
    """
    imported_already = sys.modules.get(name)
    spec = find_spec(name) if imported_already is None else imported_already.__spec__
    if spec is not None and spec.submodule_search_locations:
        places = [Path(place) for place in spec.submodule_search_locations]
    else:
        file = spec.origin if spec is not None and spec.has_location else getattr(imported_already, "__file__", None)
        places = [Path(file)] if file else []
    for place in places:
        if held := _holder(place):
            yield held.parent, [held]
        else:
            files = (file for file in sorted(place.rglob("*")) if file.suffix in _SOURCES)
            yield place.parent, [file for file in files if file.is_file()]


def _holder(place: Path) -> Path | None:
    """Return the file that holds a module: itself, or the zip archive that it was imported from; None: neither."""
    return next(filter(Path.is_file, (place, *place.parents)), None)


def meaning_of(file: Path) -> str:
    """Return the hash of a source file, comments and docstrings aside; of its bytes where it is no Python text."""
    try:
        content = meaning(file.read_text()).encode()
    except (SyntaxError, ValueError):
        content = file.read_bytes()
    return hashlib.sha256(content).hexdigest()[:CODE_DIGITS]


def meaning(source: str) -> str:
    """Return Python source without comments, docstrings and layout."""
    return _read(source).meaning


class _Source(NamedTuple):
    imports: frozenset[str]
    meaning: str


@cache
def _read(source: str) -> _Source:
    """Parse a source once: the plan of a study asks several times for the same two hundred files."""
    tree = ast.parse(source)
    statements = [*_statements(tree)]
    imports = frozenset(_named_in(statements))
    for node in statements:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return _Source(imports, ast.unparse(tree))
