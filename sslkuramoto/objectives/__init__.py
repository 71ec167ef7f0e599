"""What a run optimises: one file an objective, one line a member; docs/add-an-objective.md adds one."""

from typing import cast

from sslkuramoto.objectives.adversarial import Adversarial
from sslkuramoto.objectives.byol import BYOL
from sslkuramoto.objectives.cells import Cells
from sslkuramoto.objectives.classification import Classification
from sslkuramoto.objectives.objective import Objective, Step, check_views
from sslkuramoto.objectives.phinet import PhiNet
from sslkuramoto.objectives.simclr import SimCLR
from sslkuramoto.objectives.simsiam import SimSiam
from sslkuramoto.objectives.vicreg import VICReg
from sslkuramoto.objectives.xphinet import XPhiNet
from sslkuramoto.recipe import Part
from sslkuramoto.registry import Registry

__all__ = ["OBJECTIVES", "Objective", "Step", "check_views", "head_of"]

OBJECTIVES: Registry[Objective] = Registry("objective", "sslkuramoto.objectives")
OBJECTIVES.add("adversarial", Adversarial)
OBJECTIVES.add("byol", BYOL)
OBJECTIVES.add("cells", Cells)
OBJECTIVES.add("classification", Classification)
OBJECTIVES.add("phinet", PhiNet)
OBJECTIVES.add("simclr", SimCLR)
OBJECTIVES.add("simsiam", SimSiam)
OBJECTIVES.add("vicreg", VICReg)
OBJECTIVES.add("xphinet", XPhiNet)


def head_of(name: str) -> Part | None:
    """Return the head that an objective leaves behind for evaluation, by its declaration; None for none."""
    return cast(type[Objective], OBJECTIVES[name]).head_part
