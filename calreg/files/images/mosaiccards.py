"""Cards by which a mosaic's file is known again: what it was made of, and what came out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calreg.errors import CalregError
from calreg.files.fits.headers import read_headers
from calreg.files.readguard import refuse_damaged

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.files.fits.cards import Value
    from calreg.science.imaging.cleaning import CleaningSettings

_DIGEST, _COVERAGE, _NOISE = "INPUTSHA", "COVERAGE", "MEDERR"
_CORRELATION, _BACKGROUND, _EXPOSURE = "NOISCORR", "MEDBKG", "EFFEXPTM"


@dataclass(frozen=True)
class MosaicSummary:
    """What a mosaic's header says of it in a few numbers.

    Attributes
    ----------
    input_digest : str
        SHA-256 of its exposures and settings.
    header_sha256 : str
        SHA-256 over all header blocks and the file's size.
    exposure_time_s : float
        Summed over its exposures [s].
    coverage_arcmin2 : float
        Sky with data [arcmin^2].
    median_noise : float
        Median 1-sigma error of the pixels with data [MJy/sr].
    noise_correlation : float
        Noise of large sums over that from the errors.
    background : float
        Median over its exposures of the background that was subtracted [MJy/sr].
    """

    input_digest: str
    header_sha256: str
    exposure_time_s: float
    coverage_arcmin2: float
    median_noise: float
    noise_correlation: float
    background: float


def summary_cards(
    *,
    input_digest: str,
    cleaning: CleaningSettings,
    forced_pmap: str,
    coverage_arcmin2: float,
    median_noise: float,
    background: float,
) -> dict[str, tuple[Value, str]]:
    """Return the cards of a mosaic beyond those of its layout.

    Parameters
    ----------
    input_digest : str
        SHA-256 of its exposures and settings.
    forced_pmap : str
        Context that all exposures were rescaled to; empty if they were not.
    coverage_arcmin2 : float
        Sky with data [arcmin^2].
    median_noise : float
        Median 1-sigma error of the pixels with data [MJy/sr].
    background : float
        Median over the exposures of the background that was subtracted [MJy/sr].
    """
    return {
        "BKGSUB": (cleaning.background, "Background in blocks subtracted"),
        "BKGBOX": (cleaning.box_px, "[pixel] side of the blocks"),
        "BKGFILT": (cleaning.filter_blocks, "[block] side of the median filter over them"),
        "LEVELSUB": (cleaning.level, "Median level of each exposure subtracted"),
        "DESTRIPE": (cleaning.stripes, "Stripes of 1/f noise subtracted"),
        "FORCECTX": (forced_pmap or "N/A", "Context that exposures were rescaled to"),
        _COVERAGE: (coverage_arcmin2, "[arcmin2] sky with data"),
        _NOISE: (median_noise, "[MJy/sr] median of ERR"),
        _BACKGROUND: (background, "[MJy/sr] median background subtracted"),
        _DIGEST: (input_digest, "exposures and settings"),
    }


def read_summary(path: Path) -> MosaicSummary | None:
    """Read the numbers of a mosaic that `calreg mosaic` made.

    Returns
    -------
    MosaicSummary or None
        None for any other file, a damaged one included.
    """
    try:
        with refuse_damaged(path):
            headers = read_headers(path)
            primary = headers.primary
            digest = primary.get(_DIGEST)
            numbers = [
                primary.get(card)
                for card in (_EXPOSURE, _COVERAGE, _NOISE, _CORRELATION, _BACKGROUND)
            ]
    except CalregError:
        return None
    values = [float(value) for value in numbers if isinstance(value, int | float)]
    if not isinstance(digest, str) or len(values) != len(numbers):
        return None
    if not all(math.isfinite(value) for value in values):
        return None
    return MosaicSummary(digest, headers.sha256, *values)
