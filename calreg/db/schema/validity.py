"""Which sets people trust: acceptances for ranges of contexts, and withdrawals, each with its time.

Rows are never deleted. The one change that a row sees is that its end is filled in, once.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from calreg.db.engines.choose import dialect_of
from calreg.db.schema.base import Base, not_empty, positive


class AcceptanceRow(Base):
    """A set accepted for a range of contexts, in the half-open time [accepted_utc, ended_utc).

    Two acceptances of one band and array id never overlap in both range and time: the database
    refuses that (`calreg.db.engines.guards`).
    """

    __tablename__ = "acceptances"
    __table_args__ = (
        not_empty("reason"),
        positive("pmap_from_number"),
        sa.CheckConstraint("pmap_to_number >= pmap_from_number", name="pmap_to_number"),
        sa.CheckConstraint("ended_utc >= accepted_utc", name="ended_utc"),
        sa.Index("ix_acceptances_key", "band", "array_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    set_pk: Mapped[int] = mapped_column(sa.ForeignKey("coefficient_sets.id"), index=True)
    band: Mapped[str] = mapped_column(comment="of the set")
    array_id: Mapped[str] = mapped_column(comment="of the set")
    pmap_from_number: Mapped[int] = mapped_column(comment="first context, 1130 for jwst_1130.pmap")
    pmap_to_number: Mapped[int | None] = mapped_column(
        comment="last context, itself included; NULL when the end is open"
    )
    reason: Mapped[str] = mapped_column(comment="given with --reason")
    basis: Mapped[str] = mapped_column(comment="what the range rests on, JSON")
    accepted_utc: Mapped[datetime] = mapped_column(comment="UTC")
    ended_utc: Mapped[datetime | None] = mapped_column(comment="UTC, NULL while it is in force")
    end_reason: Mapped[str | None] = mapped_column(comment="why it ended, NULL while in force")


class WithdrawalRow(Base):
    """A set taken out of use, in the half-open time [withdrawn_utc, ended_utc)."""

    __tablename__ = "withdrawals"
    __table_args__ = (
        not_empty("reason"),
        sa.CheckConstraint("ended_utc >= withdrawn_utc", name="ended_utc"),
        sa.Index(
            "uq_withdrawals_in_force",
            "set_pk",
            unique=True,
            sqlite_where=sa.text("ended_utc IS NULL"),
            postgresql_where=sa.text("ended_utc IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    set_pk: Mapped[int] = mapped_column(sa.ForeignKey("coefficient_sets.id"))
    reason: Mapped[str] = mapped_column(comment="given with --reason")
    withdrawn_utc: Mapped[datetime] = mapped_column(comment="UTC")
    ended_utc: Mapped[datetime | None] = mapped_column(comment="UTC, NULL while it is in force")
    end_reason: Mapped[str | None] = mapped_column(comment="why it ended, NULL while in force")


def _make_guards(table: sa.Table, connection: sa.Connection, **_: object) -> None:
    """Make what the engine has instead of a constraint that both know, as the migration does."""
    del table
    for statement in dialect_of(connection).guards.values():
        connection.exec_driver_sql(statement)


sa.event.listen(AcceptanceRow.__table__, "after_create", _make_guards)
