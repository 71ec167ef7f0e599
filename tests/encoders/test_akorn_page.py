"""docs/akorn.md: its snippet runs, and its table names every option with its default."""

import re
from pathlib import Path

from sslkuramoto.encoders import ENCODERS

PAGE = (Path(__file__).parents[2] / "docs" / "akorn.md").read_text(encoding="utf-8")


def test_the_snippet_runs_in_ten_lines_and_prints_what_the_page_says(capsys):
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    assert len(code.strip().splitlines()) <= 10
    exec(compile(code, "docs/akorn.md", "exec"), {})
    out = capsys.readouterr().out
    assert "torch.Size([4, 64]) torch.Size([4, 64, 8, 8]) torch.Size([3, 4, 16, 32, 32])" in out
    assert out.count(",", out.index("tensor(")) == 3  # four energies


def test_the_table_names_every_option_and_no_other():
    table = PAGE[PAGE.index("| option | symbol") : PAGE.index("## Where paper and published code differ")]
    named = {
        name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1:2][0] if row else "")
    }
    assert named == set(ENCODERS.options("akorn"))


def test_the_table_gives_the_defaults():
    options = ENCODERS.options("akorn")
    for name in ("channels", "oscillator_dim", "num_steps", "attention_heads", "natural_frequency", "stimulus_norm"):
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}`"))
        assert f"**{options[name].default}**" in row, name
