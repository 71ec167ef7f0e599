"""Protocols: each measures one checkpoint (``measure(subject) -> Result``)."""

from sslkuramoto.evaluation.measurement import evaluate
from sslkuramoto.evaluation.protocol import (
    PROTOCOLS,
    Subject,
    load_protocol,
    load_protocols,
    protocol_files,
)
from sslkuramoto.evaluation.subject import subject_of
from sslkuramoto.results import Result

__all__ = [
    "PROTOCOLS",
    "Result",
    "Subject",
    "evaluate",
    "load_protocol",
    "load_protocols",
    "protocol_files",
    "subject_of",
]

_HERE = "sslkuramoto.evaluation"
PROTOCOLS.add("knn", f"{_HERE}.representation.knn:NearestNeighbours")
PROTOCOLS.add("linear", f"{_HERE}.representation.linear:LinearProbe")
PROTOCOLS.add("clustering", f"{_HERE}.representation.clustering:Clustering")
PROTOCOLS.add("rank", f"{_HERE}.representation.rank:Rank")
PROTOCOLS.add("finetune", f"{_HERE}.representation.finetune:Finetune")
PROTOCOLS.add("clean", f"{_HERE}.classification.clean:Clean")
PROTOCOLS.add("noise", f"{_HERE}.classification.noise:NoiseAccuracy")
PROTOCOLS.add("robustness", f"{_HERE}.robustness.protocol:Robustness")
PROTOCOLS.add("certify", f"{_HERE}.certificates.protocol:Certify")
PROTOCOLS.add("distance", f"{_HERE}.robustness.distance:Distance")
PROTOCOLS.add("feature_attack", f"{_HERE}.robustness.feature_attack:FeatureAttack")
PROTOCOLS.add("worst_state", f"{_HERE}.robustness.worst_state:WorstState")
PROTOCOLS.add("audit", f"{_HERE}.audit.protocol:Audit")
PROTOCOLS.add("corruptions", f"{_HERE}.corruptions.protocol:Corruptions")
PROTOCOLS.add("calibration", f"{_HERE}.calibration.protocol:Calibration")
PROTOCOLS.add("objects", f"{_HERE}.objects.protocol:ObjectDiscovery")
PROTOCOLS.add("sudoku", f"{_HERE}.boards.sudoku:SudokuAccuracy")
PROTOCOLS.add("maze", f"{_HERE}.boards.maze:MazeAccuracy")
PROTOCOLS.add("relations", f"{_HERE}.relations.protocol:Relations")
