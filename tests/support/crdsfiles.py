"""Reference files as STScI delivers them, and a CRDS cache of them; small, made by the tests.

Only facts of the real files are imitated: cards, columns, row order, rmap text. Values are given.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits

from calreg.instruments import load_instrument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from calreg.instruments import Array

NIRCAM = load_instrument()
USEAFTER = "2022-06-01T00:00:00"
SUBARRAYS = ("FULL", "SUB160")
PIXAR_SR = {"SW": 2.29e-14, "LW": 9.31e-14}
EXPOSURE_TYPES = "NRC_IMAGE|NRC_TSIMAGE|NRC_FOCUS|"
UNCERTAINTY = 0.02
"""Of a parent's photmjsr, relative."""


def base_cards(array: Array, reftype: str, model: str, name: str) -> dict[str, object]:
    """Return the cards of a reference file from flight."""
    return {
        "DATE": "2023-08-01T00:00:00.000",
        "FILENAME": name,
        "FILETYPE": reftype,
        "DATAMODL": model,
        "TELESCOP": "JWST",
        "REFTYPE": reftype,
        "PEDIGREE": "INFLIGHT 2022-05-01 2023-07-01",
        "DESCRIP": "A reference file with a description that is longer than one card can hold, so",
        "AUTHOR": "A. Calibrator",
        "USEAFTER": USEAFTER,
        "INSTRUME": "NIRCAM",
        "DETECTOR": array.detector,
        "CHANNEL": {"SW": "SHORT", "LW": "LONG"}[array.channel],
        "EXP_TYPE": "NRC_IMAGE",
    }


def _primary(cards: Mapping[str, object], history: str) -> fits.PrimaryHDU:
    """Return a primary HDU; a card given as None is left out."""
    hdu = fits.PrimaryHDU()
    for keyword, value in cards.items():
        if value is not None:
            hdu.header[keyword] = value
    hdu.header.add_history(history)
    return hdu


def write_photom_parent(
    path: Path,
    array: Array,
    values: Mapping[tuple[str, str], float],
    *,
    subarrays: Sequence[str] = SUBARRAYS,
    loss_per_year: float | None = None,
    checksum: bool = False,
    cards: Mapping[str, object] | None = None,
) -> Path:
    """Write a photom file: one row per (filter, pupil) and subarray, or without that column.

    With `loss_per_year` there is a TIMECOEFF_LINEAR table, paired by row.
    """
    all_cards = {
        **base_cards(array, "PHOTOM", "NrcImgPhotomModel", path.name),
        "P_EXP_TY": EXPOSURE_TYPES,
        "PIXAR_SR": PIXAR_SR[array.channel],
        "PIXAR_A2": PIXAR_SR[array.channel] * np.degrees(3600.0) ** 2,
        **(cards or {}),
    }
    rows = [
        (filter_name, pupil, subarray, value, UNCERTAINTY * value)
        for subarray in subarrays or ("",)
        for (filter_name, pupil), value in values.items()
    ]
    table = np.array(
        rows,
        dtype=[
            ("filter", "S12"),
            ("pupil", "S12"),
            ("subarray", "S15"),
            ("photmjsr", ">f4"),
            ("uncertainty", ">f4"),
        ],
    )
    if not subarrays:
        table = np.array(
            [row[:2] + row[3:] for row in rows],
            dtype=[table.dtype.descr[i] for i in (0, 1, 3, 4)],
        )
    hdus = [
        _primary(all_cards, "Made from observations of standard stars."),
        fits.BinTableHDU(table, name="PHOTOM"),
    ]
    if loss_per_year is not None:
        linear = np.array(
            [(row[0], row[1], 59700.0, loss_per_year) for row in rows],
            dtype=[("filter", "S12"), ("pupil", "S12"), ("t0", ">f4"), ("lossperyear", ">f4")],
        )
        hdus.append(fits.BinTableHDU(linear, name="TIMECOEFF_LINEAR"))
    fits.HDUList(hdus).writeto(path, checksum=checksum)
    return path


def write_flat_parent(
    path: Path,
    array: Array,
    band_name: str,
    *,
    shape: tuple[int, int] = (2048, 2048),
    seed: int = 3,
    cards: Mapping[str, object] | None = None,
) -> Path:
    """Write a flat of a band: pixels around one, some NaN and flagged."""
    band = NIRCAM.bands[band_name]
    all_cards = {
        **base_cards(array, "FLAT", "FlatModel", path.name),
        "FILTER": band.filter,
        "PUPIL": band.pupil,
        "SUBARRAY": "FULL",
        "SUBSTRT1": 1,
        "SUBSTRT2": 1,
        "SUBSIZE1": shape[1],
        "SUBSIZE2": shape[0],
        "FASTAXIS": -1,
        "SLOWAXIS": 2,
        **(cards or {}),
    }
    rng = np.random.default_rng(seed)
    sci = (1.0 + 0.02 * rng.standard_normal(shape)).astype(">f4")
    err = np.full(shape, 0.001, dtype=">f4")
    flags = np.zeros(shape, dtype=np.uint32)
    is_bad = rng.random(shape) < 1e-3
    sci[is_bad] = np.nan
    flags[is_bad] = 3
    definitions = np.array(
        [(0, 1, "DO_NOT_USE", "Bad pixel. Do not use."), (1, 2, "NO_FLAT_FIELD", "No flat")],
        dtype=[("BIT", ">i4"), ("VALUE", ">u4"), ("NAME", "S40"), ("DESCRIPTION", "S80")],
    )
    hdus = [
        _primary(all_cards, "Made from observations of the sky."),
        fits.ImageHDU(sci, name="SCI"),
        fits.ImageHDU(err, name="ERR"),
        fits.ImageHDU(flags, name="DQ"),
        fits.BinTableHDU(definitions, name="DQ_DEF"),
    ]
    fits.HDUList(hdus).writeto(path)
    return path


# --- a cache --------------------------------------------------------------------------------------

PMAP = "jwst_1130.pmap"
IMAP = "jwst_nircam_0201.imap"
RMAPS = {"PHOTOM": "jwst_nircam_photom_0033.rmap", "FLAT": "jwst_nircam_flat_0060.rmap"}
_PARKEYS = {
    "PHOTOM": ("META.INSTRUMENT.DETECTOR", "META.EXPOSURE.TYPE"),
    "FLAT": ("META.INSTRUMENT.DETECTOR", "META.INSTRUMENT.FILTER", "META.INSTRUMENT.PUPIL"),
}
NOT_APPLICABLE = (
    "AREA",
    "DFLAT",
    "FFLAT",
    "SFLAT",
    "DISTORTION",
    "FILTEROFFSET",
    "BKG",
    "WAVELENGTHRANGE",
)
"""Types that the context has no files of, and says so."""

GROUND = "jwst_nircam_{}_0001.fits"
"""Files from before flight that stand first in time; the cache does not have them."""


def photom_name(array: Array) -> str:
    """Return the name of a photom file in the cache, numbered as the arrays are."""
    return f"jwst_nircam_photom_{150 + list(NIRCAM.arrays).index(array.name):04d}.fits"


def flat_name(array: Array, band_name: str) -> str:
    """Return the name of a flat in the cache."""
    index = 40 * list(NIRCAM.arrays).index(array.name) + list(NIRCAM.bands).index(band_name)
    return f"jwst_nircam_flat_{1000 + index:04d}.fits"


def write_mapping(path: Path, header: Mapping[str, object], selector: str) -> Path:
    """Write a mapping with the checksum that CRDS asks for."""
    lines = [f"    {key!r} : {value!r},\n" for key, value in sorted(header.items())]
    text = "header = {\n" + "".join(lines) + "}\n\nselector = " + selector + "\n"
    # CRDS leaves the line of the checksum out of it (crds 14.0, core/rmap.py).
    digest = hashlib.sha1(text.encode("ascii"), usedforsecurity=False).hexdigest()
    lines.append(f"    'sha1sum' : {digest!r},\n")
    path.write_text("header = {\n" + "".join(lines) + "}\n\nselector = " + selector + "\n")
    return path


def rmap_text(entries: Mapping[tuple[str, ...], Mapping[str, str]]) -> str:
    """Return a selector ``Match({key: UseAfter({time: file})})``."""
    parts = []
    for key, by_time in sorted(entries.items()):
        times = "".join(f"        {start!r} : {name!r},\n" for start, name in by_time.items())
        parts.append(f"    {key!r} : UseAfter({{\n{times}    }}),\n")
    return "Match({\n" + "".join(parts) + "})"


class CacheMaker:
    """A CRDS cache of NIRCam photom files and flats in a folder.

    Parameters
    ----------
    path : Path
    pmap : str
    """

    def __init__(self, path: Path, pmap: str = PMAP) -> None:
        self.path = path
        self.pmap = pmap
        self.mappings = path / "mappings" / "jwst"
        self.references = path / "references" / "jwst" / "nircam"
        self.config = path / "config" / "jwst"
        for folder in (self.mappings, self.references, self.config):
            folder.mkdir(parents=True)
        self.entries: dict[str, dict[tuple[str, ...], dict[str, str]]] = {"PHOTOM": {}, "FLAT": {}}
        settings = {
            "observatory": "jwst",
            "operational_context": pmap,
            "last_synced": "",
            "bad_files_list": [],
        }
        (self.config / "server_config").write_text(repr(settings), encoding="ascii")

    def add_photom(
        self,
        array: Array,
        values: Mapping[tuple[str, str], float],
        name: str | None = None,
        **options: Any,
    ) -> Path:
        """Add the photom file of an array."""
        name = photom_name(array) if name is None else name
        self.add_entry("PHOTOM", (array.detector, EXPOSURE_TYPES.removesuffix("|")), name)
        return write_photom_parent(self.references / name, array, values, **options)

    def add_flat(
        self, array: Array, band_name: str, name: str | None = None, **options: Any
    ) -> Path:
        """Add the flat of an array and band."""
        band = NIRCAM.bands[band_name]
        name = flat_name(array, band_name) if name is None else name
        self.add_entry("FLAT", (array.detector, band.filter, band.pupil), name)
        return write_flat_parent(self.references / name, array, band_name, **options)

    def add_entry(self, reftype: str, key: tuple[str, ...], name: str) -> None:
        """Add a file to an rmap, after one from before flight."""
        ground = GROUND.format(reftype.lower())
        self.entries[reftype][key] = {
            "1900-01-01 00:00:00": ground,
            USEAFTER.replace("T", " "): name,
        }

    def write_mappings(self) -> Path:
        """Write the mappings and return the cache's folder."""
        shared = {"observatory": "JWST", "derived_from": "a test"}
        write_mapping(
            self.mappings / self.pmap,
            {
                **shared,
                "mapping": "PIPELINE",
                "name": self.pmap,
                "parkey": ("META.INSTRUMENT.NAME",),
            },
            _dictionary([("NIRCAM", IMAP)]),
        )
        write_mapping(
            self.mappings / IMAP,
            {
                **shared,
                "mapping": "INSTRUMENT",
                "instrument": "NIRCAM",
                "name": IMAP,
                "parkey": ("REFTYPE",),
            },
            _dictionary([*RMAPS.items(), *((name, "N/A") for name in NOT_APPLICABLE)]),
        )
        for reftype, name in RMAPS.items():
            header = {
                **shared,
                "mapping": "REFERENCE",
                "instrument": "NIRCAM",
                "filekind": reftype,
                "name": name,
                "classes": ("Match", "UseAfter"),
                "parkey": (
                    _PARKEYS[reftype],
                    ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME"),
                ),
            }
            write_mapping(self.mappings / name, header, rmap_text(self.entries[reftype]))
        return self.path


def _dictionary(items: Iterable[tuple[str, str]]) -> str:
    """Return the text of a plain selector."""
    return "{\n" + "".join(f"    {key!r} : {value!r},\n" for key, value in items) + "}"
