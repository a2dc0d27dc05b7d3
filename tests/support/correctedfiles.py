"""Exposures that can be corrected, and what to compare them by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits

from calreg.domain import Pmap
from calreg.files.fits.headers import read_headers
from calreg.files.images.calibration import CorrectionOrigin, CorrectionRecord
from calreg.science.model.gradient import PixelPlane
from support.calimages import SHAPE, cal_planes, write_cal

if TYPE_CHECKING:
    from pathlib import Path

    from support.fitsimages import CardTable

CORNER = (101, 301)
"""SUBSTRT1, SUBSTRT2."""

PHOTMJSR, PHOTUJA2 = 2.333, 54.8358
SCALED = {"SCI": 1, "ERR": 1, "VAR_POISSON": 2, "VAR_RNOISE": 2, "VAR_FLAT": 2}
"""Extensions with the power of the factor that they get."""

SUBARRAY_CARDS: CardTable = {
    "SUBARRAY": "SUB640",
    "SUBSTRT1": CORNER[0],
    "SUBSTRT2": CORNER[1],
    "SUBSIZE1": SHAPE[1],
    "SUBSIZE2": SHAPE[0],
}
GRADIENT = PixelPlane(0.0, 2.0e-5, -7.0e-6)


def photometry_tree(photmjsr: float | None = PHOTMJSR) -> dict[str, Any]:
    """Return an ASDF tree as the pipeline's, with a block of its own behind it."""
    photometry = {
        "conversion_megajanskys": photmjsr,
        "conversion_microjanskys": PHOTUJA2,
        "pixelarea_steradians": 2.29e-14,
    }
    meta = {"target": "\u03b1", "photometry": photometry, "coefficients": np.arange(100.0)}
    return {"data": "fits:SCI,1", "err": "fits:ERR,1", "meta": meta}


def write_exposure(
    path: Path,
    *,
    planes: dict[str, np.ndarray | None] | None = None,
    primary: CardTable | None = None,
    science: CardTable | None = None,
    asdf_tree: dict[str, Any] | None = None,
    has_tree: bool = True,
) -> Path:
    """Write an exposure with all planes, a subarray and an ASDF tree."""
    rng = np.random.default_rng(5)
    sci = cal_planes()["SCI"]
    sci[3, 5] = np.nan
    sci[4, 6] = -sci[4, 6]
    all_planes: dict[str, np.ndarray | None] = {
        "SCI": sci,
        "ERR": rng.uniform(0.005, 0.02, SHAPE).astype(np.float32),
        "DQ": rng.integers(0, 8, SHAPE, dtype=np.uint32),
        "AREA": np.full(SHAPE, 0.99, dtype=np.float32),
        "VAR_FLAT": rng.uniform(1e-6, 1e-5, SHAPE).astype(np.float32),
    }
    return write_cal(
        path,
        {**all_planes, **(planes or {})},
        primary={**SUBARRAY_CARDS, **(primary or {})},
        science={"PHOTMJSR": PHOTMJSR, "PHOTUJA2": PHOTUJA2, **(science or {})},
        asdf_tree=(asdf_tree or photometry_tree()) if has_tree else None,
    )


def correction_record(
    photom_factor: float = 1.012045, gradient: PixelPlane | None = GRADIENT
) -> CorrectionRecord:
    """Return a correction."""
    return CorrectionRecord(
        set_id="6a3c",
        datum="B",
        code_version="0.1.0",
        application_id="77aa",
        origin=CorrectionOrigin.MEASURED,
        set_pmap=Pmap(1130),
        gradient_datum="symmetric",
        photom_factor=photom_factor,
        gradient=gradient,
        n_pixels=2048,
        sha256_before="",
        created_utc="2026-01-02T03:04:05Z",
    )


def expected_factor(record: CorrectionRecord, corner: tuple[int, int] = CORNER) -> np.ndarray:
    """Return s(x, y) in the pixels of the exposure, from the definition."""
    if record.gradient is None:
        return np.full(SHAPE, record.photom_factor)
    x = np.arange(record.n_pixels) - 0.5 * (record.n_pixels - 1)
    g = record.gradient.per_y * x[:, np.newaxis] + record.gradient.per_x * x
    flat = 10.0 ** (-0.4 * g)
    flat /= flat.mean()
    y0, x0 = corner[1] - 1, corner[0] - 1
    return record.photom_factor / flat[y0 : y0 + SHAPE[0], x0 : x0 + SHAPE[1]]


def pixels_of(path: Path) -> dict[str, np.ndarray]:
    """Return all planes as they are stored."""
    with fits.open(path, memmap=False) as hdus:
        return {hdu.name: hdu.data.copy() for hdu in hdus[1:] if hdu.is_image}


def raw_headers(path: Path) -> list[bytes]:
    """Return all header blocks."""
    return [unit.raw for unit in read_headers(path).units]


def tree_of(path: Path) -> bytes:
    """Return the ASDF extension's data."""
    unit = read_headers(path).find("ASDF")
    assert unit is not None
    return path.read_bytes()[unit.data_start : unit.data_end]


def ulps(first: np.ndarray, second: np.ndarray) -> int:
    """Return by how many units of the last binary digit 32-bit numbers differ at most."""
    as_integers = [
        np.ascontiguousarray(pixels, dtype=np.float32).view(np.int32).astype(np.int64)
        for pixels in (first, second)
    ]
    return int(np.abs(as_integers[0] - as_integers[1]).max())
