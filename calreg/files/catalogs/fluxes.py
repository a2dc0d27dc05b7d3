"""Which columns of a catalog hold the flux that was asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from calreg.domain import FluxKind
from calreg.errors import CatalogColumnError
from calreg.files.catalogs.columns import (
    APERTURE_FAMILIES,
    CANONICAL_NAMES,
    FLUX_FAMILIES,
    GENERIC_FAMILY,
    aperture_labels,
    first_run_together,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from calreg.files.catalogs.columns import FluxFamily, SourceTable

_FLUX_KEYS = ("flux", "flux_err", "mag", "mag_err")


@dataclass(frozen=True)
class FluxColumns:
    """The columns of one kind of flux; at least one pair of value and error is complete.

    Attributes
    ----------
    aperture : str
        Label, for `FluxKind.APER`.
    flux, flux_err, mag, mag_err : str or None
        Names in the file.
    is_pixel_sum : bool
        A flux without unit is a sum of pixel values.
    is_assumed : bool
        Neither the file nor the user says which kind of flux it is.
    """

    kind: FluxKind
    aperture: str
    flux: str | None
    flux_err: str | None
    mag: str | None
    mag_err: str | None
    is_pixel_sum: bool
    is_assumed: bool = False

    @property
    def names(self) -> dict[str, str]:
        """Canonical name -> name in the file."""
        return {key: name for key in _FLUX_KEYS if (name := getattr(self, key)) is not None}


def choose_flux(
    path: Path,
    table: SourceTable,
    *,
    flux: FluxKind | None,
    aperture: str,
    columns: Mapping[str, str],
) -> FluxColumns:
    """Choose the columns of flux and magnitude.

    Parameters
    ----------
    flux : FluxKind or None
        What was asked for. None: ISO where the table has it or SExtractor wrote it, else the only
        kind that there is.
    aperture : str
        Label of an aperture; empty for the first.
    columns : mapping of str to str
        Canonical name -> name in the file, checked by `check_mapping`.

    Returns
    -------
    FluxColumns
        Columns with a name that tells no kind (``flux``, ``mag``) are of the kind that was asked
        for, else taken for ISO and marked as assumed.

    Raises
    ------
    CatalogColumnError
        The kind or aperture is not in the table, or it is not clear which one is meant.
    """
    known, incomplete = _find_fluxes(table)
    mapped = {key: columns[key] for key in _FLUX_KEYS if key in columns}
    if mapped:
        return _mapped_flux(path, known, mapped, flux)
    if flux is not None:
        of_kind = [measure for measure in known if measure.kind is flux]
    else:
        of_kind = _default_kind(path, table, known)
    if of_kind:
        return _choose_aperture(path, of_kind, aperture)
    generic = _complete(table, GENERIC_FAMILY, "", "")
    if isinstance(generic, FluxColumns):
        return replace(generic, kind=flux or FluxKind.ISO, is_assumed=flux is None)
    raise CatalogColumnError(_missing(path, table, known, [*incomplete, *generic], flux))


def check_mapping(path: Path, table: SourceTable, columns: Mapping[str, str]) -> dict[str, str]:
    """Return ``--columns`` with the names spelled as in the file.

    Raises
    ------
    CatalogColumnError
        A canonical name is not known, or the file has no such column; the message lists both sides.
    """
    found: dict[str, str] = {}
    for key, name in columns.items():
        if key not in CANONICAL_NAMES:
            msg = (
                f"{path}: --columns maps {key!r}, which is not a name of calreg; expected one of "
                f"{', '.join(CANONICAL_NAMES)}"
            )
            raise CatalogColumnError(msg)
        spelled = table.find(name)
        if spelled is None:
            msg = (
                f"{path}: --columns maps {key} to {name!r}, which the file does not have; its "
                f"columns are {', '.join(table.columns)}"
            )
            raise CatalogColumnError(msg)
        found[key] = spelled
    return found


def missing_columns(path: Path, table: SourceTable, wanted: str) -> str:
    """Word which columns are missing and which are there, or which two run together."""
    glued = first_run_together(table.columns, min_length=1)
    if glued is not None:
        name, (left, right) = glued
        return f"{path}: two columns run together in the header: {name!r} is {left!r} and {right!r}"
    return (
        f"{path}: has no {wanted}; its columns are {', '.join(table.columns)}: name them with "
        "--columns, for instance --columns ra=RA,dec=DEC,mag=MAG,mag_err=MAGERR"
    )


def _find_fluxes(table: SourceTable) -> tuple[list[FluxColumns], list[str]]:
    """List what the table has, and what it has only by half."""
    known: list[FluxColumns] = []
    incomplete: list[str] = []
    wanted = [(family, "", "") for family in FLUX_FAMILIES] + [
        (family, text, label)
        for family in APERTURE_FAMILIES
        for label, text in aperture_labels(family, table.columns).items()
    ]
    for family, text, label in wanted:
        found = _complete(table, family, text, label)
        if isinstance(found, FluxColumns):
            known.append(found)
        else:
            incomplete += found
    return known, incomplete


def _complete(
    table: SourceTable, family: FluxFamily, text: str, label: str
) -> FluxColumns | list[str]:
    """Return a family's columns, or the names that lack their partner."""

    def find(names: tuple[str, ...]) -> str | None:
        return table.find(*(name.format(text) for name in names))

    flux, flux_err = find(family.flux), find(family.flux_err)
    mag, mag_err = find(family.mag), find(family.mag_err)
    lacking = [
        f"{value} without {errors[0].format(text)}"
        for value, error, errors in (
            (flux, flux_err, family.flux_err),
            (mag, mag_err, family.mag_err),
        )
        if value is not None and error is None
    ]
    has_flux, has_mag = flux is not None and flux_err is not None, mag is not None and bool(mag_err)
    if not (has_flux or has_mag):
        return lacking
    return FluxColumns(
        kind=family.kind,
        aperture=label,
        flux=flux if has_flux else None,
        flux_err=flux_err if has_flux else None,
        mag=mag if has_mag else None,
        mag_err=mag_err if has_mag else None,
        is_pixel_sum=family.is_pixel_sum,
    )


def _default_kind(path: Path, table: SourceTable, known: list[FluxColumns]) -> list[FluxColumns]:
    """Return the fluxes of the kind that is read when none is asked for."""
    kinds = sorted({measure.kind.value for measure in known})
    if FluxKind.ISO.value in kinds:
        return [measure for measure in known if measure.kind is FluxKind.ISO]
    if len(kinds) > 1 or (kinds and table.is_sextractor):
        msg = (
            f"{path}: has no isophotal flux, which is the default, but {', '.join(kinds)}; choose "
            f"with {' or '.join(f'--flux {kind}' for kind in kinds)}"
        )
        raise CatalogColumnError(msg)
    return known


def _choose_aperture(path: Path, fluxes: list[FluxColumns], aperture: str) -> FluxColumns:
    """Return the measure of one aperture, or the first."""
    if not aperture:
        return fluxes[0]
    labels = [measure.aperture for measure in fluxes]
    if not any(labels):
        msg = (
            f"{path}: aperture {aperture!r} was asked for, but {fluxes[0].kind} flux has none; "
            "apertures go with --flux aper"
        )
        raise CatalogColumnError(msg)
    for measure in fluxes:
        if aperture in {measure.aperture, measure.aperture.removeprefix("ee")}:
            return measure
    msg = f"{path}: has no aperture {aperture!r}; expected one of {', '.join(labels)}"
    raise CatalogColumnError(msg)


def _mapped_flux(
    path: Path, known: list[FluxColumns], mapped: dict[str, str], flux: FluxKind | None
) -> FluxColumns:
    """Return the columns that the user named; a known name tells its kind."""
    for value in ("flux", "mag"):
        for first, second in ((value, f"{value}_err"), (f"{value}_err", value)):
            if first in mapped and second not in mapped:
                msg = (
                    f"{path}: --columns maps {first} to {mapped[first]!r} but not {second}; map "
                    "both, a measurement needs its error"
                )
                raise CatalogColumnError(msg)
    origin = next(
        (
            measure
            for measure in known
            if {mapped.get("flux"), mapped.get("mag")} & {measure.flux, measure.mag} - {None}
        ),
        None,
    )
    if origin is not None and flux not in {None, origin.kind}:
        msg = (
            f"{path}: --columns maps {origin.flux or origin.mag}, which is {origin.kind} flux, but "
            f"--flux {flux} was asked for; leave one of them out"
        )
        raise CatalogColumnError(msg)
    return FluxColumns(
        kind=origin.kind if origin is not None else flux or FluxKind.ISO,
        aperture=origin.aperture if origin is not None else "",
        flux=mapped.get("flux"),
        flux_err=mapped.get("flux_err"),
        mag=mapped.get("mag"),
        mag_err=mapped.get("mag_err"),
        is_pixel_sum=origin is not None and origin.is_pixel_sum,
        is_assumed=origin is None and flux is None,
    )


def _missing(
    path: Path,
    table: SourceTable,
    known: list[FluxColumns],
    incomplete: list[str],
    flux: FluxKind | None,
) -> str:
    """Explain why no flux can be read."""
    if flux is not None and known:
        kinds = " ".join(sorted({measure.kind.value for measure in known}))
        return f"{path}: has no {flux} flux with its error; expected one of those it has: {kinds}"
    if incomplete:
        return f"{path}: has {', '.join(incomplete)}; a measurement needs its error"
    return missing_columns(path, table, "flux or magnitude with its error under a known name")
