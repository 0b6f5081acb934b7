"""The unmodified client over HTTPS with an authority of one's own."""

from real import RealClient, certified, started

PROGRAM = """
import json, wandb
with wandb.init(project="tls") as run:
    run.log({"loss": 0.5})
    open("note.txt", "w").write("hello")
    run.save("note.txt", policy="now")
    data = wandb.Artifact("notes", "dataset")
    data.add_file("note.txt")
    run.log_artifact(data).wait()
found = wandb.Api().run(run.path)
found.file("note.txt").download(root="back")
folder = wandb.Api().artifact("tls/notes:latest").download()
notes = [open(f"{place}/note.txt").read() for place in ("back", folder)]
print(json.dumps([found.summary["loss"], notes, run.url]))
"""


def test_a_run_its_file_and_its_artifact_go_and_come_by_https_with_an_own_authority(tmp_path):
    options, trust = certified(tmp_path)

    with started(tmp_path / "data", *options) as live:
        client = RealClient(tmp_path, live)
        loss, notes, url = client.python(PROGRAM, **trust)
        refused = client.wandb("login", "--verify", live.key, is_good=False)

    assert (loss, notes) == (0.5, ["hello", "hello"])
    assert url.startswith(f"{live.url}/admin/tls/runs/")
    assert live.url.startswith("https://")
    assert "certificate" in refused
