"""Names of images as catalogs state them or imply them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_TABLE_SUFFIXES = frozenset(
    (
        ".cat",
        ".csv",
        ".dat",
        ".ecsv",
        ".fit",
        ".fits",
        ".ldac",
        ".parquet",
        ".sex",
        ".txt",
        ".vot",
        ".votable",
        ".xml",
    )
)
_CATALOG_ENDING = re.compile(r"[_-](?:cat|catalog|catalogue|ldac|phot|sex|sexcat)$", re.IGNORECASE)
_IMAGE_ENDINGS = ("_i2d", "_cal", "_crf")


def image_base_name(text: str) -> str:
    """Return the bare file name of a stated image, without folder and extension number.

    Parameters
    ----------
    text : str
        Such as ``/data/jw01176-o241_t001_nircam_clear-f444w_nrcalong_i2d.fits[1]``.
    """
    return PurePosixPath(re.sub(r"\[[^\]]*\]\s*$", "", text.strip())).name


def image_name_candidates(catalog_file_name: str) -> list[str]:
    """Return the names that a catalog's image may have by JWST file naming.

    Parameters
    ----------
    catalog_file_name : str
        Without folder, such as ``X_cat.ecsv`` or ``X_i2d.cat``.

    Returns
    -------
    list of str
        Most likely first: ``X_i2d.fits``, ``X_cal.fits``, ``X_crf.fits``, ``X.fits``; just
        ``X_i2d.fits`` where the catalog's name has that ending itself.
    """
    stem = catalog_file_name
    while PurePosixPath(stem).suffix.lower() in _TABLE_SUFFIXES:
        stem = PurePosixPath(stem).stem
    stem = _CATALOG_ENDING.sub("", stem)
    if stem.endswith(_IMAGE_ENDINGS):
        return [f"{stem}.fits"]
    return [*(f"{stem}{ending}.fits" for ending in _IMAGE_ENDINGS), f"{stem}.fits"]
