"""Photom files, mappings and tables about contexts, as CRDS and people write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits

from calreg.instruments import load_instrument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Row = tuple[str, str, str, float]
"""filter, pupil, subarray, photmjsr."""


def write_photom(
    path: Path,
    array: str,
    rows: Sequence[Row],
    *,
    pixar_sr: float = 2.3e-14,
    has_time: bool = False,
    cards: Mapping[str, str] | None = None,
) -> Path:
    """Write a photom file; without any subarray its table has no such column."""
    primary = fits.PrimaryHDU()
    plain = {
        "TELESCOP": "JWST",
        "INSTRUME": "NIRCAM",
        "REFTYPE": "PHOTOM",
        "DATAMODL": "NrcImgPhotomModel",
        "DETECTOR": load_instrument().array(array).detector,
        "EXP_TYPE": "NRC_IMAGE",
        "PEDIGREE": "INFLIGHT 2022-07-08 2023-07-06",
        "PIXAR_SR": pixar_sr,
        "PIXAR_A2": pixar_sr * 4.25e10,
    }
    for keyword, value in (plain | dict(cards or {})).items():
        primary.header[keyword] = value
    columns = [("filter", "S12"), ("pupil", "S12"), ("photmjsr", ">f4"), ("uncertainty", ">f4")]
    cells = [(row[0], row[1], row[3], 0.01 * row[3]) for row in rows]
    if any(row[2] for row in rows):
        columns.insert(2, ("subarray", "S12"))
        cells = [(*row, 0.01 * row[3]) for row in rows]  # type: ignore[misc]
    hdus = [primary, fits.BinTableHDU(np.array(cells, dtype=columns), name="PHOTOM")]
    if has_time:
        coefficients = np.array(
            [(59700.0, 0.002)] * len(rows), dtype=[("t0", ">f8"), ("lossperyear", ">f8")]
        )
        hdus.append(fits.BinTableHDU(coefficients, name="TIMECOEFF_LINEAR"))
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(hdus).writeto(path)
    return path


def write_mapping(path: Path, header: Mapping[str, object], selector: str) -> Path:
    """Write a mapping as CRDS does."""
    lines = "".join(f"    {name!r} : {value!r},\n" for name, value in header.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"header = {{\n{lines}}}\n\nselector = {selector}\n", encoding="utf-8")
    return path


def write_cache(
    root: Path,
    pmap: str,
    photom: Mapping[str, str | Mapping[str, str]],
    flat: Mapping[tuple[str, str], str] | None = None,
) -> Path:
    """Write the mappings of a context; return its pmap.

    `photom` has a file, or files by USEAFTER, by array; `flat` a file by array and band.
    """
    folder = root / "mappings" / "jwst"
    serial = pmap.removeprefix("jwst_").removesuffix(".pmap")
    rmaps = {"photom": f"jwst_nircam_photom_{serial}.rmap"}
    shared = {"instrument": "NIRCAM", "mapping": "REFERENCE", "observatory": "JWST"}
    time = ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME")
    entries = ""
    for array, files in photom.items():
        dated = {"2022-04-01 00:00:00": files} if isinstance(files, str) else files
        entries += (
            f"    ({array.upper()!r}, 'NRC_IMAGE|NRC_TSIMAGE') : UseAfter({dict(dated)!r}),\n"
        )
    write_mapping(
        folder / rmaps["photom"],
        shared
        | {
            "filekind": "PHOTOM",
            "parkey": (("META.INSTRUMENT.DETECTOR", "META.EXPOSURE.TYPE"), time),
        },
        f"Match({{\n{entries}}})",
    )
    if flat is not None:
        rmaps["flat"] = f"jwst_nircam_flat_{serial}.rmap"
        entries = "".join(
            f"    ({array.upper()!r}, {band!r}, 'CLEAR') : "
            f"UseAfter({{'2022-04-01 00:00:00' : {name!r}}}),\n"
            for (array, band), name in flat.items()
        )
        keys = tuple(f"META.INSTRUMENT.{name}" for name in ("DETECTOR", "FILTER", "PUPIL"))
        write_mapping(
            folder / rmaps["flat"],
            shared | {"filekind": "FLAT", "parkey": (keys, time)},
            f"Match({{\n{entries}}})",
        )
    imap = f"jwst_nircam_{serial}.imap"
    write_mapping(
        folder / imap,
        {"instrument": "NIRCAM", "mapping": "INSTRUMENT", "parkey": ("REFTYPE",)},
        repr({"area": "N/A", **rmaps}),
    )
    return write_mapping(
        folder / pmap,
        {"mapping": "PIPELINE", "parkey": ("META.INSTRUMENT.NAME",)},
        repr({"MIRI": "jwst_miri_0001.imap", "NIRCAM": imap}),
    )
