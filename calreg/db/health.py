"""Is the database what it should be, and how large is it: ``db check`` and ``db stats``."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.engine import VERSION_TABLE
from calreg.db.engines.choose import dialect_of
from calreg.db.schema import Base

if TYPE_CHECKING:
    from collections.abc import Iterator


class ProblemKind(StrEnum):
    """What sort of fault was found."""

    INTEGRITY = "integrity"
    """The engine's own checks complain."""
    SCHEMA = "schema"
    """Tables, columns or constraints differ from what this version of calreg expects."""
    DANGLING = "dangling"
    """Rows refer to rows that do not exist."""
    DIGEST = "digest"
    """A stored digest does not fit what it was taken of."""
    CALIBRATION = "calibration"
    """Images of one context are calibrated differently."""


@dataclass(frozen=True)
class Problem:
    """One fault, told in one line; `table` is empty if it concerns no single one."""

    kind: ProblemKind
    table: str
    message: str


@dataclass(frozen=True)
class DatabaseDescription:
    """Engine, revision and size of a registry.

    Attributes
    ----------
    engine : str
        Name and version, ``SQLite 3.40.1``.
    n_rows : dict of str to int
        Rows by table, parents first.
    """

    engine: str
    revision: str
    size_bytes: int
    n_rows: dict[str, int]


def check_database(connection: sa.Connection) -> list[Problem]:
    """Look for faults of the database itself."""
    problems = [
        Problem(ProblemKind.INTEGRITY, "", message)
        for message in dialect_of(connection).integrity_problems(connection)
    ]
    problems += _schema_problems(connection)
    problems += _guard_problems(connection)
    # Queries that follow need the tables, so they come only where these are as expected.
    if not any(problem.kind is ProblemKind.SCHEMA for problem in problems):
        problems += _dangling_rows(connection)
    return problems


def describe_database(connection: sa.Connection) -> DatabaseDescription:
    """Describe a registry."""
    dialect = dialect_of(connection)
    revision = sa.table(VERSION_TABLE, sa.column("version_num"))
    return DatabaseDescription(
        engine=dialect.version(connection),
        revision=str(connection.execute(sa.select(revision.c.version_num)).scalar_one()),
        size_bytes=dialect.size_bytes(connection),
        n_rows=table_counts(connection),
    )


def table_counts(connection: sa.Connection) -> dict[str, int]:
    """Count the rows of every table, parents first."""
    return {
        table.name: int(
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        )
        for table in Base.metadata.sorted_tables
    }


def _schema_problems(connection: sa.Connection) -> list[Problem]:
    """Compare the database with the models."""
    if dialect_of(connection).made_as(connection, Base.metadata):
        return []
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    context = MigrationContext.configure(
        connection,
        opts={"compare_type": True, "compare_server_default": True, "version_table": VERSION_TABLE},
    )
    with warnings.catch_warnings():
        # SQLAlchemy 2.1 warns about a CHECK that is NOT VALID while it reads it.
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        changes = compare_metadata(context, Base.metadata)
    problems = [
        Problem(ProblemKind.SCHEMA, _table_of(part), _describe(part))
        for change in changes
        for part in (change if isinstance(change, list) else [change])
    ]
    present = set(sa.inspect(connection).get_table_names())
    for table in Base.metadata.sorted_tables:
        if table.name in present:
            problems += _check_problems(connection, table)
    return problems


def _check_problems(connection: sa.Connection, table: sa.Table) -> Iterator[Problem]:
    """Compare the names of CHECKs, which Alembic does not look at."""
    found = {
        str(check["name"]) for check in sa.inspect(connection).get_check_constraints(table.name)
    }
    expected = {
        str(constraint.name)
        for constraint in table.constraints
        if isinstance(constraint, sa.CheckConstraint)
    }
    for name in sorted(expected - found):
        yield Problem(ProblemKind.SCHEMA, table.name, f"CHECK {name} is missing from {table.name}")
    for name in sorted(found - expected):
        yield Problem(ProblemKind.SCHEMA, table.name, f"{table.name} has an unknown CHECK {name}")


def _guard_problems(connection: sa.Connection) -> Iterator[Problem]:
    """Look for the rules that are in the engine's own words."""
    dialect = dialect_of(connection)
    for name in sorted(set(dialect.guards) - dialect.guard_names(connection)):
        message = f"the rule {name} is missing: overlapping acceptances would be let through"
        yield Problem(ProblemKind.SCHEMA, "acceptances", message)


def _table_of(change: tuple[object, ...]) -> str:
    """Return the table that a difference found by Alembic is about."""
    for part in change[1:]:
        if isinstance(part, sa.Table):
            return part.name
        table = getattr(part, "table", None)
        if isinstance(table, sa.Table):
            return table.name
    # modify_*: (what, schema, table, column, ...)
    return str(change[2]) if len(change) > 2 else ""


def _describe(change: tuple[object, ...]) -> str:
    """Return a difference found by Alembic as one line; its verbs say what would mend it."""
    words = [str(change[0]).replace("_", " ")]
    for part in change[1:]:
        name = getattr(part, "name", part)
        if isinstance(name, str):
            words.append(name)
    table = _table_of(change)
    if table and table not in words:
        words.append(f"of {table}")
    return f"schema differs from this version's, to mend it: {' '.join(words)}"


def _dangling_rows(connection: sa.Connection) -> Iterator[Problem]:
    """Count rows without parent for every foreign key."""
    for table in Base.metadata.sorted_tables:
        for key in table.foreign_key_constraints:
            child = table.alias("child")
            parent = key.referred_table.alias("parent")
            pairs = [
                (child.c[element.parent.name], parent.c[element.column.name])
                for element in key.elements
            ]
            has_parent = sa.exists().where(*(theirs == ours for ours, theirs in pairs))
            statement = (
                sa.select(sa.func.count())
                .select_from(child)
                .where(*(ours.is_not(None) for ours, _ in pairs), ~has_parent)
            )
            n_rows = connection.execute(statement).scalar_one()
            if n_rows:
                columns = ", ".join(key.column_keys)
                message = (
                    f"{n_rows} rows of {table.name} refer by {columns} to rows of "
                    f"{key.referred_table.name} that do not exist"
                )
                yield Problem(ProblemKind.DANGLING, table.name, message)
