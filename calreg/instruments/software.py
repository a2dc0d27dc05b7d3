"""What versions of the pipeline did to photometry: a table of eras per instrument, as data."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from calreg.instruments import Array

_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)(.*)", re.IGNORECASE)
_BEFORE_RELEASE = re.compile(r"[._-]?(dev|a|b|c|rc|alpha|beta)\d*", re.IGNORECASE)
_N_PARTS = 3


class EraAction(StrEnum):
    """What an era means for its files."""

    REFUSE = "refuse"
    SEPARATE = "separate"
    NOTE = "note"


@dataclass(frozen=True, eq=False)
class SoftwareEra:
    """Versions of the pipeline whose products differ from those of others.

    Attributes
    ----------
    product : str
        ``cat``, ``i2d`` or ``cal``.
    first, before : str
        Half-open range of versions; empty for no bound.
    faint_mmag : dict of str to float
        How much too faint sources come out, by array or channel [mmag].
    """

    name: str
    product: str
    action: EraAction
    what: str
    remedy: str
    source: str
    first: str = ""
    before: str = ""
    faint_mmag: dict[str, float] = field(default_factory=dict)

    def holds(self, product: str, version: str) -> bool:
        """Return whether a product of a version is of this era; not if the version is unknown."""
        found = version_key(version)
        if product != self.product or found is None:
            return False
        first, before = version_key(self.first), version_key(self.before)
        return (first is None or first <= found) and (before is None or found < before)

    def faint_mag(self, array: Array) -> float | None:
        """Return how much too faint an array's sources come out [mag], None if it is not known."""
        known = self.faint_mmag.get(array.name, self.faint_mmag.get(array.channel))
        return None if known is None else 1e-3 * known


def version_key(version: str) -> tuple[int, ...] | None:
    """Return the key that orders versions: ``1.9 < 1.20.0.dev3 < 1.20.0 = 1.20 < 1.20.1``.

    None for a text that does not begin with a number.
    """
    match = _VERSION.match(version.strip())
    if match is None:
        return None
    parts = [int(part) for part in match[1].split(".")][:_N_PARTS]
    is_release = _BEFORE_RELEASE.match(match[2]) is None
    return (*parts, *[0] * (_N_PARTS - len(parts)), int(is_release))


def era_of(
    eras: Sequence[SoftwareEra], action: EraAction, product: str, version: str
) -> SoftwareEra | None:
    """Return the era of one kind that a product of a version is of; None if of none."""
    return next((e for e in eras if e.action is action and e.holds(product, version)), None)


def software_conflict(
    eras: Sequence[SoftwareEra], product: str, versions: Mapping[str, str]
) -> str:
    """Name files of one product that are of several eras, by their versions; empty if of one."""
    found: dict[SoftwareEra | None, str] = {}
    for file_name, version in sorted(versions.items()):
        era = era_of(eras, EraAction.SEPARATE, product, version)
        found.setdefault(era, f"{version or 'an unknown version'} ({file_name})")
    if len(found) < 2:
        return ""
    era = next(era for era in found if era is not None)
    return (
        f"CAL_VER is {' and '.join(found.values())}: {era.what} ({era.name}; {era.source}); "
        f"{era.remedy}, or fit them together all the same with --allow-mixed-software"
    )


@cache
def load_software_eras(instrument: str) -> tuple[SoftwareEra, ...]:
    """Return the eras on record for an instrument; empty where it has no such table."""
    path = resources.files(__package__) / f"{instrument.lower()}_software.toml"
    if not path.is_file():
        return ()
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(
        SoftwareEra(**{**entry, "action": EraAction(entry["action"])}) for entry in table["eras"]
    )
