"""Which sets people trust: acceptances for ranges of contexts, and withdrawals, each with its time.

Rows are never deleted. The one change that a row sees is that its end is filled in, once.
"""

from __future__ import annotations

import sqlalchemy as sa

from calreg.db.engines.choose import dialect_of
from calreg.db.schema.base import Base, integer, moment, not_empty, positive, text


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

    id = integer(primary_key=True)
    set_pk = integer(references="coefficient_sets.id", index=True)
    band = text("of the set")
    array_id = text("of the set")
    pmap_from_number = integer("first context, 1130 for jwst_1130.pmap")
    pmap_to_number = integer(
        "last context, itself included; NULL when the end is open", nullable=True
    )
    reason = text("given with --reason")
    basis = text("what the range rests on, JSON")
    accepted_utc = moment("UTC")
    ended_utc = moment("UTC, NULL while it is in force", nullable=True)
    end_reason = text("why it ended, NULL while in force", nullable=True)


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
        ),
    )

    id = integer(primary_key=True)
    set_pk = integer(references="coefficient_sets.id")
    reason = text("given with --reason")
    withdrawn_utc = moment("UTC")
    ended_utc = moment("UTC, NULL while it is in force", nullable=True)
    end_reason = text("why it ended, NULL while in force", nullable=True)


def _make_guards(table: sa.Table, connection: sa.Connection, **_: object) -> None:
    """Make what the engine has instead of a constraint that both know, as the migration does."""
    del table
    for statement in dialect_of(connection).guards.values():
        connection.exec_driver_sql(statement)


def _complete_index(table: sa.Table, connection: sa.Connection, **_: object) -> None:
    """Repeat for the engine at hand what the index is of: naming both above imports both."""
    for index in table.indexes:
        options = index.dialect_kwargs
        options[f"{connection.dialect.name}_where"] = options["sqlite_where"]


sa.event.listen(AcceptanceRow.__table__, "after_create", _make_guards)
sa.event.listen(WithdrawalRow.__table__, "before_create", _complete_index)
