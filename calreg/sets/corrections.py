"""Corrections: what the current sets say about each array, as photom factors and gradients.

Everything that corrects data goes through here, so that a photom file, a flat and a corrected
exposure of one set never disagree.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from calreg.contexts.prediction import PredictionQuery, nearest_prediction, require_ok
from calreg.db.engines.types import stored_json
from calreg.db.queries.sets import SetFilter, StoredSet, load_covariance, load_sets
from calreg.db.queries.zeropoints import SetImage, fetch_detector_positions, load_set_images
from calreg.domain import ExposureKind, SetQuery
from calreg.errors import InvalidValueError, NoCalibrationError
from calreg.science.model.gradient import (
    ArrayCorrection,
    GradientDatum,
    PairOffset,
    PixelPlane,
    View,
    decompose,
    dilution,
    folded_axis,
)
from calreg.science.sky.geometry import (
    FieldAxis,
    along_axis,
    module_side,
    s_region_polygons,
    sky_from_tangent_plane,
    tangent_plane,
)
from calreg.science.sky.pointing import ReferencePoint
from calreg.sets.current import one_set_per_key
from calreg.units import ARCSEC_PER_DEG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.db.engine import Connection
    from calreg.domain import Pmap
    from calreg.instruments import Array, Band, Instrument
    from calreg.units import FloatArray

_ARCMIN_PER_ARCSEC = 60.0 / ARCSEC_PER_DEG

_MAX_DITHERED_AREA = 3.0
"""In areas of the array: a mosaic outline larger than that is the field's grid, not the dithers."""

_MIN_POSITIONS = 20
"""Sources with detector positions that tell how far dithers have diluted a gradient."""


class PointedImage(Protocol):
    """What tells where an image looked: kind, outline, and the cards of its reference point."""

    @property
    def kind(self) -> str:
        """Return ``cal``, ``crf`` or ``i2d``."""

    @property
    def s_region(self) -> str:
        """Return its outline."""

    @property
    def roll_deg(self) -> float:
        """Return the angle of V3 [deg, north over east]."""

    @property
    def ra_ref_deg(self) -> float | None:
        """Return the card RA_REF [deg]."""

    @property
    def dec_ref_deg(self) -> float | None:
        """Return the card DEC_REF [deg]."""

    @property
    def roll_ref_deg(self) -> float | None:
        """Return the card ROLL_REF [deg]."""


@dataclass(frozen=True)
class CorrectionQuery:
    """Which corrections are asked for: those of a context, with gradients shared in one way."""

    sets: SetQuery
    gradient_datum: GradientDatum = GradientDatum.SYMMETRIC

    @property
    def pmap(self) -> Pmap:
        """Context whose data are to be corrected."""
        return self.sets.required_pmap


@dataclass(frozen=True)
class CarriedOffset:
    """The offset of a set, m_A - m_B at d = 0 [mag], carried to a context of no measurement."""

    pmap: Pmap
    offset_ab_mag: float
    offset_ab_err_mag: float


@dataclass(frozen=True)
class SetCorrection:
    """What one set says about the two arrays that it compares.

    Attributes
    ----------
    carried : CarriedOffset or None
        Where the correction is predicted for a context other than the set's; None if measured.
    arrays : dict of str to Array
        By module.
    corrections : dict of str to ArrayCorrection
        By module.
    gradient_scale : float or None
        Gradient on the detector over that of the fit; None where it is not known, and one is taken.
    first_mjd_utc, last_mjd_utc : float
        Begin and end of the exposures that it was measured on.
    """

    stored: StoredSet
    carried: CarriedOffset | None
    band: Band
    arrays: dict[str, Array]
    corrections: dict[str, ArrayCorrection]
    gradient_datum: GradientDatum
    gradient_scale: float | None
    first_mjd_utc: float
    last_mjd_utc: float

    @property
    def pmap(self) -> Pmap:
        """Context whose data are corrected."""
        return self.stored.pmap if self.carried is None else self.carried.pmap

    @property
    def offset_ab_mag(self) -> float:
        """Offset m_A - m_B at d = 0 under `pmap` [mag]."""
        if self.carried is not None:
            return self.carried.offset_ab_mag
        return self.stored.value("offset_ab")

    @property
    def has_gradient(self) -> bool:
        """Whether a gradient was fitted."""
        return self.stored.value("slope") != 0.0

    def lines(self, module: str) -> list[str]:
        """Describe in a few lines, for a header, how the array of a module is corrected."""
        stored, correction = self.stored, self.corrections[module]
        offset_mag, slope = self.offset_ab_mag, stored.value("slope")
        text = (
            f"{self.band.name} ({self.band.filter} {self.band.pupil}): photmjsr x "
            f"{correction.photom_factor:.8f} +- {correction.photom_err_mag:.5f} mag\n"
            f"  set {stored.set_id}\n"
            f"  version {stored.version}, {stored.pmap.name}, field {stored.field}, "
            f"{stored.image_kind} {stored.flux_kind}, datum {stored.datum}, m_A - m_B "
            f"{offset_mag:+.5f} mag"
        )
        if self.carried is not None:
            text += (
                f"\n  PREDICTED for {self.carried.pmap.name} by PHOTMJSR from the "
                f"{stored.value('offset_ab'):+.5f} mag measured under {stored.pmap.name}"
            )
        if self.has_gradient:
            scale = self.gradient_scale
            text += (
                f"\n  at d = 0; slope {slope:+.6f} mag/arcmin, gradient datum "
                f"{self.gradient_datum}: mean over the array in photom, the rest in the flat\n"
                "  gradient on the detector over slope on the sky: "
                f"{'not known, 1 taken' if scale is None else format(scale, '.4f')}"
            )
        return text.splitlines()


# --- which corrections a context has --------------------------------------------------------------


def choose_corrections(
    connection: Connection, query: CorrectionQuery, instrument: Instrument, *, predict: bool
) -> tuple[list[SetCorrection], list[str]]:
    """Return the corrections of a context, and notes of which are predicted or left out, and why.

    Those measured under the context; with `predict`, for every band and array id that was measured
    under any context and can be carried over.

    Raises
    ------
    NoCalibrationError
        If there is none at all.
    InvalidValueError
        If a key has several measurements.
    """
    if not predict:
        return load_corrections(connection, query, instrument), []
    known = load_sets(connection, SetFilter(replace(query.sets, pmap=None)))
    found, notes, reasons = [], [], []
    for band, array_id in sorted({(one.band, one.array_id) for one in known}):
        wanted = replace(query, sets=replace(query.sets, band=band, array_id=array_id))
        try:
            found += load_corrections(connection, wanted, instrument)
            continue
        except NoCalibrationError:
            pass  # Nothing measured that may be used: the reason for a prediction.
        try:
            carried = predicted_correction(connection, wanted, instrument)
        except NoCalibrationError as error:
            reasons.append(f"left as it is: {error}")
            continue
        found.append(carried)
        notes.append(
            f"PREDICTED, not measured: {band} array {array_id}, m_A - m_B "
            f"{carried.offset_ab_mag:+.5f} mag, from {carried.stored.pmap}"
        )
    if not found:
        msg = f"nothing to predict {query.pmap} from: {'; '.join(reasons) or 'no coefficient set'}"
        raise NoCalibrationError(msg)
    return found, notes + reasons


def load_corrections(
    connection: Connection, query: CorrectionQuery, instrument: Instrument
) -> list[SetCorrection]:
    """Return the corrections measured under one context, one set for each band and array id.

    Raises what `one_set_per_key` does.
    """
    sets = one_set_per_key(connection, query.sets, instrument)
    return [correction_of(connection, stored, query.gradient_datum, instrument) for stored in sets]


def predicted_correction(
    connection: Connection,
    query: CorrectionQuery,
    instrument: Instrument,
    *,
    from_pmap: Pmap | None = None,
) -> SetCorrection:
    """Carry the offset of a set over to the context that is asked for, of one band and array id.

    It is that of the nearest context unless one is named; the gradient is that of the set.

    Raises
    ------
    NoCalibrationError
        If nothing was measured, PHOTMJSR of one of the contexts is not known, or an external
        solution is all there is, which says nothing of detectors.
    InvalidValueError
        If there are several measurements under the nearest context.
    """
    wanted = query.sets
    asked = PredictionQuery(query.pmap, replace(wanted, pmap=from_pmap))
    prediction = nearest_prediction(connection, asked, instrument)
    offset = require_ok(prediction)
    of_any = replace(wanted, pmap=None, field=None, flux_kind=None)
    sets = load_sets(connection, SetFilter(of_any))
    stored = next((one for one in sets if one.pk == prediction.set_pk), None)
    if stored is None:
        msg = (
            f"{wanted.band} array {wanted.array_id}: {query.pmap} can be predicted from "
            f"{prediction.basis} only, which says nothing of detectors: a coefficient set is "
            "needed; run calreg refit after ingesting two epochs"
        )
        raise NoCalibrationError(msg)
    return correction_of(
        connection,
        stored,
        query.gradient_datum,
        instrument,
        carried=CarriedOffset(query.pmap, offset.mag, offset.err_mag),
    )


# --- from a set to its arrays ---------------------------------------------------------------------


def correction_of(
    connection: Connection,
    stored: StoredSet,
    gradient_datum: GradientDatum,
    instrument: Instrument,
    *,
    carried: CarriedOffset | None = None,
) -> SetCorrection:
    """Turn a set into corrections of its two arrays, with an offset carried in place of its own.

    Raises
    ------
    InvalidValueError
        If the images of a set with a gradient do not tell where its arrays looked.
    """
    arrays = {
        array.module: array
        for array in instrument.arrays.values()
        if array.array_id == stored.array_id
    }
    images = load_set_images(connection, stored.pk)
    planes: dict[str, PixelPlane] = {}
    scale = None
    covariance = 0.0
    if stored.value("slope") != 0.0:
        elements = load_covariance(connection, stored.pk)
        covariance = elements.get(("offset_ab", "slope"), elements.get(("slope", "offset_ab"), 0.0))
        planes = _planes(stored, arrays, images, instrument)
        scale = _gradient_scale(connection, stored, arrays, images, planes, instrument)
    offset = (stored.value("offset_ab"), stored.err("offset_ab"))
    if carried is not None:
        offset = (carried.offset_ab_mag, carried.offset_ab_err_mag)
    return SetCorrection(
        stored=stored,
        carried=carried,
        band=instrument.band_named(stored.band),
        arrays=arrays,
        corrections=decompose(
            PairOffset(*offset, stored.value("slope"), stored.err("slope"), covariance),
            {module: plane.stretched(scale or 1.0) for module, plane in planes.items()},
            gradient_datum,
            n_pixels=arrays["A"].n_pixels,
        ),
        gradient_datum=gradient_datum,
        gradient_scale=scale,
        first_mjd_utc=min(image.expstart_mjd_utc for image in images),
        last_mjd_utc=max(image.expend_mjd_utc for image in images),
    )


def _axis(stored: StoredSet) -> FieldAxis:
    """Return the axis of a set's fit."""
    return FieldAxis(stored.axis_pa_deg, stored.origin_ra_deg, stored.origin_dec_deg)


def _planes(
    stored: StoredSet, arrays: dict[str, Array], images: list[SetImage], instrument: Instrument
) -> dict[str, PixelPlane]:
    """Return the folded coordinate of both arrays' pixels."""
    axis = _axis(stored)
    views: dict[str, list[View]] = defaultdict(list)
    for image in images:
        array = instrument.array(image.array)
        sign = module_side(image.roll_deg, axis, instrument, stored.array_id)
        views[array.module].append(View(image.epoch_id, sign, mean_pointing(image, array)))
    return {module: folded_axis(array, views[module], axis) for module, array in arrays.items()}


def mean_pointing(image: PointedImage, array: Array) -> ReferencePoint:
    """Return where an array looked, for a mosaic on average over its dithers.

    The cards of a mosaic are its first member's; its outline is centred on all of them, unless it
    is the outline of a grid that the field's mosaics share.

    Raises
    ------
    InvalidValueError
        If neither outline nor cards tell.
    """
    roll_deg = image.roll_deg if image.roll_ref_deg is None else image.roll_ref_deg
    has_cards = image.ra_ref_deg is not None and image.dec_ref_deg is not None
    if image.kind == ExposureKind.I2D:
        centre, area_arcmin2 = _centroid(s_region_polygons(image.s_region))
        side_arcmin = _ARCMIN_PER_ARCSEC * array.n_pixels * array.x_scale_arcsec
        if area_arcmin2 <= _MAX_DITHERED_AREA * side_arcmin**2:
            return ReferencePoint(*centre, roll_deg)
    if not has_cards:
        msg = (
            f"{array.name}: its images have no RA_REF and DEC_REF, and outlines much larger than "
            "the array: a gradient cannot be turned into detector pixels; ingest the exposures"
        )
        raise InvalidValueError(msg)
    return ReferencePoint(image.ra_ref_deg or 0.0, image.dec_ref_deg or 0.0, roll_deg)


def _centroid(polygons: Sequence[FloatArray]) -> tuple[tuple[float, float], float]:
    """Return the middle [deg] and the area [arcmin2] of a footprint."""
    ra0, dec0 = (float(value) for value in polygons[0][0])
    twice_area, xi_sum, eta_sum = 0.0, 0.0, 0.0
    for polygon in polygons:
        xi, eta = tangent_plane(polygon[:, 0], polygon[:, 1], ra0, dec0)
        cross = xi * np.roll(eta, -1) - np.roll(xi, -1) * eta
        turn = -1.0 if cross.sum() < 0.0 else 1.0
        twice_area += turn * float(cross.sum())
        xi_sum += turn * float(((xi + np.roll(xi, -1)) * cross).sum())
        eta_sum += turn * float(((eta + np.roll(eta, -1)) * cross).sum())
    if twice_area == 0.0:
        msg = f"an outline at ({ra0:.6f}, {dec0:.6f}) deg has no area"
        raise InvalidValueError(msg)
    ra, dec = sky_from_tangent_plane(
        xi_sum / (3.0 * twice_area), eta_sum / (3.0 * twice_area), ra0, dec0
    )
    return (float(ra), float(dec)), 0.5 * twice_area


def _gradient_scale(
    connection: Connection,
    stored: StoredSet,
    arrays: dict[str, Array],
    images: list[SetImage],
    planes: dict[str, PixelPlane],
    instrument: Instrument,
) -> float | None:
    """Return how much steeper the gradient is on the detector, None where that is not known."""
    if stored.image_kind != ExposureKind.I2D:
        return 1.0
    mag_limit = float(stored_json(stored.settings).get("mag_limit", np.inf))
    by_id = {image.catalog_id: image for image in images}
    found = fetch_detector_positions(connection, by_id, mag_limit=mag_limit)
    axis = _axis(stored)
    pairs = []
    for catalog_id in np.unique(found["catalog_id"]).tolist():
        of_this = found["catalog_id"] == catalog_id
        ra, dec, x, y = (found[name][of_this] for name in ("ra_deg", "dec_deg", "x_det", "y_det"))
        image = by_id[catalog_id]
        array = instrument.array(image.array)
        sign = module_side(image.roll_deg, axis, instrument, stored.array_id)
        plane = planes[array.module]
        pairs.append((sign * along_axis(ra, dec, axis), plane.at(x, y, array.n_pixels)))
    known = {instrument.array(by_id[i].array).name for i in found["catalog_id"].tolist()}
    is_enough = found["catalog_id"].size >= _MIN_POSITIONS and len(known) == len(arrays)
    return 1.0 / dilution(pairs) if is_enough else None
