"""Writers take turns, wait, give up with a clear word, and leave nothing when they are killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from calreg.db.bulk import insert_rows
from calreg.db.engine import Database, InitOutcome, head_revision, init_database, open_database
from calreg.db.health import check_database
from calreg.db.schema import FieldRow, PmapRow
from calreg.errors import DatabaseBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 60.0
"""Longer than anything here takes, so that a failure ends."""

COUNT_UP = """
import sys
import sqlalchemy as sa
from calreg.db.bulk import insert_rows
from calreg.db.engine import open_database
from calreg.db.schema import PmapRow

with open_database(sys.argv[1]) as database:
    for _ in range(int(sys.argv[2])):
        with database.write() as connection:
            # Read, then write: two writers at once would find the same number.
            last = connection.execute(sa.select(sa.func.max(PmapRow.number))).scalar() or 0
            insert_rows(connection, PmapRow, [{"name": str(last + 1), "number": last + 1}])
"""

WRITE_AND_HANG = """
import sys
import numpy as np
from calreg.db.bulk import insert_columns
from calreg.db.engine import open_database
from calreg.db.schema import PmapRow

with open_database(sys.argv[1]) as database, database.write() as connection:
    numbers = np.arange(1, 200_001)
    names = np.array([f"pmap {number}" for number in numbers], dtype=object)
    insert_columns(connection, PmapRow, {"name": names, "number": numbers})
    print("written", flush=True)
    sys.stdin.read()
"""

INITIALISE = """
import sys
from calreg.db.engine import init_database

sys.stdin.readline()
print(init_database(sys.argv[1]).created)
"""


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Run a script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def hanging_writer(db_url: str) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that has written 200000 rows and neither commits nor ends."""
    with start(WRITE_AND_HANG, db_url) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        yield process
        process.kill()


def numbers(database: Database) -> list[int]:
    with database.read() as connection:
        return list(
            connection.execute(sa.select(PmapRow.number).order_by(PmapRow.number)).scalars()
        )


def test_two_processes_that_write_at_once_lose_nothing(db_url: str) -> None:
    n_each = 25
    with (
        start(COUNT_UP, db_url, str(n_each)) as first,
        start(COUNT_UP, db_url, str(n_each)) as second,
    ):
        for process in (first, second):
            _, errors = process.communicate(timeout=WAIT_S)
            assert (process.returncode, errors) == (0, "")
    with open_database(db_url) as database:
        assert numbers(database) == list(range(1, 2 * n_each + 1))


def test_two_threads_take_turns(database: Database) -> None:
    entered = threading.Event()
    may_end = threading.Event()
    order: list[str] = []

    def write_first() -> None:
        with database.write() as connection:
            entered.set()
            assert may_end.wait(WAIT_S)
            insert_rows(connection, PmapRow, [{"name": "first", "number": 1}])
            order.append("first")

    def write_second() -> None:
        with database.write() as connection:
            order.append("second")
            # What the first one wrote is seen: this transaction began after it.
            assert connection.execute(sa.select(PmapRow.number)).scalars().all() == [1]

    threads = [threading.Thread(target=write_first), threading.Thread(target=write_second)]
    threads[0].start()
    assert entered.wait(WAIT_S)
    threads[1].start()
    may_end.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert order == ["first", "second"]


def test_a_writer_that_waits_in_vain_says_what_to_do(
    database: Database, hanging_writer: subprocess.Popen[str]
) -> None:
    del hanging_writer
    began = time.monotonic()
    message = r"another calreg process.*run the command again"
    with pytest.raises(DatabaseBusyError, match=message), database.write(wait_s=0.6):
        pass
    # Not much sooner than asked for, and not for ever.
    assert 0.5 < time.monotonic() - began < WAIT_S
    with pytest.raises(DatabaseBusyError), database.write(wait_s=0.0):
        pass


def test_readers_do_not_wait_for_a_writer(
    database: Database, hanging_writer: subprocess.Popen[str]
) -> None:
    assert hanging_writer.poll() is None
    assert numbers(database) == []


def test_a_killed_writer_leaves_nothing(
    database: Database, hanging_writer: subprocess.Popen[str]
) -> None:
    hanging_writer.send_signal(signal.SIGKILL)
    assert hanging_writer.wait(WAIT_S) == -signal.SIGKILL
    with database.write(wait_s=WAIT_S) as connection:  # Its lock died with it.
        insert_rows(connection, PmapRow, [{"name": "after", "number": 1}])
    assert numbers(database) == [1]
    with database.read() as connection:
        assert check_database(connection) == []


def test_ctrl_c_ends_the_wait_for_another_writer(
    db_url: str, hanging_writer: subprocess.Popen[str]
) -> None:
    del hanging_writer
    script = """
import sys
from calreg.db.engine import open_database

with open_database(sys.argv[1]) as database:
    try:
        print("waiting", flush=True)
        with database.write():
            pass
    except KeyboardInterrupt:
        sys.exit(3)
"""
    with start(script, db_url) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        # A signal between two tries counts as well as one within a try, so no moment is special.
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 3, errors


def test_two_processes_that_initialise_at_once_make_one_registry(empty_db_url: str) -> None:
    with start(INITIALISE, empty_db_url) as first, start(INITIALISE, empty_db_url) as second:
        for process in (first, second):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        outputs = [process.communicate(timeout=WAIT_S) for process in (first, second)]
    assert sorted(output for output, _ in outputs) == ["False\n", "True\n"], outputs
    assert not init_database(empty_db_url).created


def test_an_initialisation_that_fails_leaves_no_tables(
    empty_db_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import op

    create_index = op.create_index

    def fail_late(name: str, *arguments: object, **options: object) -> None:
        if name == "ix_pair_groups_key":
            raise KeyboardInterrupt
        create_index(name, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_index", fail_late)
        with pytest.raises(KeyboardInterrupt):
            init_database(empty_db_url)
    with open_database(empty_db_url, check_schema=False) as database, database.read() as connection:
        assert sa.inspect(connection).get_table_names() == []
    assert init_database(empty_db_url) == InitOutcome(created=True, revision=head_revision())


def test_rows_written_before_an_error_in_the_same_command_are_gone(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as connection:  # noqa: PT012
        insert_rows(connection, PmapRow, [{"name": "a", "number": 1}])
        with pytest.raises(sa.exc.IntegrityError), connection.begin_nested():
            insert_rows(connection, FieldRow, [{"name": None, "created_utc": None}])
        raise ZeroDivisionError
    assert numbers(database) == []
