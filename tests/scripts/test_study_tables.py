import pytest
from made_study import IMAGES, FabricatedStudy
from scripts_by_name import script_named

from sslkuramoto.study import study_files


@pytest.fixture(scope="module")
def script():
    return script_named("study_tables")


def test_a_page_keeps_each_corrected_test_and_no_line_of_a_single_seed_beside_it(script, tmp_path, monkeypatch):
    made = FabricatedStudy(tmp_path)
    for seed in (0, 1):
        path = made.cells["simsiam", "clean"].values[seed].result
        made.value("broken", "clean", seed, path, 0.5, correct=[1.0] * (IMAGES // 2) + [0.0] * (IMAGES // 2))
    monkeypatch.setattr(script, "load_study", lambda name, changes: None)
    monkeypatch.setattr(script, "collect", lambda *_, **__: made.table())
    *_, text = script.table_of("made", [], tmp_path, any_code=False)
    tests = text.partition("| column | first |")[2].splitlines()[2:]
    one, two = (line.split(" | ") for line in tests if line.startswith("|"))
    assert one[:5] == ["| clean", "PhiNet", "SimSiam", "pooled (1 seed)", "+5.0"]
    assert one[6:] == ["0.5", "0.5", "2", "0", "40", "0.5 |"]  # p, Holm; McNemar's b, c, n, p
    assert two[:5] == ["| clean", "SimSiam", "Broken", "pooled (2 seeds)", "+35.0"]
    assert two[8:11] == ["28", "0", "80"]


def test_the_page_of_a_study_that_was_not_computed_has_dashes_and_the_command(script, tmp_path, capsys):
    index = tmp_path / "index.md"
    index.write_text("<!-- table:start -->\n<!-- table:end -->\n")
    places = ["--into", str(tmp_path), "--root", str(tmp_path / "none")]
    assert script.main(["akorn-table-8-small", *places]) == 0
    text = (tmp_path / "akorn-table-8-small.md").read_text()
    assert "`sslkuramoto study akorn-table-8-small`" in text
    assert "not computed yet" in text
    assert "(akorn-table-8-small.md)" in index.read_text()
    assert script.main(["akorn-table-8-small", *places, "no.such.key=1"]) == 2
    assert "no.such.key" in capsys.readouterr().err
    assert script.main(["no-such-study", *places]) == 2
    assert "no-such-study" in capsys.readouterr().err


def test_the_page_of_a_study_file_lies_in_the_folder_of_the_pages(script, tmp_path):
    (own := tmp_path / "own").mkdir()
    file = own / "mine.yaml"
    file.write_text(study_files()["akorn-table-8-small"].read_text())
    (pages := tmp_path / "pages").mkdir()
    (pages / "index.md").write_text("<!-- table:start -->\n<!-- table:end -->\n")
    assert script.main([str(file), "--into", str(pages), "--root", str(tmp_path / "none")]) == 0
    assert {path.name for path in pages.iterdir()} == {"index.md", "mine.md"}
    assert list(own.iterdir()) == [file]
