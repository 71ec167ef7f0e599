"""scripts/benchmark.py: plain transcriptions are oracles, a comparison is a median of pairs, the exit code follows."""

import json
import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from published_akorn import network
from scripts_by_name import script_named

from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.views import VIEWS

benchmark = script_named("benchmark")
reference = script_named("benchmarks/reference")
timing = script_named("benchmarks/timing")
step = script_named("benchmarks/step")
views = script_named("benchmarks/views")
attention = sys.modules["benchmarks.attention"]  # that benchmark.py has imported
growth = script_named("benchmarks/growth")
picture = script_named("growth_picture")


def settings(**changed):
    given = {"threads": (1,), "repeats": 3, "warmup": 0, "small": True, "root": "", "device": torch.device("cpu")}
    return timing.Settings(**given | changed)


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"project": False},
        {"natural_frequency": "per_pair"},
        {"natural_frequency": "identity"},
        {"natural_frequency": "none", "step_size": 0.6},
        {"stimulus_norm": "none", "readout_dim": 4},
    ],
    ids=str,
)
def test_float32_states_and_features_equal_the_plain_transcription_to_the_last_bit(n, options):
    encoder, _ = network(kernel_sizes=(5, 3, 3), oscillator_dim=n, **options)
    draw = torch.Generator().manual_seed(n)
    images = torch.rand(2, 3, 16, 16, generator=draw)
    initial = encoder.sample_initial(images, draw)
    with torch.no_grad():
        features = encoder(images, initial=initial, trace=True)
        pooled, states = reference.PlainAKOrN(encoder)(images, initial)
    ours = [state for layer in features.trace for state in layer.states]
    assert all(torch.equal(a, b) for a, b in zip(ours, states, strict=True))
    assert torch.equal(features.pooled, pooled)


@pytest.mark.parametrize("options", [{}, {"coupling": "attention"}], ids=str)
def test_gradients_equal_those_of_the_plain_transcription(options):
    encoder, _ = network(kernel_sizes=(3, 3), oscillator_dim=2, learn_step_size=True, **options)
    encoder.double()
    plain = reference.PlainAKOrN(encoder)
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 8, 8, generator=draw).double()
    initial = encoder.sample_initial(images, draw).double()
    encoder(images, initial=initial).pooled.square().sum().backward()
    plain(images, initial)[0].square().sum().backward()
    for (name, ours), theirs in zip(encoder.named_parameters(), plain.weights.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-10, msg=name)


def test_works_are_timed_in_turn_after_the_warmup():
    called = []
    works = {name: lambda name=name: called.append(name) for name in ("a", "b")}
    times = timing.interleaved(works, settings(repeats=2, warmup=1))
    assert called == ["a", "b"] * 3
    assert len(times["a"].wall) == len(times["a"].cpu) == 2


def test_a_comparison_is_the_median_of_the_pairs_of_cpu_seconds():
    times = {
        "ours": timing.Times(wall=(1, 1, 1), cpu=(1.0, 2.0, 4.0)),
        "reference": timing.Times(wall=(7, 7, 7), cpu=(3.0, 2.0, 8.0)),
    }
    found = timing.compared("part", "what", times, settings(), against="it", wanted=2)
    assert found.ratio == (2.0, 1.0, 3.0)
    assert found.ours.median == 2
    assert found.met
    assert "By wall seconds 7.00" in found.note
    on_gpu = timing.compared("part", "what", times, SimpleNamespace(judged="wall"), against="it", wanted=7.5)
    assert (on_gpu.ratio.median, on_gpu.met, on_gpu.unit) == (7, False, "s")


def figure(ratio=None, **changed):
    spread = timing.Spread(1.0, 1.0, 1.0)
    return timing.Figure(
        "step", "a step", "CPU s", spread, spread, "it", ratio and timing.Spread(ratio, 1, 9), **changed
    )


def test_a_limit_is_met_from_below_and_a_ratio_from_above():
    assert figure(3.0, wanted=2).met is True
    assert figure(1.9, wanted=2).met is False
    assert figure(wanted=0.5, at_most=True).met is False
    assert figure(wanted=1.0, at_most=True).met is True
    assert figure(3.0).met is None


def test_the_exit_code_follows_the_aims_only_with_check(monkeypatch, capsys):
    monkeypatch.setitem(benchmark.PARTS, "step", lambda _: iter([figure(1.0, wanted=2)]))
    assert benchmark.main(["step"]) == 0
    assert benchmark.main(["step", "--check"]) == 1
    assert "misses its aim: a step" in capsys.readouterr().out
    monkeypatch.setitem(benchmark.PARTS, "step", lambda _: iter([figure(2.0, wanted=2)]))
    assert benchmark.main(["step", "--check"]) == 0


def test_json_and_the_section_of_a_document_hold_every_figure(monkeypatch, tmp_path):
    monkeypatch.setitem(
        benchmark.PARTS, "step", lambda _: iter([figure(2.5, wanted=2), figure(wanted=1, at_most=True)])
    )
    page = tmp_path / "page.md"
    begin, end = benchmark.BEGIN.format("cpu"), benchmark.END.format("cpu")
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    assert benchmark.main(["step", "--json", str(tmp_path / "f.json"), "--into", str(page)]) == 0
    record = json.loads((tmp_path / "f.json").read_text())
    assert [entry["met"] for entry in record["figures"]] == [True, True]
    assert record["figures"][0]["ratio"] == {"median": 2.5, "low": 1, "high": 9}
    assert record["machine"]["torch"] == torch.__version__
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith(f"{end}\nafter\n")
    assert "2.50 (1.00 to 9.00)" in text


def test_a_document_without_the_section_is_one_line_and_stays(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(benchmark.PARTS, "step", lambda _: iter([figure(2.5)]))
    page = tmp_path / "page.md"
    page.write_text("text\n")
    assert benchmark.main(["step", "--into", str(page)]) == 2
    assert "has no section between" in capsys.readouterr().err
    assert page.read_text() == "text\n"


def test_losses_that_differ_end_before_anything_is_timed(monkeypatch):
    with pytest.raises(UserError, match="nothing was timed"):
        step.check_equal(1.0, 1.001)
    step.check_equal(1.0, 1.00001)


def test_every_view_policy_is_compared_or_said_to_have_no_counterpart():
    assert {*views.plain(32), *views.WITHOUT} == {*VIEWS}


class Popen:
    """Stands for a process of Python: a thread of this one, with the same words; to start a process takes seconds."""

    def __init__(self, command, env):
        python, option, code, *words = command
        assert (python, option, env["OMP_NUM_THREADS"]) == (sys.executable, "-c", "1")
        scripts, *_ = env["PYTHONPATH"].split(os.pathsep)
        assert Path(scripts, "benchmarks", "attacks.py").is_file()
        self.failed, ready = True, Path(words[1], f"{words[3]}.ready")
        self.thread = threading.Thread(target=self.work, args=(code,))
        sys.argv = ["-c", *words]
        self.thread.start()
        while self.thread.is_alive() and not ready.exists():
            time.sleep(0.01)

    def work(self, code):
        exec(code, {})
        self.failed = False

    def poll(self):
        return None if self.thread.is_alive() else int(self.failed)

    def wait(self):
        self.thread.join()
        return int(self.failed)


def run(command, env, **_):
    """Stand for a process of Python: carry out its words here."""
    python, option, what, *words = command
    assert (python, env["OMP_NUM_THREADS"]) == (sys.executable, "1")
    code = 0
    try:
        if option == "-m":
            assert what == "sslkuramoto"
            code = main(words)
        else:
            sys.argv = [option, *words]
            exec(what, {})
    except SystemExit as end:
        code = end.code
    return SimpleNamespace(returncode=code, stderr="")


@pytest.mark.parametrize("part", sorted(benchmark.PARTS))
def test_every_part_runs(part, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr("benchmarks.attacks.subprocess", SimpleNamespace(Popen=Popen))
    monkeypatch.setattr("benchmarks.startup.subprocess", SimpleNamespace(run=run))
    monkeypatch.setattr(attention, "CASES", [case._replace(side=8) for case in attention.CASES])
    assert benchmark.main([part, "--small", "--repeats", "1", "--warmup", "0"]) == 0
    assert capsys.readouterr().out.count("\n") > 1


@pytest.mark.parametrize(
    "given",
    [
        ["--repeats", "0"],
        ["--warmup", "-1"],
        ["--threads", "0"],
        ["--threads", "two"],
        ["nothing"],
        ["--device", "mps"],
    ],
)
def test_arguments_out_of_range_end_in_two(given):
    with pytest.raises(SystemExit) as left:
        benchmark.main(given)
    assert left.value.code == 2


def test_an_exponent_is_that_of_the_largest_sizes():
    sizes = (2, 4, 8, 16, 32)
    assert growth.exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert growth.exponent(sizes, [100, 90, *(size**2 for size in sizes[2:])]) == pytest.approx(2)


def test_a_picture_shows_each_axis_once_with_both_exponents(tmp_path, capsys):
    axis = growth.Axis("T, a network", (2, 4, 8), lambda _: lambda: None, 1.1, 1.1, "Linear.")
    amounts = [[2.0, 2.0], [4.0, 4.0], [8.0, 8.0]]
    figures = [growth.grown(axis, axis.sizes, amounts, what, "s", 1.1) for what in ("time", "peak memory")]
    assert all(figure.met and figure.ours.median == pytest.approx(1) for figure in figures)
    record = tmp_path / "growth.json"
    record.write_text(json.dumps({"figures": [figure.record() for figure in figures]}))
    assert picture.main([str(record), str(tmp_path / "growth.svg")]) == 0
    drawn = (tmp_path / "growth.svg").read_text()
    assert [drawn.count(text) for text in ("T, a network<", "time, exponent 1.00", "memory, exponent 1.00")] == [
        1,
        1,
        1,
    ]
    record.write_text('{"figures": []}')
    assert picture.main([str(record), str(tmp_path / "growth.svg")]) == 2
    assert "no figures" in capsys.readouterr().err
