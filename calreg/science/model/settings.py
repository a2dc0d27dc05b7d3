"""What a user can choose about matching and fitting."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Literal, cast

from calreg.errors import InvalidValueError

_STORED_SNR = 30.0
"""Pairs below it never enter a fit by default and would be most of what is written; a run that asks
for less matches again."""


@dataclass(frozen=True)
class FitSettings:
    """What a user can choose about matching and fitting; stored with every set.

    Attributes
    ----------
    mag_limit : float
        Faintest mean AB magnitude of a pair [mag].
    snr : float
        Smallest signal-to-noise ratio of a pair, by the mean error of its two magnitudes.
    max_sep_arcsec : float
        Search radius [arcsec].
    floor : float or "auto"
        Noise floor per pair [mag]; ``auto`` fits it.
    slope : {"auto", "none", "fit"}
        ``auto`` fits the gradient in the long-wavelength channel only, as the paper does.
    time : {"fix", "fit"}
        ``fix`` holds the time terms at zero.
    axis_pa_deg : float or "auto"
        Position angle of +d [deg, N over E]; ``auto`` is the long axis of the field.
    allow_mixed_software : bool
        Whether images may enter one fit whose versions of the pipeline read differently.

    Raises
    ------
    InvalidValueError
        If a value is outside its meaning.

    Notes
    -----
    Both limits are on means, symmetric in the two epochs, so that the selection favours neither.
    """

    mag_limit: float = 22.0
    snr: float = 100.0
    max_sep_arcsec: float = 0.1
    floor: float | Literal["auto"] = "auto"
    slope: Literal["auto", "none", "fit"] = "auto"
    time: Literal["fix", "fit"] = "fix"
    axis_pa_deg: float | Literal["auto"] = "auto"
    allow_mixed_software: bool = False

    def __post_init__(self) -> None:
        """Refuse values outside their meaning and store every number as a float."""
        self._set("mag_limit", _number("mag-limit", self.mag_limit, -10.0, 40.0))
        self._set("snr", _number("snr", self.snr, 0.01, 1e6))
        self._set("max_sep_arcsec", _number("max-sep", self.max_sep_arcsec, 1e-6, 60.0))
        if self.floor != "auto":
            self._set("floor", _number("floor", self.floor, 0.0, 1.0, word="auto"))
        if self.axis_pa_deg != "auto":
            angle = _number("axis", self.axis_pa_deg, -360.0, 360.0, word="auto")
            self._set("axis_pa_deg", angle % 360.0)
        _require_choice("slope", self.slope, ("auto", "none", "fit"))
        _require_choice("time", self.time, ("fix", "fit"))

    def _set(self, name: str, value: float) -> None:
        """Store a checked number in this frozen object."""
        object.__setattr__(self, name, value)

    @classmethod
    def parse(
        cls,
        *,
        mag_limit: float = 22.0,
        snr: float = 100.0,
        max_sep_arcsec: float = 0.1,
        floor: str | float = "auto",
        slope: str = "auto",
        time: str = "fix",
        axis: str | float = "auto",
        allow_mixed_software: bool = False,
    ) -> FitSettings:
        """Read settings as a command line gives them, words in any case.

        Raises
        ------
        InvalidValueError
            If a value is outside its meaning.
        """
        return cls(
            mag_limit=mag_limit,
            snr=snr,
            max_sep_arcsec=max_sep_arcsec,
            floor=_word_or_number("floor", floor),
            slope=cast("Literal['auto', 'none', 'fit']", slope.strip().lower()),
            time=cast("Literal['fix', 'fit']", time.strip().lower()),
            axis_pa_deg=_word_or_number("axis", axis),
            allow_mixed_software=allow_mixed_software,
        )

    def canonical_json(self) -> str:
        """Return the settings as JSON that is equal exactly when the settings are."""
        settings = asdict(self)
        if not self.allow_mixed_software:
            del settings["allow_mixed_software"]  # Said only where it was needed.
        return json.dumps(settings, sort_keys=True, separators=(",", ":"))

    def slope_is_fitted(self, channel: str) -> bool:
        """Return whether a gradient is fitted in a channel, ``SW`` or ``LW``."""
        return self.slope == "fit" or (self.slope == "auto" and channel.upper() == "LW")

    @property
    def stored_snr(self) -> float:
        """The smallest mean S/N of pairs that are stored, so that `snr` can be lowered later."""
        return min(_STORED_SNR, self.snr)

    @property
    def floor_mag(self) -> float | None:
        """The floor that is given [mag], None when it is fitted."""
        return None if self.floor == "auto" else float(self.floor)


def _number(name: str, value: object, low: float, high: float, *, word: str = "") -> float:
    """Return a finite number within closed bounds."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(number := float(cast("float", value))):
        expected = f"{word} or a number" if word else "a number"
        msg = f"--{name} {value!r}: expected {expected} from {low:g} to {high:g}"
        raise InvalidValueError(msg)
    if not low <= number <= high:
        msg = f"--{name} {number:g}: expected a number from {low:g} to {high:g}"
        raise InvalidValueError(msg)
    return number


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that is not one of the choices."""
    if value not in choices:
        msg = f"--{name} {value!r}: expected one of {', '.join(choices)}"
        raise InvalidValueError(msg)


def _word_or_number(name: str, value: str | float) -> float | Literal["auto"]:
    """Read ``auto`` or a number."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word == "auto":
            return "auto"
        try:
            return float(word)
        except ValueError:
            msg = f"--{name} {value!r}: expected auto or a number"
            raise InvalidValueError(msg) from None
    return value
