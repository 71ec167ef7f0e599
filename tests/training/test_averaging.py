import copy

import pytest
import torch
from small_runs import small
from torch import nn

from sslkuramoto.checkpoint import load, load_encoder
from sslkuramoto.recipe import WeightEMA
from sslkuramoto.training import train
from sslkuramoto.training.averaging import WeightAverage, decay_at, left_behind


def published(values: list[float], rule: WeightEMA) -> list[float]:
    """What ema_pytorch's ``update`` does to one number, transcribed with its counter that grows before the decay."""
    average, found = values[0], []
    for current, value in enumerate(values):
        step = current + 1
        if current % rule.update_every == 0:
            if current <= rule.update_after:
                average = value
            else:
                epoch = max(step - rule.update_after - 1, 0)
                decay = 0.0 if epoch <= 0 else min(max(1 - (1 + epoch / 1.0) ** -(2 / 3), 0.0), rule.decay)
                average = average + (value - average) * (1 - decay)
        found.append(average)
    return found


def test_the_average_is_that_of_ema_pytorch():
    values = [float(v) for v in torch.randn(60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)]
    for rule in (WeightEMA(0.99, 5, 1), WeightEMA(0.8, 7, 3), WeightEMA(0.5, 0, 2), WeightEMA(0.9, 200, 10)):
        module = nn.Linear(1, 1, bias=False, dtype=torch.float64)
        module.weight.data.fill_(values[0])
        average, found = WeightAverage(module, rule), []
        for step, value in enumerate(values, 1):
            module.weight.data.fill_(value)
            average.update(module, step)
            found.append(float(average.module.weight))
        torch.testing.assert_close(torch.tensor(found), torch.tensor(published(values, rule)))


def test_float_buffers_are_averaged_whole_ones_copied_and_the_module_itself_untouched():
    norm = nn.BatchNorm1d(2)
    average = WeightAverage(norm, WeightEMA(0.75, 0, 1))
    before = copy.deepcopy(norm.state_dict())
    norm.running_mean.fill_(1.0)
    norm.num_batches_tracked.fill_(7)
    for step in range(1, 12):
        average.update(norm, step)
    norm.running_mean.fill_(3.0)
    norm.num_batches_tracked.fill_(8)
    average.update(norm, 100)  # decay is 0.75 by then
    assert average.module.running_mean.tolist() == [1.5, 1.5]
    assert int(average.module.num_batches_tracked) == 8
    assert norm.running_mean.tolist() == [3.0, 3.0]
    assert torch.equal(norm.weight, before["weight"])


def test_the_average_is_measured_without_moving_its_statistics():
    norm = nn.BatchNorm1d(2).train()
    average = WeightAverage(norm, WeightEMA())
    average.module(torch.randn(8, 2))
    assert int(average.module.num_batches_tracked) == 0
    assert norm.training


def test_a_run_exports_the_average_and_the_raw_weights_beside_it(tmp_path):
    run = train(small(weight_ema={"decay": 0.9, "update_after": 0, "update_every": 1}), tmp_path / "run")
    state = load(run.last_checkpoint)
    for weights, part in (("ema", "average"), ("raw", "learner")):
        encoder = load_encoder(run.encoder_file(weights))
        for name, value in encoder.state_dict().items():
            assert torch.equal(value, state[part][f"encoder.{name}"])
    stem = "encoder.stem.weight"
    assert not torch.equal(state["average"][stem], state["learner"][stem])


@pytest.mark.parametrize("total", [1, 2, 5, 9, 10, 11, 12, 95, 200, 205, 260])
@pytest.mark.parametrize(("every", "after"), [(10, 200), (1, 0), (3, 0), (7, 50)])
def test_what_a_short_run_exports_is_told_where_it_is_a_copy_of_an_early_step(total, every, after):
    rule = WeightEMA(update_every=every, update_after=after)
    module = nn.Linear(1, 1)
    average, copied, moved = WeightAverage(module, rule), 0, False
    for step in range(1, total + 1):
        nn.init.constant_(module.weight, step)
        average.update(module, step)
        moved |= (step - 1) % every == 0 and decay_at(step, rule) > 0
        copied = int(average.module.weight) if not moved else copied
    note = left_behind(rule, total)
    if moved or copied >= 0.9 * total:
        assert note is None
    else:
        assert f"step {copied} of {total}" in (note or "")


def test_a_run_of_nine_steps_says_that_its_average_is_of_the_first(tmp_path, capsys):
    data = {"name": "digits", "limit": 144, "limit_test": 16}
    recipe = small(epochs=1, batch_size=16, data=data, weight_ema={})
    train(recipe, tmp_path / "run")
    assert "are those after step 1 of 9" in capsys.readouterr().err
