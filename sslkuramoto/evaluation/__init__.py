"""Protocols: each measures one checkpoint (``measure(subject) -> Result``)."""

from sslkuramoto.evaluation.audit.protocol import Audit
from sslkuramoto.evaluation.calibration_protocol import Calibration
from sslkuramoto.evaluation.clean import Clean
from sslkuramoto.evaluation.clustering import Clustering
from sslkuramoto.evaluation.corruptions.protocol import Corruptions
from sslkuramoto.evaluation.finetune import Finetune
from sslkuramoto.evaluation.knn import NearestNeighbours
from sslkuramoto.evaluation.linear import LinearProbe
from sslkuramoto.evaluation.noise_accuracy import NoiseAccuracy
from sslkuramoto.evaluation.protocol import (
    PROTOCOLS,
    Result,
    Subject,
    evaluate,
    load_protocol,
    load_protocols,
    protocol_files,
)
from sslkuramoto.evaluation.robustness import Robustness
from sslkuramoto.evaluation.subject import subject_of

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

PROTOCOLS.add("knn", NearestNeighbours)
PROTOCOLS.add("linear", LinearProbe)
PROTOCOLS.add("clustering", Clustering)
PROTOCOLS.add("clean", Clean)
PROTOCOLS.add("finetune", Finetune)
PROTOCOLS.add("robustness", Robustness)
PROTOCOLS.add("audit", Audit)
PROTOCOLS.add("corruptions", Corruptions)
PROTOCOLS.add("noise", NoiseAccuracy)
PROTOCOLS.add("calibration", Calibration)
