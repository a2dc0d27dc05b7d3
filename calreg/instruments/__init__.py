"""Instruments as tables: arrays, bands and header keywords, one TOML file each."""

from __future__ import annotations

import math
import tomllib
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from calreg.errors import ConflictError, InvalidValueError, UnknownKeyError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

DEFAULT_INSTRUMENT = "nircam"
ENTRY_POINTS = "calreg.instruments"
"""Group of entry points; each leads to the path of a table, or to a function that returns it."""

MODULES = ("A", "B")
"""What the two modules of every instrument are called: an offset is the first minus the second."""


@dataclass(frozen=True)
class Array:
    """One detector.

    Attributes
    ----------
    name : str
        ``nrca1`` ... ``nrcblong``.
    detector : str
        The card DETECTOR, ``NRCALONG``.
    aperture : str
        SIAF aperture.
    array_id : str
        What the modules share: ``1`` ... ``4``, ``long``.
    channel : str
        ``SW`` or ``LW``.
    v2_ref_arcsec, v3_ref_arcsec : float
        Reference point in the telescope frame [arcsec].
    v3_ideal_y_angle_deg : float
        Angle from V3 to the ideal y axis [deg].
    v_ideal_parity : int
        Sense of the ideal frame.
    x_scale_arcsec, y_scale_arcsec : float
        Pixel scale [arcsec / pixel], science frame.
    n_pixels : int
        Pixels on a side.
    ref_pixel : float
        Reference pixel on both axes, 1-based.
    """

    name: str
    detector: str
    aperture: str
    module: str
    array_id: str
    channel: str
    v2_ref_arcsec: float
    v3_ref_arcsec: float
    v3_ideal_y_angle_deg: float
    v_ideal_parity: int
    x_scale_arcsec: float
    y_scale_arcsec: float
    n_pixels: int
    ref_pixel: float


@dataclass(frozen=True)
class Channel:
    """Arrays behind one side of a dichroic.

    Attributes
    ----------
    card : str
        What the card CHANNEL says of it, ``SHORT`` or ``LONG``.
    has_gradient : bool
        Whether offsets of its bands vary across the field, so that a slope is fitted by default.
    """

    name: str
    card: str
    has_gradient: bool = False


@dataclass(frozen=True)
class Band:
    """One passband: the pair (filter, pupil) and its channel."""

    name: str
    filter: str
    pupil: str
    channel: str


@dataclass(frozen=True)
class Keyword:
    """Where a property stands in a header, and what it may be.

    Attributes
    ----------
    hdu : str
        ``PRIMARY`` or ``SCI``.
    card : str
        Keyword of the card.
    type : str
        ``str``, ``float`` or ``int``.
    min, max : float or None
        Closed bounds.
    """

    name: str
    hdu: str
    card: str
    type: str
    unit: str = ""
    required: bool = False
    min: float | None = None
    max: float | None = None

    def holds(self, value: float) -> bool:
        """Return whether a finite number lies within the bounds."""
        low = -math.inf if self.min is None else self.min
        return low <= value <= (math.inf if self.max is None else self.max)

    @property
    def bounds(self) -> str:
        """The bounds as a message has them."""
        low, high = ("-inf" if self.min is None else f"{self.min:g}"), self.max
        unit = f" [{self.unit}]" if self.unit else ""
        return f"a number from {low} to {'inf' if high is None else f'{high:g}'}{unit}"


@dataclass(frozen=True)
class Instrument:
    """All facts about one instrument.

    Attributes
    ----------
    name, telescope, prd : str
        `prd` is the version of the project reference database that the geometry is from.
    table : str
        The text that all this was read from.
    source : str
        What it was asked for by: the name of a table, or the path of a file.
    """

    table: str = field(repr=False, compare=False)
    name: str
    telescope: str
    prd: str
    modules: tuple[str, ...]
    array_ids: tuple[str, ...]
    imaging_exposure_types: tuple[str, ...]
    clear_pupils: tuple[str, ...]
    arrays: dict[str, Array]
    bands: dict[str, Band]
    channels: dict[str, Channel]
    keywords: dict[str, Keyword]
    source: str = field(default="", repr=False, compare=False)

    @property
    def facts(self) -> str | None:
        """The text to keep with data, None where the table comes with calreg."""
        return None if self.source in _own_names() else self.table

    def channel_card(self, array: Array) -> str:
        """Return the value of the card CHANNEL for an array."""
        return self.channels[array.channel].card

    def array(self, name: str) -> Array:
        """Return an array by its name or its DETECTOR card.

        Parameters
        ----------
        name : str
            ``nrcblong``, or a detector such as ``NRCBLONG``, in any case.

        Raises
        ------
        UnknownKeyError
            If the instrument has no such array.
        """
        array = self.arrays.get(name.strip().lower())
        if array is None:
            msg = f"unknown detector {name!r}: expected one of {', '.join(self.arrays)}"
            raise UnknownKeyError(msg)
        return array

    def partner(self, array: Array) -> Array:
        """Return the array with the same id in the other module."""
        return next(
            other
            for other in self.arrays.values()
            if other.array_id == array.array_id and other.module != array.module
        )

    def band(self, filter_name: str, pupil: str) -> Band:
        """Return the band of a (FILTER, PUPIL) pair.

        Parameters
        ----------
        filter_name, pupil : str
            The cards FILTER and PUPIL, in any case.

        Returns
        -------
        Band
            Named by FILTER where PUPIL is clear, else by PUPIL.

        Raises
        ------
        InvalidValueError
            If the pair is not an imaging passband of the instrument.
        """
        filter_name, pupil = filter_name.strip().upper(), pupil.strip().upper()
        name = filter_name if pupil in self.clear_pupils else pupil
        band = self.bands.get(name)
        if band is None or band.filter != filter_name:
            msg = (
                f"{self.keywords['filter'].card}={filter_name!r} with "
                f"{self.keywords['pupil'].card}={pupil!r} is not an imaging passband of {self.name}"
            )
            raise InvalidValueError(msg)
        return band

    def band_named(self, name: str) -> Band:
        """Return a band by its name.

        Parameters
        ----------
        name : str
            ``F356W``, in any case.

        Raises
        ------
        UnknownKeyError
            If the instrument has no such band.
        """
        band = self.bands.get(name.strip().upper())
        if band is None:
            msg = f"unknown band {name!r}: expected one of {', '.join(self.bands)}"
            raise UnknownKeyError(msg)
        return band

    def array_id_named(self, name: str) -> str:
        """Return an array id by its own name or that of one of its detectors.

        Parameters
        ----------
        name : str
            ``long``, or an array such as ``nrcblong``, in any case.

        Returns
        -------
        str
            What the modules share: ``1`` ... ``4``, ``long``.

        Raises
        ------
        UnknownKeyError
            If the instrument has neither.
        """
        wanted = name.strip().lower()
        if wanted in self.array_ids:
            return wanted
        if wanted in self.arrays:
            return self.arrays[wanted].array_id
        msg = f"unknown array id {name!r}: expected one of {', '.join(self.array_ids)}"
        raise UnknownKeyError(msg)


_TABLES = {"arrays": Array, "channels": Channel, "bands": Band, "keywords": Keyword}
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a text"),
    "int": ((int,), "a whole number"),
    "bool": ((bool,), "true or false"),
    "float": ((int, float), "a number"),
    "float | None": ((int, float), "a number"),
    "tuple[str, ...]": ((list,), "a list of texts"),
    **{f"dict[str, {kind.__name__}]": ((dict,), "a table") for kind in _TABLES.values()},
}

Entry = TypeVar("Entry", Array, Channel, Band, Keyword, Instrument)


def load_instrument(which: str = DEFAULT_INSTRUMENT) -> Instrument:
    """Read one instrument's table.

    Parameters
    ----------
    which : str
        Name of a table that comes with calreg (``nircam``), path of a TOML file, or name of an
        entry point of the group ``calreg.instruments``.

    Raises
    ------
    UnknownKeyError
        If there is no such table.
    InvalidValueError
        If the table is not complete, or says what cannot be.
    """
    name = which.strip()
    if name.lower() in _own_names():
        return _load_own(name.lower())
    path = Path(name).expanduser()
    source = name
    if path.suffix.lower() != ".toml" and len(path.parts) < 2:  # no folder named
        target = next((entry.load() for entry in _entry_points() if entry.name == name), None)
        if target is None:
            known = ", ".join([*_own_names(), *(entry.name for entry in _entry_points())])
            msg = f"no instrument table named {name!r}: expected {known}, or a TOML file"
            raise UnknownKeyError(msg)
        path = Path(target() if callable(target) else target)
    else:
        source = str(path.absolute())
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot read the table of an instrument: {error}"
        raise UnknownKeyError(msg) from error
    return parse_instrument(text, source)


def parse_instrument(text: str, name: str) -> Instrument:
    """Build an instrument from the text of its table; `name` is where that is from.

    Raises
    ------
    InvalidValueError
        If the text is no TOML, an entry is missing, unknown or of another type, or arrays, bands
        and modules do not fit together.
    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{name}: not a TOML file: {error}"
        raise InvalidValueError(msg) from error
    for key, kind in _TABLES.items():
        entries = given.get(key)
        if not isinstance(entries, dict):
            msg = f"{name}: the table of an instrument has no [{key}]"
            raise InvalidValueError(msg)
        given[key] = {
            one: _entry(kind, f"{key}.{one}", one, facts, name) for one, facts in entries.items()
        }
    instrument = replace(_entry(Instrument, "the instrument", text, given, name), source=name)
    _require_consistent(instrument, name)
    return instrument


def require_same_instrument(stored: Instrument, given: Instrument, where: str) -> None:
    """Refuse an instrument that is not the one whose data a registry holds.

    Raises
    ------
    ConflictError
        If the name or any fact differs; the message names what does.
    """
    if stored == given:
        return
    differing = [
        one.name
        for one in fields(Instrument)
        if one.compare and getattr(stored, one.name) != getattr(given, one.name)
    ]
    what = (
        f"{given.name} ({given.source})"
        if stored.name != given.name
        else f"another table of it, {given.source} ({', '.join(differing)} differ)"
    )
    msg = (
        f"{where} holds data of {stored.name} ({stored.source}), not of {what}: leave the "
        "instrument out, or name another database with --db"
    )
    raise ConflictError(msg)


def _entry(kind: type[Entry], where: str, first: str, facts: object, name: str) -> Entry:
    """Build a dataclass whose first field is given; refuse what is missing, unknown or wrong."""
    own, *others = fields(kind)
    expected = {one.name: one for one in others}
    found = facts if isinstance(facts, dict) else {}
    wrong = [
        f"there is no {key}"
        for key in expected
        if key not in found and expected[key].default is MISSING
    ]
    wrong += [f"unknown {key}" for key in found if key not in expected]
    wrong += [
        f"{key} is {value!r}, expected {_TYPES[str(expected[key].type)][1]}"
        for key, value in found.items()
        if key in expected and not _is_a(value, str(expected[key].type))
    ]
    if wrong:
        msg = f"{name}: {where}: {'; '.join(wrong)}"
        raise InvalidValueError(msg)
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in found.items()
    }
    values[own.name] = first
    return kind(**values)


def _is_a(value: object, annotation: str) -> bool:
    """Whether a value of a TOML file is what a field wants."""
    kinds, _ = _TYPES[annotation]
    if isinstance(value, list):
        return list in kinds and all(isinstance(one, str) for one in value)
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


@cache
def _load_own(name: str) -> Instrument:
    """Return an instrument that comes with calreg."""
    path = resources.files(__package__) / f"{name}.toml"
    return parse_instrument(path.read_text(encoding="utf-8"), name)


@cache
def _own_names() -> tuple[str, ...]:
    """Return the names of the tables that come with calreg."""
    names = (path.name.partition(".toml") for path in resources.files(__package__).iterdir())
    # A name with an underscore is a table about an instrument: its contexts, its software.
    return tuple(sorted(name for name, toml, _ in names if toml and "_" not in name))


def _entry_points() -> EntryPoints:
    """Return the instruments that other packages bring."""
    from importlib.metadata import entry_points

    return entry_points(group=ENTRY_POINTS)


def _require_consistent(instrument: Instrument, name: str) -> None:
    """Refuse a table whose parts do not fit together."""
    arrays, bands = instrument.arrays, instrument.bands
    checks = {
        "module": ({a.module for a in arrays.values()}, set(instrument.modules)),
        "array_id": ({a.array_id for a in arrays.values()}, set(instrument.array_ids)),
        "channel": (
            {a.channel for a in arrays.values()} | {b.channel for b in bands.values()},
            set(instrument.channels),
        ),
        "hdu": ({k.hdu for k in instrument.keywords.values()}, {"PRIMARY", "SCI"}),
    }
    wrong = [
        f"{what} {', '.join(sorted(found - known))}: expected {', '.join(sorted(known))}"
        for what, (found, known) in checks.items()
        if found - known
    ]
    if name.lower() not in _own_names():
        known, found = set(load_instrument().keywords), set(instrument.keywords)
        wrong += [f"there is no keywords.{key}" for key in sorted(known - found)]
        wrong += [f"unknown keywords.{key}" for key in sorted(found - known)]
    if instrument.modules != MODULES:
        wrong.append(
            f"modules {', '.join(instrument.modules)}: expected A, B: "
            "an offset is the first minus the second"
        )
    wrong += [
        f"{kind} {key}: expected the name in {'lower' if kind == 'array' else 'upper'} case"
        for kind, key, right in (
            *(("array", key, key.lower()) for key in arrays),
            *(("band", key, key.upper()) for key in bands),
        )
        if key != right
    ]
    if wrong:
        msg = f"{name}: the table of an instrument does not fit together: {'; '.join(wrong)}"
        raise InvalidValueError(msg)
