"""scripts/check_reference.py on recorded files, and on files of our own networks under published names."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from published_akorn import network, recorded
from scripts_by_name import script_named

from sslkuramoto.interop.akorn import from_published

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT.parent / "shared" / "reference"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the recorded files lie beside the checkout")

check_reference = script_named("check_reference")

# published arguments, and the same in ours; sizes, switches and lists that the recorded examples do not have
SWITCHES = [
    ({"n": 2, "ch": 8}, {"kernel_sizes": (9, 7, 5)}),
    ({"ch": 8}, {"kernel_sizes": (3, 3, 3), "oscillator_dim": 4}),
    ({"n": 8, "ch": 16}, {"kernel_sizes": (5, 3, 3), "oscillator_dim": 8, "channels": 16}),
    ({"n": 2, "out_classes": 100}, {"kernel_sizes": (3, 3, 3), "classes": 100}),
    ({"n": 2, "use_omega": False}, {"kernel_sizes": (3, 3, 3), "natural_frequency": "identity"}),
    ({"n": 4, "use_omega": False}, {"kernel_sizes": (3, 3), "natural_frequency": "identity", "oscillator_dim": 4}),
    ({"n": 3, "use_omega": False}, {"kernel_sizes": (3, 3), "natural_frequency": "identity", "oscillator_dim": 3,
                                    "channels": 6}),
    ({"n": 2, "global_omg": False}, {"kernel_sizes": (3, 3, 3), "natural_frequency": "per_pair"}),
    ({"n": 4, "global_omg": False}, {"kernel_sizes": (3, 3), "natural_frequency": "per_pair", "oscillator_dim": 4}),
    ({"n": 2, "learn_omg": False, "init_omg": 0.1}, {"kernel_sizes": (3, 3), "learn_frequency": False}),
    ({"n": 2, "c_norm": "none"}, {"kernel_sizes": (3, 3, 3), "stimulus_norm": "none"}),
    ({"n": 2, "c_norm": None}, {"kernel_sizes": (3, 3, 3), "stimulus_norm": "none"}),
    ({"n": 2, "c_norm": "sandb"}, {"kernel_sizes": (3, 3, 3), "stimulus_norm": "scale_bias"}),
    ({"n": 2, "project": False}, {"kernel_sizes": (3, 3, 3), "project": False}),
    ({"n": 2, "apply_proj": False}, {"kernel_sizes": (3, 3, 3), "project": False}),
    ({"n": 2, "gamma": 0.3}, {"kernel_sizes": (3, 3), "step_size": 0.3}),
    ({"n": 2, "J": "attn"}, {"kernel_sizes": (3, 3, 3), "coupling": "attention"}),
    ({"n": 4, "J": ["attn", "conv"], "L": 2}, {"kernel_sizes": (3, 5), "coupling": ("attention", "conv"),
                                               "oscillator_dim": 4}),
    ({"n": 2, "T": 1}, {"kernel_sizes": (3, 3, 3), "num_steps": 1}),
    ({"n": 2, "T": [4, 1, 2]}, {"kernel_sizes": (3, 3, 3), "num_steps": (4, 1, 2)}),
    ({"n": 2, "T": [2, 9], "L": 3}, {"kernel_sizes": (3, 3, 3), "num_steps": 2}),
    ({"n": 2, "ro_N": 4}, {"kernel_sizes": (3, 3, 3), "readout_dim": 4}),
    ({"n": 2, "ro_N": [1, 2, 3]}, {"kernel_sizes": (3, 3, 3), "readout_dim": (1, 2, 3)}),
    ({"n": 2, "ro_ksize": 1}, {"kernel_sizes": (3, 3, 3), "readout_kernel": 1}),
    ({"n": 2, "ro_ksize": 5}, {"kernel_sizes": (3, 3, 3), "readout_kernel": 5}),
    ({"n": 2, "norm": "gn"}, {"kernel_sizes": (3, 3), "readout_map_norm": "group"}),
    ({"n": 2, "norm": None}, {"kernel_sizes": (3, 3), "readout_map_norm": "none"}),
    ({"n": 2, "L": 1, "ksizes": [7]}, {"kernel_sizes": (7,)}),
    ({"n": 2, "L": 2, "ksizes": [7, 3]}, {"kernel_sizes": (7, 3)}),
    ({"n": 2, "L": 4, "ksizes": 3}, {"kernel_sizes": (3, 3, 3, 3)}),
]  # fmt: skip


def write(path: Path, config: dict, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(path, config=json.dumps({"kind": "classification", **config}), **arrays)
    return path


@pytest.fixture
def file(tmp_path):
    """Write a sound file; ``change`` may spoil its arrays first."""

    def build(change=lambda arrays: None, config=None) -> Path:
        encoder, head = network(kernel_sizes=(3, 3), num_steps=3)
        arrays = recorded(encoder, head, 8)
        change(arrays)
        return write(tmp_path / "file.npz", {"n": 2, **(config or {})}, arrays)

    return build


@pytest.mark.parametrize(("config", "options"), SWITCHES, ids=lambda value: "-".join(map(str, value.items()))[:60])
def test_any_size_and_switch_is_read_from_arguments_and_weights(config, options, tmp_path, capsys):
    encoder, head = network(**{"oscillator_dim": 2, "num_steps": 3, **options})
    path = write(tmp_path / "file.npz", config, recorded(encoder, head))
    assert check_reference.main([str(path)]) == 0
    line = capsys.readouterr().out
    layers = len(options["kernel_sizes"])
    assert f"largest relative error 0.00e+00 (output, {1 + 2 * layers} arrays) ok" in line
    assert "not read" not in line


@needs_reference
@pytest.mark.parametrize("name", ["akorn_conv_n2", "akorn_mix_n4"])
def test_recorded_networks_are_reproduced_to_the_rounding_of_float32(name, capsys):
    path = REFERENCE / f"{name}.npz"
    assert check_reference.main([str(path)]) == 0
    assert capsys.readouterr().out.count("ok") == 1
    errors, ignored = check_reference.errors_of(path)
    rounding = check_reference.rounding_of(path)
    assert not ignored
    assert len(errors) == 7
    if errors["x/0"] == 0.0:  # a CPU that rounds as that of the recording
        assert max(errors.values()) < 1e-5
    for array, error in errors.items():  # both results are rounded; energies are sums, whose rounding cancels
        assert error <= max(2e-6, 3 * rounding[array]), array
    assert max(error for array, error in errors.items() if not array.startswith("x/")) < 1e-5


@needs_reference
@pytest.mark.parametrize("change", ["state", "weight", "output"])
def test_a_layer_that_multiplies_rounding_excuses_no_other_error(change, tmp_path, capsys):
    arrays = check_reference.read(REFERENCE / "akorn_conv_n2.npz")
    if change == "weight":
        arrays["state/conv0.weight"].reshape(-1)[5] += 1e-3
    elif change == "state":
        arrays["x/2"].reshape(-1)[7] += 1e-3
    else:
        arrays["output"] = arrays["output"] * (1 + 2e-4)
    np.savez(tmp_path / "file.npz", **arrays)
    assert check_reference.main([str(tmp_path / "file.npz")]) == 1
    assert "ABOVE 0.0001" in capsys.readouterr().out


@needs_reference
@pytest.mark.parametrize("kind", ["objects_attn", "objects_conv", "sudoku"])
def test_recorded_networks_on_one_grid_are_met(kind):
    errors, ignored = check_reference.errors_of(REFERENCE / f"akorn_{kind}.npz")
    assert ignored == []
    assert {"output", "x/0", "energy/0"} <= set(errors)
    assert max(errors.values()) < 1e-5


def test_networks_of_an_unknown_kind_end_in_two(file, capsys):
    assert check_reference.main([str(file(config={"kind": "winfree"}))]) == 2
    assert "unknown kind 'winfree'" in capsys.readouterr().out


def test_one_line_a_file_and_the_worst_exit_code(file, tmp_path, capsys):
    good = file().rename(tmp_path / "good.npz")
    bad = file(lambda arrays: arrays.update(output=arrays["output"] + 1)).rename(tmp_path / "bad.npz")
    assert check_reference.main([str(good), str(bad)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [str(good), str(bad)]
    assert "ok" in lines[0]
    assert "ABOVE 0.0001" in lines[1]
    assert check_reference.main([str(bad), str(tmp_path / "absent.npz"), str(good)]) == 2


@pytest.mark.parametrize("name", ["output", "x/1", "energy/0"])
@pytest.mark.parametrize(("amount", "code"), [(5e-5, 0), (2e-4, 1), (np.nan, 1)])
def test_an_error_above_the_tolerance_in_any_array_ends_in_one(name, amount, code, file):
    def change(arrays):
        arrays[name] = arrays[name].copy()
        place = np.unravel_index(np.abs(arrays[name]).argmax(), arrays[name].shape)
        arrays[name][place] *= 1 + amount

    assert check_reference.main([str(file(change))]) == code


@pytest.mark.parametrize(
    "weight", ["layers.0.2.connectivity.weight", "layers.1.2.omg.omg_param", "layers.1.3.0.bias", "out.bias", "gamma"]
)
def test_other_weights_than_those_that_were_recorded_end_in_one(weight, file):
    def change(arrays):
        arrays[f"state/{weight}"] = arrays[f"state/{weight}"] + np.float32(0.05)

    assert check_reference.main([str(file(change))]) == 1


@pytest.mark.parametrize(
    ("config", "line"), [({"T": 2}, "our shape"), ({"project": False}, "ABOVE"), ({"n": 4}, "ABOVE")]
)
def test_other_arguments_than_those_that_were_recorded_are_noticed(config, line, file, capsys):
    assert check_reference.main([str(file(config=config))]) in (1, 2)
    assert line in capsys.readouterr().out


def test_an_argument_that_nothing_reads_is_told(file, capsys):
    assert check_reference.main([str(file(config={"drop_path": 0.5}))]) == 0
    assert "arguments not read: drop_path" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda a: a.pop("noise"), "holds no 'noise'"),
        (lambda a: a.pop("output"), "holds no 'output'"),
        (lambda a: a.pop("input/image"), "holds no 'input/image'"),
        (lambda a: a.pop("state/conv0.weight"), "holds no weight 'conv0.weight'"),
        (lambda a: a.update(noise=a["noise"][:, :4]), "initial of shape"),
        (lambda a: a.update({"input/image": a["input/image"][:, :1]}), "input/image of shape (2, 1, 8, 8)"),
        (lambda a: a.update({"state/out.bias": np.array(["a"] * 10)}), "state/out.bias holds <U1, not numbers"),
        (lambda a: a.update(output=a["output"][:1]), "our shape (2, 10) is not the recorded (1, 10)"),
        (lambda a: a.update(noise=np.array([{}], dtype=object)), "cannot be read as .npz"),
    ],
)
def test_a_file_that_lacks_something_is_one_line_and_ends_in_two(change, line, file, capsys):
    assert check_reference.main([str(file(change))]) == 2
    out = capsys.readouterr().out
    assert line in out
    assert out.count("\n") == 1


@pytest.mark.parametrize("kept", [0, 10, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_one_line_and_ends_in_two(kept, file, capsys):
    path = file()
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    assert check_reference.main([str(path)]) == 2
    assert "cannot be read as .npz" in capsys.readouterr().out


def test_flipped_bytes_within_the_file_are_noticed(file, capsys):
    path = file()
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8] = bytes(255 - value for value in data[middle : middle + 8])
    path.write_bytes(data)
    assert check_reference.main([str(path)]) == 2
    assert "cannot be read as .npz" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("write_bytes", "line"),
    [
        (lambda p: p.write_text("not a zip"), "cannot be read as .npz"),
        (lambda p: p.mkdir(), "cannot be read as .npz"),
        (lambda p: zipfile.ZipFile(p, "w").writestr("a.txt", "x"), "holds no 'config'"),
        (lambda p: np.savez(p, output=np.ones(1)), "holds no 'config'"),
        (lambda p: np.savez(p, config="{"), "config is no JSON"),
        (lambda p: np.savez(p, config="[1]"), "config=[1]: must be a JSON object"),
        (lambda p: np.savez(p, config="{}", noise=1, output=1, **{"input/image": 1}), "holds no weights of layers"),
        (lambda p: np.save(p.open("wb"), np.ones(3)), "cannot be read as .npz"),
    ],
)
def test_a_file_of_another_kind_is_one_line_and_ends_in_two(write_bytes, line, tmp_path, capsys):
    path = tmp_path / "other.npz"
    write_bytes(path)
    assert check_reference.main([str(path)]) == 2
    assert line in capsys.readouterr().out


def test_no_file_at_all_is_a_usage_error():
    with pytest.raises(SystemExit) as left:
        check_reference.main([])
    assert left.value.code == 2


def test_the_written_names_are_those_of_the_recorded_files():
    """The inverse mapping used here is checked against a published file, so that both cannot err alike."""
    if not REFERENCE.is_dir():
        pytest.skip("the recorded files lie beside the checkout")
    for name, config in (("akorn_conv_n2", {"n": 2}), ("akorn_mix_n4", {"n": 4, "T": [3, 2, 2]})):
        with np.load(REFERENCE / f"{name}.npz") as published:
            weights = {key[6:]: torch.from_numpy(published[key]) for key in published.files if key.startswith("state/")}
            shapes = {key: published[key].shape for key in published.files if key != "config"}
        encoder, _, head, _ = from_published(config, weights)
        ours = recorded(encoder, head, 32)
        assert {key: value.shape for key, value in ours.items()} == shapes
        for key, value in weights.items():
            assert np.array_equal(ours[f"state/{key}"], value.numpy()), key
