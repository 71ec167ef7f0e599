"""Attacks, the battery that runs them, and the ledger that keeps what they found."""

from sslkuramoto.evaluation.attacks.apgd import Apgd
from sslkuramoto.evaluation.attacks.attack import ATTACKS, Attack, Passes, Work
from sslkuramoto.evaluation.attacks.autoattack import AutoAttackMember, AutoAttackVersion
from sslkuramoto.evaluation.attacks.battery import Attacked, run_battery
from sslkuramoto.evaluation.attacks.held_noise import HeldNoise
from sslkuramoto.evaluation.attacks.hop_skip_jump import HopSkipJump
from sslkuramoto.evaluation.attacks.ledger import Ledger
from sslkuramoto.evaluation.attacks.noise import Gaussian, RandomSign
from sslkuramoto.evaluation.attacks.pgd import Pgd
from sslkuramoto.evaluation.attacks.square import SquareEot
from sslkuramoto.evaluation.attacks.surrogate_attack import Surrogate
from sslkuramoto.evaluation.attacks.transfer import Transfer

__all__ = [
    "ATTACKS",
    "Attack",
    "Attacked",
    "AutoAttackMember",
    "AutoAttackVersion",
    "Ledger",
    "Passes",
    "Work",
    "run_battery",
]

ATTACKS.add("autoattack", AutoAttackVersion)
ATTACKS.add("apgd", Apgd)
ATTACKS.add("pgd", Pgd)
ATTACKS.add("held_noise", HeldNoise)
ATTACKS.add("square_eot", SquareEot)
ATTACKS.add("hop_skip_jump", HopSkipJump)
ATTACKS.add("transfer", Transfer)
ATTACKS.add("surrogate", Surrogate)
ATTACKS.add("random_sign", RandomSign)
ATTACKS.add("gaussian", Gaussian)
