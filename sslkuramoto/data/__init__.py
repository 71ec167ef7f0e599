"""Data sources: each returns the :class:`DataSet` of a split, which ``batches`` reads in a given order.

Another package adds a source through the entry-point group ``sslkuramoto.data``. A source takes ``split`` by position
and its options by keyword. Its return annotation (``-> ImageSet``) declares the kind of examples before any is loaded.
"""

from collections.abc import Mapping
from typing import Any

from sslkuramoto.data.data_set import DataSet, batches
from sslkuramoto.data.images.image_set import ImageSet, image_set
from sslkuramoto.data.order import in_order, shuffled
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Spec
from sslkuramoto.registry import Registry

__all__ = ["DATA", "DataSet", "ImageSet", "batches", "expected_spec", "image_set", "in_order", "shuffled"]

_IMAGES = "sslkuramoto.data.images"
DATA: Registry[DataSet] = Registry("data", "sslkuramoto.data")
DATA.add("digits", f"{_IMAGES}.digits:digits")
DATA.add("mnist5k", f"{_IMAGES}.mnist5k:mnist5k")
DATA.add("cifar10", f"{_IMAGES}.cifar:cifar10")
DATA.add("cifar100", f"{_IMAGES}.cifar:cifar100")
DATA.add("tiny_imagenet", f"{_IMAGES}.tiny_imagenet:tiny_imagenet")
DATA.add("image_folder", f"{_IMAGES}.image_folder:image_folder")
DATA.add("timm", f"{_IMAGES}.timm_datasets:timm_dataset")
_SCENES = "sslkuramoto.data.scenes"
for _name in ("shapes", "tetrominoes", "sprites", "clevrtex", "multi_object_npz", "voc", "coco"):
    DATA.add(_name, f"{_SCENES}.{_name}:{_name}")
_BOARDS = "sslkuramoto.data.boards"
DATA.add("sudoku", f"{_BOARDS}.sudoku:Sudoku")
DATA.add("maze", f"{_BOARDS}.maze:Maze")
DATA.add("maze_files", f"{_BOARDS}.maze_files:maze_files")
for _name in ("sudoku_satnet", "sudoku_rrn", "sudoku_extreme"):
    DATA.add(_name, f"{_BOARDS}.sudoku_files:{_name}")
_GLYPHS = "sslkuramoto.data.glyphs"
DATA.add("same-different", f"{_GLYPHS}.same_different:SameDifferent")
DATA.add("match-to-sample", f"{_GLYPHS}.match_to_sample:MatchToSample")


def expected_spec(name: str, options: Mapping[str, Any]) -> Spec:
    """Return the spec that a source declares, before anything is loaded (:meth:`DataSet.expected`).

    Args:
        name: name of the source in the registry.
        options: options as in a recipe.

    Raises:
        UserError: the source or an option is unknown, or an option is out of range.
    """
    found = DATA.result_class(name, DataSet)
    if found is DataSet:
        raise UserError(f"data {name}: does not state what it gives; annotate what it returns (-> ImageSet)")
    stated = DATA.resolved(name, options)
    if stated.get("size") is None:
        stated["size"] = getattr(DATA[name], "own_side", None)
    return found.expected(stated)
