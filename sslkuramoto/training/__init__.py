"""From a recipe to a finished run directory."""

from sslkuramoto.training.loop import Learner, Monitor, build, train

__all__ = ["Learner", "Monitor", "build", "train"]
