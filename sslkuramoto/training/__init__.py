"""From a recipe to a finished run directory."""

from sslkuramoto.training.learner import Learner, build, check
from sslkuramoto.training.loop import Monitor, train

__all__ = ["Learner", "Monitor", "build", "check", "train"]
