from math import cos, pi

import pytest
from small_runs import CLASSIFIER, XPHINET, metrics, small

from sslkuramoto.errors import UserError
from sslkuramoto.training import check, train
from sslkuramoto.training.loop import _Training
from sslkuramoto.training.schedule import SCHEDULES


def factors(name, steps=20, per_epoch=5, **options):
    schedule = SCHEDULES.build(name, options)
    return [schedule.factor(step, steps, per_epoch) for step in range(steps)]


def test_constant_is_one():
    assert factors("constant") == [1.0] * 20


def test_warmup_cosine_rises_by_equal_steps_and_falls_by_half_a_cosine():
    found = factors("warmup_cosine", warmup_epochs=1.0, final=0.1)
    rise = [0.2, 0.4, 0.6, 0.8, 1.0]
    fall = [0.1 + 0.9 * (1 + cos(pi * step / 15)) / 2 for step in range(15)]
    assert found == pytest.approx(rise + fall, abs=1e-12)


def test_a_flat_part_comes_between_the_rise_and_the_fall():
    found = factors("warmup_cosine", warmup_epochs=0.4, flat_epochs=2.0, final=0.1)
    fall = [0.1 + 0.9 * (1 + cos(pi * step / 8)) / 2 for step in range(8)]
    assert found == pytest.approx([0.5, 1.0] + [1.0] * 10 + fall, abs=1e-12)


def test_without_warmup_it_starts_at_one():
    assert factors("warmup_cosine", warmup_epochs=0.0)[0] == 1.0
    assert factors("warmup_cosine", warmup_epochs=0.4)[:3] == [0.5, 1.0, 1.0], "the top is held for one step"


@pytest.mark.parametrize(("options", "key"), [({"warmup_epochs": -1.0}, "warmup_epochs=-1.0"), ({"final": 2.0}, "fin")])
def test_a_value_out_of_range_is_named(options, key):
    with pytest.raises(UserError, match=key):
        SCHEDULES.build("warmup_cosine", options)


@pytest.mark.parametrize(
    ("warmup", "flat", "epochs", "line"),
    [
        (2.0, 0.0, 2, "schedule.warmup_epochs=2: must be below epochs=2, or the learning rate never falls"),
        (0.0, 8.0, 3, "schedule.flat_epochs=8: must be below epochs=3, or the learning rate never falls"),
        (0.5, 1.5, 2, "schedule.warmup_epochs=0.5 + schedule.flat_epochs=1.5: must be below epochs=2, or the learning"),
        (0.5, 1.0, 2, None),
        (0.0, 0.0, 1, None),
    ],
)
def test_a_run_that_ends_before_the_learning_rate_falls_is_refused_by_the_check(warmup, flat, epochs, line):
    schedule = {"name": "warmup_cosine", "warmup_epochs": warmup, "flat_epochs": flat}
    recipe = small(**CLASSIFIER, schedule=schedule, epochs=epochs)
    if line is None:
        check(recipe)
        last = SCHEDULES.build("warmup_cosine", {"warmup_epochs": warmup, "flat_epochs": flat})
        assert last.factor(10 * epochs - 1, 10 * epochs, 10) < 1
        return
    with pytest.raises(UserError) as caught:
        check(recipe)
    assert str(caught.value).startswith(line)


def test_every_schedule_falls_within_a_run_that_its_check_accepts_or_never_changes():
    for name in SCHEDULES:
        schedule = SCHEDULES.build(name, {})
        epochs = 1 + int(sum(schedule.before_fall.values()))
        schedule.check(epochs)
        found = [schedule.factor(step, 10 * epochs, 10) for step in range(10 * epochs)]
        assert found[-1] < max(found) or set(found) == {1.0}, name
        if schedule.before_fall:
            with pytest.raises(UserError, match=f"must be below epochs={epochs - 1}"):
                schedule.check(epochs - 1)


def test_a_run_follows_its_schedule_and_a_held_part_keeps_its_rate(tmp_path, monkeypatch):
    seen = []
    set_rate = _Training._set_learning_rate

    def recorded(self, step):
        set_rate(self, step)
        seen.append({bool(group["held"]): group["lr"] for group in self.optimizer.param_groups})

    monkeypatch.setattr(_Training, "_set_learning_rate", recorded)
    schedule = {"name": "warmup_cosine", "warmup_epochs": 1.0, "hold": ["hippocampus"]}
    recipe = small(views={"name": "phinet"}, objective=XPHINET, schedule=schedule, optimizer={"name": "sgd", "lr": 0.3})
    run = train(recipe, tmp_path / "run").path
    wanted = [0.1, 0.2, 0.3, 0.3, 0.3 * (1 + cos(pi / 3)) / 2, 0.3 * (1 + cos(2 * pi / 3)) / 2]
    assert [rate[False] for rate in seen] == pytest.approx(wanted)
    assert [rate[True] for rate in seen] == [0.3] * 6
    assert [float(row["lr"]) for row in metrics(run)] == pytest.approx(wanted), "the log shows the scheduled rate"
