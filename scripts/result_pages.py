"""Pages of measured numbers: what a script wrote into one stands between two markers, the words around it are by hand.

A page of docs/results begins with a title, one bold line (the headline) and a summary in plain words. Its tables stand
between ``<!-- table:start -->`` and ``<!-- table:end -->``. The index of the folder lists title and headline of each.

    python scripts/result_pages.py docs/results    # writes the index again, after a headline was edited
"""

import argparse
import re
import sys
from pathlib import Path

from sslkuramoto.errors import UserError
from sslkuramoto.files import write_atomically

START, END = "<!-- table:start -->", "<!-- table:end -->"
INDEX = "index.md"
UNWRITTEN = "No summary has been written yet."


def placed(page: str, text: str) -> str:
    """Return the page with ``text`` between its markers.

    Raises:
        UserError: the page has no markers, or has them in another order.
    """
    start, end = page.find(START), page.find(END)
    if start < 0 or end < start:
        raise UserError(f"the page needs the lines {START} and {END}, in this order")
    return f"{page[: start + len(START)]}\n{text.strip()}\n{page[end:]}"


def write_table(path: Path, text: str) -> None:
    """Replace what stands between the markers of the page at ``path``."""
    write_atomically(path, placed(path.read_text(), text))


def write_page(path: Path, title: str, text: str) -> None:
    """Write a page of results: the title and the table anew, headline and summary as they were."""
    old = path.read_text() if path.is_file() else f"# {title}\n\n**{UNWRITTEN}**\n\n{START}\n{END}\n"
    write_atomically(path, placed(f"# {title}\n{old.partition(chr(10))[2]}", text))


def write_index(folder: Path) -> None:
    """Write title and headline of every page in the folder into its index."""
    write_table(folder / INDEX, index_of(folder))


def index_of(folder: Path) -> str:
    """Return the table of the pages that have a headline, ordered by name, numbers by value."""
    lines = ["| page | what it shows |", "|---|---|"]
    for path in sorted(folder.glob("*.md"), key=_natural):
        found = re.match(r"# ([^\n]+)\n\n\*\*([^\n]+)\*\*\n", path.read_text())
        if found:
            lines.append(f"| [{found[1]}]({path.name}) | {found[2]} |")
    return "\n".join(lines)


def _natural(path: Path) -> list[tuple[str, int]]:
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D+)(\d*)", path.stem)]


def main(argv: list[str] | None = None) -> int:
    """Return 0, or 2 when the folder has no index with markers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    try:
        write_index(parser.parse_args(argv).folder)
    except (UserError, OSError) as error:
        print(f"result_pages: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
