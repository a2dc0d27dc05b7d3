"""Write simulated exposures with all their pixels, as `cal` files of the JWST archive."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import cache
from multiprocessing import get_context
from typing import TYPE_CHECKING, NamedTuple

from calreg.domain import no_progress
from calreg.errors import OutputError
from calreg.files.fits.cards import Value, format_card
from calreg.files.fits.write import image_block, primary_block
from calreg.simulation.distortion import siaf_distortion
from calreg.simulation.files import make_folder
from calreg.simulation.headers import (
    HeaderTemplate,
    exposure_primary_values,
    exposure_sci_values,
)
from calreg.simulation.pixels import PixelSettings, SimulatedPixels, simulate_pixels

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from astropy.wcs import WCS

    from calreg.domain import Progress
    from calreg.simulation.distortion import Distortion
    from calreg.simulation.exposures import SimulatedExposure
    from calreg.simulation.programme import TrueCoefficients
    from calreg.simulation.scene import Scene
    from calreg.simulation.simulate import Programme

_COMMENT = (
    "SIMULATED by calreg: header values imitate real exposures; photons, readout noise, 1/f "
    "stripes, background and bad pixels are simulated; the distortion is that of the SIAF."
)
_WCS_NUMBERS = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CDELT1", "CDELT2")
_PC_DEFAULT = {"PC1_1": 1.0, "PC1_2": 0.0, "PC2_1": 0.0, "PC2_2": 1.0}


def write_exposures(
    programme: Programme,
    scene: Scene,
    directory: Path,
    settings: PixelSettings,
    *,
    epochs: Collection[int] | None = None,
    jobs: int = 1,
    progress: Progress = no_progress,
) -> list[Path]:
    """Simulate the exposures of a programme and write them.

    Parameters
    ----------
    directory : pathlib.Path
        Made if missing; files go to ``<directory>/epoch<N>/`` under the names that the archive
        gives, so that a programme of one context is expected.
    jobs : int
        Processes that work at the same time; the files are the same for any number.

    Raises
    ------
    OutputError
        If a file exists or cannot be written.
    """
    distortions: dict[str, Distortion] = {}
    tasks: list[_Task] = []
    for exposure in programme.exposures:
        if epochs is not None and exposure.epoch.number not in epochs:
            continue
        array, band = exposure.array, exposure.band.name
        if array.name not in distortions:
            distortions[array.name] = siaf_distortion(array)
        folder = directory / f"epoch{exposure.epoch.number}"
        make_folder(folder)
        tasks.append(
            _Task(
                folder / exposure.file_name,
                exposure,
                scene,
                programme.true_coefficients(exposure.pmap, band, array.array_id),
                programme.bands.index(band),
                distortions[array.name],
                settings,
            )
        )
    for n_done, _ in enumerate(_done(tasks, jobs), start=1):
        progress("simulating exposures", n_done, len(tasks))
    return [task.path for task in tasks]


class _Task(NamedTuple):
    """One file to be made."""

    path: Path
    exposure: SimulatedExposure
    scene: Scene
    truth: TrueCoefficients
    band_index: int
    distortion: Distortion
    settings: PixelSettings


def _done(tasks: list[_Task], jobs: int) -> Iterator[None]:
    """Do all tasks, one after another or in processes of their own."""
    if jobs == 1:
        yield from map(_simulate_and_write, tasks)
        return
    # Fresh processes: a fork would take along the threads of NumPy, and whatever else is open.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_simulate_and_write, tasks)


def _simulate_and_write(task: _Task) -> None:
    """Make one file."""
    write_cal(task.path, simulate_pixels(*task[1:]))


def write_cal(path: Path, pixels: SimulatedPixels) -> None:
    """Write one `cal` file.

    Raises
    ------
    OutputError
        If the file exists or cannot be written; what was begun is removed.
    """
    unit = [format_card("BUNIT", "MJy/sr", "physical units of the array values")]
    exposure = pixels.exposure
    values = {**exposure_sci_values(exposure), **_wcs_values(pixels.wcs)}
    try:
        with path.open("xb") as stream:
            try:
                cards = HeaderTemplate("primary").filled(exposure_primary_values(exposure))
                stream.write(primary_block(cards, _COMMENT))
                stream.write(image_block("SCI", pixels.sci, _science_template().filled(values)))
                stream.write(image_block("ERR", pixels.err, unit))
                stream.write(image_block("DQ", pixels.dq))
                stream.write(image_block("AREA", pixels.area))
                stream.write(image_block("VAR_POISSON", pixels.var_poisson))
                stream.write(image_block("VAR_RNOISE", pixels.var_rnoise))
                stream.write(image_block("VAR_FLAT", pixels.var_flat))
            except BaseException:
                with suppress(OSError):
                    path.unlink()
                raise
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror}): choose an empty directory with room"
        raise OutputError(msg) from error


@cache
def _science_template() -> HeaderTemplate:
    """Return the cards of SCI with room for SIP terms."""
    extra: dict[str, tuple[Value, str]] = {}
    for name in ("A", "B", "AP", "BP"):
        extra[f"{name}_ORDER"] = (5, "Degree of the SIP polynomial")
        low = 1 if name.endswith("P") else 2
        extra |= {
            f"{name}_{i}_{j}": (0.0, "SIP coefficient")
            for i in range(6)
            for j in range(6 - i)
            if (i + j >= low or name.endswith("P"))
        }
    return HeaderTemplate("sci", extra)


def _wcs_values(wcs: WCS) -> dict[str, Value]:
    """Return the cards of a WCS with SIP terms."""
    header = wcs.to_header(relax=True)
    values: dict[str, Value] = {name: float(header[name]) for name in _WCS_NUMBERS}
    values |= {name: float(header.get(name, default)) for name, default in _PC_DEFAULT.items()}
    values |= {name: str(header[name]) for name in ("CTYPE1", "CTYPE2")}
    for name, sip in (("A", wcs.sip.a), ("B", wcs.sip.b), ("AP", wcs.sip.ap), ("BP", wcs.sip.bp)):
        values |= {
            f"{name}_{i}_{j}": float(sip[i, j])
            for i in range(len(sip))
            for j in range(len(sip) - i)
            if sip[i, j] != 0.0
        }
    return values
