"""A study with its files as the command would have left them, made by hand."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from sslkuramoto.study import Published, SeedValue, Study, StudyCell, StudyColumn, StudyRow, StudyStage, StudyTable

HOSTILE = "<script>alert(1)</script> & 100% \\alpha_{1} #2 $x^2$ ~ [x]* -- \"'"
IMAGES = 40


def reliability(shift=0.1, bins=15):
    edges = [k / bins for k in range(bins + 1)]
    middles = [(k + 0.5) / bins for k in range(bins)]
    filled = [k >= 5 for k in range(bins)]
    return {
        "edges": edges,
        "confidence": [m if f else None for m, f in zip(middles, filled, strict=True)],
        "accuracy": [max(0.0, m - shift) if f else None for m, f in zip(middles, filled, strict=True)],
        "count": [10 * k if f else 0 for k, f in enumerate(filled)],
    }


def audit(verdict="gradients are masked"):
    kinds = (("controls", "pass"), ("black box", "fail"), ("transfer", "not run"))
    checks = [
        {
            "name": name,
            "title": f"{name} as it should be",
            "kind": "masking",
            "status": status,
            "reason": f"{name} reason",
        }
        | {"figures": {"first": 0.25, "images": 12, "nested": {"median": 0.5}}}
        for name, status in kinds
    ]
    curve = {"title": "Accuracy against eps", "x_label": "eps, times 0.1", "x": [0, 0.5, 1, 2], "unit": "fraction"}
    histogram = {"title": "|gamma F| of layer 1, step 1", "x_label": "log10 |gamma F|", "edges": [-1, 0, 1]}
    return {
        "verdict": verdict,
        "reasons": ["Square breaks more than APGD"],
        "checks": checks,
        "curves": {"eps": curve | {"series": {"pgd": [0.9, 0.5, 0.2, 0.0]}}},
        "histograms": {"one": histogram | {"count": [3, 7]}},
    }


class FabricatedStudy:
    """A study of three trained rows and one published row with its files, as ``collect`` would return it."""

    def __init__(self, root: Path):
        self.root = root
        column = {"stage": -1, "settings": {}, "encoder": {}, "rows": ("simsiam", "phinet", "broken")}
        self.columns = {
            "clean": StudyColumn("clean", "clean", "clean", "accuracy", "correct", **column),
            "robust": StudyColumn(
                "robust", "robust, as published", "robustness", "published/robust_accuracy", None, **column
            ),
            "held": StudyColumn("held", "robust, held noise", "robustness", "held/robust_accuracy", None, **column),
            "ece": StudyColumn("ece", "ECE", "calibration", "ece", None, **column),
            "nll": StudyColumn("nll", "NLL", "calibration", "nll", None, **column),
        }
        stages = (StudyStage("pretrain", Path("recipes/pretrain.yaml")), StudyStage("tune", Path("recipes/tune.yaml")))
        source = {"source": "A. Author, table 2", "differs": "seeds & images not stated"}
        self.rows = {
            "simsiam": StudyRow("simsiam", "SimSiam", stages, {}, (0, 1, 2), "ours"),
            "phinet": StudyRow(
                "phinet",
                "PhiNet",
                stages,
                {"clean": Published(81.55, std=0.25, n=3, **source), "robust": Published(53.54, **source)},
                (0,),
                "ours",
            ),
            "broken": StudyRow("broken", "Broken", stages, {}, (0, 1), "ours"),
            "gowal": StudyRow(
                "gowal", "Gowal 2020", (), {"clean": Published(85.29, "Gowal et al. 2020, table 1")}, (0,)
            ),
        }
        self.notes: tuple[str, ...] = ("eps = 0.1 on 8 x 8 pixels",)
        self.title, self.question = "Objectives compared", "Which one is robust?"
        self.cells = {
            (r, c): StudyCell(published=self.rows[r].published.get(c)) for r in self.rows for c in self.columns
        }
        self.runs = {(key, s): self.run(key, s) for key, row in self.rows.items() if row.stages for s in row.seeds}
        for seed, shares in enumerate(((0.9, 0.5, 0.1), (0.8, 0.6, 0.2), (0.7, 0.4, 0.0))):
            self.measure("simsiam", seed, *shares)
        self.measure("phinet", 0, 0.95, 0.7, 0.05)
        for column_key in self.columns:
            cell = self.cells["broken", column_key]
            cell.failures[0], cell.missing = "loss is not finite\nat step 3", [1]

    def run(self, key, seed):
        paths = [self.root / "runs" / f"{key}-{stage}-{seed}" for stage in ("pretrain", "tune")]
        for path in paths if key != "broken" else []:
            (path / "results").mkdir(parents=True)
            (path / "recipe.yaml").write_text("encoder: {name: akorn}\n")
            session = {
                "started": f"2026-01-0{seed + 1}",
                "hardware": "a test",
                "revision": "abc123",
                "versions": {"torch": "2.6"},
            }
            (path / "environment.json").write_text(json.dumps({"sessions": [session]}))
            lines = "".join(f"{s},{4 / s + seed},{1 + seed}\n" for s in range(1, 11))
            (path / "metrics.csv").write_text("step,loss,grad_norm\n" + lines)
        return paths

    def write(self, key, seed, protocol, metrics, **rest):
        """Write a result and return its path."""
        path = self.runs[key, seed][1] / "results" / f"{protocol}-0123456789ab.json"
        content = {
            "protocol": protocol,
            "options": {},
            "metrics": metrics,
            "data": {"name": "digits", "split": "test", "fingerprint": "abc", "n": IMAGES},
            "encoder": {"sha256": "f00d", "stochastic": True, "initial": "random", "weights": "ema"},
            "environment": {"hardware": "a test", "revision": "abc123", "versions": {"torch": "2.6"}},
            "seconds": 12.5,
            **rest,
        }
        path.write_text(json.dumps(content))
        return path

    def value(self, key, column, seed, path, number, low=None, high=None, unit="fraction", correct=None):
        """Put a number into a cell."""
        self.cells[key, column].values.append(SeedValue(seed, number, low, high, IMAGES, 20, unit, path, correct))

    def measure(self, key, seed, clean, robust, held):
        correct = [1.0] * round(clean * IMAGES) + [0.0] * (IMAGES - round(clean * IMAGES))
        path = self.write(key, seed, "clean", {"accuracy": {"value": clean, "unit": "fraction"}})
        self.value(key, "clean", seed, path, clean, clean - 0.05, clean + 0.04, correct=correct)
        metrics = {"published/robust_accuracy": {"value": robust}, "held/robust_accuracy": {"value": held}}
        ways = {"published": {"initial": "random"}, "held": {"initial": "random"}}
        path = self.write(key, seed, "robustness", metrics, options={"eps": 0.1, "ways": ways})
        self.value(key, "robust", seed, path, robust, robust - 0.05, robust + 0.05)
        self.value(key, "held", seed, path, held, max(0.0, held - 0.02), held + 0.08)
        metrics = {"ece": {"value": 4.5, "unit": "percent"}, "nll": {"value": 0.3456789, "unit": "nats"}}
        bins = {"15 equal-width": reliability(), "15 equal-width scaled": reliability(0.01)}
        path = self.write(key, seed, "calibration", metrics, details={"reliability": bins})
        self.value(key, "ece", seed, path, 4.5, 3.5, 6.0, "percent")
        self.value(key, "nll", seed, path, 0.3456789, None, None, "nats")

    def store_images(self, key, seed, change=0.1):
        """Leave adversarial images beside the result of the attacks."""
        folder = self.runs[key, seed][1] / "results" / "images"
        folder.mkdir(exist_ok=True)
        clean = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 0.8
        tensors = {
            "clean": clean,
            "adversarial": clean + change,
            "labels": torch.arange(4),
            "prediction": torch.arange(4) + 1,
            "index": torch.arange(4),
        }
        save_file(tensors, folder / "robustness-0123456789ab-held.safetensors")

    def table(self):
        study = Study(
            name="objectives",
            path=Path("eval/studies/objectives.yaml"),
            title=self.title,
            question=self.question,
            seeds=(0, 1, 2),
            settings={},
            rows=self.rows,
            columns=self.columns,
            compare=(("phinet", "simsiam"), ("simsiam", "broken")),
            curves=("loss", "grad_norm", "absent"),
            notes=self.notes,
        )
        return StudyTable(study, self.cells, self.runs)
