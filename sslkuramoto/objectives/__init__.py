"""What a run optimises: one file an objective, one line a member; docs/add-an-objective.md adds one."""

from sslkuramoto.objectives.adversarial import Adversarial
from sslkuramoto.objectives.byol import BYOL
from sslkuramoto.objectives.classification import Classification
from sslkuramoto.objectives.heads import head
from sslkuramoto.objectives.objective import Objective, Step, check_views, encode, features_of
from sslkuramoto.objectives.phinet import PhiNet
from sslkuramoto.objectives.simclr import SimCLR
from sslkuramoto.objectives.simsiam import SimSiam
from sslkuramoto.objectives.target import Target
from sslkuramoto.objectives.vicreg import VICReg
from sslkuramoto.objectives.xphinet import XPhiNet
from sslkuramoto.registry import Registry

__all__ = ["OBJECTIVES", "Objective", "Step", "Target", "check_views", "encode", "features_of", "head"]

OBJECTIVES: Registry[Objective] = Registry("objective", "sslkuramoto.objectives")
OBJECTIVES.add("adversarial", Adversarial)
OBJECTIVES.add("byol", BYOL)
OBJECTIVES.add("classification", Classification)
OBJECTIVES.add("phinet", PhiNet)
OBJECTIVES.add("simclr", SimCLR)
OBJECTIVES.add("simsiam", SimSiam)
OBJECTIVES.add("vicreg", VICReg)
OBJECTIVES.add("xphinet", XPhiNet)
