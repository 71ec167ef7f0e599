import pytest
from scripts_by_name import script_named

from sslkuramoto.evaluation.corruptions import CORRUPTIONS


@pytest.fixture(scope="module")
def script():
    return script_named("corruption_table")


def test_rows_are_means_over_networks_and_losses_are_from_clean_to_severity_5(script):
    found = [
        script.Losses(clean, {name: [clean - 10 * s - i for s in range(1, 6)] for i, name in enumerate(CORRUPTIONS)})
        for clean in (80.0, 90.0)
    ]
    lines = script.table(found).splitlines()
    assert "| gaussian_noise | 75.0 | 65.0 | 55.0 | 45.0 | 35.0 | 50.0 | 67.1 |" in lines
    assert "| shot_noise | 74.0 | 64.0 | 54.0 | 44.0 | 34.0 | 51.0 | 60.5 |" in lines
    assert "| mean | 68.0 | 58.0 | 48.0 | 38.0 | 28.0 | 57.0 | 38.3 |" in lines
    assert lines[-1].startswith("Clean 85.0 (std over networks 7.1). Spearman with the published losses -0.")


def test_a_page_without_markers_is_refused_before_anything_is_read(script, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("no markers\n")
    assert script.main([str(tmp_path / "no-such.zip"), "--into", str(page)]) == 2
    assert "needs the lines" in capsys.readouterr().err
