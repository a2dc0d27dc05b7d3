"""Instruments as tables: arrays, bands and header keywords, one TOML file each."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from calreg.errors import InvalidValueError, UnknownKeyError


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
    module : str
        ``A`` or ``B``.
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
    name : str
        Property.
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


@dataclass(frozen=True)
class Instrument:
    """All facts about one instrument.

    Attributes
    ----------
    name, telescope, prd : str
        `prd` is the version of the project reference database that the geometry is from.
    arrays : dict of str to Array
        By array name.
    bands : dict of str to Band
        By band name.
    keywords : dict of str to Keyword
        By property.
    """

    name: str
    telescope: str
    prd: str
    modules: tuple[str, ...]
    array_ids: tuple[str, ...]
    imaging_exposure_types: tuple[str, ...]
    clear_pupils: tuple[str, ...]
    arrays: dict[str, Array]
    bands: dict[str, Band]
    keywords: dict[str, Keyword]

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
                f"FILTER={filter_name!r} with PUPIL={pupil!r} is not an imaging passband of "
                f"{self.name}"
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


@cache
def load_instrument(name: str = "nircam") -> Instrument:
    """Read one instrument's table.

    Parameters
    ----------
    name : str
        Name of the TOML file without its ending.

    Raises
    ------
    UnknownKeyError
        If there is no such table.
    """
    path = resources.files(__package__) / f"{name.lower()}.toml"
    if not path.is_file():
        msg = f"no instrument table named {name!r}"
        raise UnknownKeyError(msg)
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return Instrument(
        name=table["name"],
        telescope=table["telescope"],
        prd=table["prd"],
        modules=tuple(table["modules"]),
        array_ids=tuple(table["array_ids"]),
        imaging_exposure_types=tuple(table["imaging_exposure_types"]),
        clear_pupils=tuple(table["clear_pupils"]),
        arrays={key: Array(name=key, **value) for key, value in table["arrays"].items()},
        bands={key: Band(name=key, **value) for key, value in table["bands"].items()},
        keywords={key: Keyword(name=key, **value) for key, value in table["keywords"].items()},
    )
