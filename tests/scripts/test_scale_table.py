"""scripts/scale_table.py: counted work is that of equations and of a real step, the model is a sum of known terms."""

import math

import pytest
import torch
from scripts_by_name import script_named
from torch import nn

from sslkuramoto.recipe import load_recipe, recipe_file

scale_table = script_named("scale_table")  # first: it puts scripts/ on the path
from scale import checked, counted, model  # noqa: E402

MACHINE = model.Machine(
    flops={"32": 100.0},
    bandwidth=10.0,
    scores=5.0,
    start=1.0,
    ahead=True,
    memory=1000.0,
    beyond=1.0,
    decoded=2.0,
)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_backward_operations_of_a_convolution_are_twice_those_of_its_forward_pass(groups):
    layer = nn.Conv2d(4, 8, 3, padding=1, groups=groups)
    images = torch.rand(2, 4, 6, 6, requires_grad=True)
    found = counted._counted(lambda: layer(images).sum().backward())
    assert found.flop == 3 * 2 * 2 * 6 * 6 * 8 * (4 // groups) * 9


def test_attention_counts_its_products_and_its_softmax_weights():
    query, key, value = (torch.rand(2, 3, 5, 8, requires_grad=True) for _ in range(3))
    found = counted._counted(lambda: nn.functional.scaled_dot_product_attention(query, key, value).sum().backward())
    weights = 2 * 3 * 5 * 5
    assert found.scores == 2 * weights
    assert found.flop == (2 + 5) * 2 * weights * 8  # the backward pass computes the weights again


def test_peak_and_kept_memory_are_the_bytes_of_the_tensors_that_are_alive():
    tensors, marks = [], []

    def work():
        tensors.append(torch.zeros(100))
        torch.zeros(50)
        marks[0]()
        tensors.append(torch.zeros(10))
        tensors.append(tensors[0].view(10, 10))  # nothing new

    found = counted._counted(work, after_forward=marks)
    assert (found.kept, found.peak) == (400, 600)


def small(name, *changes):
    return load_recipe(recipe_file(f"recipes/{name}.yaml"), changes)


def test_counted_work_of_a_step_is_that_of_the_step_that_is_carried_out():
    recipe = small("digits-akorn-byol", "batch_size=4", "encoder.channels=4", "encoder.num_steps=1")
    found = counted.count(recipe, 4, fourier=True)
    assert found.calls == (2, 2)
    step, learner = checked.training_step(recipe)
    step()  # no tensor without memory is left from the count
    real = counted._counted(step)
    without_views = real.flop - found.views.flop
    assert found.network.flop == pytest.approx(without_views, rel=0.02)  # the target's own head and the features' mean
    assert found.network.peak == pytest.approx(real.peak, rel=0.25)
    assert found.trainable == sum(each.numel() for each in learner.parameters() if each.requires_grad)


def test_work_on_the_line_through_two_counts_is_that_count():
    few = ("encoder.channels=4", "encoder.num_steps=1", "encoder.kernel_sizes=[3, 3]")
    recipe = small("digits-akorn-simsiam", *few)  # without negatives
    at = counted.line(counted.count(recipe, 4), counted.count(recipe, 8), 4, 8)
    between, whole = at(6).network, counted.count(recipe, 6).network
    assert between.flop == pytest.approx(whole.flop)
    assert between.kept == pytest.approx(whole.kept, rel=0.01)


def test_a_ring_sends_twice_all_but_one_share():
    network = model.Network(bandwidth=100.0, latency=0.5)
    assert model.reduce_seconds(400.0, 2, 4, network) == pytest.approx(2 * 3 / 4 * 4 + 1)
    assert model.reduce_seconds(400.0, 2, 1, network) == 0


def test_a_gpu_waits_for_the_start_of_operations_and_a_cpu_pays_it_on_top():
    work = counted.Work(flop=200.0, moved=30.0, scores=10.0, operations=3.0)
    assert model.compute_seconds(work, MACHINE, "32") == 2 + 3 + 2
    assert model.compute_seconds(work._replace(operations=9.0), MACHINE, "32") == 9
    assert model.compute_seconds(work, MACHINE.__class__(**vars(MACHINE) | {"ahead": False}), "32") == 2 + 3 + 2 + 3


def test_a_step_is_as_long_as_its_data_where_they_take_longer():
    assert model.Step(2.0, 1.0, 2.5).seconds == 3
    assert model.Step(2.0, 1.0, 3.5).seconds == 3.5


def test_a_batch_is_cut_until_it_fits():
    recipe = small("digits-akorn-simclr")

    def at(n):
        return counted.Counted(
            counted.Work(peak=100.0 * n),
            *[counted.Work()] * 3,
            calls=(1, 0),
            trainable=1,
            heads=0,
            weights=1,
            state=2,
            averaged=False,
        )

    parts, _ = model.parts_that_fit(recipe, at, MACHINE, 1)
    assert parts == math.ceil(recipe.batch_size * 100 / 1000 / 2) * 2 == 8
    with pytest.raises(ValueError, match="two images"):
        model.parts_that_fit(recipe, at, MACHINE.__class__(**vars(MACHINE) | {"memory": 150.0}), 1)


def test_rates_are_found_again_in_steps_that_they_made():
    rates = (1e9, 1e8, 1e6, 1e-6)
    found = []
    for number in range(8):
        draw = torch.rand(4, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
        flop, moved, scores, operations = (draw * torch.tensor([1e9, 1e8, 1e6, 1e6], dtype=torch.float64)).tolist()
        seconds = flop / rates[0] + moved / rates[1] + scores / rates[2] + operations * rates[3]
        found.append(checked.Measured("it", seconds, 0.0, counted.Work(flop, moved, scores, operations)))
    machine = checked.machine_of(found, left_out=0)
    assert (machine.flops["32"], machine.bandwidth, machine.scores, machine.start) == pytest.approx(rates)
    assert next(checked.single_rows(found)).error == pytest.approx(0, abs=1e-6)


def test_the_table_replaces_its_section_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scale_table, "table", lambda paths: f"{len(paths)} recipes\n")
    page = tmp_path / "page.md"
    begin, end = (mark.format("estimates") for mark in (scale_table.BEGIN, scale_table.END))
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    assert scale_table.main(["one.yaml", "--into", str(page)]) == 0
    assert page.read_text() == f"before\n{begin}\n\n1 recipes\n\n{end}\nafter\n"
    page.write_text("nothing")
    assert scale_table.main(["one.yaml", "--into", str(page)]) == 2
    assert "has no section" in capsys.readouterr().err


def test_an_estimate_becomes_hours_of_imagenet():
    step = model.Step(1.0, 0.2, 0.5)
    text = scale_table.cell(scale_table.Estimate(2, 64, 3 * model.GIB, step, 123.0))
    assert text == "2 x 64 images, 3 GiB, 120 h"
    assert scale_table.cell(scale_table.Estimate(1, 64, 0.0, model.Step(1, 2, 0.5), 1.0)).endswith("1.0 h (all-reduce)")
