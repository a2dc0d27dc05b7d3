"""Acceptances of sets for ranges of contexts, and withdrawals.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql.base import PGDialect

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_KEY_HASH = "hashtextextended(band || ' ' || array_id, 0)"
_EXCLUSION = f"""
    ALTER TABLE acceptances ADD CONSTRAINT ex_acceptances_overlap EXCLUDE USING gist (
        numrange({_KEY_HASH}, {_KEY_HASH}, '[]') WITH &&,
        int4range(pmap_from_number, pmap_to_number, '[]') WITH &&,
        tstzrange(accepted_utc, ended_utc) WITH &&
    )
"""
_TRIGGER = """
    CREATE TRIGGER ex_acceptances_overlap_{name}
    AFTER {event} ON acceptances WHEN EXISTS (
        SELECT 1 FROM acceptances AS other
        WHERE other.id <> NEW.id AND other.band = NEW.band AND other.array_id = NEW.array_id
        AND (other.pmap_to_number IS NULL OR other.pmap_to_number >= NEW.pmap_from_number)
        AND (NEW.pmap_to_number IS NULL OR NEW.pmap_to_number >= other.pmap_from_number)
        AND (other.ended_utc IS NULL OR other.ended_utc > NEW.accepted_utc)
        AND (NEW.ended_utc IS NULL OR NEW.ended_utc > other.accepted_utc)
        AND (NEW.ended_utc IS NULL OR NEW.ended_utc > NEW.accepted_utc)
        AND (other.ended_utc IS NULL OR other.ended_utc > other.accepted_utc)
    )
    BEGIN
        SELECT RAISE(ABORT, 'overlapping acceptances: ex_acceptances_overlap');
    END
"""


def upgrade() -> None:
    """Create the tables, and the rule that acceptances of one key do not overlap."""
    _create_acceptances()
    _create_withdrawals()
    if isinstance(op.get_bind().dialect, PGDialect):
        op.execute(_EXCLUSION)
    else:
        for event in ("INSERT", "UPDATE"):
            op.execute(_TRIGGER.format(event=event, name=event.lower()))


def downgrade() -> None:
    """Take them away, if nobody has accepted or withdrawn anything."""
    bind = op.get_bind()
    for table in ("acceptances", "withdrawals"):
        if bind.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one():  # noqa: S608
            msg = f"revision 0003 cannot keep the {table} of sets: stay at 0004"
            raise RuntimeError(msg)
    op.drop_table("withdrawals")
    op.drop_table("acceptances")


def _create_acceptances() -> None:
    """Create the table acceptances."""
    op.create_table(
        "acceptances",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("set_pk", sa.Integer(), nullable=False),
        sa.Column("band", sa.Text(), nullable=False, comment="of the set"),
        sa.Column("array_id", sa.Text(), nullable=False, comment="of the set"),
        sa.Column(
            "pmap_from_number",
            sa.Integer(),
            nullable=False,
            comment="first context, 1130 for jwst_1130.pmap",
        ),
        sa.Column(
            "pmap_to_number",
            sa.Integer(),
            nullable=True,
            comment="last context, itself included; NULL when the end is open",
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="given with --reason"),
        sa.Column("basis", sa.Text(), nullable=False, comment="what the range rests on, JSON"),
        sa.Column("accepted_utc", _TIME, nullable=False, comment="UTC"),
        sa.Column("ended_utc", _TIME, nullable=True, comment="UTC, NULL while it is in force"),
        sa.Column(
            "end_reason", sa.Text(), nullable=True, comment="why it ended, NULL while in force"
        ),
        sa.CheckConstraint("reason <> ''", name="ck_acceptances_reason"),
        sa.CheckConstraint("pmap_from_number > 0", name="ck_acceptances_pmap_from_number"),
        sa.CheckConstraint(
            "pmap_to_number >= pmap_from_number", name="ck_acceptances_pmap_to_number"
        ),
        sa.CheckConstraint("ended_utc >= accepted_utc", name="ck_acceptances_ended_utc"),
        sa.ForeignKeyConstraint(["set_pk"], ["coefficient_sets.id"], name="fk_acceptances_set_pk"),
        sa.PrimaryKeyConstraint("id", name="pk_acceptances"),
    )
    op.create_index("ix_acceptances_set_pk", "acceptances", ["set_pk"], unique=False)
    op.create_index("ix_acceptances_key", "acceptances", ["band", "array_id"], unique=False)


def _create_withdrawals() -> None:
    """Create the table withdrawals."""
    op.create_table(
        "withdrawals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("set_pk", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, comment="given with --reason"),
        sa.Column("withdrawn_utc", _TIME, nullable=False, comment="UTC"),
        sa.Column("ended_utc", _TIME, nullable=True, comment="UTC, NULL while it is in force"),
        sa.Column(
            "end_reason", sa.Text(), nullable=True, comment="why it ended, NULL while in force"
        ),
        sa.CheckConstraint("reason <> ''", name="ck_withdrawals_reason"),
        sa.CheckConstraint("ended_utc >= withdrawn_utc", name="ck_withdrawals_ended_utc"),
        sa.ForeignKeyConstraint(["set_pk"], ["coefficient_sets.id"], name="fk_withdrawals_set_pk"),
        sa.PrimaryKeyConstraint("id", name="pk_withdrawals"),
    )
    op.create_index(
        "uq_withdrawals_in_force",
        "withdrawals",
        ["set_pk"],
        unique=True,
        sqlite_where=sa.text("ended_utc IS NULL"),
        postgresql_where=sa.text("ended_utc IS NULL"),
    )
