"""Write the tables of studies into their pages, one page for each study; computes nothing.

    python scripts/study_tables.py report-table-2-small opl-table-6-small --root runs/studies
    python scripts/study_tables.py wonn-part-small data.root=data/cifar10.zip

Each study has the page ``docs/results/NAME.md``. What stands between the page's markers is replaced, and a study that
has no page gets one. The headline and the summary above the markers are written by hand and stay. The index is written
again. Of the paired tests those pooled over seeds are shown; those of single seeds lie in ``ROOT/NAME``.
"""

import argparse
import sys
from pathlib import Path

from result_pages import write_index, write_page

from sslkuramoto.errors import UserError
from sslkuramoto.report import study_markdown
from sslkuramoto.study import collect, load_study


def main(argv: list[str] | None = None) -> int:
    """Return 0, or 2 when a page has no markers or a study cannot be read."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="+", metavar="STUDY|KEY=VALUE", help="studies, and changes of all of them")
    parser.add_argument("--into", type=Path, default=Path("docs/results"), help="folder of the pages and their index")
    parser.add_argument("--root", type=Path, default=Path("runs/studies"))
    parser.add_argument("--any-code", action="store_true", help="results of other versions of the code too")
    arguments = parser.parse_intermixed_args(argv)
    studies = [word for word in arguments.words if "=" not in word]
    changes = [word for word in arguments.words if "=" in word]
    try:
        tables = [table_of(name, changes, arguments.root, any_code=arguments.any_code) for name in studies]
        for name, title, text in tables:
            write_page(arguments.into / f"{name}.md", title, text)
        write_index(arguments.into)
    except (UserError, OSError) as error:
        print(f"study_tables: {error}", file=sys.stderr)
        return 2
    return 0


def table_of(word: str, changes: list[str], root: Path, *, any_code: bool) -> tuple[str, str, str]:
    """Return name, title and Markdown of one study, a name or a path, with the command that fills it."""
    table = collect(load_study(word, changes), root, any_code=any_code)
    heading, _, rest = study_markdown(table, every_seed=False, folded=True).partition("\n")
    return table.study.name, heading.removeprefix("## "), f"`sslkuramoto study {word}`\n{rest}"


if __name__ == "__main__":
    sys.exit(main())
