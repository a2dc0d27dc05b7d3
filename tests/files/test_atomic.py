from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from calreg.errors import FileFormatError, InvalidValueError, OutputError
from calreg.files.atomic import (
    NamedFiles,
    PendingFile,
    fill_pending,
    format_utc,
    make_folder,
    pending_file,
    remove_pending,
    replace_file,
    sha256_of,
)

if TYPE_CHECKING:
    from pathlib import Path


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _fill(target: Path, *, overwrite: bool) -> None:
    with replace_file(target, overwrite=overwrite) as temporary:
        temporary.write_text("new")


def _write_while_another_appears(target: Path) -> None:
    with replace_file(target) as temporary:
        temporary.write_text("ours")
        target.write_text("theirs")


def _fail_halfway(target: Path, error: BaseException, *, overwrite: bool = False) -> None:
    with replace_file(target, overwrite=overwrite) as temporary:
        temporary.write_text("half")
        raise error


def test_a_new_file_gets_its_content_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    with replace_file(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert _names(tmp_path) == ["out.txt"]


def test_a_new_file_has_the_permissions_that_the_umask_gives(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    with replace_file(tmp_path / "out.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "out.txt").stat().st_mode == plain.stat().st_mode


def test_an_existing_file_is_refused_and_kept(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with (
        pytest.raises(OutputError, match=r"out\.txt: it exists; .*--overwrite"),
        replace_file(target),
    ):
        pytest.fail("the body must not run")
    assert target.read_text() == "old"
    assert _names(tmp_path) == ["out.txt"]


def test_overwrite_replaces_and_keeps_permissions(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    target.chmod(0o640)
    with replace_file(target, overwrite=True) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_symbolic_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real.txt"
    real.write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to(real)
    with replace_file(link, overwrite=True) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    with pytest.raises(OutputError, match="it exists"):
        _write_while_another_appears(target)
    assert target.read_text() == "theirs"
    assert _names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("appears", [False, True])
def test_a_file_system_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, appears: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "out.txt"
    if appears:
        with pytest.raises(OutputError, match="it exists"):
            _write_while_another_appears(target)
    else:
        with replace_file(target) as temporary:
            temporary.write_text("ours")
    assert target.read_text() == ("theirs" if appears else "ours")
    assert _names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
@pytest.mark.parametrize("overwrite", [False, True])
def test_any_exception_leaves_the_folder_as_before(
    tmp_path: Path, error: type[BaseException], *, overwrite: bool
) -> None:
    target = tmp_path / "out.txt"
    if overwrite:
        target.write_text("old")
    before = {entry.name: entry.read_text() for entry in tmp_path.iterdir()}
    with pytest.raises(error):
        _fail_halfway(target, error(), overwrite=overwrite)
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == before


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    with pytest.raises(OutputError) as caught:
        _fail_halfway(target, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    message = str(caught.value)
    assert message == f"cannot write {target}: No space left on device (in {tmp_path})"
    assert _names(tmp_path) == []


def test_a_disk_that_is_full_only_at_the_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = tmp_path / "out.txt"
    target.write_text("old")
    monkeypatch.setattr(os, "fsync", refuse)
    with (
        pytest.raises(OutputError, match="No space left"),
        replace_file(target, overwrite=True) as temporary,
    ):
        temporary.write_text("new")
    assert target.read_text() == "old"
    assert _names(tmp_path) == ["out.txt"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"there is no folder .*nowhere; make it first"),
        replace_file(tmp_path / "nowhere" / "out.txt"),
    ):
        pytest.fail("the body must not run")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_name_that_is_too_long_is_one_clear_line(tmp_path: Path, *, overwrite: bool) -> None:
    with pytest.raises(OutputError, match="File name too long"):
        _fill(tmp_path / ("x" * 300), overwrite=overwrite)
    assert _names(tmp_path) == []


def test_a_folder_is_no_target(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="not a regular file"),
        replace_file(tmp_path, overwrite=True),
    ):
        pytest.fail("the body must not run")


def test_a_refused_open_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    # Root may write anywhere, so the refusal itself is simulated.
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OutputError, match="Permission denied"), replace_file(tmp_path / "out.txt"):
        pytest.fail("the body must not run")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_the_target_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from calreg.files.atomic import replace_file\n"
        "with replace_file(Path(sys.argv[1]), overwrite=True) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_text() == "old"
    left = [entry.name for entry in tmp_path.iterdir() if entry != target]
    assert len(left) == 1
    assert left[0].startswith(".calreg-")


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"\x00\xff" * 100_000)
    assert sha256_of(path) == hashlib.sha256(b"\x00\xff" * 100_000).hexdigest()


def test_the_digest_of_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"cannot read .*gone: No such file"):
        sha256_of(tmp_path / "gone")


def test_times_are_written_in_utc() -> None:
    east = timezone(timedelta(hours=2))
    assert format_utc(datetime(2023, 7, 6, 1, 30, tzinfo=east)) == "2023-07-05T23:30:00Z"
    assert (
        format_utc(datetime(2023, 7, 6, 1, 30, 0, 5, tzinfo=UTC)) == "2023-07-06T01:30:00.000005Z"
    )


def test_a_time_without_zone_is_refused() -> None:
    naive = datetime(2023, 7, 6, tzinfo=UTC).replace(tzinfo=None)
    with pytest.raises(InvalidValueError, match="has no zone"):
        format_utc(naive)


def test_a_folder_is_made_or_refused_in_one_line(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "b"):
        with pytest.raises(OutputError, match=rf"^cannot make the folder {folder}: .*; give ano"):
            make_folder(folder)


# --- several files --------------------------------------------------------------------------------


def _pending(folder: Path, name: str, *, overwrite: bool = False) -> PendingFile:
    """Return a file that is complete but for its name."""
    pending = pending_file(folder / name, overwrite=overwrite)
    with fill_pending(pending) as temporary:
        temporary.write_text(f"new {name}")
    return pending


def test_names_are_given_for_good(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("old b")
    (tmp_path / "b").chmod(0o640)
    files = [_pending(tmp_path, "a"), _pending(tmp_path, "b", overwrite=True)]
    with NamedFiles() as names:
        for pending in files:
            names.give(pending)
    assert _names(tmp_path) == ["a", "b"]
    assert [(tmp_path / name).read_text() for name in "ab"] == ["new a", "new b"]
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [OutputError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("has_links", [True, False])
def test_names_are_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, *, has_links: bool
) -> None:
    if not has_links:

        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "b").write_text("old b")
    files = [_pending(tmp_path, "a"), _pending(tmp_path, "b", overwrite=True)]

    def fail() -> None:
        with NamedFiles() as names:
            for pending in files:
                names.give(pending)
            assert (tmp_path / "b").read_text() == "new b"
            raise error

    with pytest.raises(type(error)):
        fail()
    assert _names(tmp_path) == ["b"]
    assert (tmp_path / "b").read_text() == "old b"


def test_a_name_that_is_taken_meanwhile_takes_the_others_back(tmp_path: Path) -> None:
    files = [_pending(tmp_path, "a"), _pending(tmp_path, "b")]
    (tmp_path / "b").write_text("theirs")

    def give_all() -> None:
        with NamedFiles() as names:
            for pending in files:
                names.give(pending)

    with pytest.raises(OutputError, match="b: it exists"):
        give_all()
    assert _names(tmp_path) == ["b"]
    assert (tmp_path / "b").read_text() == "theirs"


def test_a_file_that_never_gets_its_name_can_be_removed(tmp_path: Path) -> None:
    pending = _pending(tmp_path, "a")
    assert _names(tmp_path) == [pending.temporary.name]
    remove_pending(pending)
    remove_pending(pending)
    assert _names(tmp_path) == []
