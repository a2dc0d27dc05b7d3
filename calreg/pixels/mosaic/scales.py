"""Whether the exposures of a mosaic are on one flux scale, and the factors that put them on one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from calreg.domain import ZeroPointKind
from calreg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.db.queries.zeropoints import StoredZeroPoint
    from calreg.domain import Exposure, Pmap

SAME_SCALE = 1e-6
"""Values of PHOTMJSR and PIXAR_SR are the same when they agree to this fraction: they are float32
in reference files."""

_KINDS = (ZeroPointKind.HEADER, ZeroPointKind.TABLE, ZeroPointKind.PUBLISHED)
"""In the order of trust. Rows of files with time coefficients are no value of an exposure."""

_MANY = 12


@dataclass(frozen=True)
class Scale:
    """The flux scale of a mosaic, and what puts exposures on it.

    Attributes
    ----------
    photmjsr : float
        [MJy/sr per DN/s].
    factors : tuple of float
        `photmjsr` over that of each exposure.
    """

    photmjsr: float
    factors: tuple[float, ...]
    note: str


def require_one_scale(name: str, members: Sequence[Exposure]) -> Scale:
    """Refuse exposures with different contexts, PHOTMJSR or PIXAR_SR."""
    remedy = "--force-context PMAP rescales all to one, or give the files of one only"
    _require_same(name, "contexts", members, [str(member.pmap) for member in members], remedy)
    _require_same_number(name, "PHOTMJSR", members, [member.photmjsr for member in members], remedy)
    _require_same_pixels(name, members)
    return Scale(_photmjsr_of(members[0]), (1.0,) * len(members), "")


def forced_scale(
    name: str,
    members: Sequence[Exposure],
    pmap: Pmap,
    known: Sequence[StoredZeroPoint],
    command: str,
) -> Scale:
    """Return the PHOTMJSR of a context and the factors that put exposures on its scale.

    Notes
    -----
    Pixels of `cal` files are count rates times PHOTMJSR, so the ratio puts them where the context
    would have; what else differs between contexts (flats, for one) is not undone.
    """
    for context in sorted({member.pmap for member in members}):
        _require_same_pixels(name, [member for member in members if member.pmap == context])
    own = [member for member in members if member.pmap == pmap]
    note = ""
    if own:
        values = [_photmjsr_of(member) for member in own]
        _require_same_number(name, "PHOTMJSR", own, values, "give files of one only")
        photmjsr = values[0]
    else:
        photmjsr, note = _registered(name, members[0], pmap, known, command)
    factors = tuple(photmjsr / _photmjsr_of(member) for member in members)
    return Scale(photmjsr, factors, note)


def _registered(
    name: str, first: Exposure, pmap: Pmap, known: Sequence[StoredZeroPoint], command: str
) -> tuple[float, str]:
    """Return the one value that a registry has for a context, and how well it is known."""
    points = [
        point
        for point in known
        if point.pmap == pmap
        and (point.array, point.filter, point.pupil) == (first.array, first.filter, first.pupil)
        and point.subarray in (first.subarray, "")
    ]
    key = f"PHOTMJSR of {first.array} {first.band} {first.subarray} under {pmap}"
    for kind in _KINDS:
        of_kind = [point for point in points if point.kind is kind]
        if not of_kind:
            continue
        values = [point.photmjsr for point in of_kind]
        low, high = min(values), max(values)
        half_width = max(point.photmjsr_half_width for point in of_kind)
        if high - low > max(SAME_SCALE * high, 2.0 * half_width):
            found = ", ".join(sorted({f"{value:.8g}" for value in values}))
            msg = f"{name}: {key} has several values in the registry ({found}): expected one"
            raise InvalidValueError(msg)
        note = ""
        if half_width > SAME_SCALE * high:
            note = f"{name}: {key} is a {kind} value, known to {half_width / high:.1e} of itself"
        return min(of_kind, key=lambda point: point.photmjsr_half_width).photmjsr, note
    msg = f"{name}: {key} is not known: ingest an exposure of that context ({command})"
    raise InvalidValueError(msg)


def _photmjsr_of(member: Exposure) -> float:
    """Return PHOTMJSR of an exposure, which must have one."""
    if member.photmjsr is None:
        msg = (
            f"{member.file_name}: card PHOTMJSR is missing or empty: expected the conversion that "
            "its pixels are on, without which it cannot be put on a scale; run the step photom on "
            "it, or leave it out"
        )
        raise InvalidValueError(msg)
    return member.photmjsr


def _require_same_pixels(name: str, members: Sequence[Exposure]) -> None:
    """Refuse different pixel areas."""
    areas = [member.pixar_sr for member in members]
    _require_same_number(name, "PIXAR_SR", members, areas, "give the files of one only")


def _require_same_number(
    name: str,
    card: str,
    members: Sequence[Exposure],
    values: Sequence[float | None],
    remedy: str,
) -> None:
    """Refuse values that differ by more than rounding."""
    given = [value for value in values if value is not None]
    is_same = len(given) in (0, len(values)) and (
        not given or max(given) <= min(given) * (1.0 + SAME_SCALE)
    )
    if not is_same:
        texts = ["none" if value is None else f"{value:.8g}" for value in values]
        _require_same(name, card, members, texts, remedy)


def _require_same(
    name: str, what: str, members: Sequence[Exposure], texts: Sequence[str], remedy: str
) -> None:
    """Refuse different values, and list which files have which."""
    files: dict[str, list[str]] = {}
    for member, text in zip(members, texts, strict=True):
        files.setdefault(text, []).append(member.file_name)
    if len(files) < 2:
        return
    parts = []
    for text, names in sorted(files.items()):
        more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
        parts.append(f"{text} in {', '.join(names[:_MANY])}{more}")
    msg = f"{name}: mixed {what}: {'; '.join(parts)}: expected one; {remedy}"
    raise InvalidValueError(msg)
