import dataclasses
from pathlib import Path

import pytest
from small_runs import SMALL, recipe_file, small

from sslkuramoto.errors import UserError
from sslkuramoto.recipe import Part, Recipe, WeightEMA, dump_recipe, load_recipe, read_yaml, recipe_from

TEXT = """
data: {name: digits}
views: simclr
encoder: {name: akorn, kernel_sizes: [9, 7, 5]}
objective: {name: simclr, temperature: 0.1}
optimizer: {name: adam, lr: 1e-3}
epochs: 2
batch_size: 8
"""


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return path


def test_a_file_is_read_with_its_defaults(file):
    recipe = load_recipe(file)
    assert recipe.views == Part("simclr")
    assert recipe.encoder == Part("akorn", {"kernel_sizes": [9, 7, 5]})
    assert recipe.optimizer.options == {"lr": 0.001}, "1e-3 is a number"
    assert (recipe.seed, recipe.accumulate, recipe.clip_grad_norm, recipe.weight_ema) == (0, 1, None, None)


def test_what_is_dumped_is_read_back_equal(tmp_path):
    recipe = small(
        weight_ema={"decay": 0.9},
        clip_grad_norm=1,
        engine={"loggers": ["wandb"], "precision": "64"},
        measure={"stop_on_collapse": 0},
    )
    (tmp_path / "r.yaml").write_text(dump_recipe(recipe))
    assert load_recipe(tmp_path / "r.yaml") == recipe
    assert recipe.weight_ema == WeightEMA(decay=0.9)


@pytest.mark.parametrize(
    ("item", "where", "value"),
    [
        ("epochs=7", ("epochs",), 7),
        ("optimizer.lr=1e-4", ("optimizer", "options", "lr"), 1e-4),
        ("optimizer.lr=0.5", ("optimizer", "options", "lr"), 0.5),
        ("encoder.kernel_sizes=[3,3]", ("encoder", "options", "kernel_sizes"), [3, 3]),
        ("encoder.initial=fixed", ("encoder", "options", "initial"), "fixed"),
        ("views.blur=0.1", ("views", "options", "blur"), 0.1),
        ("views.blur=0.1", ("views", "name"), "simclr"),
        ("data.root=/a=b c/d", ("data", "options", "root"), "/a=b c/d"),
        ("clip_grad_norm=10", ("clip_grad_norm",), 10.0),
        ("clip_grad_norm=null", ("clip_grad_norm",), None),
        ("weight_ema={decay: 0.5}", ("weight_ema", "decay"), 0.5),
        ("weight_ema.decay=0.5", ("weight_ema", "decay"), 0.5),
        ("measure.monitor_every=2", ("measure", "monitor_every"), 2),
        ("engine.loggers=[tensorboard]", ("engine", "loggers"), ("tensorboard",)),
        ("objective=byol", ("objective",), Part("byol")),
    ],
)
def test_an_override_replaces_one_value(file, item, where, value):
    found = load_recipe(file, [item])
    for key in where:
        found = found[key] if isinstance(found, dict) else getattr(found, key)
    assert found == value


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["epocs=3"], "unknown key 'epocs': did you mean 'epochs'?"),
        (["measure.log_evry=3"], "unknown key measure.log_evry 'log_evry': did you mean 'log_every'?"),
        (["weight_ema.decoy=0.5"], "did you mean 'decay'?"),
        (["epochs"], "'epochs': overrides are written key=value"),
        (["=3"], "'=3': overrides are written key=value"),
        (["epochs=0"], "epochs=0: must be >= 1"),
        (["epochs=1.5"], "epochs=1.5: "),
        (["epochs='3'"], "epochs='3': "),
        (["epochs='1e2'"], "it was read as text, write the number without quotes, for example 100"),
        (["epochs=true"], "epochs=True: "),
        (["epochs=[1"], "epochs=[1: no YAML: "),
        (["epochs=${nowhere}"], "nowhere"),
        (["batch_size=-1"], "batch_size=-1: must be >= 1"),
        (["accumulate=3"], "accumulate=3: must divide batch_size=8"),
        (["clip_grad_norm=0"], "clip_grad_norm=0: must be > 0, or null"),
        (["clip_grad_norm=.nan"], "clip_grad_norm=nan: must be finite and > 0, or null"),
        (["seed=-1"], "seed=-1: must be >= 0"),
        (["measure.stop_on_collapse=-1"], "measure.stop_on_collapse=-1: must be >= 0"),
        (["measure.log_every=0"], "measure.log_every=0: must be >= 1"),
        (["weight_ema.decay=1"], "weight_ema.decay=1: must be in [0, 1)"),
        (["weight_ema={update_every: 0}"], "weight_ema.update_every=0: must be >= 1"),
        (["weight_ema={update_after: -1}"], "weight_ema.update_after=-1: must be >= 0"),
        (["engine.precision=16"], "engine.precision='16': must be '32', 'bf16' or '64'"),
        (["engine.loggers=[csv]"], "engine.loggers=['csv']: "),
        (["measure=3"], "measure=3: must be a mapping"),
        (["encoder=3"], "encoder=3: must be a mapping with a key 'name'"),
        (["encoder={channels: 3}"], "must be a mapping with a key 'name'"),
    ],
)
def test_a_bad_override_is_one_line_that_names_file_key_and_value(file, items, message):
    with pytest.raises(UserError) as caught:
        load_recipe(file, items)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the recipe lacks the key 'data'"),
        ("- data", "must hold a mapping"),
        ("data: [", "no valid YAML"),
        ("seed: 1\nseed: 2", "no valid YAML"),
        ("\0", "no valid YAML"),
        (TEXT.replace("epochs: 2", ""), "the recipe lacks the key 'epochs'"),
        (TEXT.replace("0.1", '"1e-1"'), None),  # an option: the registry tells, not the recipe
    ],
)
def test_a_bad_file_is_named(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    if message is None:
        assert load_recipe(path).objective.options == {"temperature": "1e-1"}
        return
    with pytest.raises(UserError, match=message) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seed: 010", "line 9: 010: a number does not begin with 0; write 10"),
        ("clip_grad_norm: 0:0.5", "line 9: 0:0.5: a number has no colon"),
        ("epochs: 2", "found duplicate key epochs"),
    ],
)
def test_a_value_that_yaml_would_take_for_another_is_refused(file, line, message):
    file.write_text(f"{TEXT}{line}\n")
    with pytest.raises(UserError, match=rf"mine.yaml: .*{message}"):
        load_recipe(file)


def test_an_option_that_is_left_to_the_user_can_be_given(file):
    file.write_text(TEXT.replace("{name: digits}", "{name: image_folder, root: '???'}"))
    assert load_recipe(file).data.options["root"] == "???"
    assert load_recipe(file, ["data.root=tree"]).data.options["root"] == "tree"


def test_a_path_of_digits_in_quotes_is_text(file):
    file.write_text(f"{TEXT}init: '010'\n")
    assert load_recipe(file).init == "010"


def test_a_missing_file_and_bytes_that_are_no_text_are_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such file"):
        load_recipe(tmp_path / "nowhere.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match=r"bytes\.yaml: no valid YAML"):
        load_recipe(tmp_path / "bytes.yaml")


def test_only_measurement_and_engine_leave_a_run_the_same():
    keys = {item.name for item in dataclasses.fields(Recipe)}
    assert keys - set(small().method()) == {"measure", "engine"}


def test_keys_that_are_no_text_are_refused():
    with pytest.raises(UserError, match="unknown key 3"):
        recipe_from({**SMALL, 3: 4})


def test_a_recipe_written_for_a_command_line_is_valid(tmp_path):
    assert load_recipe(Path(recipe_file(tmp_path / "r.yaml", seed=5))).seed == 5


def test_a_change_of_what_was_read_leaves_the_file_to_be_read_as_it_stands(file):
    first = read_yaml(file)
    first.data.name = "another"
    assert read_yaml(file) != first
    assert load_recipe(file).data.name == "digits"
