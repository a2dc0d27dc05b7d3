"""Two catalogs matched, beside astropy, with the pairs compared and the peak memory of both."""

from __future__ import annotations

import multiprocessing
import resource
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord, match_coordinates_sky

from benchmarks.harness import Contender, Result, alternate, speed_result
from calreg.science.sky.matching import match_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from benchmarks.harness import Setting
    from calreg.domain import IntArray
    from calreg.units import FloatArray

    Positions = tuple[FloatArray, FloatArray]

_MAX_SEP_ARCSEC = 0.1
_AT_LEAST = 2.0
_SCATTER_ARCSEC = 0.02
_SHARED = 0.8
_FIELD_DEG2_PER_SOURCE = 1e-6
"""A dense field: a million sources to the square degree, as deep NIRCam images have."""


def run(setting: Setting) -> Iterator[Result]:
    """Match two catalogs within 0.1 arcsec in a dense field and over the whole sky."""
    for sky in ("dense field", "all sky"):
        first, second = simulated_catalogs(sky, setting.n_rows)
        _require_same_pairs(first, second)
        ours = Contender("calreg", partial(_match_ours, first, second))
        peer = Contender("astropy", partial(_match_astropy, first, second))
        alternate([ours, peer], setting.n_rounds)
        yield speed_result(
            f"two catalogs of {setting.n_rows} matched within 0.1 arcsec, {sky}",
            ours,
            peer,
            n=setting.n_rows,
            unit=" sources",
            at_least=_AT_LEAST,
        )
        ours_mb, peer_mb = (
            _peak_memory_mb(match, sky, setting.n_rows) for match in (_match_ours, _match_astropy)
        )
        yield Result(
            f"  memory on top of the catalogs, {sky}",
            f"{ours_mb:.0f} MB",
            f"{peer_mb:.0f} MB astropy",
            ours_mb / peer_mb if peer_mb else None,
        )


def simulated_catalogs(sky: str, n_sources: int) -> tuple[Positions, Positions]:
    """Return two catalogs (ra, dec) [deg] that share most of their sources, in different order."""
    rng = np.random.default_rng(3)
    n_all = int(n_sources * (2.0 - _SHARED))
    if sky == "all sky":
        ra_deg = rng.uniform(0.0, 360.0, n_all)
        dec_deg = np.degrees(np.arcsin(rng.uniform(-1.0, 1.0, n_all)))
    else:
        width_deg = np.sqrt(n_sources * _FIELD_DEG2_PER_SOURCE)
        dec_deg = 65.8 + width_deg * (rng.uniform(size=n_all) - 0.5)
        ra_deg = 260.7 + width_deg * (rng.uniform(size=n_all) - 0.5) / np.cos(np.radians(65.8))
    second = rng.permutation(np.arange(n_all - n_sources, n_all))
    step_deg = rng.normal(0.0, _SCATTER_ARCSEC / 3600.0, (2, n_sources))
    cos_dec = np.maximum(np.cos(np.radians(dec_deg[second])), 1e-3)
    return (ra_deg[:n_sources], dec_deg[:n_sources]), (
        (ra_deg[second] + step_deg[0] / cos_dec) % 360.0,
        np.clip(dec_deg[second] + step_deg[1], -90.0, 90.0),
    )


def _match_ours(first: Positions, second: Positions) -> tuple[IntArray, IntArray]:
    """Return the rows of mutual pairs."""
    match = match_sources(*first, *second, _MAX_SEP_ARCSEC)
    return match.index_1, match.index_2


def _match_astropy(first: Positions, second: Positions) -> tuple[IntArray, IntArray]:
    """Return the rows of sources with their nearest, cut at the radius: not yet mutual."""
    nearest, separation, _ = match_coordinates_sky(
        SkyCoord(*first, unit="deg"), SkyCoord(*second, unit="deg")
    )
    is_near = separation <= _MAX_SEP_ARCSEC * units.arcsec
    return np.flatnonzero(is_near), nearest[is_near]


def _require_same_pairs(first: Positions, second: Positions) -> None:
    """Raise unless the pairs that are nearest both ways in astropy are ours."""
    there = np.column_stack(_match_astropy(first, second))
    back = np.column_stack(_match_astropy(second, first)[::-1])
    mutual = {tuple(pair) for pair in there.tolist()} & {tuple(pair) for pair in back.tolist()}
    ours = set(zip(*(index.tolist() for index in _match_ours(first, second)), strict=True))
    if ours != mutual:
        msg = f"{len(ours ^ mutual)} of {len(mutual)} pairs differ from astropy's"
        raise RuntimeError(msg)


def _peak_memory_mb(
    match: Callable[[Positions, Positions], object], sky: str, n_sources: int
) -> float:
    """Return how far matching raises the peak memory of a process of its own [MB]."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_memory, args=(sender, match, sky, n_sources))
    process.start()
    sender.close()
    peak_mb = float(receiver.recv())
    process.join()
    return peak_mb


def _measure_memory(
    sender: Connection,
    match: Callable[[Positions, Positions], object],
    sky: str,
    n_sources: int,
) -> None:
    """Match a few sources so that all is imported, then all of them; send the rise of the peak."""
    match(*simulated_catalogs(sky, 100))
    first, second = simulated_catalogs(sky, n_sources)
    before_kb = _peak_rss_kb()
    match(first, second)
    sender.send((_peak_rss_kb() - before_kb) / 1024.0)


def _peak_rss_kb() -> int:
    """Return the largest resident size of this process so far [KiB]."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux starts getrusage's peak at that of the parent process.
        lines = status.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
