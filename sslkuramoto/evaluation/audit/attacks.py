"""The attacks of an audit, at its budget.

The *plain* attack treats the network as deterministic: APGD on the cross entropy, with one draw per forward pass. *EoT*
is the usual attack on randomised networks: AutoAttack "rand", APGD on gradients averaged over fresh draws. The
*reference* attack is adaptive: its loss does not saturate and, on a stochastic network, it averages over K draws that
are held fixed during the ascent (docs/attacks.md, "held_noise").
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sslkuramoto.attacks import ATTACKS, Attack
from sslkuramoto.evaluation.audit.budget import Budget
from sslkuramoto.evaluation.protocol import Subject
from sslkuramoto.evaluation.robustness.target import attack_target

Noise = str


@dataclass(frozen=True)
class Arsenal:
    """Builds attacks, ready to run.

    Attributes:
        subject: for attacks that need a source network.
        budget: how much each may spend.
        stochastic: whether the audited classifier is stochastic.
        num_classes: of the data.
        finish: applied to each attack after it is built.
    """

    subject: Subject
    budget: Budget
    stochastic: bool
    num_classes: int
    finish: Callable[[Attack], Attack] = lambda attack: attack

    def for_control(self) -> "Arsenal":
        """Return the same attacks at the small budget of the control."""
        return replace(self, budget=self.budget.for_control())

    def attack(self, name: str, label: str, **options: Any) -> Attack:
        """Return a registered attack, prepared."""
        (attack,) = ATTACKS.build(name, {**options, "label": label}).expanded()
        return self.finish(attack.prepared(attack_target(self.subject, self.num_classes)))

    def plain(self, loss: str = "ce", steps: int | None = None) -> Attack:
        """Return APGD with one fresh draw per forward pass."""
        steps = steps or self.budget.most_steps
        return self.attack("apgd", f"plain apgd-{loss}-{steps}", loss=loss, iterations=steps, noise="fresh", k=1)

    def eot(self, *, k: int | None = None, steps: int | None = None) -> list[Attack]:
        """Return the two attacks of AutoAttack "rand": APGD on gradients averaged over fresh draws (EoT)."""
        k, steps = k or self.budget.eot_draws, steps or self.budget.most_steps
        return [
            self.attack("apgd", f"eot apgd-{loss}-k{k}-{steps}", loss=loss, iterations=steps, noise="fresh", k=k)
            for loss in ("ce", "dlr")
        ]

    def targeted(self) -> Attack:
        """Return targeted APGD with one fresh draw per forward pass."""
        return self.attack(
            "apgd",
            "plain apgd-t",
            loss="dlr_targeted",
            targets=self.budget.targets,
            iterations=self.budget.most_steps,
            noise="fresh",
            k=1,
        )

    def reference(
        self, *, k: int | None = None, steps: int | None = None, restarts: int = 1, noise: Noise = "held"
    ) -> Attack:
        """Return the adaptive attack: on the margin and, for a stochastic network, its mean over K held draws."""
        steps = steps or self.budget.most_steps
        more = f" x{restarts}" if restarts > 1 else ""
        if not self.stochastic:
            label = f"apgd-margin-{steps}{more}"
            return self.attack("apgd", label, loss="margin", iterations=steps, noise="fresh", k=1, restarts=restarts)
        k = k or self.budget.usual_k
        return self.attack(
            "pgd",
            f"{noise}-k{k}-{steps}{more}",
            loss="log_margin",
            iterations=steps,
            schedule="cosine",
            momentum=1.0,
            noise=noise,
            k=k,
            restarts=restarts,
        )

    def fab(self) -> list[Attack]:
        """Return FAB, if the budget includes it and the network is deterministic."""
        if self.stochastic or not self.budget.fab:
            return []
        steps, targets = self.budget.most_steps, self.budget.targets
        label = f"fab-t-{steps}"
        return [self.attack("autoattack", label, member="fab-t", iterations=steps, targets=targets, restarts=1)]

    def black_boxes(self) -> list[Attack]:
        """Return the attacks that query logits, classes or nothing, and never gradients."""
        budget = self.budget
        return [
            self.attack("square_eot", f"square-{budget.queries}", queries=budget.queries, draws=budget.votes),
            self.attack("hop_skip_jump", f"hop-skip-jump-{budget.queries}", queries=budget.queries, draws=budget.votes),
            self.attack("random_sign", "random signs", samples=budget.samples, draws=budget.votes),
            self.attack("gaussian", "gaussian noise", samples=budget.samples, draws=budget.votes),
        ]

    def transferred(self, name: str, **source: Any) -> Attack:
        """Return an attack made on another network (its run, or other options for the same weights)."""
        return self.attack("transfer", f"transfer from {name}", iterations=self.budget.most_steps, **source)

    def surrogate(self, name: str, *, most: bool = False) -> Attack:
        """Return the reference attack with a surrogate derivative of a step, at the usual or full budget."""
        k = self.budget.k[-1] if most and self.stochastic else self.budget.usual_k
        steps = self.budget.most_steps if most else self.budget.usual_steps
        search = {"loss": "log_margin", "optimiser": "momentum"}
        if not self.stochastic:
            search = {"loss": "margin", "optimiser": "apgd"}
        return self.attack(
            "surrogate",
            f"surrogate {name}-k{k}-{steps}" if self.stochastic else f"surrogate {name}-{steps}",
            surrogates=[name],
            k=k,
            iterations=steps,
            **search,
        )

    def one_step(self, loss: str) -> Attack:
        """Return the fast gradient sign method, started at the image, with one draw."""
        return self.attack(
            "pgd", f"fgsm-{loss}", loss=loss, iterations=1, step_size=1.0, random_start=False, noise="fresh", k=1
        )
