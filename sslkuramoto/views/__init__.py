"""View policies: maps from a batch of examples to named views, computed on the device of the batch.

A policy is built by ``VIEWS.build(name, options, image_size)`` and called as ``policy(images, draw)``, where ``draw``
is the caller's generator. Views of images have pixels in [0, 1].
"""

from sslkuramoto.registry import Registry
from sslkuramoto.views.byol import byol
from sslkuramoto.views.phinet import phinet
from sslkuramoto.views.policy import ViewPolicy
from sslkuramoto.views.simclr import simclr
from sslkuramoto.views.simsiam import simsiam
from sslkuramoto.views.sudoku_symmetries import SudokuSymmetries
from sslkuramoto.views.supervised import akorn_supervised, flip_crop, plain
from sslkuramoto.views.unchanged import Unchanged

VIEWS: Registry[ViewPolicy] = Registry("views", "sslkuramoto.views")
VIEWS.add("simclr", simclr)
VIEWS.add("byol", byol)
VIEWS.add("simsiam", simsiam)
VIEWS.add("phinet", phinet)
VIEWS.add("akorn_supervised", akorn_supervised)
VIEWS.add("flip_crop", flip_crop)
VIEWS.add("plain", plain)
VIEWS.add("unchanged", Unchanged)
VIEWS.add("sudoku_symmetries", SudokuSymmetries)

__all__ = ["VIEWS", "ViewPolicy"]
