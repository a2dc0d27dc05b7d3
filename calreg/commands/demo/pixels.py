"""The session of ``calreg demo --pixels``: from simulated exposures to difference images."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calreg.commands.common import GlobalOptions, log, open_registry, progress_bar
from calreg.commands.demo.session import print_truth, truth_rows

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.commands.demo.session import Session
    from calreg.simulation.simulate import Programme

_PMAP = "jwst_1130.pmap"
_FLUX = "iso"
_EXPOSURE_BYTES = 7 * 4 * 2048**2


@dataclass(frozen=True)
class Size:
    """How much is simulated.

    Attributes
    ----------
    n_dithers : int
        Of the six of the pattern.
    """

    n_epochs: int
    n_dithers: int
    bands: tuple[str, ...]

    @property
    def n_exposures(self) -> int:
        """Exposures of one epoch: eight arrays see short wavelengths, two long ones."""
        arrays = {"F200W": 8, "F444W": 2}
        return self.n_dithers * sum(arrays[band] for band in self.bands)


SIZES = {
    "full": Size(n_epochs=3, n_dithers=6, bands=("F200W", "F444W")),
    "small": Size(n_epochs=2, n_dithers=2, bands=("F444W",)),
}


def run_from_pixels(
    session: Session,
    url: str,
    directory: Path,
    size: Size,
    seed: int,
    jobs: int,
    *,
    keep_exposures: bool,
) -> None:
    """Simulate epoch by epoch, make mosaics of each, then measure, fit and subtract."""
    from calreg.simulation.simulate import simulate_jwidf

    log(
        f"SIMULATED data: {size.n_epochs} epochs of {size.n_exposures} exposures with 2048 x 2048 "
        f"pixels, in {' and '.join(size.bands)}; {size.n_dithers} dithers that close the gaps as "
        "FULLBOX 6TIGHT does"
    )
    programme = simulate_jwidf(
        seed,
        n_epochs=size.n_epochs,
        n_dithers=size.n_dithers,
        pmaps=(_PMAP,),
        bands=size.bands,
    )
    directory.mkdir(parents=True, exist_ok=True)
    _require_room(directory, size, keep_exposures=keep_exposures)
    mosaics = directory / "mosaics"
    session.run("db", "init")
    for epoch in programme.epochs:
        folder = _simulate(programme, epoch.number, directory / "exposures", seed, jobs)
        session.run("mosaic", str(folder), "--out", str(mosaics), "--stripes", "--jobs", str(jobs))
        if not keep_exposures:
            shutil.rmtree(folder)
            log(f"removed {folder} (--keep-exposures keeps them)")
    images = sorted(str(path) for path in mosaics.glob("*_i2d.fits"))
    # Isophotes that follow the noise of one epoch make it brighter than the others.
    measure = ("--detect", "stack", "--jobs", str(jobs))
    shown = " ".join(("measure", f"{mosaics}/*_i2d.fits", *measure))
    session.run("measure", *images, *measure, shown=shown)
    session.run("refit")
    session.run("astrometry")
    session.run("coefficients", "--pmap", _PMAP)
    recipe = str(directory / "recipe_1130.ecsv")
    session.run("export", "recipe", recipe, "--pmap", _PMAP, "--flux", _FLUX)
    with open_registry(GlobalOptions(url), read_only=True) as registry:
        rows = truth_rows(registry, programme, flux_kind=_FLUX)
        first = registry.offsets(pmap=_PMAP)[0]
    differences = directory / "differences"
    session.run(
        *("difference", first.epoch_i, first.epoch_j, "--pmap", _PMAP, "--flux", _FLUX),
        *("--out", str(differences)),
    )
    print_truth(rows)
    log("truth: Table 3 of Ma et al. (2024), put into SIMULATED pixels; isophotal fluxes")
    _tell_residuals(differences)


def _simulate(programme: Programme, epoch: int, directory: Path, seed: int, jobs: int) -> Path:
    """Write the exposures of one epoch, and return their folder."""
    from calreg.simulation.pixelfiles import write_exposures
    from calreg.simulation.pixels import PixelSettings
    from calreg.simulation.scene import draw_scene

    started = time.monotonic()
    with progress_bar() as progress:
        paths = write_exposures(
            programme,
            draw_scene(seed, programme.sky),
            directory,
            PixelSettings(seed=seed),
            epochs=[epoch],
            jobs=jobs,
            progress=progress,
        )
    log(
        f"\nwrote {len(paths)} SIMULATED exposures of epoch {epoch} to {paths[0].parent} "
        f"({time.monotonic() - started:.1f} s)"
    )
    return paths[0].parent


def _tell_residuals(differences: Path) -> None:
    """Report the residuals of sources after the correction, half by half."""
    from calreg.files.images.difference import read_half_residuals

    found = [row for path in differences.glob("*.fits") for row in read_half_residuals(path)]
    worst = max(found, key=lambda row: abs(row.after_median))
    log(
        f"after the correction {len(found)} halves of the field differ by {worst.after_median:+.4f}"
        f" +- {worst.after_err:.4f} at most ({worst.band}, {worst.half}, {worst.n_sources} sources)"
    )


def _require_room(directory: Path, size: Size, *, keep_exposures: bool) -> None:
    """Refuse to begin on a disk that would fill up."""
    from calreg.errors import OutputError

    n_kept = size.n_epochs if keep_exposures else 1
    # Mosaics and difference images come to a fifth of one epoch's exposures, per epoch.
    needed = (n_kept + 0.2 * size.n_epochs) * size.n_exposures * _EXPOSURE_BYTES
    free = shutil.disk_usage(directory).free
    if free < needed:
        msg = (
            f"{directory}: {free / 1e9:.1f} GB free, the demo needs {needed / 1e9:.1f} GB: "
            "choose a folder on another disk"
        )
        raise OutputError(msg)
