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
RESNET_50 = {**RESNET_18, "model": "resnet50", "batch": 512}
DECAY = {"weight_decay": 1e-5}
NO_DECAY = {"weight_decay": 0.0}
N4 = {"oscillator_dim": 4}
BOTH_50 = {"pre": {"epochs": 50}, "fine": {"epochs": 50}}
MSE_25 = opl({"mse": 0.25, "original": 0.0})

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
    names = {"mse": "sim2_weight", "original": "original_weight", "beta": "momentum"}
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
