"""Simulate a programme such as JWIDF: exposures, mosaics and matched catalogs with known offsets.

Arrays only; `calreg.simulation.files` writes them as files. Everything follows from the seed, and
the epochs of a short programme are the first epochs of a longer one with the same seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from calreg.domain import Pmap
from calreg.errors import InvalidValueError
from calreg.instruments import load_instrument
from calreg.science.sky.geometry import sky_from_tangent_plane
from calreg.simulation import programme as jwidf
from calreg.simulation.exposures import (
    expose,
    mosaic_outlines,
    plan_epochs,
)
from calreg.simulation.sky import Patch, draw_sky
from calreg.simulation.sources import (
    MOSAIC_PIXAR_SR,
    View,
    calibrate,
    measure,
)
from calreg.units import flux_divisor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.instruments import Array, Band, Instrument
    from calreg.simulation.exposures import (
        ExposureKey,
        SimulatedEpoch,
        SimulatedExposure,
    )
    from calreg.simulation.programme import TrueCoefficients
    from calreg.simulation.sky import Rectangle, Sky
    from calreg.simulation.sources import (
        SimulatedDetections,
    )
    from calreg.units import FloatArray

_SKY_STREAM = 0
_DEPTH_DITHERS = 6
"""Mosaics are as deep as six dithers, however many are written."""


@dataclass(frozen=True)
class SimulatedMosaic:
    """The drizzled dithers of one array in one band and epoch, and the catalog measured on them.

    Attributes
    ----------
    detection_name : str
        File name of the mosaic that sources were detected on: the first epoch's, of the same patch.
    patch : str
        Array that saw the patch in the first epoch.
    footprint : ndarray of float64, shape (4, 2)
        ICRS (ra, dec) [deg].
    """

    members: tuple[SimulatedExposure, ...] = field(repr=False)
    detection_name: str
    patch: str
    footprint: FloatArray = field(repr=False)
    detections: SimulatedDetections = field(repr=False)

    @property
    def epoch(self) -> SimulatedEpoch:
        """Epoch of all members."""
        return self.members[0].epoch

    @property
    def array(self) -> Array:
        """Array of all members."""
        return self.members[0].array

    @property
    def band(self) -> Band:
        """Band of all members."""
        return self.members[0].band

    @property
    def pmap(self) -> str:
        """Context of all members."""
        return self.members[0].pmap

    @property
    def pixar_sr(self) -> float:
        """Area of a mosaic pixel [sr]."""
        return MOSAIC_PIXAR_SR

    @property
    def file_name(self) -> str:
        """``jw01176-o241_t001_nircam_clear-f150w_nrca1_i2d.fits``."""
        return _mosaic_name(self.epoch.observation, self.band, self.array)

    @property
    def catalog_name(self) -> str:
        """Name of the SExtractor catalog, ending in ``_i2d.cat``."""
        return self.file_name.removesuffix(".fits") + ".cat"


@dataclass(frozen=True)
class Programme:
    """A simulated programme.

    Attributes
    ----------
    truth : tuple of TrueCoefficients
        For exactly the pmaps, bands and array ids of the programme.
    """

    seed: int
    field_ra_deg: float
    field_dec_deg: float
    axis_pa_deg: float
    epochs: tuple[SimulatedEpoch, ...]
    bands: tuple[str, ...]
    pmaps: tuple[str, ...]
    truth: tuple[TrueCoefficients, ...]
    sky: Sky = field(repr=False)
    exposures: tuple[SimulatedExposure, ...] = field(repr=False)
    mosaics: tuple[SimulatedMosaic, ...] = field(repr=False)

    def true_coefficients(self, pmap: str, band: str, array_id: str) -> TrueCoefficients:
        """Return the injected coefficients of one key.

        Raises
        ------
        UnknownKeyError
            If the programme has no such key.
        """
        return jwidf.true_coefficients(self.truth, pmap, band, array_id)

    def mosaic(self, pmap: str, band: str, array: str, epoch: int) -> SimulatedMosaic:
        """Return one mosaic.

        Raises
        ------
        InvalidValueError
            If the programme has no such mosaic.
        """
        for mosaic in self.mosaics:
            key = (mosaic.pmap, mosaic.band.name, mosaic.array.name, mosaic.epoch.number)
            if key == (pmap, band, array, epoch):
                return mosaic
        msg = f"the programme has no mosaic of {pmap} {band} {array} epoch {epoch}"
        raise InvalidValueError(msg)


def simulate_jwidf(
    seed: int = 1,
    *,
    n_epochs: int = 3,
    pmaps: Sequence[str] = jwidf.PMAPS,
    truth: Sequence[TrueCoefficients] | None = None,
    bands: Sequence[str] = jwidf.BANDS,
    faint_per_patch: int = 200,
    bright_scale: int = 1,
    n_dithers: int = 6,
) -> Programme:
    """Simulate JWIDF, or a programme like it with other epochs, contexts and truth.

    Parameters
    ----------
    n_epochs : int
        Rolls alternate by 180 deg; epochs after the third follow every 182 days.
    pmaps : sequence of str
        Contexts that the same raw data are reduced with.
    truth : sequence of TrueCoefficients, optional
        What to inject for every pmap, band and array id; by default the programme's own, which
        knows the two default pmaps.
    faint_per_patch : int
        Mean number of sources fainter than 22 mag per short-wavelength mosaic.
    bright_scale : int
        Multiplies the paper's numbers of bright sources (Table 2).

    Raises
    ------
    InvalidValueError
        If a number is out of range or the field has no room for the sources.
    UnknownKeyError
        If a band is not JWIDF's, or a key has no truth.
    """
    if n_epochs < 1 or not 1 <= n_dithers <= len(jwidf.DITHER_OFFSETS_ARCSEC) or bright_scale < 0:
        msg = (
            f"cannot simulate {n_epochs} epochs, {n_dithers} dithers, bright_scale {bright_scale}: "
            f"expected 1 or more, 1 to {len(jwidf.DITHER_OFFSETS_ARCSEC)}, 0 or more"
        )
        raise InvalidValueError(msg)
    setup = _Setup.make(seed, tuple(Pmap.parse(pmap).name for pmap in pmaps), bands, truth)
    # Both rolls are always planned: the sky does not depend on the number of epochs.
    epochs = plan_epochs(setup.instrument, max(n_epochs, 2), n_dithers)
    exposures = expose(setup.instrument, setup.bands, epochs, n_dithers)
    outlines = mosaic_outlines(exposures)
    patches = _patches(setup, outlines)
    sky = draw_sky(
        np.random.default_rng([seed, _SKY_STREAM]),
        patches,
        tuple(_scaled(jwidf.SOURCE_COUNTS[band.name], bright_scale) for band in setup.bands),
        axis_angle_rad=float(np.radians(90.0 - jwidf.AXIS_PA_DEG)),
        faint_per_patch=faint_per_patch,
    )
    mosaics = _observe(setup, sky, epochs[:n_epochs], exposures, outlines)
    return Programme(
        seed=seed,
        field_ra_deg=jwidf.FIELD_RA_DEG,
        field_dec_deg=jwidf.FIELD_DEC_DEG,
        axis_pa_deg=jwidf.AXIS_PA_DEG,
        epochs=epochs[:n_epochs],
        bands=tuple(band.name for band in setup.bands),
        pmaps=setup.pmaps,
        truth=setup.truth,
        sky=sky,
        exposures=tuple(member for mosaic in mosaics for member in mosaic.members),
        mosaics=mosaics,
    )


# --- plan ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setup:
    """What stays the same over epochs."""

    seed: int
    instrument: Instrument
    pmaps: tuple[str, ...]
    bands: tuple[Band, ...]
    truth: tuple[TrueCoefficients, ...]
    photmjsr: dict[tuple[str, str, str], float]
    photom_files: dict[tuple[str, str], str]

    @classmethod
    def make(
        cls,
        seed: int,
        pmaps: tuple[str, ...],
        bands: Sequence[str],
        truth: Sequence[TrueCoefficients] | None,
    ) -> _Setup:
        """Complete the arguments and derive the zero points that go with the truth."""
        instrument = load_instrument("nircam")
        given = tuple(
            replace(entry, pmap=Pmap.parse(entry.pmap).name)
            for entry in (jwidf.programme_truth() if truth is None else truth)
        )
        used = tuple(instrument.band_named(band) for band in bands)
        if not pmaps or not used:
            msg = "a programme needs at least one pmap and one band"
            raise InvalidValueError(msg)
        arrays = {
            band.name: [a for a in instrument.arrays.values() if a.channel == band.channel]
            for band in used
        }
        truth_used = tuple(
            jwidf.true_coefficients(given, pmap, band.name, array_id)
            for pmap in pmaps
            for band in used
            for array_id in dict.fromkeys(array.array_id for array in arrays[band.name])
        )
        photmjsr = {
            (pmap, band.name, array.name): _photmjsr(truth_used, pmaps, pmap, band.name, array)
            for pmap in pmaps
            for band in used
            for array in arrays[band.name]
        }
        files = _photom_files(pmaps, tuple(instrument.arrays), photmjsr)
        return cls(seed, instrument, pmaps, used, truth_used, photmjsr, files)

    def reduced(
        self, exposures: Sequence[SimulatedExposure], pmap: str
    ) -> tuple[SimulatedExposure, ...]:
        """Return exposures as reduced with another context."""
        return tuple(
            replace(
                exposure,
                pmap=pmap,
                photmjsr=self.photmjsr[pmap, exposure.band.name, exposure.array.name],
                photom_file=self.photom_files[pmap, exposure.array.name],
            )
            for exposure in exposures
        )

    def arrays(self, band: Band) -> list[Array]:
        """Return the arrays of a band's channel."""
        return [a for a in self.instrument.arrays.values() if a.channel == band.channel]


def _photmjsr(
    truth: tuple[TrueCoefficients, ...], pmaps: tuple[str, ...], pmap: str, band: str, array: Array
) -> float:
    """Return the PHOTMJSR that explains the change of the offset: A moves, B does not.

    ``S_A(P) / S_A(P_ref) = 10**(+0.4 (offset(P_ref) - offset(P)))``, single precision as in photom
    tables.
    """
    base = jwidf.base_photmjsr(band, array.name)
    if array.module == "B":
        return float(np.float32(base))
    reference = jwidf.PMAPS[-1] if jwidf.PMAPS[-1] in pmaps else pmaps[-1]
    change = (
        jwidf.true_coefficients(truth, pmap, band, array.array_id).offset_ab_mag
        - jwidf.true_coefficients(truth, reference, band, array.array_id).offset_ab_mag
    )
    return float(np.float32(base * flux_divisor(change)))


def _photom_files(
    pmaps: tuple[str, ...],
    arrays: tuple[str, ...],
    photmjsr: dict[tuple[str, str, str], float],
) -> dict[tuple[str, str], str]:
    """Name a photom file per array, a new one only where a zero point changed (from 9000)."""
    names: dict[tuple[str, str], str] = {}
    known: dict[tuple[str, tuple[float, ...]], str] = {}
    for pmap in pmaps:
        for array in arrays:
            values = tuple(v for (p, _, a), v in photmjsr.items() if (p, a) == (pmap, array))
            name = f"jwst_nircam_photom_{9000 + len(known)}.fits"
            names[pmap, array] = known.setdefault((array, values), name)
    return names


def _patches(setup: _Setup, outlines: dict[tuple[int, str], Rectangle]) -> tuple[Patch, ...]:
    """Return the patch of every array that observed."""
    arrays = {array.name: array for band in setup.bands for array in setup.arrays(band)}
    return tuple(
        Patch(
            array.name,
            array.channel,
            (outlines[0, array.name], outlines[1, setup.instrument.partner(array).name]),
        )
        for array in arrays.values()
    )


def _scaled(counts: dict[str, int], factor: int) -> dict[str, int]:
    """Return multiplied counts."""
    return {array: factor * number for array, number in counts.items()}


def _mosaic_name(observation: str, band: Band, array: Array) -> str:
    """Return the file name of a mosaic."""
    element = f"{band.pupil}-{band.filter}".lower()
    return f"jw{jwidf.PROGRAM}-o{observation}_t001_nircam_{element}_{array.name}_i2d.fits"


# --- measure ------------------------------------------------------------------------------------


def _observe(
    setup: _Setup,
    sky: Sky,
    epochs: tuple[SimulatedEpoch, ...],
    exposures: dict[ExposureKey, list[SimulatedExposure]],
    outlines: dict[tuple[int, str], Rectangle],
) -> tuple[SimulatedMosaic, ...]:
    """Return all mosaics with their catalogs, ordered by pmap, epoch, band and array."""
    mosaics: dict[str, list[SimulatedMosaic]] = {pmap: [] for pmap in setup.pmaps}
    for epoch in epochs:
        parity = (epoch.number - 1) % 2
        for band_index, band in enumerate(setup.bands):
            for array in setup.arrays(band):
                patch = array if parity == 0 else setup.instrument.partner(array)
                outline = outlines[parity, array.name]
                view = View(
                    seed=setup.seed,
                    epoch_index=epoch.number - 1,
                    band_index=band_index,
                    array_index=list(setup.instrument.arrays).index(patch.name),
                    band=band.name,
                    is_module_a=array.module == "A",
                    side=epoch.side,
                    exposure_time_s=_DEPTH_DITHERS * epoch.integration_s,
                    detected_within=outlines[0, patch.name],
                    measured_within=outline,
                )
                raw = measure(sky, view)
                corners = sky_from_tangent_plane(
                    *outline.corners(), jwidf.FIELD_RA_DEG, jwidf.FIELD_DEC_DEG
                )
                for pmap in setup.pmaps:
                    key = (pmap, band.name, array.array_id)
                    truth = jwidf.true_coefficients(setup.truth, *key)
                    mosaics[pmap].append(
                        SimulatedMosaic(
                            members=setup.reduced(
                                exposures[epoch.number, band.name, array.name], pmap
                            ),
                            detection_name=_mosaic_name(epochs[0].observation, band, patch),
                            patch=patch.name,
                            footprint=np.column_stack(corners),
                            detections=calibrate(raw, view, truth),
                        )
                    )
    return tuple(mosaic for pmap in setup.pmaps for mosaic in mosaics[pmap])
