"""docs/winfree.md: its snippet runs, and its table names every option with its default."""

import re
from pathlib import Path

from sslkuramoto.encoders import ENCODERS

PAGE = (Path(__file__).parents[2] / "docs" / "winfree.md").read_text(encoding="utf-8")
TABLE = PAGE[PAGE.index("| option | symbol") : PAGE.index("`board_winfree` reads boards")]


def test_the_snippet_runs_in_ten_lines_and_prints_what_the_page_says(capsys):
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    assert len(code.strip().splitlines()) <= 10
    exec(compile(code, "docs/winfree.md", "exec"), {})
    out = capsys.readouterr().out
    assert "torch.Size([4, 32]) torch.Size([4, 32, 32, 32]) torch.Size([3, 4, 32, 32, 32])" in out
    assert out.count(",", out.index("tensor(")) == 3  # four energies


def test_the_table_names_every_option_and_no_other():
    named = {name for row in TABLE.splitlines()[2:] for name in re.findall(r"`(\w+)`", [*row.split("|"), ""][1])}
    assert named == set(ENCODERS.options("winfree"))


def test_the_table_gives_the_defaults():
    options = ENCODERS.options("winfree")
    for name in ("channels", "group_size", "hidden_ratio", "positions", "rectify", "step_size", "patch"):
        row = next(line for line in TABLE.splitlines() if f"`{name}`" in line)
        default = options[name].default
        assert f"**{str(default).lower() if isinstance(default, bool) else default}**" in row, name
