"""The generalized world coordinates (gwcs) in the ASDF extension of a jwst file."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.files.readguard import require_few_aliases, require_shallow

if TYPE_CHECKING:
    from calreg.files.fits.headers import FitsHeaders
    from calreg.units import FloatArray

_ASDF_EXTENSION = "ASDF"
_SIP_ERROR_PX = 0.01


class GwcsSky:
    """Sky positions by a gwcs, beyond its bounding box too.

    Parameters
    ----------
    wcs : gwcs.WCS
        From 0-based pixels to ICRS degrees.
    shape : tuple of int
        ``(ny, nx)`` of the image.

    Attributes
    ----------
    fits_cards : str
        A FITS WCS with SIP terms that imitates it, for the NIRCam detectors to 1 mas, as cards of
        80 characters.
    """

    def __init__(self, wcs: Any, shape: tuple[int, int]) -> None:
        self._wcs = wcs
        box = ((-0.5, shape[1] - 0.5), (-0.5, shape[0] - 0.5))
        header = wcs.to_fits_sip(bounding_box=box, max_pix_error=_SIP_ERROR_PX)
        self.fits_cards = str(header.tostring(sep="", endcard=False, padding=False))

    def sky_of(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return ICRS (ra, dec) [deg] of pixels, 0-based, right ascension in [0, 360)."""
        ra_deg, dec_deg = self._wcs(x, y, with_bounding_box=False)
        # Some models give quantities.
        ra_deg, dec_deg = (getattr(value, "value", value) for value in (ra_deg, dec_deg))
        return np.asarray(ra_deg, np.float64) % 360.0, np.asarray(dec_deg, np.float64)


def read_gwcs(headers: FitsHeaders, shape: tuple[int, int]) -> tuple[GwcsSky | None, str]:
    """Read the gwcs of an image, if it can be read and is of this image.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the image.

    Returns
    -------
    sky : GwcsSky or None
        None where there is none that can be used.
    reason : str
        Why there is none; empty otherwise.

    Notes
    -----
    The arrays of an ASDF tree inside FITS are references to HDUs; only ``meta.wcs`` is touched. A
    gwcs whose bounding box is not the image's belongs to the image that a cut-out was made of.
    """
    unit = headers.find(_ASDF_EXTENSION)
    if unit is None:
        return None, "no ASDF extension"
    try:
        import asdf
        from gwcs import WCS
    except ImportError:
        return None, "asdf or gwcs is not installed (pip install 'calreg[mosaic]')"
    with unit.path.open("rb") as stream:
        stream.seek(unit.data_start)
        content = stream.read(unit.data_end - unit.data_start)
    # A tree may have any tag, and its models may fail in as many ways; the header's WCS remains.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The parser in C goes down by recursion, and its stack has an end.
            tree = content.partition(b"\n...")[0]
            require_shallow(unit.path, tree)
            require_few_aliases(unit.path, tree)
            with asdf.open(io.BytesIO(content), lazy_load=True, lazy_tree=True) as file:
                wcs = file["meta"]["wcs"]
            if not isinstance(wcs, WCS):
                return None, f"the ASDF extension holds a WCS of unknown type {_tag_of(wcs)}"
            reason = _why_not(wcs, shape)
            return (None, reason) if reason else (GwcsSky(wcs, shape), "")
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return None, f"the gwcs of the ASDF extension cannot be read ({text[:120]})"


def _why_not(wcs: Any, shape: tuple[int, int]) -> str:
    """Explain why a gwcs is not of an image of this shape; empty if it is."""
    box = wcs.bounding_box
    if box is not None:
        (x_low, x_high), (y_low, y_high) = (tuple(map(_number, axis)) for axis in _intervals(box))
        nx, ny = round(x_high - x_low), round(y_high - y_low)
        if (ny, nx) != shape or round(x_low + 0.5) != 0 or round(y_low + 0.5) != 0:
            return (
                f"the gwcs is of an image of {nx} x {ny} pixels, this one has {shape[1]} x "
                f"{shape[0]}"
            )
    return ""


def _intervals(box: Any) -> Any:
    """Return a bounding box as intervals in the order x, y."""
    return box.bounding_box(order="F") if hasattr(box, "bounding_box") else box


def _number(value: Any) -> float:
    """Return a limit as a number, without its unit."""
    return float(getattr(value, "value", value))


def _tag_of(node: Any) -> str:
    """Return an ASDF node's tag, else its type."""
    return str(getattr(node, "_tag", "") or type(node).__name__)
