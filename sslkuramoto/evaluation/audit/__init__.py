"""Is a network's robustness real? Attacks, diagnostics and a verdict (protocol ``audit``)."""

from sslkuramoto.evaluation.audit.protocol import Audit

__all__ = ["Audit"]
