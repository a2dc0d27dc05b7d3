"""A registry whose own file is damaged, and a server that stops and starts again in mid-command."""

from __future__ import annotations

import random
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from calreg import Registry
from calreg.errors import CalregError, DatabaseError
from support import ingestworkers
from support.dbfixtures import postgres_url, wheel_server
from support.programmes import PMAP
from support.synthetic import contents, copied_registry, ingest_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.programmes import Prepared

N_DAMAGED = 40
PAGE = 4096


def damaged(content: bytes, generator: random.Random) -> bytes:
    """Change pages of a SQLite file: zeros, another page, bits, or the end is missing."""
    changed = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 5))):
        page = generator.randrange(len(content) // PAGE)
        place = slice(page * PAGE, (page + 1) * PAGE)
        match generator.randrange(6):
            case 0:
                changed[place] = bytes(PAGE)
            case 1:
                other = generator.randrange(len(content) // PAGE)
                changed[place] = content[other * PAGE : (other + 1) * PAGE]
            case 2:
                for _ in range(8):
                    changed[page * PAGE + generator.randrange(100)] = generator.randrange(256)
            case 3:
                for _ in range(8):
                    changed[page * PAGE + generator.randrange(PAGE)] = generator.randrange(256)
            case 4:
                changed[generator.randrange(100)] = generator.randrange(256)
            case _:
                del changed[-generator.randrange(1, len(changed) // 2) :]
                break
    return bytes(changed)


@pytest.mark.slow
def test_damaged_pages_of_sqlite(small: Prepared, tmp_path: Path) -> None:
    """Whatever is asked of a damaged registry is answered, or refused in words of ours."""
    if not small.url.startswith("sqlite"):
        pytest.skip("files of SQLite")
    with small.copy(tmp_path) as url:
        path = tmp_path / url.rsplit("/", 1)[1]
        content = path.read_bytes()
        questions: list[Callable[[Registry], object]] = [
            lambda registry: registry.check(),
            lambda registry: registry.stats(),
            lambda registry: registry.coefficients(),
            lambda registry: registry.offsets(pmap=PMAP, band="F444W", array_id="long"),
            lambda registry: registry.history(band="F444W", array_id="long"),
            lambda registry: registry.detections(),
            lambda registry: registry.astrometry(),
            lambda registry: registry.affected(),
            lambda registry: registry.export_recipe(
                tmp_path / "out.ecsv", pmap=PMAP, overwrite=True
            ),
            lambda registry: registry.refit(),
            lambda registry: registry.ingest(list(small.files.paths)),
        ]
        generator = random.Random(6)  # noqa: S311 - seeded damage
        failures, n_refused = [], 0
        for number in range(N_DAMAGED):
            path.write_bytes(damaged(content, generator))
            for question in questions:
                try:
                    with Registry(url) as registry:
                        question(registry)
                except CalregError as error:
                    n_refused += 1
                    if "\n" in str(error):
                        failures.append(f"{number}: {error}")
                except Exception as error:
                    failures.append(f"{number}: {type(error).__name__}: {error}")
            for name in (f"{path.name}-wal", f"{path.name}-shm"):
                path.with_name(name).unlink(missing_ok=True)
    assert n_refused > N_DAMAGED
    assert not failures, "\n".join(failures)


# --- PostgreSQL -------------------------------------------------------------------------------


@contextmanager
def own_server() -> Iterator[tuple[str, Callable[[], None], Callable[[], None]]]:
    """Run a server of this test's own; yield a URL, and what stops and starts it."""
    with wheel_server() as (server, socket_folder):
        uri = postgres_url(str(socket_folder), 5432, "postgres", "postgres", None)
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute("CREATE DATABASE attacked")

        def stop() -> None:
            command = [
                str(server.bin_path / "pg_ctl"),
                "-D",
                str(server.pgdata),
                "-m",
                "immediate",
                "-w",
            ]
            user = server.system_user
            subprocess.run([*command, "stop"], check=True, capture_output=True, user=user)

        yield (
            postgres_url(str(socket_folder), 5432, "postgres", "attacked", None),
            stop,
            server.start,
        )


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("comes_back", [False, True], ids=["stopped", "restarted"])
def test_server_ends_in_the_middle_of_ingest(
    programme_folder: Path, sqlite_template: Path, tmp_path: Path, *, comes_back: bool
) -> None:
    """The command ends with a word on the database; again, it does all its work."""
    serial = copied_registry(sqlite_template, tmp_path)
    steps: list[ingestworkers.Step] = []
    stop_counting = ingestworkers.on_each_step(steps.append)
    ingest_all(serial, [programme_folder])
    stop_counting()
    whole = contents(serial)
    n_statements = sum(kind == "statement" for kind, _ in steps)
    with own_server() as (url, stop, start):
        Registry.init(url)
        before = contents(url)
        for at in (("statement", 2), ("statement", n_statements // 2), ("commit", 1)):

            def end_server(step: ingestworkers.Step, at: ingestworkers.Step = at) -> None:
                if step == at:
                    stop()
                    if comes_back:
                        start()

            stop_watching = ingestworkers.on_each_step(end_server)
            try:
                with pytest.raises(DatabaseError) as caught:
                    ingest_all(url, [programme_folder])
            finally:
                stop_watching()
            assert "\n" not in str(caught.value)
            if not comes_back:
                with pytest.raises(DatabaseError):
                    Registry(url)
                start()
            assert contents(url) == before
        ingest_all(url, [programme_folder])
        assert contents(url) == whole
        with Registry(url) as registry:
            assert registry.check() == []
