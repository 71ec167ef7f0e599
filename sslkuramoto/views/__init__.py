"""View policies: maps from a batch of examples to named views, computed on the device of the batch.

A policy is built by ``VIEWS.build(name, options, image_size)`` and called as ``policy(images, draw)``, where ``draw``
is the caller's generator. Views of images have pixels in [0, 1].
"""

from sslkuramoto.registry import Registry
from sslkuramoto.views.policy import ViewPolicy

_HERE = "sslkuramoto.views"
VIEWS: Registry[ViewPolicy] = Registry("views", "sslkuramoto.views")
VIEWS.add("simclr", f"{_HERE}.simclr:simclr")
VIEWS.add("byol", f"{_HERE}.byol:byol")
VIEWS.add("simsiam", f"{_HERE}.simsiam:simsiam")
VIEWS.add("phinet", f"{_HERE}.phinet:phinet")
VIEWS.add("akorn_supervised", f"{_HERE}.supervised:akorn_supervised")
VIEWS.add("randaugment", f"{_HERE}.supervised:randaugment")
VIEWS.add("flip_crop", f"{_HERE}.supervised:flip_crop")
VIEWS.add("plain", f"{_HERE}.supervised:plain")
VIEWS.add("unchanged", f"{_HERE}.unchanged:Unchanged")
VIEWS.add("sudoku_symmetries", f"{_HERE}.sudoku_symmetries:SudokuSymmetries")
VIEWS.add("maze_symmetries", f"{_HERE}.maze_symmetries:MazeSymmetries")

__all__ = ["VIEWS", "ViewPolicy"]
