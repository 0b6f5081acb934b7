"""Artifacts with the unmodified wandb client, several steps to a program."""

import textwrap

import pytest

pytestmark = pytest.mark.slow


def test_tables_and_files_are_logged_used_and_read_back(real_client):
    found = real_client.python(
        textwrap.dedent(
            """
            import json, os, pathlib, shutil
            import wandb

            pathlib.Path("f ü.txt").write_text("x" * 10)
            pathlib.Path("zero").write_bytes(b"")
            with wandb.init(project="logged") as run:
                run.log({"t": wandb.Table(columns=["a", "b"], data=[[1, "x"], [2, "y"]])})
                made = wandb.Artifact("m", "model", description="mine", metadata={"k": [1]})
                made.add_file("f ü.txt")
                made.add_file("zero")
                with made.new_file("dir/g.txt") as file:
                    file.write("hello")
                run.log_artifact(made, aliases=["best"], tags=["t 1"])
                made.wait()
                again = wandb.Artifact("m", "model")
                again.add_file("f ü.txt")
                again.add_file("zero")
                with again.new_file("dir/g.txt") as file:
                    file.write("hello")
                run.log_artifact(again, aliases=["twice"]).wait()

            api = wandb.Api()
            got = api.artifact("logged/m:best", type="model")
            shutil.rmtree(os.environ["WANDB_CACHE_DIR"])
            place = pathlib.Path(got.download(root="back"))
            got.verify(root="back")
            with wandb.init(project="logged") as user:
                used = user.use_artifact("m:latest")
                entry = used.get_entry("dir/g.txt").download(root="one")
                user.config.dataset = used
            runs = {name: api.run(f"logged/{one.id}") for name, one in
                    (("maker", run), ("user", user))}
            table = next(a for a in runs["maker"].logged_artifacts() if a.type == "run_table")
            print(json.dumps({
                "url": made.url, "digest": made.digest, "again": again.version,
                "got": [got.name, got.type, got.description, got.metadata, got.size,
                        got.file_count, sorted(got.aliases), got.tags, got.state],
                "back": {p.relative_to(place).as_posix(): p.read_text()
                         for p in place.rglob("*") if p.is_file()},
                "entry": pathlib.Path(entry).read_text(),
                "files": [[f.name, f.size] for f in got.files(per_page=2)],
                "logged": sorted(a.name for a in runs["maker"].logged_artifacts(per_page=1)),
                "used": [a.name for a in runs["user"].used_artifacts()],
                "used_by": [r.id for r in got.used_by()] == [user.id],
                "logged_by": got.logged_by().id == run.id,
                "table": table.get("t").data, "run": run.id,
                "config": runs["user"].config["dataset"]["id"] == got.id,
                "exists": [api.artifact_exists("logged/m:v0"), api.artifact_exists("logged/m:v1"),
                           api.artifact_exists("logged/n:v0"),
                           api.artifact_collection_exists("logged/m", "model")],
            }))
            """
        )
    )

    assert found["url"] == f"{real_client.url}/admin/logged/artifacts/model/m/v0"
    assert found["got"] == [
        "m:best", "model", "mine", {"k": [1]}, 15, 3, ["best", "latest", "twice"], ["t 1"],
        "COMMITTED",
    ]  # fmt: skip
    assert found["again"] == "v0"
    assert found["back"] == {"f ü.txt": "x" * 10, "zero": "", "dir/g.txt": "hello"}
    assert found["entry"] == "hello"
    assert found["files"] == [["dir/g.txt", 5], ["f ü.txt", 10], ["zero", 0]]
    assert found["logged"] == ["m:v0", f"run-{found['run']}-t:v0"]
    assert found["used"] == ["m:v0"]
    assert found["used_by"]
    assert found["logged_by"]
    assert found["table"] == [[1, "x"], [2, "y"]]
    assert found["config"]
    assert found["exists"] == [True, False, False, True]
