"""The unmodified client over HTTPS with an authority of one's own."""

import trustme
from real import RealClient, started

PROGRAM = """
import json, wandb
with wandb.init(project="tls") as run:
    run.log({"loss": 0.5})
    open("note.txt", "w").write("hello")
    run.save("note.txt", policy="now")
found = wandb.Api().run(run.path)
found.file("note.txt").download(root="back")
print(json.dumps([found.summary["loss"], open("back/note.txt").read(), run.url]))
"""


def test_a_run_and_its_file_go_and_come_by_https_with_an_own_authority(tmp_path):
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "cert.pem").write_bytes(b"".join(p.bytes() for p in issued.cert_chain_pems))
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    options = (f"--tls-cert={tmp_path / 'cert.pem'}", f"--tls-key={tmp_path / 'key.pem'}")

    with started(tmp_path / "data", *options) as live:
        client = RealClient(tmp_path, live)
        loss, note, url = client.python(PROGRAM, SSL_CERT_FILE=str(tmp_path / "ca.pem"))
        refused = client.wandb("login", "--verify", live.key, is_good=False)

    assert (loss, note) == (0.5, "hello")
    assert url.startswith(f"{live.url}/admin/tls/runs/")
    assert live.url.startswith("https://")
    assert "certificate" in refused
