"""What a run optimises: one file an objective, one line a member; docs/add-an-objective.md adds one.

What a new one needs comes from here: the contract, ``encode``, projector and predictor, the EMA target, losses.
"""

from typing import cast

from sslkuramoto.objectives.adversarial import Adversarial
from sslkuramoto.objectives.barlow_twins import BarlowTwins
from sslkuramoto.objectives.byol import BYOL
from sslkuramoto.objectives.cells import Cells
from sslkuramoto.objectives.classification import Classification
from sslkuramoto.objectives.lejepa import LeJEPA
from sslkuramoto.objectives.losses import (
    agreement,
    cross_entropy,
    every_rank,
    in_full_precision,
    negative_cosine,
    nt_xent,
    sim1_loss,
    sim2_loss,
    sum_over_ranks,
)
from sslkuramoto.objectives.mixed_classification import MixedClassification
from sslkuramoto.objectives.objective import Objective, Step, check_views, encode, features_of
from sslkuramoto.objectives.phinet import PhiNet
from sslkuramoto.objectives.projector import Predictor, Projector
from sslkuramoto.objectives.simclr import SimCLR
from sslkuramoto.objectives.simsiam import SimSiam
from sslkuramoto.objectives.target import Target
from sslkuramoto.objectives.vicreg import VICReg
from sslkuramoto.objectives.xphinet import XPhiNet
from sslkuramoto.recipe import Part
from sslkuramoto.registry import Registry

__all__ = [
    "OBJECTIVES",
    "Objective",
    "Predictor",
    "Projector",
    "Step",
    "Target",
    "agreement",
    "check_views",
    "cross_entropy",
    "encode",
    "every_rank",
    "features_of",
    "head_of",
    "in_full_precision",
    "negative_cosine",
    "nt_xent",
    "sim1_loss",
    "sim2_loss",
    "sum_over_ranks",
]

OBJECTIVES: Registry[Objective] = Registry("objective", "sslkuramoto.objectives")
OBJECTIVES.add("adversarial", Adversarial)
OBJECTIVES.add("barlow_twins", BarlowTwins)
OBJECTIVES.add("byol", BYOL)
OBJECTIVES.add("cells", Cells)
OBJECTIVES.add("classification", Classification)
OBJECTIVES.add("lejepa", LeJEPA)
OBJECTIVES.add("mixed_classification", MixedClassification)
OBJECTIVES.add("phinet", PhiNet)
OBJECTIVES.add("simclr", SimCLR)
OBJECTIVES.add("simsiam", SimSiam)
OBJECTIVES.add("vicreg", VICReg)
OBJECTIVES.add("xphinet", XPhiNet)


def head_of(name: str) -> Part | None:
    """Return the head that an objective leaves behind for evaluation, by its declaration; None for none."""
    return cast(type[Objective], OBJECTIVES[name]).head_part
