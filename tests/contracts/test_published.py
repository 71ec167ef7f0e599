"""Published figures in eval/studies/ are those of published_figures.yaml, and their rows are trained as the papers say.

The figures and the training settings are written here a second time, from the papers and not from the studies: a slip
in one of the two fails a test.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from house_files import STUDIES, loaded_study, resolved_recipe

from sslkuramoto.recipe import Recipe

TABLES: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("published_figures.yaml").read_text())


def printed(source: str) -> dict[tuple[str, str], float]:
    """Return the figures of one source by row and column."""
    table = TABLES[source]
    for row, values in table["rows"].items():
        assert len(values) == len(table["columns"]), f"{source}, {row}"
    return {
        (row, column): value
        for row, values in table["rows"].items()
        for column, value in zip(table["columns"], values, strict=True)
        if value is not None
    }


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_published_figure_is_what_its_source_prints(path: Path) -> None:
    study = loaded_study(path.stem)
    for row in study.rows.values():
        for column, figure in row.published.items():
            where = f"{study.name}, {row.key}, {column}"
            assert figure.source in TABLES, f"{where}: {figure.source!r} is not transcribed"
            assert figure.value == printed(figure.source).get((row.key, column)), where
            spread = TABLES[figure.source].get("spread", {}).get(row.key, {}).get(column, [None, None])
            assert [figure.std, figure.n] == spread, where


@pytest.mark.parametrize("source", TABLES)
def test_no_figure_of_a_table_is_missing_in_its_study(source: str) -> None:
    study = loaded_study(TABLES[source]["study"])
    ours = {
        (row.key, column)
        for row in study.rows.values()
        for column, figure in row.published.items()
        if figure.source == source
    }
    assert ours == set(printed(source))


# --- how the rows are trained; one dict a stage

OSCILLATORS = {"oscillator_dim": 2, "num_steps": 3, "kernel_sizes": (9, 7, 5), "project": True, "initial": "random"}
COMMON = {"optimizer": "adam", "lr": 1e-4, "weight_decay": 0.0, "schedule": "constant", "clip": None, "data": "cifar10"}
SIZE_128 = {**COMMON, **OSCILLATORS, "coupling": "conv", "channels": 128, "batch": 512, "epochs": 400}
SIZE_64 = {**COMMON, **OSCILLATORS, "coupling": "conv", "channels": 64, "batch": 128, "epochs": 400}
XPHINET = {"objective": "xphinet", "mse": 0.5, "original": 0.1, "beta": 0.99, "out": 2048, "views": "phinet"}
CROSS_ENTROPY = {"objective": "classification", "views": "akorn_supervised", "noise": 0.0}
RESNET_18 = {**COMMON, **CROSS_ENTROPY, "model": "resnet18", "batch": 128, "epochs": 400}
TINY = {"objective": "simclr", "data": "tiny_imagenet", "batch": 512, "epochs": 50, "views": "simclr"}
MIX = {"coupling": ["conv", "conv", "attention"], "num_steps": [6, 4, 2]}


def opl(pre: dict[str, Any] | None = None, fine: dict[str, Any] | None = None, **both: Any) -> list[dict[str, Any]]:
    """Return OPL's two stages (arXiv 2609.08683; docs/methods/published.md), with what a row changes in one or both."""
    first = {**SIZE_128, **XPHINET, "weight_decay": 1e-5, **both, **(pre or {})}
    return [first, {**SIZE_128, **CROSS_ENTROPY, **both, **(fine or {})}]


def report(objective: str, epochs: int) -> list[dict[str, Any]]:
    """Return the report's two stages: no weight decay, batch 256 for SimCLR."""
    special: dict[str, dict[str, Any]] = {"simclr": {"batch": 256}, "phinet": XPHINET}
    first = {**SIZE_128, "objective": objective, **special.get(objective, {}), "epochs": epochs}
    return [first, {**SIZE_128, **CROSS_ENTROPY}]


def on_tiny_imagenet(**both: Any) -> list[dict[str, Any]]:
    """Return AKOrN's two stages: SimCLR on Tiny-ImageNet, then CIFAR-10."""
    return [{**SIZE_64, **TINY, **both}, {**SIZE_64, **CROSS_ENTROPY, **both}]


SUPERVISED_64 = [{**SIZE_64, **CROSS_ENTROPY}]
SUPERVISED_128 = [{**SIZE_128, **CROSS_ENTROPY}]
VIT = [{**RESNET_18, "model": "vit_tiny_patch16_224"}]
RESNET_TINY = [{**COMMON, "model": "resnet18", **TINY}, RESNET_18]
ITRCONV_NET = {"mixer": "conv", "channels": 64, "widen": True, "kernel_size": (9, 7, 5), "num_steps": 3}
ITRCONV = {**COMMON, **ITRCONV_NET, "batch": 128, "epochs": 400}
RESNET_50 = {**RESNET_18, "model": "resnet50", "batch": 512}
DECAY = {"weight_decay": 1e-5}
NO_DECAY = {"weight_decay": 0.0}
N4 = {"oscillator_dim": 4}
BOTH_50 = {"pre": {"epochs": 50}, "fine": {"epochs": 50}}
MSE_25 = opl({"mse": 0.25, "original": 0.0})

# Object discovery: tables 9 to 11 of the paper; kernels, batch of the large network and the halved step from its code.
SCENES = {**COMMON, "objective": "simclr", "views": "simclr", "noise": None, "batch": 256, "epochs": 50, "lr": 1e-3}
ATTENTION = {"coupling": "attention", "positions": "gta", "natural_frequency": "identity", "initial": "random"}
DIMENSIONS = {"oscillator_dim": 4, "project": True, "update": "kuramoto", "step_size": 1.0}
OSCILLATING = {**SCENES, **ATTENTION, **DIMENSIONS, "layers": 1, "num_steps": 8}
ITERATING = {**SCENES, "mixer": "attention", "positions": "ape", "layers": 1, "num_steps": 8}
CLEVRTEX = {"data": "clevrtex", "epochs": 500, "lr": 5e-4, "channels": 256, "patch": 8, "image_size": 128}
SHAPES = {"data": "shapes", "epochs": 100, "channels": 256, "patch": 2, "image_size": 40, "num_steps": 4, "layers": 3}
TEXTURED = {**OSCILLATING, **CLEVRTEX}
TEXTURED_2 = {**TEXTURED, "layers": 2}
TEXTURED_LARGE = {**TEXTURED_2, "channels": 512, "epochs": 1024, "batch": 512}
ITERATED_TEXTURED = {**ITERATING, **CLEVRTEX}
IMAGENET_SIZE = {"image_size": 256, "patch": 16, "channels": 768, "layers": 3, "num_steps": 4, "epochs": 400}
IMAGENET = {**OSCILLATING, **IMAGENET_SIZE, "data": "image_folder", "batch": 512, "lr": 5e-4}
# Sudoku: table 12 of the paper; its code's clipping, and its learning rate for AKOrN.
CELLS = {"objective": "cells", "views": "unchanged", "noise": None, "data": "sudoku", "channels": 512}
SUDOKU = {**COMMON, **CELLS, "epochs": 100, "batch": 100, "clip": 1.0, "lr": 5e-4, "num_steps": 16}
BOARD_AKORN = {**SUDOKU, **ATTENTION, **DIMENSIONS, "natural_frequency": "shared", "learn_frequency": True, "lr": 1e-3}
BOARD_ITRSA = {**SUDOKU, "mixer": "attention", "positions": "ape", "layers": 1}
TRANSFORMER = {**BOARD_ITRSA, "layers": 8, "num_steps": 1}
# WONN: tables 8 and 9 of the paper, with the learning rate of its code.
PHASES = {"sensitivity": "cos", "influence": "sin", "coupling": "attention", "layers": 1, "step_size": 0.1}
MAZES = {"data": "maze", "epochs": 9000, "batch": 64, "num_steps": 24, "schedule": "warmup_cosine", "lr": 1e-3}
MAZES |= {"side": None, "weights": [1.0, 5.0, 2.0, 2.0, 5.0], "input_symbols": 4}
MAZE_WONN = {**SUDOKU, **PHASES, **MAZES, "layers": 1, "channels": 128, "clip": None, "initial": "random"}
MAZE_AKORN = {**BOARD_AKORN, **MAZES, "channels": 256, "side": 30, "positions": "gta", "readout_dim": 4, "clip": None}
BOARD_WONN = {**SUDOKU, **PHASES, "initial": "random", "channels": 256, "clip": None, "lr": 1e-3}
# Winfree networks: tables 5 to 7 of the paper; what they leave out is that of its code.
WINFREE_NET = {"layers": 6, "num_steps": 3, "group_size": 2, "coupling": "attention", "initial": "random"}
LEARNED = {"sensitivity": "mlp", "influence": "mlp"}
TRIGONOMETRIC = {"sensitivity": "cos", "influence": "sin_mlp"}
WINFREE_SIZES: dict[str, Any] = {"128": 128, "64_256": [64, 128, 128, 256, 256, 256], "256": 256}
DECAYING = {**CROSS_ENTROPY, "optimizer": "adamw", "schedule": "constant", "clip": None}
WINFREE = {**WINFREE_NET, **DECAYING, "lr": 5e-4, "weight_decay": 1e-4, "batch": 64, "epochs": 200}
MIXED = {"objective": "mixed_classification", "cutmix": 0.8, "cutmix_alpha": 1.0, "label_smoothing": 0.1}
COSINE = {"schedule": "warmup_cosine", "warmup_epochs": 10}
VIT_MIXED = {
    **DECAYING,
    **MIXED,
    **COSINE,
    "mixup": 0.2,
    "mixup_alpha": 0.8,
    "final": 0.0,
    "weight_decay": 0.05,
    "epochs": 300,
}
WINFREE_RESNET = {**DECAYING, "lr": 5e-4, "weight_decay": 1e-4, "batch": 128, "epochs": 200}
WINFREE_AKORN = {**SUPERVISED_64[0], "oscillator_dim": 4, "coupling": "attention", "epochs": 200}
IMAGENET_100 = {"data": "image_folder", "root": "data/imagenet100", "patch": 4}
AKORN_100 = {**WINFREE_AKORN, **IMAGENET_100, "batch": 16}
LARGE = {**MIXED, **COSINE, "mixup": 0.0, "views": "randaugment", "noise": None, "operations": 2, "magnitude": 9}
OF_1K = {"data": "image_folder", "root": "data/imagenet", "erase": 0.25}
IMAGENET_1K = {**LARGE, **OF_1K, "weight_decay": 1e-3, "lr": 7.5e-4}
ANY_SCENES = {
    "tetrominoes": ({"data": "tetrominoes", "image_size": 32, "patch": 4, "channels": 128}, 5),
    "dsprites": ({"data": "sprites", "image_size": 64, "patch": 4, "channels": 128}, 7),
    "clevr": ({"data": "multi_object_npz", "image_size": 128, "patch": 8, "channels": 256, "epochs": 300}, 9),
}


def of_scenes(kind: str, kernel: int, **data: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the four networks of a set of scenes, with ``kernel`` for the two that convolve."""
    convolved = {"kernel_size": kernel, **data}
    return {
        f"{kind}itrconv": [{**ITERATING, **convolved, "mixer": "conv"}],
        f"{kind}akorn_conv": [{**OSCILLATING, **convolved, "coupling": "conv", "positions": "ape"}],
        f"{kind}itrsa": [{**ITERATING, **data}],
        f"{kind}akorn": [{**OSCILLATING, **data}],
    }


def changed(base: dict[str, Any], **rows: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return rows that differ from one training in what each of them names."""
    return {row: [{**base, **change}] for row, change in rows.items()}


def of_winfree(base: dict[str, Any], suffix: str = "") -> dict[str, list[dict[str, Any]]]:
    """Return the Winfree networks of three sizes, with learned and with trigonometric interactions."""
    return {
        f"{kind}_{size}{suffix}": [{**base, **functions, "channels": channels}]
        for kind, functions in (("mlp", LEARNED), ("trig", TRIGONOMETRIC))
        for size, channels in WINFREE_SIZES.items()
    }


def of_wonn_table_1(data: str, suffix: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of one data set of WONN's table 1."""
    vits = {f"vit_{size[0]}{suffix}": [{**VIT_MIXED, "model": f"vit_{size}_patch16_224"}] for size in VIT_SIZES}
    resnets = {f"resnet{depth}{suffix}": [{**WINFREE_RESNET, "model": f"resnet{depth}"}] for depth in (18, 50)}
    found = {**resnets, **vits, f"akorn_attn{suffix}": [WINFREE_AKORN], **of_winfree(WINFREE, suffix)}
    batch = {"batch": 256, "lr": 2.5e-4}
    return {row: [{**stages[0], "data": data, **(batch if row in vits else {})}] for row, stages in found.items()}


VIT_SIZES = ("tiny", "small", "base")
WONN_11 = {
    "l1": {"layers": 1},
    "t1": {"num_steps": 1},
    "n1": {"group_size": 1},
    "conv": {"coupling": "conv", "kernel_size": (7, 5, 5, 3, 3, 3)},
    "n4": {"group_size": 4},
    "t6": {"num_steps": 6},
    "l9": {"layers": 9},
}
WONN_1K = {**WINFREE, **IMAGENET_1K, "final": 1e-6 / 7.5e-4, "patch": 4, "batch": 512, "epochs": 300}


TRAINED: dict[str, dict[str, list[dict[str, Any]]]] = {
    "report-table-1": {"simclr_50": on_tiny_imagenet(), "none": SUPERVISED_64},
    "report-table-2": {name: report(name, 200) for name in ("simclr", "byol", "simsiam", "phinet")},
    "report-table-3": {name: report(name, 400) for name in ("simclr", "byol", "simsiam", "phinet")},
    "report-clipping": {"none": report("phinet", 400)},
    "akorn-table-4": {
        "vit": VIT,
        "resnet18": RESNET_TINY,
        "conv": on_tiny_imagenet(),
        "mix": on_tiny_imagenet(**MIX),
    },
    "akorn-table-20": {
        "vit": VIT,
        "resnet18": RESNET_TINY,
        "itrconv": [{**ITRCONV, **TINY}, {**ITRCONV, **CROSS_ENTROPY}],
        "conv": on_tiny_imagenet(),
        "mix": on_tiny_imagenet(**MIX),
        "mix_n4": on_tiny_imagenet(**MIX, **N4),
    },
    "akorn-table-5c": {"noproj": [{**SUPERVISED_64[0], "project": False}], "proj": SUPERVISED_64},
    "akorn-table-8": {
        "resnet_sigma0.2": [{**RESNET_18, "noise": 0.2}],
        "resnet_sigma0.225": [{**RESNET_18, "noise": 0.225}],
        "akorn": SUPERVISED_64,
    },
    "akorn-table-1": {"akorn": [TEXTURED_LARGE]},
    "akorn-table-2": {"akorn": [IMAGENET]},
    "akorn-table-5a": changed(TEXTURED_2, noproj={"project": False}, proj={}),
    "akorn-table-3": {"transformer": [TRANSFORMER], "itrsa": [BOARD_ITRSA], "akorn": [BOARD_AKORN]},
    "akorn-table-5b": changed(BOARD_AKORN, noproj={"project": False}, proj={}),
    "akorn-table-6": {
        **changed(TEXTURED_2, clevrtex_residual={"update": "residual"}, clevrtex_kuramoto={}),
        **changed(BOARD_AKORN, sudoku_residual={"update": "residual"}, sudoku_kuramoto={}),
    },
    "akorn-table-7": {
        **changed(TEXTURED_2, clevrtex_n2={"oscillator_dim": 2}, clevrtex_n4={}),
        **changed(BOARD_AKORN, sudoku_n2={"oscillator_dim": 2}, sudoku_n4={}),
    },
    "akorn-table-13": {
        **changed(ITERATED_TEXTURED, clevrtex_itrsa_ape={}, clevrtex_itrsa_gta={"positions": "gta"}),
        **changed(TEXTURED, clevrtex_akorn_ape={"positions": "ape"}, clevrtex_akorn_rope={"positions": "rope"}),
        **changed(TEXTURED, clevrtex_akorn_gta={}),
        **changed(BOARD_ITRSA, sudoku_itrsa_ape={}, sudoku_itrsa_gta={"positions": "gta"}),
        **changed(BOARD_AKORN, sudoku_akorn_ape={"positions": "ape"}, sudoku_akorn_rope={"positions": "rope"}),
        **changed(BOARD_AKORN, sudoku_akorn_gta={}),
    },
    "akorn-table-14": {
        row: stages
        for kind, (data, kernel) in ANY_SCENES.items()
        for row, stages in of_scenes(f"{kind}_", kernel, **data).items()
    },
    "akorn-table-15": of_scenes("", 9, **SHAPES),
    "akorn-table-16": {
        f"{name}_l{number}": [{**base, **SHAPES, "layers": number}]
        for name, base in (("itrsa", ITERATING), ("akorn", OSCILLATING))
        for number in (1, 2, 3)
    },
    "akorn-table-17": {
        **changed(ITERATED_TEXTURED, vit={"layers": 8, "num_steps": 1}, itrsa_l1={}, itrsa_l2={"layers": 2}),
        **{"akorn_l1": [TEXTURED], "akorn_l2": [TEXTURED_2], "akorn_large": [TEXTURED_LARGE]},
    },
    "akorn-table-18": {"akorn": [IMAGENET]},
    "akorn-table-19": {
        "sym_akorn": [{**BOARD_AKORN, "coupling": "attention_symmetric"}],
        **{"transformer": [TRANSFORMER], "itrsa": [BOARD_ITRSA]},
        **changed(BOARD_AKORN, akorn_no_omega={"natural_frequency": "identity"}, akorn={}),
    },
    "wonn-table-3": {"akorn": [MAZE_AKORN], "wonn": [MAZE_WONN]},
    "wonn-table-12": {
        **changed(MAZE_AKORN, akorn_t16={"num_steps": 16}, akorn_t24={}),
        "wonn": [MAZE_WONN],
    },
    "wonn-table-4": {"transformer": [TRANSFORMER], "akorn": [BOARD_AKORN], "wonn": [BOARD_WONN]},
    "wonn-table-1": {**of_wonn_table_1("cifar10", ""), **of_wonn_table_1("cifar100", "_c100")},
    "wonn-table-2": {
        **of_winfree({**WINFREE, **IMAGENET_100}),
        **{f"resnet{depth}": [{**WINFREE_RESNET, "model": f"resnet{depth}", "patch": None}] for depth in (18, 50)},
        **changed(
            {**VIT_MIXED, "batch": 256, "root": "data/imagenet100", "lr": 2.5e-4},
            vit_s16={"model": "vit_small_patch16_224"},
            vit_b16={"model": "vit_base_patch16_224"},
        ),
        **changed(
            {**VIT_MIXED, **LARGE, "mixup": 0.2, "batch": 1024, "root": "data/imagenet", "lr": 1e-3},
            vit_s16_1k={"model": "vit_small_patch16_224"},
            vit_b16_1k={"model": "vit_base_patch16_224"},
        ),
        **{f"resnet{depth}_1k": [{**WINFREE_RESNET, **IMAGENET_1K, "model": f"resnet{depth}"}] for depth in (18, 50)},
        **{row: stages for row, stages in of_winfree(WONN_1K, "_1k").items() if row in ("mlp_64_256_1k", "mlp_256_1k")},
        **changed(AKORN_100, akorn_attn={}),
        "akorn_attn_1k": [{**AKORN_100, **DECAYING, **IMAGENET_1K, "final": 2e-3, "lr": 5e-4, "batch": 512}],
    },
    "wonn-table-10": {
        row: stages
        for patch in (4, 7, 8)
        for name, stages in of_winfree({**WINFREE, **IMAGENET_100, "patch": patch}).items()
        if patch < 8 or name == "mlp_256"
        for row in [name.replace("_", f"_p{patch}_", 1)]
    }
    | changed(AKORN_100, akorn_p4={}, akorn_p7={"patch": 7}),
    "wonn-table-11": {
        **of_winfree({**WINFREE, "data": "cifar100"}),
        **{
            f"{kind}_{name}": [{**WINFREE, **functions, "data": "cifar100", "channels": 256, **change}]
            for kind, functions in (("mlp", LEARNED), ("trig", TRIGONOMETRIC))
            for name, change in WONN_11.items()
            if kind == "mlp" or name not in ("t6", "l9")
        },
    },
    "opl-table-1-2": {"akorn": SUPERVISED_128, "opl": opl(), "opl_cifar100": opl(data="cifar100")},
    "opl-table-3": {"opl": opl()},
    "opl-table-4": {"akorn": SUPERVISED_128, "opl": opl()},
    "opl-table-5": {
        "resnet": [RESNET_50],
        "resnet_xphinet": [{**COMMON, **XPHINET, **DECAY, "model": "resnet50", "batch": 512, "epochs": 400}, RESNET_50],
        "akorn": SUPERVISED_128,
        "opl": opl(),
    },
    "opl-table-6": {
        "p400_f400_n2_t3": opl(),
        "p200_f400_n2_t3": opl({"epochs": 200}),
        "p400_f400_n2_t5": opl(num_steps=5),
        "p50_f50_n2_t5": opl(**BOTH_50, num_steps=5),
        "p400_f400_n4_t3": opl(**N4),
        "p400_f100_n4_t3": opl(fine={"epochs": 100}, **N4),
        "p400_f400_n4_t5": opl(**N4, num_steps=5),
        "p50_f50_n4_t5": opl(**BOTH_50, **N4, num_steps=5),
        "p50_f50_n4_t3": opl(**BOTH_50, **N4),
        "p0_f500_n4_t3": [{**SUPERVISED_128[0], **N4, "epochs": 500}],
    },
    "opl-table-8": {
        f"{name}_{epochs}": report(name, epochs) for name in ("byol", "simsiam", "phinet") for epochs in (200, 400)
    },
    "opl-table-10": {"akorn": SUPERVISED_128, "opl": opl()},
    "opl-table-11": {
        "rand_n4": opl(**N4),
        "norand_n2": opl(initial="fixed"),
        "mse25_ori1": opl({"mse": 0.25, **NO_DECAY}),
        "mse5_ori1_wd": opl(),
        "pre700": opl({"epochs": 700}),
        "mse25_wd": MSE_25,
        "mse1_wd": opl({"mse": 0.1, "original": 0.0}),
        "mse25_wd_again": MSE_25,
    },
}


def seen(recipe: Recipe) -> dict[str, Any]:
    """Return what a resolved recipe trains, in the words of the tables above."""
    objective, views = recipe.objective, recipe.views
    found = {
        **{**views.options, **objective.options, **recipe.schedule.options, **recipe.data.options},
        **recipe.encoder.options,
        **{"objective": objective.name, "views": views.name, "data": recipe.data.name},
        **{"optimizer": recipe.optimizer.name, "schedule": recipe.schedule.name, "clip": recipe.clip_grad_norm},
        **{key: recipe.optimizer.options[key] for key in ("lr", "weight_decay")},
        **{
            "epochs": recipe.epochs,
            "batch": recipe.batch_size * recipe.accumulate,
            "noise": views.options.get("noise"),
        },
    }
    names = {"weights": "weights", "mse": "sim2_weight", "original": "original_weight", "beta": "momentum"}
    found |= {ours: objective.options[name] for ours, name in names.items() if name in objective.options}
    return found | ({"out": objective.options["projector"]["out"]} if "projector" in objective.options else {})


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_training_of_every_published_row_is_written_out_here(path: Path) -> None:
    rows = loaded_study(path.stem).rows.values()
    assert set(TRAINED.get(path.stem, {})) == {row.key for row in rows if row.published and row.stages}


def test_what_is_written_out_here_is_of_studies_that_exist() -> None:
    assert set(TRAINED) <= {path.stem for path in STUDIES}


@pytest.mark.parametrize(
    ("name", "row"), [(study, row) for study, rows in TRAINED.items() for row in rows], ids=lambda part: part
)
def test_a_published_row_is_trained_as_its_paper_says(name: str, row: str) -> None:
    study, wanted = loaded_study(name), TRAINED[name][row]
    assert len(study.rows[row].stages) == len(wanted)
    for stage, expected in enumerate(wanted):
        if expected["objective"] == "phinet":
            expected = {**expected, "objective": "xphinet"}
        ours = seen(resolved_recipe(name, row, stage))
        assert {key: plain(ours.get(key)) for key in expected} == {key: plain(v) for key, v in expected.items()}, stage
