"""A Sphinx extension: pages of the site whose text lies in another file of the repository.

``changelog`` and ``contributing`` are the files at the root. A page ``tutorials/NAME`` continues with the script
``NAME.py`` beside it: cells that begin with ``# %% [markdown]`` are text, those that begin with ``# %%`` are code.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT_PAGES = {"changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}
ON_THE_SITE = {"README.md": "/index.md", **{file: f"/{page}.md" for page, file in ROOT_PAGES.items()}}


def cells(script: str) -> list[tuple[str, str]]:
    """Return kind ("text" or "code") and content of each cell of a script in percent format.

    Raises:
        ValueError: the script does not begin with a cell.
    """
    before, *marked = re.split(r"^# %%(.*)$", script, flags=re.MULTILINE)
    if before.strip() or not marked:
        raise ValueError("a script in percent format begins with the line '# %%' or '# %% [markdown]'")
    found = []
    for mark, body in zip(marked[::2], marked[1::2], strict=True):
        text = "[markdown]" in mark
        content = re.sub(r"^# ?", "", body, flags=re.MULTILINE) if text else body
        found.append(("text" if text else "code", content.strip("\n")))
    return found


def page_of(script: str) -> str:
    """Return a script in percent format as Markdown."""
    return "\n\n".join(body if kind == "text" else f"```python\n{body}\n```" for kind, body in cells(script))


def linked_from_the_site(text: str, *, at_root: bool) -> str:
    """Return text whose links lead within the site where they lead to a file that is a page of it.

    Args:
        text: Markdown.
        at_root: it lies at the root of the repository, so that ``docs/x.md`` is the page ``x.md``.
    """

    def moved(match: re.Match[str]) -> str:
        target = match[1]
        if "://" in target or target.startswith(("#", "mailto:")):
            return match[0]
        outside = target if at_root else re.sub(r"^(\.\./)+", "", target)
        if outside in ON_THE_SITE and (at_root or outside != target):
            return f"]({ON_THE_SITE[outside]})"
        if not at_root:
            return match[0]
        return f"](/{target.removeprefix('docs/')})" if target.startswith("docs/") else f"](../{target})"

    return re.sub(r"\]\(([^)\s]+)\)", moved, text)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    folder = Path(app.srcdir)
    if name in ROOT_PAGES:
        file = folder.parent / ROOT_PAGES[name]
        source[0] = linked_from_the_site(file.read_text(), at_root=True)
        app.env.note_dependency(str(file))
        return
    source[0] = linked_from_the_site(source[0], at_root=False)
    script = folder / f"{name}.py"
    if name.startswith("tutorials/") and script.is_file():
        source[0] += "\n" + page_of(script.read_text())
        app.env.note_dependency(str(script))


def setup(app: Sphinx) -> dict[str, bool]:
    """Read these pages from their files."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
