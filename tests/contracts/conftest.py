"""Runs that the contract tests share, trained in a second."""

import pytest
from house_files import ROOT, train_tiny

from sslkuramoto.run_directory import RunDirectory


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run that holds an encoder only."""
    path = ROOT / "recipes" / "digits-akorn-simsiam.yaml"
    return train_tiny(path, tmp_path_factory.mktemp("runs") / "pretrained", "measure.monitor_every=0")


@pytest.fixture(scope="session")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run that holds a classifier too."""
    path = ROOT / "recipes" / "digits-akorn-supervised.yaml"
    run = tmp_path_factory.mktemp("runs") / "supervised"
    return train_tiny(path, run, "measure.monitor_every=0", "encoder.num_steps=1")
