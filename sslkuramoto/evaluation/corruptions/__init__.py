"""Corruptions of images, and the accuracy of classifiers on corrupted images."""

from sslkuramoto.evaluation.corruptions.corrupt import CORRUPTIONS, corrupted
from sslkuramoto.evaluation.corruptions.image_draws import ImageDraws
from sslkuramoto.evaluation.corruptions.protocol import Corruptions

__all__ = ["CORRUPTIONS", "Corruptions", "ImageDraws", "corrupted"]
