"""calreg: a registry of photometric offsets between detectors, across calibration contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calreg._version import __version__

if TYPE_CHECKING:
    from calreg.registry import Registry

__all__ = ["Registry", "__version__"]


def __getattr__(name: str) -> object:
    """Import `Registry` on first use, so that ``calreg --help`` stays fast."""
    if name == "Registry":
        from calreg.registry import Registry

        return Registry
    msg = f"module 'calreg' has no attribute {name!r}"
    raise AttributeError(msg)
