"""What happened to a reduction's own files: corrections that were applied, and undone."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from calreg.db.schema.base import Base, not_empty, one_of, positive, sha256


class ApplicationRow(Base):
    """A file that was corrected, or restored. Never changed."""

    __tablename__ = "applications"
    __table_args__ = (
        one_of("kind", "apply", "undo"),
        one_of("origin", "measured", "predicted", "identity"),
        not_empty("application_id"),
        not_empty("set_id"),
        positive("photom_factor"),
        sha256("sha256_before"),
        sha256("sha256_after"),
        sa.Index("ix_applications_application_id", "application_id"),
        sa.Index("ix_applications_set_pk", "set_pk"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(comment="apply or undo")
    application_id: Mapped[str] = mapped_column(comment="card CALREGAP; an undo has that it undid")
    origin: Mapped[str] = mapped_column(comment="measured, predicted or identity")
    set_id: Mapped[str] = mapped_column(comment="card CALREGID: coefficient set, or identity")
    set_pk: Mapped[int | None] = mapped_column(
        sa.ForeignKey("coefficient_sets.id"),
        comment="NULL for identity, and for sets of other registries",
    )
    pmap_id: Mapped[int] = mapped_column(sa.ForeignKey("pmaps.id"), comment="CRDS_CTX of the file")
    array: Mapped[str] = mapped_column(comment="detector in lower case")
    band: Mapped[str] = mapped_column(comment="the element that shapes the passband")
    photom_factor: Mapped[float] = mapped_column(comment="PHOTMJSR was multiplied by it")
    file_name: Mapped[str] = mapped_column(comment="file that was written")
    directory: Mapped[str] = mapped_column(comment="where it was written to")
    sha256_before: Mapped[str] = mapped_column(comment="SHA-256 of the whole file before")
    sha256_after: Mapped[str] = mapped_column(comment="SHA-256 of the whole file after")
    created_utc: Mapped[datetime] = mapped_column(comment="UTC")
    code_version: Mapped[str] = mapped_column(comment="calreg version")
