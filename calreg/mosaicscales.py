"""Whether the exposures of a mosaic are on one flux scale, and the factors that put them on one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calreg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.domain import Exposure, Pmap

SAME_SCALE = 1e-6
"""Values of PHOTMJSR and PIXAR_SR are the same when they agree to this fraction: they are float32
in reference files."""

_MANY = 12


def require_one_scale(name: str, members: Sequence[Exposure]) -> float:
    """Refuse exposures with different contexts, PHOTMJSR or PIXAR_SR.

    Parameters
    ----------
    name : str
        Of the group, for messages.
    members : sequence of Exposure

    Returns
    -------
    float
        Their PHOTMJSR [MJy/sr per DN/s], the first exposure's.

    Raises
    ------
    InvalidValueError
        The message lists which files have which.
    """
    remedy = "--force-context PMAP rescales all to one, or give the files of one only"
    _require_same(name, "contexts", members, [str(member.pmap) for member in members], remedy)
    _require_same_number(name, "PHOTMJSR", members, [member.photmjsr for member in members], remedy)
    _require_same_pixels(name, members)
    return _photmjsr_of(members[0])


def forced_scale(
    name: str, members: Sequence[Exposure], pmap: Pmap, known: Sequence[float], command: str
) -> tuple[float, tuple[float, ...]]:
    """Return the PHOTMJSR of a context and the factors that put exposures on its scale.

    Parameters
    ----------
    name : str
        Of the group, for messages.
    members : sequence of Exposure
    pmap : Pmap
        The context.
    known : sequence of float
        Values of PHOTMJSR that the registry has for it [MJy/sr per DN/s].
    command : str
        How to bring one in, for messages.

    Returns
    -------
    photmjsr : float
        Of the context: its exposures' among the members, else the registry's.
    factors : tuple of float
        PHOTMJSR of the context over that of each exposure.

    Raises
    ------
    InvalidValueError
        If the context's value is not known or not one, an exposure has none, or PIXAR_SR differs
        between exposures of one context.

    Notes
    -----
    Pixels of `cal` files are count rates times PHOTMJSR, so the ratio puts them where the context
    would have; what else differs between contexts (flats, for one) is not undone.
    """
    for context in sorted({member.pmap for member in members}):
        _require_same_pixels(name, [member for member in members if member.pmap == context])
    own = [member for member in members if member.pmap == pmap]
    if own:
        values = [_photmjsr_of(member) for member in own]
        _require_same_number(name, "PHOTMJSR", own, values, "give files of one only")
        photmjsr = values[0]
    else:
        photmjsr = _one_of(name, members, pmap, known, command)
    return photmjsr, tuple(photmjsr / _photmjsr_of(member) for member in members)


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


def _one_of(
    name: str, members: Sequence[Exposure], pmap: Pmap, known: Sequence[float], command: str
) -> float:
    """Return the one value that a registry has for a context."""
    key = f"PHOTMJSR of {members[0].array} {members[0].band} {members[0].subarray} under {pmap}"
    if not known:
        msg = f"{name}: {key} is not known: ingest an exposure of that context ({command})"
        raise InvalidValueError(msg)
    if max(known) > min(known) * (1.0 + SAME_SCALE):
        found = ", ".join(f"{value:.7g}" for value in known)
        msg = f"{name}: {key} has several values in the registry ({found}): expected one"
        raise InvalidValueError(msg)
    return known[0]


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
