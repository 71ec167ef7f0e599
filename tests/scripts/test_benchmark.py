"""scripts/benchmark.py: its plain transcription is an oracle, and its exit code follows the ratio."""

import pytest
import torch
from published_akorn import network
from scripts_by_name import script_named

benchmark = script_named("benchmark")

TINY = ["--channels", "8", "--batch", "2", "--size", "8", "--repeats", "1", "--warmup", "0"]


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"project": False},
        {"natural_frequency": "per_pair"},
        {"natural_frequency": "identity"},
        {"natural_frequency": "none", "step_size": 0.6},
        {"coupling": "attention"},
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
        pooled, states = benchmark.PlainAKOrN(encoder)(images, initial)
    ours = [state for layer in features.trace for state in layer.states]
    assert all(torch.equal(a, b) for a, b in zip(ours, states, strict=True))
    assert torch.equal(features.pooled, pooled)


def test_gradients_equal_those_of_the_plain_transcription():
    encoder, _ = network(kernel_sizes=(3, 3), oscillator_dim=2, learn_step_size=True)
    encoder.double()
    plain = benchmark.PlainAKOrN(encoder)
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 8, 8, generator=draw).double()
    initial = encoder.sample_initial(images, draw).double()
    encoder(images, initial=initial).pooled.square().sum().backward()
    plain(images, initial)[0].square().sum().backward()
    for (name, ours), theirs in zip(encoder.named_parameters(), plain.weights.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-10, msg=name)


def test_it_prints_both_medians_and_the_ratio_and_ends_well(capsys):
    assert benchmark.main(TINY) == 0
    out = capsys.readouterr().out
    for part in (
        "threads",
        f"torch {torch.__version__}",
        "relative difference",
        "ours:",
        "plain:",
        "ratio plain / ours",
    ):
        assert part in out


def test_a_ratio_below_the_wanted_one_ends_in_one(capsys):
    assert benchmark.main([*TINY, "--at-least", "1000"]) == 1
    assert "below --at-least 1000" in capsys.readouterr().out


def test_losses_that_differ_end_in_one_before_anything_is_timed(capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "plain_normalise", lambda x, n: 2 * x)
    assert benchmark.main(TINY) == 1
    out = capsys.readouterr().out
    assert "nothing was timed" in out
    assert "ratio" not in out


def test_views_and_a_whole_step_are_timed_on_request(capsys):
    assert benchmark.main([*TINY, "--views", "--step"]) == 0
    out = capsys.readouterr().out
    assert "(3 views)" in out
    assert "X-PhiNet step" in out


@pytest.mark.parametrize("given", [["--batch", "1"], ["--repeats", "0"], ["--dtype", "int8"], ["--threads", "0"]])
def test_arguments_out_of_range_end_in_two(given):
    with pytest.raises(SystemExit) as left:
        benchmark.main([*TINY, *given])
    assert left.value.code == 2


def test_channels_that_do_not_fit_are_one_line_and_end_in_two(capsys):
    assert benchmark.main([*TINY, "--channels", "7"]) == 2
    assert "channels=7: must be divisible by oscillator_dim=2" in capsys.readouterr().out
