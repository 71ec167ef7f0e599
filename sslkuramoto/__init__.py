"""Oscillator networks pretrained without labels; the robust accuracy of any network, as an upper bound.

Names load when they are first used: ``import sslkuramoto as sk`` imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sslkuramoto.version import __version__

if TYPE_CHECKING:
    from sslkuramoto import attacks
    from sslkuramoto.any_network import as_classifier, as_encoder
    from sslkuramoto.api import (
        audit,
        calibration,
        certify,
        compare,
        corruptions,
        embed,
        evaluate,
        features,
        knn_accuracy,
        load,
        robust_accuracy,
        train,
    )
    from sslkuramoto.classifier import Classifier
    from sslkuramoto.dynamics.energy import energy
    from sslkuramoto.dynamics.kuramoto import kuramoto_step
    from sslkuramoto.dynamics.layer import KuramotoLayer
    from sslkuramoto.encoders.akorn import AKOrN
    from sslkuramoto.encoders.features import Encoder, Features
    from sslkuramoto.encoders.timm import TimmEncoder
    from sslkuramoto.errors import UserError
    from sslkuramoto.measured import Measured
    from sslkuramoto.objectives.adversarial import Adversarial
    from sslkuramoto.objectives.barlow_twins import BarlowTwins
    from sslkuramoto.objectives.byol import BYOL
    from sslkuramoto.objectives.classification import Classification
    from sslkuramoto.objectives.lejepa import LeJEPA
    from sslkuramoto.objectives.objective import Objective, Step
    from sslkuramoto.objectives.phinet import PhiNet
    from sslkuramoto.objectives.simclr import SimCLR
    from sslkuramoto.objectives.simsiam import SimSiam
    from sslkuramoto.objectives.vicreg import VICReg
    from sslkuramoto.objectives.xphinet import XPhiNet
    from sslkuramoto.randomness import generator
    from sslkuramoto.recipe import load_recipe
    from sslkuramoto.threat import Threat

_PLACES = {
    **dict.fromkeys(("AKOrN",), "encoders.akorn"),
    **dict.fromkeys(("TimmEncoder",), "encoders.timm"),
    **dict.fromkeys(("Encoder", "Features"), "encoders.features"),
    **dict.fromkeys(("Objective", "Step"), "objectives.objective"),
    **{name: f"objectives.{name.lower()}" for name in ("Adversarial", "BYOL", "Classification", "PhiNet", "SimCLR")},
    **{name: f"objectives.{name.lower()}" for name in ("LeJEPA", "SimSiam", "VICReg", "XPhiNet")},
    "BarlowTwins": "objectives.barlow_twins",
    "kuramoto_step": "dynamics.kuramoto",
    "KuramotoLayer": "dynamics.layer",
    "energy": "dynamics.energy",
    "generator": "randomness",
    "load_recipe": "recipe",
    "Threat": "threat",
    "UserError": "errors",
    "Classifier": "classifier",
    "Measured": "measured",
    **dict.fromkeys(("as_classifier", "as_encoder"), "any_network"),
    **dict.fromkeys(("audit", "calibration", "certify", "compare", "corruptions", "embed", "evaluate"), "api"),
    **dict.fromkeys(("features", "knn_accuracy", "load", "robust_accuracy", "train"), "api"),
}

__all__ = [
    "BYOL",
    "AKOrN",
    "Adversarial",
    "BarlowTwins",
    "Classification",
    "Classifier",
    "Encoder",
    "Features",
    "KuramotoLayer",
    "LeJEPA",
    "Measured",
    "Objective",
    "PhiNet",
    "SimCLR",
    "SimSiam",
    "Step",
    "Threat",
    "TimmEncoder",
    "UserError",
    "VICReg",
    "XPhiNet",
    "__version__",
    "as_classifier",
    "as_encoder",
    "attacks",
    "audit",
    "calibration",
    "certify",
    "compare",
    "corruptions",
    "embed",
    "energy",
    "evaluate",
    "features",
    "generator",
    "knn_accuracy",
    "kuramoto_step",
    "load",
    "load_recipe",
    "robust_accuracy",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "attacks":
        return import_module("sslkuramoto.attacks")
    if name not in _PLACES:
        raise AttributeError(f"module 'sslkuramoto' has no attribute {name!r}")
    return getattr(import_module(f"sslkuramoto.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
