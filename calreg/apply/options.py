"""What `calreg apply` is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from calreg.errors import InvalidValueError
from calreg.science.model.gradient import GradientDatum

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.domain import Pmap


@dataclass(frozen=True)
class ApplyOptions:
    """How files are corrected.

    Attributes
    ----------
    pmap : Pmap or None
        The files must be of this context; with `is_predicted`, the context of the sets.
    field, flux_kind : str or None
        Which sets, where a key has several.
    is_in_place : bool
        Replace the files themselves. Either this or `out`.
    is_predicted : bool
        Where a context has no set, carry one over from another context by PHOTMJSR.
    allows_identity : bool
        Where there is no set at all, mark the file and leave its pixels as they are.
    replaces : bool
        Take a former correction back first.

    Raises
    ------
    InvalidValueError
        Unless there is one of `out` and `is_in_place`.
    """

    pmap: Pmap | None = None
    field: str | None = None
    flux_kind: str | None = None
    out: Path | None = None
    is_in_place: bool = False
    is_predicted: bool = False
    allows_identity: bool = False
    replaces: bool = False
    gradient_datum: GradientDatum = GradientDatum.SYMMETRIC

    def __post_init__(self) -> None:
        """Refuse a call that does not say where to write."""
        if (self.out is None) != self.is_in_place:
            msg = (
                "where to write? expected either --out DIR, which leaves the files as they are, or "
                "--in-place, which replaces them"
            )
            raise InvalidValueError(msg)
