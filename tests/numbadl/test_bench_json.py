"""``numbadl bench --json``: the rows that are printed, as a file, with what they were measured on."""

import json
from datetime import date

import numpy as np
import pytest

import numbadl as nd
from numbadl import bench, cli
from numbadl.bench import Row


@pytest.fixture(autouse=True)
def no_measurement(monkeypatch):
    """Rows from nowhere: what takes time is measured elsewhere."""

    def rows(case, sizes, peer, repeat):
        return [Row(case.name, n, 1e-6, 2e-6, 2.0, 0.1, 0.5) for n in sizes]

    monkeypatch.setattr(bench, "rows", rows)


def test_rows_machine_versions_and_date_are_kept(tmp_path, capsys):
    path = tmp_path / "new" / "speed.json"
    assert cli.main(["bench", "silu", "silu.backward", "--size", "64,1024", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert [(row["name"], row["elements"], row["ratio"]) for row in found["rows"]] == [
        ("silu", 64, 2.0), ("silu", 1024, 2.0), ("silu.backward", 64, 2.0), ("silu.backward", 1024, 2.0),
    ]  # fmt: skip
    assert found["machine"]["threads"] == bench.threads() and found["machine"]["cores"] >= 1
    assert found["versions"]["NumPy"] == np.__version__ and found["versions"]["numbadl"] == nd.__version__
    assert date.fromisoformat(found["date"]) <= date.today()
    assert "silu.backward" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_is_named_before_measuring(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "rows", None)
    (tmp_path / "file").write_text("")
    assert cli.main(["bench", "silu", "--json", str(tmp_path / "file" / "speed.json")]) == 2
    assert "is a file; a folder is expected" in capsys.readouterr().err
