"""Exposures ingested, beside astropy that opens the same files and reads the same cards."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from astropy.io import fits

from benchmarks.databases import ENGINES
from benchmarks.harness import Contender, Result, alternate
from calreg import Registry
from calreg.files.fits.headers import BLOCK_BYTES, read_headers
from calreg.instruments import load_instrument
from calreg.simulation.files import write_programme
from calreg.simulation.simulate import simulate_jwidf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.harness import Setting

_N_FILES = 500
_N_FILES_QUICK = 100
_PIXELS = 540
"""Pixels along an axis that make eight megabytes of seven image extensions."""
_AT_LEAST = 2.0


def run(setting: Setting) -> Iterator[Result]:
    """Ingest exposures of 8 MB and 8 HDUs, the whole command, beside astropy's reading alone."""
    n_files = _N_FILES_QUICK if setting.is_quick else _N_FILES
    paths = write_exposures(setting.folder, n_files)
    n_bytes = sum(path.stat().st_size for path in paths) / n_files
    with fits.open(paths[0]) as hdus:
        n_hdus = len(hdus)
    keywords = load_instrument("nircam").keywords.values()
    wanted = [(keyword.hdu, keyword.card) for keyword in keywords]
    for engine in ENGINES:
        case = _Case(setting, engine, paths)
        ours = Contender("Registry.ingest", case.ingest, prepare=case.renew)
        peer = Contender("astropy", lambda: read_with_astropy(paths, wanted))
        alternate([ours, peer], setting.n_rounds)
        ratio = peer.median_s / ours.median_s
        yield Result(
            f"{n_files} exposures of {n_bytes / 1e6:.1f} MB, {n_hdus} HDUs, ingested, {engine}",
            f"{n_files / ours.median_s:.0f} files/s",
            f"{n_files / peer.median_s:.0f} files/s astropy, {len(wanted)} cards",
            ratio,
            f">= {_AT_LEAST:g} x",
            ratio >= _AT_LEAST,
        )


class _Case:
    """An empty registry for every round."""

    def __init__(self, setting: Setting, engine: str, paths: list[Path]) -> None:
        self._databases = setting.databases
        self._original = setting.databases.make(engine)
        self._paths = paths
        self._url = self._original

    def renew(self) -> None:
        """Take a fresh copy."""
        self._url = self._databases.copy(self._original)

    def ingest(self) -> None:
        """Open the registry and ingest all files."""
        with Registry(self._url) as registry:
            report = registry.ingest(self._paths)
        if len(report.loaded) != len(self._paths):
            msg = f"{len(report.loaded)} of {len(self._paths)} files loaded: {report.refused[:3]}"
            raise RuntimeError(msg)


def read_with_astropy(paths: Sequence[Path], wanted: Sequence[tuple[str, str]]) -> None:
    """Open every file lazily and read the cards of the two headers."""
    for path in paths:
        with fits.open(path) as hdus:
            headers = {name: hdus[name].header for name in ("PRIMARY", "SCI")}
            for hdu, card in wanted:
                headers[hdu].get(card)


def write_exposures(folder: Path, n_files: int) -> list[Path]:
    """Write exposures with the headers of the simulated JWIDF and larger, empty pixels."""
    n_epochs = -(-n_files // 120)
    programme = simulate_jwidf(n_epochs=n_epochs, pmaps=("jwst_1130.pmap",))
    small = [path for path in write_programme(programme, folder / "small") if "_cal" in path.name]
    large = folder / "large"
    large.mkdir()
    return [_enlarge(path, large / path.name) for path in small[:n_files]]


def _enlarge(source: Path, target: Path) -> Path:
    """Copy a file with other NAXIS1 and NAXIS2; its pixels are a hole in a sparse file."""
    with target.open("wb") as stream:
        for unit in read_headers(source).units:
            raw = re.sub(
                rb"(NAXIS[12]  = +)\d+(?= )",
                lambda found: found[1][: 30 - len(str(_PIXELS))] + str(_PIXELS).encode(),
                unit.raw,
            )
            stream.write(raw)
            if unit.shape:
                n_bytes = _PIXELS * _PIXELS * 4
                stream.seek(-(-n_bytes // BLOCK_BYTES) * BLOCK_BYTES, 1)
        stream.truncate(stream.tell())
    return target
