"""What happened to a reduction's own files: corrections that were applied, and undone."""

from __future__ import annotations

import sqlalchemy as sa

from calreg.db.schema.base import (
    Base,
    double,
    integer,
    moment,
    not_empty,
    one_of,
    positive,
    sha256,
    text,
)


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

    id = integer(primary_key=True)
    kind = text("apply or undo")
    application_id = text("card CALREGAP; an undo has that it undid")
    origin = text("measured, predicted or identity")
    set_id = text("card CALREGID: coefficient set, or identity")
    set_pk = integer(
        "NULL for identity, and for sets of other registries",
        references="coefficient_sets.id",
        nullable=True,
    )
    pmap_id = integer("CRDS_CTX of the file", references="pmaps.id")
    array = text("detector in lower case")
    band = text("the element that shapes the passband")
    photom_factor = double("PHOTMJSR was multiplied by it")
    file_name = text("file that was written")
    directory = text("where it was written to")
    sha256_before = text("SHA-256 of the whole file before")
    sha256_after = text("SHA-256 of the whole file after")
    created_utc = moment("UTC")
    code_version = text("calreg version")
