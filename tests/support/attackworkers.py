"""Damaged files go through the registry's doors in a process of its own, watched from outside.

The process has a limit of memory; whoever waits for it has one of time. It may crash, hang or ask
for all the memory there is: each is told of the input that did it, and a new process goes on with
the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from calreg import Registry
from calreg.errors import CalregError
from support import ingestworkers
from support.attackdoors import CATALOG_DOORS, TARGETS, Attack, Door, Target, attacked, target_file
from support.mutations import mutate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess

LIMIT_S = 20.0
"""Longest that one input may take through all its doors [s]."""

MIB = 1 << 20
FREE_BYTES = 1024 * MIB
DECODED = 3
"""Memory may grow by `FREE_BYTES`, and by this many times the size of the file."""

_BACKSTOP_BYTES = 4096 * MIB
"""Address space beyond what the process has at its start; it protects the machine, not the test."""

N_PER_REGISTRY = 40
"""Inputs that one copy of the registry gets, before it is checked and a new one is taken."""

PREFIXES = {7: "\udcff", 13: "a b'\"%s"}
"""Before the names of some files: bytes that are not UTF-8, quotes, blanks."""

_N_PREFIXES = 23

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Failure:
    """One thing that must not be."""

    target: str
    number: int
    damage: str
    door: str
    what: str
    where: str = ""

    def __str__(self) -> str:
        """Say it in one line."""
        text = f"{self.target} {self.number} ({self.damage}) {self.door}: {self.what}"
        text = f"{text} at {self.where}" if self.where else text
        return ascii(text)[1:-1]


@dataclass
class Outcome:
    """What came of many inputs.

    Attributes
    ----------
    n_refused, n_taken : int
        Passages of an input through a door.
    peak_bytes : int
        Largest growth of memory by one input.
    slowest_s : float
        Longest time of one input.
    wrapped : dict of str to int
        Exceptions of libraries that were refused in words of ours, by their name.
    """

    failures: list[Failure] = field(default_factory=list)
    n_inputs: int = 0
    n_refused: int = 0
    n_taken: int = 0
    peak_bytes: int = 0
    slowest_s: float = 0.0
    wrapped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Battlefield:
    """What is attacked.

    Attributes
    ----------
    corpus : Path
        Folder of healthy files.
    url : str
        Registry to copy for SQLite, to use for PostgreSQL.
    folder : Path
        For copies.
    seed : int
    """

    corpus: Path
    url: str
    folder: Path
    seed: int

    def content(self, target: Target, number: int) -> tuple[bytes, str]:
        """Return the damaged file of a number, and what was done to it."""
        generator = random.Random(f"{self.seed} {target.file} {number}")  # noqa: S311 - seeded
        return mutate((self.corpus / target_file(target)).read_bytes(), target.form, generator)


class Attacker:
    """Sends damaged files to a process of its own, and takes a new one where that is lost."""

    def __init__(self, battlefield: Battlefield) -> None:
        self.battlefield = battlefield
        self._process: ForkServerProcess | None = None
        self._pipe: Connection

    def attack(self, target: Target, numbers: Sequence[int]) -> Outcome:
        """Send damaged files of one target through its doors."""
        inputs = ((number, *self.battlefield.content(target, number)) for number in numbers)
        return self.send(target, inputs)

    def send(self, target: Target, inputs: Iterable[tuple[int, bytes, str]]) -> Outcome:
        """Send given contents through the doors of a target."""
        outcome = Outcome()
        number, damage = 0, ""
        for number, content, damage in inputs:
            outcome.n_inputs += 1
            one = self._ask((target.file, number, content, damage))
            if isinstance(one, str):
                outcome.failures.append(Failure(target.file, number, damage, "", one))
            else:
                _add(outcome, one)
        one = self._ask((target.file, number, b"", damage))
        assert isinstance(one, Outcome), one
        _add(outcome, one)
        return outcome

    def _ask(self, message: tuple[str, int, bytes, str]) -> Outcome | str:
        """Return what came of an input, or what became of the process."""
        try:
            self._running().send(message)
            if self._pipe.poll(LIMIT_S):
                return self._pipe.recv()  # type: ignore[no-any-return]
            what = f"still at work after {LIMIT_S:g} s"
        except EOFError:
            assert self._process is not None
            self._process.join(ingestworkers.PATIENCE_S)
            what = f"the process ended with {self._process.exitcode}"
        self.close()
        return what

    def _running(self) -> Connection:
        """Return the pipe to the process, which is started where there is none."""
        if self._process is None:
            self._pipe, theirs = multiprocessing.Pipe()
            self._process = ingestworkers.start_process(_work, (self.battlefield, theirs))
            theirs.close()
            assert self._pipe.poll(ingestworkers.PATIENCE_S), "the process does not begin"
            self._pipe.recv()
        return self._pipe

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._pipe.close()
            self._process.kill()
            self._process.join()
            self._process = None


def _add(outcome: Outcome, one: Outcome) -> None:
    """Add the outcome of one input."""
    outcome.failures += one.failures
    outcome.n_refused += one.n_refused
    outcome.n_taken += one.n_taken
    outcome.peak_bytes = max(outcome.peak_bytes, one.peak_bytes)
    outcome.slowest_s = max(outcome.slowest_s, one.slowest_s)
    for name, n in one.wrapped.items():
        outcome.wrapped[name] = outcome.wrapped.get(name, 0) + n


# --- inside the process -----------------------------------------------------------------------


def _work(battlefield: Battlefield, pipe: Connection) -> None:
    """Take inputs until there are no more; an empty one is the last of a target."""
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - libraries talk of damaged files
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    targets = {target.file: target for target in TARGETS}
    worker: _Worker | None = None
    pipe.send("ready")
    while True:
        try:
            file, number, content, damage = pipe.recv()
        except EOFError:
            break
        if worker is None:
            worker = _Worker(battlefield, targets[file])
        if content:
            pipe.send(worker.send_through(number, content, damage))
        else:
            pipe.send(worker.end(number, damage))
            worker = None


class _Worker:
    """Sends damaged files through the doors of one registry after the other."""

    def __init__(self, battlefield: Battlefield, target: Target) -> None:
        self.battlefield = battlefield
        self.target = target
        self.registry: Registry | None = None
        self.n_sent = 0
        self.state = _corpus_state(battlefield.corpus)
        self._warm_up((battlefield.corpus / target_file(target)).read_bytes())

    def _warm_up(self, healthy: bytes) -> None:
        """Load what libraries load once, with the healthy file; then limit memory."""
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        with attacked(
            self.target, healthy, self._opened(), self.battlefield.corpus, self._folder("warm")
        ) as attack_:
            for door in self.target.doors:
                with contextlib.suppress(CalregError):  # not every door takes every healthy file
                    door(attack_)
                _clear(attack_)
        limit = _memory("VmSize") + _BACKSTOP_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))

    def _folder(self, name: str) -> Path:
        """Return a folder that is not there yet."""
        return (
            self.battlefield.folder / f"{self.target.file.replace('/', '-')}-{os.getpid()}-{name}"
        )

    def _opened(self) -> Registry:
        """Return the registry; a new copy after some inputs."""
        if self.registry is None:
            url = self.battlefield.url
            if url.startswith("sqlite"):
                path = self._folder(f"{self.n_sent}.sqlite")
                shutil.copyfile(url.removeprefix("sqlite:///"), path)
                url = f"sqlite:///{path}"
            self.registry = Registry(url)
        return self.registry

    def _close(self) -> list[str]:
        """Check the registry, and throw the copy away; return its problems."""
        if self.registry is None:
            return []
        url = self.registry.url
        try:
            problems = [str(problem) for problem in self.registry.check()]
        finally:
            self.registry.close()
            self.registry = None
            if url.startswith("sqlite"):
                path = Path(url.removeprefix("sqlite:///"))
                for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                    path.with_name(name).unlink(missing_ok=True)
        return problems

    def send_through(self, number: int, content: bytes, damage: str) -> Outcome:
        """Send one file through all doors; look after it at what it left."""
        outcome = Outcome()
        with attacked(
            self.target,
            content,
            self._opened(),
            self.battlefield.corpus,
            self._folder(str(number)),
            prefix=PREFIXES.get(number % _N_PREFIXES, ""),
        ) as attack_:
            for door in self.target.doors:
                reasons = self._send(attack_, door, outcome, len(content))
                outcome.failures += [
                    Failure(self.target.file, number, damage, door.__name__, *reason)
                    for reason in reasons
                ]
                _clear(attack_)
                if attack_.path.read_bytes() != content:
                    attack_.path.write_bytes(content)
        self.n_sent += 1
        # An image takes one catalog: the next one is to be stored too.
        is_full = outcome.n_taken > 0 and any(door in CATALOG_DOORS for door in self.target.doors)
        if self.n_sent % N_PER_REGISTRY == 0 or is_full:
            _add(outcome, self.end(number, damage))
        return outcome

    def end(self, number: int, damage: str) -> Outcome:
        """Check the registry and the corpus; take a new copy for what comes next."""
        found = [("db check", text) for text in self._close()]
        state = _corpus_state(self.battlefield.corpus)
        if state != self.state:
            found.append(("corpus", "a healthy file was changed"))
            self.state = state
        return Outcome(
            [Failure(self.target.file, number, damage, name, text) for name, text in found]
        )

    def _send(
        self, attack_: Attack, door: Door, outcome: Outcome, n_bytes: int
    ) -> list[tuple[str, str]]:
        """Send the file through one door; return what must not be, and where it came from."""
        before = _files(attack_.folder)
        rows = attack_.registry.stats().n_rows
        base = _begin_peak()
        started = time.perf_counter()
        refused: str | None = None
        failures: list[tuple[str, str]] = []
        try:
            refused = door(attack_)
        except CalregError as error:
            refused = str(error) or type(error).__name__
            if _has_no_memory(error):
                failures.append(("ran out of memory", _innermost(error)))
        except MemoryError as error:
            failures.append(("MemoryError", _innermost(error)))
        except BaseException as error:  # exactly that is looked for
            text = " ".join(str(error).split())[:160]
            failures.append((f"{type(error).__name__}: {text}", _innermost(error)))
        outcome.slowest_s = max(outcome.slowest_s, time.perf_counter() - started)
        grown = _memory("VmHWM") - base
        outcome.peak_bytes = max(outcome.peak_bytes, grown)
        if grown > FREE_BYTES + DECODED * n_bytes:
            failures.append((f"memory grew by {grown // MIB} MiB", ""))
        if refused is not None:
            outcome.n_refused += 1
            _count_wrapped(refused, outcome)
            if "MemoryError" in refused or "bad_alloc" in refused:
                failures.append((f"ran out of memory: {refused[-300:]}", ""))
        elif not failures:
            outcome.n_taken += 1
        failures += _left_behind(attack_, door, before, is_refused=refused is not None)
        if refused is not None and door.__name__ != "check_files":
            now = attack_.registry.stats().n_rows
            changed = {name for name, n in now.items() if n != rows[name]}
            if changed:
                failures.append((f"refused, but rows were added to {sorted(changed)}", ""))
        return failures


def _left_behind(
    attack_: Attack, door: Door, before: dict[str, str], *, is_refused: bool
) -> list[tuple[str, str]]:
    """Return what is wrong with the files after a door."""
    after = _files(attack_.folder)
    failures = []
    for name in before.keys() | after.keys():
        is_own = name in before
        if ".calreg-" in name:
            failures.append((f"a temporary file is left: {name}", ""))
        elif is_own and name not in after:
            failures.append((f"{name} is gone", ""))
        elif (
            is_own
            and before[name] != after[name]
            and (is_refused or not door.__name__.endswith("_beside_another"))
        ):
            failures.append((f"{name} was changed", ""))
        elif not is_own and is_refused and name != "healthy_cal.fits":
            failures.append((f"refused by {door.__name__}, but {name} was written", ""))
    return failures


def _files(folder: Path) -> dict[str, str]:
    """Return a digest of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha1(path.read_bytes()).hexdigest()  # noqa: S324
        for path in folder.rglob("*")
        if path.is_file()
    }


def _clear(attack_: Attack) -> None:
    """Take away what a door wrote."""
    shutil.rmtree(attack_.out, ignore_errors=True)
    for name in ("out.ecsv", "healthy_cal.fits"):
        (attack_.folder / name).unlink(missing_ok=True)


def _corpus_state(corpus: Path) -> list[tuple[str, int, int]]:
    """Return sizes and times of the healthy files."""
    return sorted(
        (str(path), path.stat().st_size, path.stat().st_mtime_ns)
        for path in corpus.rglob("*")
        if path.is_file()
    )


def _has_no_memory(error: BaseException) -> bool:
    """Tell whether an error was made of a lack of memory."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, MemoryError):
            return True
        chain = chain.__cause__ or chain.__context__
    return False


def _innermost(error: BaseException) -> str:
    """Return the innermost place of calreg in a traceback, and the last one of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}calreg{os.sep}" in frame.filename]
    chosen = [*(ours[-1:]), *(frames[-1:] if frames and frames[-1:] != ours[-1:] else [])]
    return " <- ".join(
        f"{'/'.join(Path(frame.filename).parts[-3:])}:{frame.lineno} {frame.name}"
        for frame in chosen
    )


def _count_wrapped(text: str, outcome: Outcome) -> None:
    """Count the exceptions of libraries in a refusal."""
    _, found, rest = text.partition("cannot be read (")
    name = rest.partition(":")[0]
    if found and name.isidentifier():
        outcome.wrapped[name] = outcome.wrapped.get(name, 0) + 1


def _memory(name: str) -> int:
    """Return a figure of this process [bytes]; 0 where the system does not tell."""
    try:
        text = _STATUS.read_text()
    except OSError:
        return 0
    line = next((line for line in text.splitlines() if line.startswith(f"{name}:")), "x: 0 kB")
    return int(line.split()[1]) * 1024


def _begin_peak() -> int:
    """Begin to measure the peak anew; return the memory that is in use [bytes]."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")
    return _memory("VmRSS")


def as_ledger(failures: Sequence[Failure]) -> str:
    """Return failures by what they are, each with one example and a count, for a person to read."""
    groups: dict[tuple[str, str, str, str], list[Failure]] = {}
    for failure in failures:
        kind = failure.what.split(":")[0][:80]
        groups.setdefault((failure.target, failure.door, kind, failure.where), []).append(failure)
    return json.dumps(
        [{"n": len(group), "example": str(group[0])} for group in groups.values()], indent=1
    )
