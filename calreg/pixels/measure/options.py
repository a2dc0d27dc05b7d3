"""What a user can choose about `calreg measure`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from calreg.errors import InvalidValueError
from calreg.science.photometry.settings import DetectionSettings

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.science.imaging.alignment import AlignKind

METHOD = "isophotes 1"
"""Changes with any change of the numbers that the same settings give."""

OUT_PLACEHOLDER = "{}"
"""What the name of each mosaic takes the place of in ``--out``."""


@dataclass(frozen=True)
class MeasureOptions:
    """How mosaics are measured.

    Attributes
    ----------
    detect : str or None
        Path of the image to detect on, or ``stack`` for the mean of the mosaics of each patch; None
        is the first epoch of the field.
    is_reprojected : bool
        Bring mosaics on other pixels to those of the detection image.
    align : AlignKind or None
        Fit this transformation from each mosaic to its detection image, and move it.
    has_weights : bool
        Take errors from ERR, VAR or WHT; else from the noise of the background.
    gain : float or None
        Electrons per unit of the images, for Poisson noise where pixels have no errors.
    out : Path or None
        Also write catalogs; ``{}`` in the name stands for the mosaic's.
    stores : bool
        Whether the registry is changed; needs `out` if not.
    replaces : bool
        Enter other numbers of a mosaic as a new version.
    n_processes : int
        Patches that are measured at a time.

    Raises
    ------
    InvalidValueError
        If they contradict each other.
    """

    settings: DetectionSettings = field(default_factory=DetectionSettings)
    detect: str | None = None
    is_reprojected: bool = False
    align: AlignKind | None = None
    has_weights: bool = True
    gain: float | None = None
    field_name: str | None = None
    epoch_label: str | None = None
    out: Path | None = None
    overwrites: bool = False
    stores: bool = True
    replaces: bool = False
    n_processes: int = 1

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.n_processes < 1:
            msg = f"--jobs {self.n_processes}: expected 1 or more"
            raise InvalidValueError(msg)
        if self.gain is not None and not 0.0 < self.gain < math.inf:
            msg = f"--gain {self.gain:g}: expected a positive number of electrons per MJy/sr"
            raise InvalidValueError(msg)
        if not self.stores and self.out is None:
            msg = "--no-store leaves nothing without --out: name the file to write"
            raise InvalidValueError(msg)
        if not self.stores and self.replaces:
            msg = "--replace changes the registry, --no-store does not: leave one out"
            raise InvalidValueError(msg)

    def to_text(self) -> dict[str, str]:
        """Return the settings that affect the numbers as text, for a catalog's provenance."""
        return {
            "method": METHOD,
            **self.settings.to_text(),
            "weights": "used" if self.has_weights else "ignored",
            "gain": "unknown" if self.gain is None else f"{self.gain:.15g}",
            "reproject": "yes" if self.is_reprojected else "no",
            "align": str(self.align or "none"),
        }
