"""A Sphinx extension: tables of what there is, read from the registries and folders, so that no page lists it by hand.

The directive ``registry`` takes ``MODULE:NAME`` of a registry, the directive ``folder`` a folder of the package.
"""

import inspect
import re
from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from sslkuramoto.files import packaged
from sslkuramoto.meanings import options_in_words
from sslkuramoto.registry import Registry


def registry_page(registry: Registry[Any]) -> str:
    """Return every member with its first paragraph and a table of its options, as Markdown."""
    parts = []
    for name in sorted(registry):
        parts += [f"## {name}", _as_markdown(_first_paragraph(registry[name]))]
        if options := options_in_words(registry, name):
            rows = ["| option | default | allowed | meaning |", "|---|---|---|---|"]
            for option in options:
                words = (f"`{option.key}`", _code(option.default), _code(option.allowed), _cell(option.meaning))
                rows.append(f"| {' | '.join(words)} |")
            parts.append("\n".join(rows))
    return "\n\n".join(part for part in parts if part) + "\n"


def folder_page(folder: str) -> str:
    """Return the name and the first comment of every YAML file of a folder of the package, as a Markdown table."""
    rows = ["| name | what it is |", "|---|---|"]
    for path in sorted(packaged(folder).glob("*.yaml")):
        rows.append(f"| `{path.stem}` | {_cell(path.read_text().splitlines()[0].lstrip('# '))} |")
    return "\n".join(rows) + "\n"


def _first_paragraph(member: Any) -> str:
    return (inspect.getdoc(member) or "").partition("\n\n")[0]


def _as_markdown(text: str) -> str:
    """Return a docstring's reStructuredText, of which it uses roles and double backticks alone, as Markdown."""
    return re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)


def _cell(text: str) -> str:
    return re.sub(r"([|<*_\[\]$])", r"\\\1", _as_markdown(" ".join(text.split())))


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


class RegistryTables(SphinxDirective):
    """The members of a registry, named as ``MODULE:NAME``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].partition(":")
        text = registry_page(getattr(import_module(module), name))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class FolderTable(SphinxDirective):
    """The YAML files of a folder: ``recipes``, ``eval/protocols``, ``eval/studies``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(folder_page(self.arguments[0]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the two directives."""
    app.add_directive("registry", RegistryTables)
    app.add_directive("folder", FolderTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
