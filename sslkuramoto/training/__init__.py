"""From a recipe to a finished run directory."""

from sslkuramoto.training.learner import Learner, build, check
from sslkuramoto.training.loop import Monitor, left_as_it_is, train
from sslkuramoto.training.processes import check_device

__all__ = ["Learner", "Monitor", "build", "check", "check_device", "left_as_it_is", "train"]
