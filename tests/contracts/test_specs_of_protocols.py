"""Every protocol file meets runs of images, of boards and of pairs and a function's network: it reads what the data
gives, or one line says that it does not, before anything is loaded. Each registered protocol has a file."""

from collections.abc import Callable
from pathlib import Path

import pytest
from house_files import PROTOCOLS as FILES
from house_files import ROOT

from sslkuramoto.cli import main
from sslkuramoto.data import DATA
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import load_protocol, subject_of
from sslkuramoto.evaluation import subject as opening
from sslkuramoto.examples import Boards, Images, Pairs, shown_reads
from sslkuramoto.recipe import load_recipe
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import train

SUDOKU = ["data.puzzles=8", "data.puzzles_test=8", "encoder.channels=8", "encoder.num_steps=1"]
SUDOKU += ["epochs=1", "schedule.warmup_epochs=0"]
PAIRS = ["data.pairs=8", "data.pairs_test=4", "encoder.channels=4", "encoder.dimensions=4", "encoder.num_steps=1"]
NETWORK = "from torch import nn\n\ndef build():\n    raise AssertionError('the function was called')\n"
LOADED = {path.stem: load_protocol(path.stem) for path in FILES}
READ_IMAGES = [name for name, loaded in LOADED.items() if Images in loaded.measure.reads]
NEED_MASKS = [name for name, loaded in LOADED.items() if "masks" in loaded.measure.needs]
REFUSE_IMAGES = [name for name in LOADED if name not in READ_IMAGES]  # the others: tests/api/test_cli_foreign.py
READ_BOARDS = [name for name, loaded in LOADED.items() if Boards in loaded.measure.reads]
READ_MAZES, OF_MAZES = ["maze"], "of 4 input symbols and 5 symbols"
READ_PAIRS = [name for name, loaded in LOADED.items() if Pairs in loaded.measure.reads]


def kinds(name: str) -> str:
    """Return what a protocol reads, as messages say it."""
    return shown_reads(LOADED[name].measure.reads)


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run on 4 x 4 Sudoku that holds a head too."""
    recipe = load_recipe(ROOT / "recipes" / "sudoku4-akorn.yaml", [*SUDOKU, "batch_size=8", "engine.device=cpu"])
    return train(recipe, tmp_path_factory.mktemp("runs") / "sudoku")


@pytest.fixture(scope="module")
def mazes(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run on mazes of side 9 that holds a head too."""
    changes = ["data={name: maze, side: 9, mazes: 8, mazes_test: 8}", "encoder.symbols=5", "encoder.input_symbols=4"]
    words = [
        *changes,
        "encoder.side=null",
        "objective.input_symbols=4",
        "encoder.channels=8",
        "encoder.attention_heads=2",
        "encoder.num_steps=1",
        "epochs=1",
        "schedule.warmup_epochs=0",
        "batch_size=8",
    ]
    recipe = load_recipe(ROOT / "recipes" / "sudoku4-winfree.yaml", [*words, "engine.device=cpu"])
    return train(recipe, tmp_path_factory.mktemp("runs") / "mazes")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run on same/different that holds a head too."""
    words = [*PAIRS, "batch_size=8", "epochs=1", "engine.device=cpu"]
    recipe = load_recipe(ROOT / "recipes" / "same-different-relational.yaml", words)
    return train(recipe, tmp_path_factory.mktemp("runs") / "pairs")


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command and return its one line; nothing may be loaded."""
    monkeypatch.setattr(DATA, "build", lambda *_: pytest.fail("data were read"))
    monkeypatch.setattr(opening, "load_encoder", lambda *_: pytest.fail("weights were read"))

    def evaluate(*words: str) -> str:
        assert main(["evaluate", *words, "--device", "cpu"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return evaluate


def test_every_protocol_states_what_it_reads() -> None:
    assert {*READ_IMAGES, *READ_BOARDS, *READ_PAIRS} == set(LOADED)


@pytest.mark.parametrize("name", LOADED)
def test_a_run_of_images_is_measured_or_refused(name: str, supervised: RunDirectory, request) -> None:
    if name in NEED_MASKS:
        line = request.getfixturevalue("refused")(str(supervised.path), name)
        assert line.endswith(f"{LOADED[name].measure.name} needs masks: data digits gives none")
    elif name in READ_IMAGES:
        LOADED[name].measure.check(subject_of(supervised.path))
    else:
        line = request.getfixturevalue("refused")(str(supervised.path), name)
        assert line.endswith(f"{LOADED[name].measure.name} reads {kinds(name)}; data digits gives images")


@pytest.mark.parametrize("name", LOADED)
def test_a_run_of_boards_is_measured_or_refused(name: str, boards: RunDirectory, request) -> None:
    measure, subject = LOADED[name].measure, subject_of(boards.path)
    if name in READ_BOARDS and measure.on(subject).spec != subject.spec:  # 9 x 9 boards, and a network of 4 x 4
        with pytest.raises(
            UserError, match=r"is built for boards of 4 x 4 cells, 4 symbols; data sudoku gives boards of 9 x 9"
        ):
            measure(subject)
    elif measure.name in READ_MAZES:
        line = request.getfixturevalue("refused")(str(boards.path), name)
        assert line.endswith(
            f"{measure.name} reads mazes, {OF_MAZES}; data sudoku gives boards of 4 x 4 cells, 4 symbols"
        )
    elif name in READ_BOARDS:
        measure.check(subject)
    else:
        line = request.getfixturevalue("refused")(str(boards.path), name)
        assert line.endswith(f"{LOADED[name].measure.name} reads {kinds(name)}; data sudoku gives boards")


@pytest.mark.parametrize("name", LOADED)
def test_a_run_of_pairs_is_measured_or_refused(name: str, pairs: RunDirectory, request) -> None:
    measure, subject = LOADED[name].measure, subject_of(pairs.path)
    if name in READ_PAIRS:
        measure.check(subject)
    else:
        line = request.getfixturevalue("refused")(str(pairs.path), name)
        assert line.endswith(f"{LOADED[name].measure.name} reads {kinds(name)}; data same-different gives pairs")


@pytest.mark.parametrize("name", READ_BOARDS)
def test_a_run_of_mazes_is_measured_or_refused(name: str, mazes: RunDirectory, request) -> None:
    measure = LOADED[name].measure
    if measure.name in READ_MAZES:
        measure.check(subject_of(mazes.path))
    elif measure.own_source is None:
        line = request.getfixturevalue("refused")(str(mazes.path), name)
        assert "sudoku reads Sudoku boards, which have blank cells; data maze gives boards of 9 x 9 cells, 5" in line
    else:  # 9 x 9 Sudoku, which a network of mazes does not take
        with pytest.raises(UserError):
            measure(subject_of(mazes.path))


@pytest.mark.parametrize(
    ("name", "source", "kind"),
    [*((name, "sudoku", "boards") for name in LOADED), *((name, "digits", "images") for name in REFUSE_IMAGES)],
)
def test_a_functions_network_is_refused_where_it_or_the_protocol_does_not_read_the_data(
    name: str, source: str, kind: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    words = [f"data={{name: {source}}}", "--run", str(tmp_path / "net")]
    line = refused(f"{tmp_path}/net.py:build", name, *words)
    who = "a function's network" if source == "sudoku" else LOADED[name].measure.name
    reads = "images" if source == "sudoku" else kinds(name)
    assert line.endswith(f"{who} reads {reads}; data {source} gives {kind}")


def test_of_several_protocols_none_measures_where_one_does_not_read_the_data(
    supervised: RunDirectory, refused: Callable[..., str]
) -> None:
    assert "sudoku reads boards" in refused(str(supervised.path), "clean", "sudoku")
    assert not (supervised.path / "results" / "clean.json").exists()


@pytest.mark.parametrize("name", LOADED)
def test_an_encoder_that_reads_images_and_boards_is_measured_on_the_spec_of_its_data(
    name: str, supervised: RunDirectory, boards: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the encoder reads says nothing of the data: only these decide."""
    monkeypatch.setattr(Encoder, "reads", (Images, Boards))
    run = boards if name in READ_IMAGES else supervised
    subject = subject_of(run.path)
    monkeypatch.setattr(type(subject.encoder), "reads", (Images, Boards))
    with pytest.raises(UserError, match=rf"^{LOADED[name].measure.name} reads \w+; the data of .* gives \w+$"):
        LOADED[name].measure(subject)
    subject.spec = None  # a subject made by hand: its splits say it, unless others are measured
    if LOADED[name].measure.own_source is not None:
        return
    with pytest.raises(UserError, match=rf"^{LOADED[name].measure.name} reads \w+; the data of .* gives \w+$"):
        LOADED[name].measure(subject)
