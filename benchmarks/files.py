"""Headers checked, beside astropy that opens the same files and reads the same cards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.harness import Contender, Result, alternate
from benchmarks.headers import read_with_astropy, write_exposures
from calreg.inspection import check_files
from calreg.instruments import load_instrument

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


def run(setting: Setting) -> Iterator[Result]:
    """Check exposures of 8 MB and 8 HDUs."""
    n_files = _N_HEADERS // 10 if setting.is_quick else _N_HEADERS
    yield _checked(write_exposures(setting.folder, n_files))


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
