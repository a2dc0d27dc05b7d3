"""``calreg export`` and ``calreg import`` on the command line."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import yaml
from astropy.table import Table

from calreg import Registry
from support.programmes import PMAP

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.commandline import Result

    Run = Callable[..., Result]


def test_a_round_trip(calreg: Run, jwidf_url: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.ecsv"
    written = calreg("--db", jwidf_url, "export", "recipe", path, "--pmap", PMAP)
    assert (written.status, written.out) == (0, "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"wrote {path} (10 sets, sha256 {digest[:16]}" in written.err
    words = ("import", "recipe", path, "--pmap", "1130", "--source", "a round trip")
    first = calreg("--db", jwidf_url, *words)
    assert (first.status, first.out) == (0, "")
    assert "imported 10 solutions from 'a round trip'" in first.err
    again = calreg("--db", jwidf_url, *words)
    assert again.status == 0
    assert "unchanged" in again.err
    rows = calreg("--db", jwidf_url, "compare", "--format", "json").json
    assert len(rows) == 10
    assert {row["difference_sigma"] for row in rows} == {0.0}
    path.write_text(path.read_text().replace("\n2 f150w", "\n3 f150w x")[:-50])
    conflict = calreg("--db", jwidf_url, *words)
    assert conflict.status == 1
    assert "recipe.ecsv" in conflict.err
    assert len(conflict.err.splitlines()) == 1


@pytest.mark.parametrize("kind", ["recipe", "grizli"])
def test_an_existing_file_needs_overwrite(
    kind: str, calreg: Run, jwidf_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    words = ("--db", jwidf_url, "export", kind, path, "--pmap", PMAP)
    assert calreg(*words).status == 0
    content = path.read_bytes()
    refused = calreg(*words)
    assert refused.status == 1
    assert "--overwrite" in refused.err
    assert path.read_bytes() == content
    assert calreg(*words, "--overwrite").status == 0
    with Registry(jwidf_url, read_only=True) as registry:
        assert registry.stats().n_rows["deliveries"] == 2


@pytest.mark.parametrize("kind", ["recipe", "grizli"])
def test_no_calibration_is_status_1_and_no_file(
    kind: str, calreg: Run, jwidf_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    result = calreg("--db", jwidf_url, "export", kind, path, "--pmap", "1200")
    assert (result.status, result.out) == (1, "")
    assert "no coefficient set for jwst_1200.pmap" in result.err
    assert not path.exists()


def test_json_names_the_delivery(calreg: Run, jwidf_url: str, tmp_path: Path) -> None:
    path = tmp_path / "table.yml"
    result = calreg("export", "grizli", path, "--pmap", PMAP, "--db", jwidf_url, "--format", "json")
    (delivery,) = result.json
    assert delivery["path"] == str(path)
    assert delivery["file_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert delivery["n_sets"] == 10
    read = yaml.safe_load(path.read_text())
    assert read["CRDS_CTX"] == PMAP
    assert len([key for key in read if key.startswith("NRC")]) == 20


def test_parquet(calreg: Run, small_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    result = calreg("--db", small_url, "export", "parquet", folder)
    assert (result.status, result.out) == (0, "")
    assert (folder / "coefficient_sets.parquet").stat().st_size > 0
    assert calreg("--db", small_url, "export", "parquet", folder).status == 1
    assert calreg("--db", small_url, "export", "parquet", folder, "--overwrite").status == 0


def test_the_published_table(
    calreg: Run, jwidf_url: str, shared_data: Path, tmp_path: Path
) -> None:
    """Import, compare, and the numbers of the paper beside those of the simulation of it."""
    path = shared_data / "idf_zpcor_1130_pmap.ecsv"
    words = ("import", "recipe", path, "--pmap", PMAP, "--source", "Ma et al. 2024")
    assert calreg("--db", jwidf_url, *words).status == 0
    result = calreg("--db", jwidf_url, "compare", "--pmap", "1130", "--format", "csv")
    published = {(str(row["det"]), str(row["filt"]).upper()): row for row in Table.read(path)}
    assert len(result.csv) == len(published) == 10
    for row in result.csv:
        given = published[row["array_id"], row["band"]]
        assert float(row["their_offset_ab_mag"]) == given["dmag_ab"]
        assert float(row["their_slope_mag_arcmin"]) == given["slope"]
        # The truth of the simulation is the published table: ours scatters about it by our error.
        difference = float(row["difference_mag"])
        assert abs(difference) < 4.0 * float(row["offset_ab_err_mag"])
    assert not (tmp_path / "calreg.sqlite").exists()
