"""Which mosaics a call makes: groups of exposures, their scale, their grid, their names."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from calreg.db.queries.exposures import (
    StoredEpoch,
    StoredExposure,
    find_identities,
    find_images,
    identity_of,
    load_epochs_by_id,
)
from calreg.db.queries.mosaics import (
    StoredGrid,
    count_catalogs,
    find_grid,
    insert_grid,
    load_footprints,
)
from calreg.db.queries.zeropoints import load_zero_points
from calreg.domain import Exposure, ExposureKind, Pmap
from calreg.errors import CalregError, InvalidValueError
from calreg.files.atomic import sha256_of_json
from calreg.files.images.cards import FULL_SUBARRAY
from calreg.pixels.mosaic.scales import Scale, forced_scale, require_one_scale
from calreg.science.imaging.cleaning import CleaningSettings
from calreg.science.imaging.drizzling import KERNELS
from calreg.science.sky.geometry import parse_s_region
from calreg.science.sky.grids import Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from calreg.db.engine import Connection
    from calreg.instruments import Instrument

ALGORITHM = 1
"""Number of the way from exposures to a mosaic; a change of the pixels takes the next one."""

GRID_MARGIN_PX = 8
_SCALE_LIMITS_ARCSEC = (0.001, 10.0)
_LONGEST_WORD = 60
"""Characters that a field or an epoch gives to a file's name, which holds 255 at most."""

_UNSAFE = re.compile(r"[^a-z0-9.+]+")


@dataclass(frozen=True)
class MosaicOptions:
    """How mosaics are made.

    Attributes
    ----------
    scale_arcsec : float
        Side of a pixel [arcsec].
    pixfrac : float
        Side of the drops in input pixels, above 0 and not above 1.
    kernel : str
        Drizzle kernel: ``square``, ``turbo`` or ``point``.
    background : bool
        Subtract the background in blocks, and the median level of short-wavelength arrays.
    stripes : bool
        Subtract the stripes of 1/f noise.
    force_pmap : Pmap or None
        Rescale all exposures to this context.
    overwrite : bool
        Replace files of other content.
    is_stored : bool
        Enter exposures, grids and mosaics into the registry.
    n_jobs : int
        How many mosaics are made at a time.

    Raises
    ------
    InvalidValueError
        If a setting cannot be.
    """

    out: Path = field(default_factory=Path)
    scale_arcsec: float = 0.06
    pixfrac: float = 1.0
    kernel: str = "square"
    background: bool = True
    stripes: bool = False
    force_pmap: Pmap | None = None
    field_name: str | None = None
    epoch_label: str | None = None
    overwrite: bool = False
    is_stored: bool = True
    n_jobs: int = 1

    def __post_init__(self) -> None:
        """Refuse settings that cannot be."""
        low, high = _SCALE_LIMITS_ARCSEC
        problems = {
            f"--scale {self.scale_arcsec}: expected pixels of {low} to {high} arcsec": not (
                low <= self.scale_arcsec <= high
            ),
            f"--pixfrac {self.pixfrac}: expected a fraction above 0 and not above 1": not (
                0.0 < self.pixfrac <= 1.0
            ),
            f"--kernel {self.kernel!r}: expected one of {', '.join(KERNELS)}": (
                self.kernel not in KERNELS
            ),
            f"--jobs {self.n_jobs}: expected 1 or more": self.n_jobs < 1,
        }
        for message, is_wrong in problems.items():
            if is_wrong:
                raise InvalidValueError(message)


@dataclass(frozen=True)
class PlannedMosaic:
    """One mosaic that is to be made, or to be found made.

    Attributes
    ----------
    members : tuple of Exposure
        In the order of time.
    known : StoredExposure or None
        What the registry has under the same identity.
    named : StoredExposure or None
        What the registry has under the name of the file.
    n_catalogs : int
        Catalogs of these two.
    """

    field_name: str
    epoch_name: str
    epoch_id: int
    members: tuple[Exposure, ...] = field(repr=False)
    pmap: Pmap
    scale: Scale
    lattice: Grid
    cleaning: CleaningSettings
    path: Path
    input_digest: str
    known: StoredExposure | None
    named: StoredExposure | None
    n_catalogs: int

    @property
    def name(self) -> str:
        """The name in messages."""
        return _name(self.field_name, self.epoch_name, self.members[0])

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what is odd about its exposures."""
        versions = sorted({member.cal_ver or "unknown" for member in self.members})
        mixed = f"{self.name}: mixed CAL_VER: {', '.join(versions)}" if len(versions) > 1 else ""
        return tuple(filter(None, (self.scale.note, mixed)))


def plan_mosaics(
    connection: Connection,
    exposures: Sequence[Exposure],
    options: MosaicOptions,
    instrument: Instrument,
    ingest_id: Callable[[], int],
    command: str,
) -> tuple[list[PlannedMosaic], list[str]]:
    """Group exposures that are in the registry; find or lay out their grids."""
    known = find_identities(connection, exposures)
    epochs = load_epochs_by_id(connection)
    groups: dict[tuple[int, str, str, str, str], list[Exposure]] = {}
    for exposure in exposures:
        epoch_id = known[identity_of(exposure)].epoch_id
        key = (epoch_id, exposure.array, exposure.filter, exposure.pupil, exposure.subarray)
        groups.setdefault(key, []).append(exposure)
    planned, refused = [], []
    for (epoch_id, *_), members in groups.items():
        epoch = epochs[epoch_id]
        try:
            planned.append(
                _plan_one(
                    connection,
                    epoch,
                    sorted(members, key=_order),
                    options,
                    instrument,
                    (ingest_id, command),
                )
            )
        except CalregError as error:
            refused.append(str(error))
    planned.sort(key=lambda one: (one.field_name, one.members[0].expstart_mjd_utc, one.path.name))
    refused += _same_names(planned)
    return planned, refused


def _name(field_name: str, epoch_name: str, first: Exposure) -> str:
    """Name a group of exposures in messages."""
    return f"{field_name} {epoch_name} {first.array} {first.band}"


def _order(member: Exposure) -> tuple[object, ...]:
    """Order exposures by time; the rest makes the order one."""
    return (member.expstart_mjd_utc, member.file_name, member.header_sha256, member.directory)


def _plan_one(
    connection: Connection,
    epoch: StoredEpoch,
    members: Sequence[Exposure],
    options: MosaicOptions,
    instrument: Instrument,
    call: tuple[Callable[[], int], str],
) -> PlannedMosaic:
    """Plan the mosaic of one group."""
    first = members[0]
    ingest_id, command = call
    name = _name(epoch.field_name, epoch.name, first)
    if options.force_pmap is None:
        scale = require_one_scale(name, members)
    else:
        known_points = load_zero_points(connection, first.band, [first.array])
        scale = forced_scale(name, members, options.force_pmap, known_points, command)
    _require_different(name, members)
    pmap = options.force_pmap or first.pmap
    lattice = _ensure_grid(connection, epoch.field_id, first.band, options, ingest_id)
    cleaning = CleaningSettings(
        level=options.background and instrument.array(first.array).channel == "SW",
        background=options.background,
        stripes=options.stripes,
    )
    # A mosaic is known by the identity that its header will have.
    image = replace(
        first,
        kind=ExposureKind.I2D,
        pmap=pmap,
        visit="",
        visit_group="",
        sequence="",
        activity="",
        exposure="",
    )
    known = find_identities(connection, [image]).get(identity_of(image))
    path = options.out / _file_name(epoch, first, pmap)
    named = _named(connection, path)
    ids = {stored.id for stored in (known, named) if stored is not None}
    planned = PlannedMosaic(
        field_name=epoch.field_name,
        epoch_name=epoch.name,
        epoch_id=epoch.id,
        members=tuple(members),
        pmap=pmap,
        scale=scale,
        lattice=lattice,
        cleaning=cleaning,
        path=path,
        input_digest="",
        known=known,
        named=named,
        n_catalogs=sum(count_catalogs(connection, stored_id) for stored_id in ids),
    )
    return replace(planned, input_digest=_digest(planned, options))


def _named(connection: Connection, path: Path) -> StoredExposure | None:
    """Return the image whose file has a path."""
    folder = str(path.absolute().parent)
    found = [image for image in find_images(connection, [path.name]) if image.directory == folder]
    return found[0] if found else None


def _require_different(name: str, members: Sequence[Exposure]) -> None:
    """Refuse an exposure that is there twice, as cal and as crf or from two contexts."""
    seen: dict[tuple[str, ...], Exposure] = {}
    for member in members:
        key = (
            member.program,
            member.observation,
            member.visit,
            member.visit_group,
            member.sequence,
            member.activity,
            member.exposure,
        )
        if key in seen:
            msg = (
                f"{name}: {seen[key].file_name} ({seen[key].kind}, {seen[key].pmap}) and "
                f"{member.file_name} ({member.kind}, {member.pmap}) are the same exposure: "
                "expected each once; leave one out"
            )
            raise InvalidValueError(msg)
        seen[key] = member


def _same_names(planned: Sequence[PlannedMosaic]) -> list[str]:
    """Refuse mosaics that would have one file."""
    by_path: dict[Path, PlannedMosaic] = {}
    refused = []
    for one in planned:
        other = by_path.setdefault(one.path, one)
        if other is not one:
            refused.append(
                f"{one.path}: would be the file of {other.name} and of {one.name}: make them in "
                "two calls, with --out"
            )
    return refused


def _ensure_grid(
    connection: Connection,
    field_id: int,
    band: str,
    options: MosaicOptions,
    ingest_id: Callable[[], int],
) -> Grid:
    """Return the pixels of a field in one band, laid out by its first epoch if they are new."""
    stored = find_grid(connection, field_id, band, options.scale_arcsec)
    if stored is None:
        placed = load_footprints(connection, field_id, band)
        first = placed[0]
        regions = sorted({one.s_region for one in placed if one.epoch_id == first.epoch_id})
        grid = Grid.covering(
            [parse_s_region(region) for region in regions],
            options.scale_arcsec,
            first.roll_deg,
            GRID_MARGIN_PX,
        )
        stored = StoredGrid(**asdict(grid))
        insert_grid(
            connection, field_id, band, stored, epoch_id=first.epoch_id, ingest_id=ingest_id()
        )
    return Grid(**asdict(stored))


def _file_name(epoch: StoredEpoch, first: Exposure, pmap: Pmap) -> str:
    """Return the name of a mosaic's file: field, epoch, array, band, context."""
    subarray = [] if first.subarray == FULL_SUBARRAY else [first.subarray]
    words = [epoch.field_name, epoch.name, first.array, first.band, *subarray]
    safe = [_UNSAFE.sub("-", word.lower())[:_LONGEST_WORD].strip("-.") or "x" for word in words]
    return f"{'_'.join([*safe, pmap.name.removesuffix('.pmap')])}_i2d.fits"


def _digest(planned: PlannedMosaic, options: MosaicOptions) -> str:
    """Return the SHA-256 of all that decides on a mosaic's pixels and header."""
    inputs = {
        "algorithm": ALGORITHM,
        "members": [
            (member.file_name, member.file_sha256 or member.header_sha256, factor)
            for member, factor in zip(planned.members, planned.scale.factors, strict=True)
        ],
        "pmap": planned.pmap.name,
        "is_forced": options.force_pmap is not None,
        "photmjsr": planned.scale.photmjsr,
        "lattice": asdict(planned.lattice),
        "cleaning": asdict(planned.cleaning),
        "pixfrac": options.pixfrac,
        "kernel": options.kernel,
        "name": planned.path.name,
    }
    return sha256_of_json(inputs)
