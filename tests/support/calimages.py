"""JWST-like exposures with real pixel planes and world coordinates, for tests."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units
from astropy.coordinates import ICRS
from astropy.io import fits
from astropy.modeling import models

from calreg.science.sky.geometry import s_region_text
from support.distorted import SIP_A, SIP_B, DistortedSky, distorted_sky
from support.fitsimages import PRIMARY_CARDS, SCIENCE_CARDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.fitsimages import CardTable

SHAPE = (40, 48)


def cal_planes(shape: tuple[int, int] = SHAPE, seed: int = 1) -> dict[str, np.ndarray]:
    """Return the planes of an exposure of plain sky."""
    rng = np.random.default_rng(seed)
    return {
        "SCI": (0.2 + 0.01 * rng.standard_normal(shape)).astype(np.float32),
        "ERR": np.full(shape, 0.01, dtype=np.float32),
        "DQ": np.zeros(shape, dtype=np.uint32),
        "VAR_POISSON": np.full(shape, 0.6e-4, dtype=np.float32),
        "VAR_RNOISE": np.full(shape, 0.4e-4, dtype=np.float32),
    }


def write_cal(
    path: Path,
    planes: Mapping[str, np.ndarray | None] | None = None,
    *,
    sky: DistortedSky | None = None,
    primary: CardTable | None = None,
    science: CardTable | None = None,
    asdf_tree: dict[str, Any] | None = None,
) -> Path:
    """Write an exposure; planes and cards given as None are left out."""
    all_planes = {**cal_planes(), **(planes or {})}
    sci = all_planes["SCI"]
    sky = distorted_sky(265.0, 69.0, 30.0, SHAPE[0]) if sky is None else sky
    cards: CardTable = {**SCIENCE_CARDS, **dict(sky.wcs.to_header(relax=True))}
    if sci is not None and sci.ndim == 2:
        cards["S_REGION"] = s_region_text(sky.footprint(sci.shape[0]))
    cards |= science or {}
    hdus = [fits.PrimaryHDU(header=_header({**PRIMARY_CARDS, **(primary or {})}))]
    for name, plane in all_planes.items():
        if plane is not None:
            header = _header(cards) if name == "SCI" else None
            hdus.append(fits.ImageHDU(plane, header, name=name))
    if asdf_tree is not None:
        hdus.append(_asdf_hdu(asdf_tree))
    fits.HDUList(hdus).writeto(path)
    return path


def gwcs_like(sky: DistortedSky, shape: tuple[int, int] = SHAPE) -> Any:
    """Return a gwcs with the same distortion, rotation and projection as a SIP WCS."""
    from gwcs import WCS, coordinate_frames

    def polynomial(terms: dict[tuple[int, int], float], linear: str) -> Any:
        coefficients = {f"c{i}_{j}": value for (i, j), value in terms.items()}
        return models.Polynomial2D(3, **{**coefficients, linear: 1.0})

    header = sky.wcs.wcs
    shift = models.Shift(1.0 - header.crpix[0]) & models.Shift(1.0 - header.crpix[1])
    distortion = polynomial(SIP_A, "c1_0") & polynomial(SIP_B, "c0_1")
    linear = models.AffineTransformation2D(matrix=header.cd, translation=[0.0, 0.0])
    sphere = models.RotateNative2Celestial(header.crval[0], header.crval[1], 180.0)
    transform = (
        shift | models.Mapping((0, 1, 0, 1)) | distortion | linear | models.Pix2Sky_TAN() | sphere
    )
    detector = coordinate_frames.Frame2D(name="detector", unit=(units.pix, units.pix))
    celestial = coordinate_frames.CelestialFrame(
        name="world", reference_frame=ICRS(), unit=(units.deg, units.deg)
    )
    wcs = WCS([(detector, transform), (celestial, None)])
    wcs.bounding_box = ((-0.5, shape[1] - 0.5), (-0.5, shape[0] - 0.5))
    return wcs


def asdf_tree(wcs: Any) -> dict[str, Any]:
    """Return a tree as the jwst pipeline's, its pixels references to HDUs."""
    return {"data": "fits:SCI,1", "dq": "fits:DQ,1", "meta": {"wcs": wcs, "filename": "x_cal.fits"}}


def _asdf_hdu(tree: dict[str, Any]) -> fits.BinTableHDU:
    """Return a tree as the jwst pipeline embeds it."""
    import asdf

    buffer = io.BytesIO()
    asdf.AsdfFile(tree).write_to(buffer)
    content = np.frombuffer(buffer.getvalue(), dtype=np.uint8)
    column = fits.Column("ASDF_METADATA", f"{len(content)}B", array=content[np.newaxis])
    return fits.BinTableHDU.from_columns([column], name="ASDF")


def _header(cards: CardTable) -> fits.Header:
    """Return a header of the cards that are not None."""
    return fits.Header([(key, value) for key, value in cards.items() if value is not None])
