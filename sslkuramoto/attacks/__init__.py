"""Adversarial attacks on any classifier, the battery that runs them, and the ledger that stores their candidates."""

from sslkuramoto.attacks.apgd import Apgd
from sslkuramoto.attacks.attack import ATTACKS, Attack, Work
from sslkuramoto.attacks.autoattack import AutoAttackMember, AutoAttackVersion
from sslkuramoto.attacks.battery import Attacked, run_battery
from sslkuramoto.attacks.ddn import Ddn
from sslkuramoto.attacks.fmn import Fmn
from sslkuramoto.attacks.held_noise import HeldNoise
from sslkuramoto.attacks.hop_skip_jump import HopSkipJump
from sslkuramoto.attacks.ledger import Ledger
from sslkuramoto.attacks.noise import Gaussian, RandomSign
from sslkuramoto.attacks.pgd import Pgd
from sslkuramoto.attacks.square import SquareEot
from sslkuramoto.attacks.surrogate_attack import Surrogate
from sslkuramoto.attacks.transfer import Transfer

__all__ = [
    "ATTACKS",
    "Attack",
    "Attacked",
    "AutoAttackMember",
    "AutoAttackVersion",
    "Ledger",
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
ATTACKS.add("ddn", Ddn)
ATTACKS.add("fmn", Fmn)
