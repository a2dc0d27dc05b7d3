"""What was handed out: every exported file with its digest and the sets in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from calreg._version import __version__
from calreg.db.queries.applications import insert_delivery
from calreg.files.atomic import sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from calreg.db.engine import Connection
    from calreg.domain import SetQuery


@dataclass(frozen=True)
class ExportOptions:
    """Which sets to write as a table and where to; see `Registry.export_recipe`."""

    out: Path
    sets: SetQuery
    leave_out: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Delivery:
    """A file that was exported.

    Attributes
    ----------
    left_out : tuple of str
        Band and array ids that the file lacks on request, each with the reason.
    """

    path: Path
    file_sha256: str
    n_sets: int
    left_out: tuple[str, ...] = ()


def record_delivery(
    connection: Connection,
    kind: str,
    path: Path,
    set_pks: Sequence[int],
    created_utc: datetime,
    *,
    content: Path | None = None,
) -> Delivery:
    """Write the row of a file, `content` being where it is as long as it does not have its name."""
    content = path if content is None else content
    delivery = Delivery(path, sha256_of(content), len(set_pks))
    row = {
        "kind": kind,
        "file_name": path.name,
        "directory": str(path.resolve().parent),
        "file_size_bytes": content.stat().st_size,
        "file_sha256": delivery.file_sha256,
        "created_utc": created_utc,
        "code_version": __version__,
    }
    insert_delivery(connection, row, list(set_pks))
    return delivery
