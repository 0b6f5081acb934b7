"""`sweep doctor`: every check is good on a good folder, and tells what is wrong with a bad one."""

import os
import re
import socket
import sqlite3
import time

import pytest

from sweepd.checkup import machine
from sweepd.engine import accounts, blobs
from sweepd.store import Store, Tx, tables


@pytest.fixture
def folder_of_data(data):
    """A data folder with a user and one file of bytes that a row refers to."""
    store = Store.open(data)
    account, _ = store.write_sync(accounts.ensure_first_user, name="admin", key="a" * 40)
    with store.blobs.writer() as writer:
        writer.write(b"0123456789")
        written = writer.commit()

    def keep(tx: Tx) -> None:
        row = {"entity_id": account.entity_id, "name": "p", "created_at": tx.now}
        project = tx.insert(tables.project, **row)
        blobs.adopt(tx, project_id=project, written=written)

    store.write_sync(keep)
    store.close()
    return data


@pytest.fixture
def free_port(monkeypatch):
    """The service's port is one that nothing on this machine has taken."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("SWEEPD_PORT", str(probe.getsockname()[1]))


@pytest.fixture
def doctor(sweep, folder_of_data, free_port):
    def doctor(**how):
        done = sweep("doctor", "--json", "--data", folder_of_data, **how)
        return {row["check"]: row for row in done.json}

    return doctor


def test_a_good_folder_has_no_problem_and_the_words_are_for_people(sweep, doctor, folder_of_data):
    found = doctor(code=0)
    shown = sweep("doctor", "--data", folder_of_data, code=0).out

    assert [row["level"] for row in found.values() if row["level"] == "problem"] == []
    assert {"data folder", "disk", "schema", "database", "files", "clock", "wandb"} <= set(found)
    assert found["files"]["found"].startswith("all 1 are there")
    assert re.search(r"looked at: 0 problems, (1 warning|(0|[2-9]) warnings)$", shown.strip())
    assert "WANDB_BASE_URL is not set" in shown


@pytest.mark.usefixtures("free_port")
def test_a_folder_named_from_where_one_is_is_looked_at_too(sweep, folder_of_data, monkeypatch):
    monkeypatch.chdir(folder_of_data.parent)

    rows = sweep("doctor", "--json", "--data", folder_of_data.name, code=0).json

    assert {row["check"]: row["level"] for row in rows}["database"] == "fine"


@pytest.mark.usefixtures("free_port")
def test_a_folder_that_is_not_there_is_only_a_warning(sweep, tmp_path):
    rows = sweep("doctor", "--json", "--data", tmp_path / "none", code=0).json

    assert rows[0]["level"] == "warning"
    assert "sweep serve" in rows[0]["advice"]


def _blob(data):
    return next(path for path in (data / "blobs").glob("??/*") if path.is_file())


def test_bytes_that_are_missing_or_cut_short_are_problems(doctor, folder_of_data):
    blob = _blob(folder_of_data)
    blob.write_bytes(b"012")
    short = doctor(code=1)["files"]
    blob.unlink()
    missing = doctor(code=1)["files"]

    assert "0 are missing and 1 are not of their size" in short["found"]
    assert "1 are missing" in missing["found"]
    assert "backup" in missing["advice"]


def test_bytes_that_belong_to_nothing_are_told_once_they_are_old(doctor, folder_of_data):
    orphan = _blob(folder_of_data).with_name("f" * 32)
    orphan.write_bytes(b"x")

    assert "orphans" not in doctor()
    os.utime(orphan, (0, 0))
    assert "1 files" in doctor(code=0)["orphans"]["found"]


def test_a_damaged_database_is_a_problem_and_stays_as_it_was(doctor, folder_of_data):
    place = folder_of_data / "sweepd.db"
    whole = place.read_bytes()
    damaged = bytearray(whole)
    for at in range(4096 * 2, len(damaged), 4096):
        damaged[at : at + 200] = os.urandom(200)
    place.write_bytes(bytes(damaged))

    found = doctor(code=1)

    assert found["database"]["level"] == "problem"
    assert "backup" in found["database"]["advice"]
    assert place.read_bytes() == bytes(damaged)


@pytest.mark.parametrize(
    ("revision", "level", "advice"),
    [("0000", "warning", "back the folder up"), ("9999", "problem", "upgrade sweepd")],
)
def test_a_schema_of_another_version_is_told(doctor, folder_of_data, revision, level, advice):
    with sqlite3.connect(folder_of_data / "sweepd.db") as rows:
        rows.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    rows.close()

    found = doctor()["schema"]

    assert found["level"] == level
    assert advice in found["advice"]


def test_files_that_others_may_read_are_told(doctor, folder_of_data):
    (folder_of_data / "secret").chmod(0o644)

    assert "secret" in doctor(code=0)["privacy"]["found"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_a_problem(doctor, folder_of_data):
    folder_of_data.chmod(0o500)
    try:
        assert "cannot be written to" in doctor(code=1)["data folder"]["found"]
    finally:
        folder_of_data.chmod(0o700)


def test_a_clock_that_was_set_back_is_a_problem(doctor, folder_of_data):
    with sqlite3.connect(folder_of_data / "sweepd.db") as rows:
        rows.execute("UPDATE event SET at = ?", (time.time() + 3600,))
    rows.close()

    assert "in the future" in doctor(code=1)["clock"]["found"]


def test_a_port_in_use_and_a_service_that_is_gone_are_problems(doctor, folder_of_data, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("SWEEPD_PORT", str(other.getsockname()[1]))
        taken = doctor(code=1)["service"]
    gone = f'{{"url": "http://127.0.0.1:{other_port()}", "pid": 1}}'
    (folder_of_data / "server.json").write_text(gone)

    assert "cannot be taken" in taken["found"]
    assert "does not answer" in doctor(code=1)["service"]["found"]


def other_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_what_the_client_is_told_is_tried(doctor, ours, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", ours.url)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)

    assert doctor(code=0)["client"]["level"] == "fine"
    assert ours.keys[-1] == "k" * 40


def test_a_key_that_is_missing_and_a_server_that_is_none_are_problems(doctor, ours, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", ours.url)
    keyless = doctor(code=1)["client"]
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    ours.status = 404
    other = doctor(code=1)["client"]
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{other_port()}")
    silent = doctor(code=1)["client"]

    assert "no key" in keyless["found"]
    assert "answered 404" in other["found"]
    assert "does not answer" in silent["found"]


def test_wandbs_cloud_is_never_asked(doctor, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "https://api.wandb.ai")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setattr("urllib.request.urlopen", None)

    assert "cloud" in doctor(code=0)["client"]["found"]


def test_gpus_that_are_hidden_are_told(monkeypatch):
    found = {f.name: f for f in machine.check_machine({"CUDA_VISIBLE_DEVICES": ""})}
    two = {f.name: f for f in machine.check_machine({"CUDA_VISIBLE_DEVICES": "0,1"})}

    assert "hides them all" in found["GPUs"].words
    assert two["GPUs"].words.startswith("2 for agents")
