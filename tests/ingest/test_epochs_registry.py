"""Fields and epochs are found, whatever the order of ingest, on both engines."""

from __future__ import annotations

import random
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from calreg import Registry
from calreg.commands.main import main
from calreg.db.engine import open_database
from calreg.db.queries.exposures import load_epochs
from calreg.errors import InvalidValueError
from calreg.ingest.options import IngestOptions
from support.fitsimages import write_image
from support.synthetic import Contents, contents, copied_registry, exposures_of, ingest_all

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY_0 = 59768.0
SIZE_DEG = 0.02


@dataclass(frozen=True)
class Shot:
    """One exposure: its day, its roll and how far east of the first field it looks."""

    day: float
    roll_deg: float = 160.0
    east_deg: float = 0.0
    observation: str = "001"

    def write(self, path: Path) -> Path:
        start = DAY_0 + self.day
        ra, size = 265.0 + self.east_deg, SIZE_DEG
        corners = ((ra, 1.0), (ra + size, 1.0), (ra + size, 1.0 + size), (ra, 1.0 + size))
        return write_image(
            path,
            primary={
                "OBSERVTN": self.observation,
                "EXPOSURE": path.name.partition("_")[0],
                "EXPSTART": start,
                "EXPMID": start + 0.01,
                "EXPEND": start + 0.02,
            },
            science={
                "PA_V3": self.roll_deg,
                "S_REGION": "POLYGON ICRS " + " ".join(f"{a} {d}" for a, d in corners),
            },
        )


def write_shots(folder: Path, shots: Mapping[str, Shot]) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    return {name: shot.write(folder / f"{name}_cal.fits") for name, shot in shots.items()}


def epochs_of(found: Contents) -> list[list[str]]:
    """Return the names of the shots by epoch."""
    return sorted(
        sorted(Path(file).name.partition("_")[0] for file in files)
        for epochs in found.membership
        for files in epochs
    )


def epoch_names(url: str) -> list[tuple[str, str]]:
    with open_database(url) as database, database.read() as connection:
        return [(epoch.field_name, epoch.name) for epoch in load_epochs(connection)]


# Days apart within an epoch, another roll meanwhile, a gap of twelve days, a second field, and two
# patches (k, m) that only a later epoch shows to be one field. No file joins two epochs.
SHOTS = {
    "a": Shot(0.0),
    "b": Shot(5.0),
    "c": Shot(9.5, 161.5),
    "d": Shot(22.0),
    "e": Shot(4.0, 340.0),
    "f": Shot(6.0, 341.0),
    "g": Shot(1.0, 160.0, 1.0, "002"),
    "h": Shot(200.0, 160.0, 1.01, "003"),
    "k": Shot(300.0, 30.0, 2.0, "004"),
    "m": Shot(311.0, 30.0, 2.03, "005"),
    "n": Shot(500.0, 90.0, 2.015, "006"),
}
EPOCHS = [["a", "b", "c"], ["d"], ["e", "f"], ["g"], ["h"], ["k"], ["m"], ["n"]]
FIELDS = [["a", "b", "c", "d", "e", "f"], ["g", "h"], ["k", "m", "n"]]


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("shots")
    return write_shots(folder, SHOTS)


@pytest.fixture(scope="module")
def at_once(
    shots: dict[str, Path], sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Contents:
    """Return what one call makes of all shots, on SQLite."""
    url = copied_registry(sqlite_template, tmp_path_factory.mktemp("at_once"))
    assert ingest_all(url, shots.values()).refused == []
    return contents(url)


def test_epochs_are_found(at_once: Contents) -> None:
    assert epochs_of(at_once) == EPOCHS
    fields = sorted(
        sorted(Path(file).name[0] for files in epochs for file in files)
        for epochs in at_once.membership
    )
    assert fields == FIELDS


@pytest.mark.parametrize("seed", range(4))
def test_late_files_in_any_order_give_the_same_epochs(
    db_url: str, shots: dict[str, Path], at_once: Contents, seed: int
) -> None:
    generator = random.Random(seed)  # noqa: S311 - an order, not a secret
    names = list(shots)
    generator.shuffle(names)
    while names:
        n_taken = generator.randint(1, 3)
        taken, names = names[:n_taken], names[n_taken:]
        report = ingest_all(db_url, [shots[name] for name in taken])
        assert (len(report.loaded), report.refused) == (len(taken), [])
    assert contents(db_url).membership == at_once.membership
    with Registry(db_url) as registry:
        assert registry.check() == []


def test_contexts_share_epochs(db_url: str, programme_folder: Path) -> None:
    for path in exposures_of(programme_folder)[::-1]:
        assert ingest_all(db_url, [path]).refused == []
    found = contents(db_url)
    assert list(found.places) == ["JWIDF"]
    assert sorted(len(files) for files in next(iter(found.membership))) == [4, 4, 4]
    assert epoch_names(db_url) == [
        ("JWIDF", "2022-07-08"),
        ("JWIDF", "2023-01-06"),
        ("JWIDF", "2023-07-06"),
    ]


# --- the one exception ----------------------------------------------------------------------------


def test_a_file_that_would_join_two_epochs_is_refused_with_a_command_that_works(
    db_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = write_shots(
        tmp_path / "my data", {"a": Shot(0.0), "b": Shot(9.0), "c": Shot(18.0), "d": Shot(25.0)}
    )
    assert ingest_all(db_url, [paths["a"], paths["c"]]).refused == []
    assert epochs_of(contents(db_url)) == [["a"], ["c"]]
    before = contents(db_url)

    report = ingest_all(db_url, [paths["b"]])
    (message,) = (outcome.message for outcome in report.refused)
    assert message.startswith(
        f"{paths['b']}: would join epochs 2022-07-08 and 2022-07-26 of field JWIDF, which exist "
        "already; say which one it belongs to: calreg --db "
    )
    assert contents(db_url) == before

    command = shlex.split(message.rpartition("belongs to: ")[2])
    assert command[0] == "calreg"
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code in (None, 0)
    assert "loaded 1 cal" in capsys.readouterr().err
    assert epochs_of(contents(db_url)) == [["a", "b"], ["c"]]
    # A place given once is a fact: what comes later is found as before.
    assert ingest_all(db_url, [paths["d"], paths["b"]]).refused == []
    assert epochs_of(contents(db_url)) == [["a", "b"], ["c", "d"]]


def test_the_joining_file_is_no_trouble_in_one_call(db_url: str, tmp_path: Path) -> None:
    paths = write_shots(tmp_path / "d", {"a": Shot(0.0), "b": Shot(9.0), "c": Shot(18.0)})
    assert ingest_all(db_url, paths.values()).refused == []
    assert epochs_of(contents(db_url)) == [["a", "b", "c"]]


def test_the_good_files_beside_a_joining_one_load(db_url: str, tmp_path: Path) -> None:
    paths = write_shots(
        tmp_path / "d", {"a": Shot(0.0), "b": Shot(9.0), "c": Shot(18.0), "e": Shot(9.0, 340.0)}
    )
    ingest_all(db_url, [paths["a"], paths["c"]])
    report = ingest_all(db_url, [paths["b"], paths["e"]])
    assert [outcome.path for outcome in report.loaded] == [paths["e"]]
    assert [outcome.path for outcome in report.refused] == [paths["b"]]
    assert epochs_of(contents(db_url)) == [["a"], ["c"], ["e"]]


# --- overrides ------------------------------------------------------------------------------------


def test_field_and_epoch_override_what_is_found(db_url: str, tmp_path: Path) -> None:
    paths = write_shots(
        tmp_path / "d", {"a": Shot(0.0), "b": Shot(5.0), "c": Shot(6.0), "d": Shot(40.0)}
    )
    ingest_all(db_url, [paths["a"]])
    ingest_all(db_url, [paths["b"]], IngestOptions(epoch_label="visit 2"))
    ingest_all(db_url, [paths["c"]], IngestOptions(field_name="Mine"))
    ingest_all(db_url, [paths["d"]], IngestOptions(field_name="JWIDF", epoch_label="visit 2"))
    assert epoch_names(db_url) == [
        ("JWIDF", "2022-07-08"),
        ("JWIDF", "visit 2"),
        ("Mine", "2022-07-14"),
    ]
    assert epochs_of(contents(db_url)) == [["a"], ["b", "d"], ["c"]]
    # A name that was found works as a label too.
    late = Shot(50.0).write(tmp_path / "d" / "e_cal.fits")
    ingest_all(db_url, [late], IngestOptions(epoch_label="2022-07-08", field_name="JWIDF"))
    assert epochs_of(contents(db_url)) == [["a", "e"], ["b", "d"], ["c"]]


def test_an_epoch_for_files_of_two_fields_needs_a_field(db_url: str, tmp_path: Path) -> None:
    paths = write_shots(tmp_path / "d", {"a": Shot(0.0), "g": Shot(0.0, 160.0, 1.0, "002")})
    before = contents(db_url)
    with pytest.raises(InvalidValueError, match=r"--epoch one: .* 2 fields; name one with --field"):
        ingest_all(db_url, paths.values(), IngestOptions(epoch_label="one"))
    assert contents(db_url) == before


def test_overrides_do_not_move_known_images(db_url: str, tmp_path: Path) -> None:
    paths = write_shots(tmp_path / "d", {"a": Shot(0.0)})
    ingest_all(db_url, paths.values())
    before = contents(db_url)
    report = ingest_all(db_url, paths.values(), IngestOptions(field_name="Mine", epoch_label="x"))
    assert [outcome.warnings for outcome in report.unchanged] == [
        ("stays in field JWIDF, epoch 2022-07-08: --field and --epoch place new images only",)
    ]
    assert contents(db_url) == before
    report = ingest_all(
        db_url, paths.values(), IngestOptions(field_name="JWIDF", epoch_label="2022-07-08")
    )
    assert [outcome.warnings for outcome in report.unchanged] == [()]


def test_epochs_that_start_on_one_day_are_named_by_roll(db_url: str, tmp_path: Path) -> None:
    paths = write_shots(tmp_path / "d", {"a": Shot(0.0), "b": Shot(0.5, 250.0)})
    ingest_all(db_url, paths.values())
    assert epoch_names(db_url) == [("JWIDF", "2022-07-08@160deg"), ("JWIDF", "2022-07-08@250deg")]


def test_a_field_is_the_union_of_an_images_polygons(db_url: str, tmp_path: Path) -> None:
    def box(east_deg: float) -> str:
        west, east = 265.0 + east_deg, 265.01 + east_deg
        return f"POLYGON ICRS {west} 1 {east} 1 {east} 1.01 {west} 1.01"

    def write(name: str, observation: str, *east_deg: float) -> Path:
        region = " ".join(box(one) for one in east_deg)
        primary = {"OBSERVTN": observation, "TARGPROP": f"T{observation}"}
        return write_image(
            tmp_path / f"{name}_i2d.fits", primary=primary, science={"S_REGION": region}
        )

    # Only a's second polygon has b; nothing has c, between the two, or d, which goes round the sky.
    a = write("a", "001", 0.0, 0.1)
    b = write("b", "002", 0.105)
    c = write("c", "003", 0.05)
    d = write_image(
        tmp_path / "d_i2d.fits",
        science={"S_REGION": "POLYGON ICRS 81.18 -89.4 81.11 -89.4 81.11 89.3 81.18 89.3"},
    )
    ingest_all(db_url, [b, c])
    report = ingest_all(db_url, [a, d])
    assert [Path(one.path).name for one in report.refused] == ["d_i2d.fits"]
    assert "reaches 89." in report.refused[0].message
    assert epochs_of(contents(db_url)) == [["a", "b"], ["c"]]
    assert sorted(epoch_names(db_url))[0][0] == "T002"
