"""Weights published by others read here, and ours written for other programs."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "load_exported":
        from sslkuramoto.interop.export_folder import load_exported

        return load_exported
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
