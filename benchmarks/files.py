"""Files of a reduction checked and corrected, beside astropy that reads (and writes) the same."""

from __future__ import annotations

import os
import shutil
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits

from benchmarks.harness import Contender, Result, alternate
from benchmarks.headers import read_with_astropy, write_exposures
from calreg.apply.check import check_files
from calreg.domain import Pmap
from calreg.files.corrected.exposure import read_cal_file
from calreg.files.corrected.rewrite import write_corrected, write_in_order
from calreg.files.images.calibration import CorrectionOrigin, CorrectionRecord
from calreg.instruments import load_instrument
from calreg.science.model.gradient import PixelPlane

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.harness import Setting

_N_HEADERS = 1000
_CHECK_AT_LEAST = 3.0
_CHECKED = (
    "telescope", "instrument", "detector", "filter", "pupil", "subarray", "pmap", "cal_ver",
    "exposure_type", "r_photom", "photom_state", "bunit", "photmjsr", "pixar_sr",
)  # fmt: skip

_PIXELS = 2048
_N_EXPOSURES = 4
_APPLY_AT_MOST = 1.2
_N_ROUNDS = 7
_PLANES = ("SCI", "ERR", "DQ", "AREA", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")


def run(setting: Setting) -> Iterator[Result]:
    """Check exposures of 8 MB and 8 HDUs; correct some of the full array with all planes."""
    n_files = _N_HEADERS // 10 if setting.is_quick else _N_HEADERS
    paths = write_exposures(setting.folder, n_files)
    yield _checked(paths)
    yield _corrected(setting.folder, paths[0])


def _checked(paths: list[Path]) -> Result:
    """Time `check_files` without a registry."""
    instrument = load_instrument("nircam")
    keywords = [instrument.keywords[name] for name in _CHECKED]
    wanted = [(keyword.hdu, keyword.card) for keyword in keywords]
    ours = Contender("check_files", lambda: check_files(paths, None, instrument))
    peer = Contender("astropy", lambda: read_with_astropy(paths, wanted))
    alternate([ours, peer], 3)
    ratio = peer.median_s / ours.median_s
    return Result(
        f"{len(paths)} headers checked",
        f"{ours.median_s:.2f} s",
        f"{peer.median_s:.2f} s astropy, {len(wanted)} cards",
        ratio,
        f">= {_CHECK_AT_LEAST:g} x",
        ratio >= _CHECK_AT_LEAST,
    )


def _corrected(folder: Path, like: Path) -> Result:
    """Time reading, correcting, digests, writing and flushing, with a gradient."""
    instrument = load_instrument("nircam")
    original = _full_exposure(folder / "full_cal.fits", like)
    paths = [original.with_name(f"{number}_cal.fits") for number in range(_N_EXPOSURES)]
    targets = [original.with_name(f"{number}_written_cal.fits") for number in range(_N_EXPOSURES)]
    for path in paths:
        shutil.copyfile(original, path)
    record = CorrectionRecord(
        set_id="benchmark",
        datum="B",
        code_version="0",
        application_id="0",
        origin=CorrectionOrigin.MEASURED,
        set_pmap=Pmap(1130),
        gradient_datum="symmetric",
        photom_factor=1.012045,
        gradient=PixelPlane(0.0, 5e-6, -1e-6),
        n_pixels=_PIXELS,
        sha256_before="",
        created_utc="2026-01-01T00:00:00Z",
    )

    def correct() -> None:
        # As calreg apply: every file is looked at before any is written.
        cals = [read_cal_file(path, instrument) for path in paths]
        for _ in write_in_order(
            partial(write_corrected, cal, target, record, ["x"])
            for cal, target in zip(cals, targets, strict=True)
        ):
            pass

    def copy() -> None:
        for path, target in zip(paths, targets, strict=True):
            # As one who changes pixels must: without, astropy copies bytes that it has not read.
            with fits.open(path, memmap=False) as hdus:
                for hdu in hdus:
                    _ = hdu.data
                hdus.writeto(target)
            descriptor = os.open(target, os.O_RDWR)
            os.fsync(descriptor)
            os.close(descriptor)

    def clear() -> None:
        for target in targets:
            target.unlink(missing_ok=True)

    ours = Contender("calreg apply", correct, prepare=clear)
    peer = Contender("astropy", copy, prepare=clear)
    alternate([ours, peer], _N_ROUNDS)
    ratio = ours.median_s / peer.median_s
    size = original.stat().st_size / 1e6
    return Result(
        f"{_N_EXPOSURES} exposures of {size:.0f} MB corrected, written, flushed to disk",
        f"{ours.median_s:.2f} s",
        f"{peer.median_s:.2f} s astropy, planes read and written",
        ratio,
        f"<= {_APPLY_AT_MOST:g} x",
        ratio <= _APPLY_AT_MOST,
    )


def _full_exposure(path: Path, like: Path) -> Path:
    """Write an exposure of the full array with all planes and the headers of another."""
    rng = np.random.default_rng(1)
    with fits.open(like) as hdus:
        new: list[fits.PrimaryHDU | fits.ImageHDU] = [fits.PrimaryHDU(header=hdus[0].header)]
        for name in _PLANES:
            plane = rng.random((_PIXELS, _PIXELS), dtype=np.float32)
            dtype = np.uint32 if name == "DQ" else np.float32
            new.append(fits.ImageHDU(plane.astype(dtype), hdus[name].header, name=name))
        fits.HDUList(new).writeto(path)
    return path
