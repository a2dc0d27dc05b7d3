"""Which correction an exposure gets: its context's set, a predicted one, or none by request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING

from calreg._version import __version__
from calreg.apply.check import is_other_photmjsr, zero_point_of
from calreg.contexts.zeropoints import ZeroPoints
from calreg.domain import SetQuery
from calreg.errors import InvalidValueError, NoCalibrationError
from calreg.files.atomic import format_utc
from calreg.files.images.calibration import IDENTITY_SET, CorrectionOrigin, CorrectionRecord
from calreg.science.model.gradient import ArrayCorrection
from calreg.sets.corrections import (
    CorrectionQuery,
    SetCorrection,
    load_corrections,
    predicted_correction,
)

if TYPE_CHECKING:
    from calreg.apply.options import ApplyOptions
    from calreg.db.engine import Connection
    from calreg.domain import Pmap
    from calreg.files.corrected.exposure import CalFile
    from calreg.files.images.cards import ImageKey
    from calreg.instruments import Instrument
    from calreg.science.model.gradient import PixelPlane

_NO_DATUM = "none"

_SAME = 1e-9
"""Relative: the numbers of one correction that were worked out twice."""


@dataclass(frozen=True)
class ChosenCorrection:
    """The correction of one exposure.

    Attributes
    ----------
    set_correction : SetCorrection or None
        None for the identity.
    """

    origin: CorrectionOrigin
    set_correction: SetCorrection | None
    correction: ArrayCorrection
    pmap: Pmap
    module: str
    note: str = ""

    def record(self, application_id: str, created_utc: datetime) -> CorrectionRecord:
        """Return the cards that the exposure will carry, but for its digest."""
        stored = None if self.set_correction is None else self.set_correction.stored
        has_gradient = self.set_correction is not None and self.set_correction.has_gradient
        datum = self.set_correction.gradient_datum if self.set_correction else _NO_DATUM
        return CorrectionRecord(
            set_id=IDENTITY_SET if stored is None else stored.set_id,
            datum=_NO_DATUM if stored is None else stored.datum,
            code_version=__version__,
            application_id=application_id,
            origin=self.origin,
            set_pmap=self.pmap if stored is None else stored.pmap,
            gradient_datum=str(datum) if has_gradient else _NO_DATUM,
            photom_factor=self.correction.photom_factor,
            gradient=self.correction.gradient,
            n_pixels=self.correction.n_pixels,
            sha256_before="",
            created_utc=format_utc(created_utc),
        )

    def fits(self, record: CorrectionRecord) -> bool:
        """Return whether a file carries this very correction."""
        own = self.record(record.application_id, datetime.fromisoformat(record.created_utc))
        words = attrgetter("set_id", "origin", "set_pmap", "gradient_datum", "n_pixels")
        return (
            words(own) == words(record)
            and math.isclose(own.photom_factor, record.photom_factor, rel_tol=_SAME)
            and _same_plane(own.gradient, record.gradient)
        )

    def history(self) -> list[str]:
        """Return lines for the exposure's HISTORY."""
        lines = [f"{__version__}: SCI and ERR x s, VAR_* x s^2; PHOTMJSR and PHOTUJA2 x CALREGPF"]
        if self.correction.gradient is None:
            lines.append("s = CALREGPF")
        else:
            lines.append(
                "s = CALREGPF / flat, flat = 10^(-0.4 g) with a mean of one over the array, "
                "g(x, y) from CALREGGX and CALREGGY"
            )
        if self.set_correction is None:
            lines.append(f"no coefficient set for {self.pmap}: left as it was, by request")
        else:
            lines += self.set_correction.lines(self.module)
        return lines


def _same_plane(first: PixelPlane | None, second: PixelPlane | None) -> bool:
    """Return whether two gradients are one to rounding."""
    if first is None or second is None:
        return first is second
    scale = max(abs(first.per_x), abs(first.per_y))
    return (
        abs(first.per_x - second.per_x) <= _SAME * scale
        and abs(first.per_y - second.per_y) <= _SAME * scale
    )


class CorrectionChooser:
    """Chooses corrections, each set read once."""

    def __init__(
        self, connection: Connection, options: ApplyOptions, instrument: Instrument
    ) -> None:
        self._connection = connection
        self._options = options
        self._instrument = instrument
        self._found: dict[
            tuple[Pmap, str, str], tuple[CorrectionOrigin, SetCorrection] | NoCalibrationError
        ] = {}
        self._zero_points = ZeroPoints.load(connection)

    def choose(self, cal: CalFile) -> ChosenCorrection:
        """Return the correction of an exposure.

        Raises
        ------
        NoCalibrationError
            If there is none, and the options do not say what to do then.
        InvalidValueError
            If the exposure is of another context than asked for, or there are several sets.
        """
        key, options = cal.key, self._options
        if options.pmap is not None and not options.is_predicted and key.pmap != options.pmap:
            msg = (
                f"CRDS_CTX is {key.pmap}, expected {options.pmap} (--pmap): leave it out, or give "
                "--predict to carry the offsets of that context over"
            )
            raise InvalidValueError(msg)
        found = self._set_correction(key)
        if not isinstance(found, NoCalibrationError):
            origin, correction = found
            return ChosenCorrection(
                origin,
                correction,
                correction.corrections[key.array.module],
                key.pmap,
                key.array.module,
                self._photmjsr_note(cal),
            )
        if options.allows_identity:
            identity = ArrayCorrection(1.0, 0.0, n_pixels=key.array.n_pixels)
            return ChosenCorrection(
                CorrectionOrigin.IDENTITY, None, identity, key.pmap, key.array.module, str(found)
            )
        raise found

    def _set_correction(
        self, key: ImageKey
    ) -> tuple[CorrectionOrigin, SetCorrection] | NoCalibrationError:
        """Return the correction of a key, or why there is none."""
        place = (key.pmap, key.band.name, key.array.array_id)
        if place not in self._found:
            self._found[place] = self._measured_or_predicted(key)
        return self._found[place]

    def _measured_or_predicted(
        self, key: ImageKey
    ) -> tuple[CorrectionOrigin, SetCorrection] | NoCalibrationError:
        """Return the set measured under the exposure's context, or carried over on request."""
        options = self._options
        wanted = SetQuery(
            pmap=key.pmap,
            band=key.band.name,
            array_id=key.array.array_id,
            field=options.field,
            flux_kind=options.flux_kind,
        )
        query = CorrectionQuery(wanted, options.gradient_datum)
        try:
            (measured,) = load_corrections(self._connection, query, self._instrument)
        except NoCalibrationError as error:
            if not options.is_predicted:
                return NoCalibrationError(
                    f"{error}; --predict carries one over by PHOTMJSR, --allow-identity leaves "
                    "the pixels as they are"
                )
        else:
            return CorrectionOrigin.MEASURED, measured
        try:
            predicted = predicted_correction(
                self._connection, query, self._instrument, from_pmap=options.pmap
            )
        except NoCalibrationError as error:
            return error
        return CorrectionOrigin.PREDICTED, predicted

    def _photmjsr_note(self, cal: CalFile) -> str:
        """Warn of an exposure that was not calibrated as those that the set was measured on."""
        key = cal.key
        known = zero_point_of(self._zero_points, key)
        found = cal.photmjsr / (1.0 if cal.record is None else cal.record.photom_factor)
        if not is_other_photmjsr(known, found):
            return ""
        return (
            f"PHOTMJSR is {found:.7g}, but the registry has {known.photmjsr} for {key.pmap} "
            f"{key.array.name} {key.band.name}: the correction was measured with the latter; see "
            "calreg check"
        )
