"""Write the tables of studies into a document, between its markers; computes nothing.

    python scripts/study_tables.py docs/results.md report-table-2-small opl-table-6-small --root runs/studies

The document holds the lines ``<!-- studies:start -->`` and ``<!-- studies:end -->``; what stands between is replaced.
Of the paired tests those pooled over seeds are shown, and those of single seeds lie in ``ROOT/NAME``.
"""

import argparse
import sys
from pathlib import Path

from sslkuramoto.errors import UserError
from sslkuramoto.files import write_atomically
from sslkuramoto.report import study_markdown
from sslkuramoto.study import collect, load_study

START, END = "<!-- studies:start -->", "<!-- studies:end -->"


def main(argv: list[str] | None = None) -> int:
    """Return 0, or 2 when the document has no markers or a study cannot be read."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("document", type=Path)
    parser.add_argument("studies", nargs="+")
    parser.add_argument("--root", type=Path, default=Path("runs/studies"))
    parser.add_argument("--any-code", action="store_true", help="results of other versions of the code too")
    arguments = parser.parse_args(argv)
    try:
        tables = [table_of(name, arguments.root, any_code=arguments.any_code) for name in arguments.studies]
        write_atomically(arguments.document, placed(arguments.document.read_text(), "\n".join(tables)))
    except (UserError, OSError) as error:
        print(f"study_tables: {error}", file=sys.stderr)
        return 2
    return 0


def table_of(name: str, root: Path, *, any_code: bool) -> str:
    """Return one study as Markdown, its heading one level deeper, with the command that fills it."""
    text = study_markdown(collect(load_study(name), root, any_code=any_code), every_seed=False, folded=True)
    heading, _, rest = text.partition("\n")
    return f"#{heading}\n\n`sslkuramoto study {name}`\n{rest}"


def placed(document: str, text: str) -> str:
    """Return the document with ``text`` between its markers.

    Raises:
        UserError: it has none, or not in order.
    """
    start, end = document.find(START), document.find(END)
    if start < 0 or end < start:
        raise UserError(f"the document needs the lines {START} and {END}, in this order")
    return f"{document[: start + len(START)]}\n{text}\n{document[end:]}"


if __name__ == "__main__":
    sys.exit(main())
