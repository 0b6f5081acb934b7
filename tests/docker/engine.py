"""A private docker engine for the tests, and a stand-in for the base image that cannot be pulled.

Everything lives in a temporary folder and goes away with it; what the engine changes in the
machine's network settings is put back. See the fixture in conftest.py for the order of things.
"""

import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

BASE = "python:3.11-slim"
TOOLS = ("dockerd", "docker", "docker-compose", "debootstrap", "iptables")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def run(*command: str, env: dict[str, str] | None = None, timeout: float = 600) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)} exited {done.returncode}:\n{done.stdout}"
    return done.stdout


class Engine:
    """One dockerd with its own socket and data, for one test session."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sweepd-docker-"))
        self.host = f"unix://{self.folder}/docker.sock"
        self.env = {
            "DOCKER_HOST": self.host,
            "DOCKER_BUILDKIT": "0",
            "COMPOSE_PROJECT_NAME": "sweepd-test",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._forward = Path("/proc/sys/net/ipv4/ip_forward").read_text()
        self._tables = {
            table: subprocess.run(
                ["iptables-save", "-t", table], capture_output=True, text=True, check=True
            ).stdout
            for table in ("filter", "nat")
        }

    def start(self) -> None:
        config = self.folder / "daemon.json"
        config.write_text(
            json.dumps(
                {
                    "hosts": [self.host],
                    "data-root": str(self.folder / "data"),
                    "exec-root": str(self.folder / "exec"),
                    "pidfile": str(self.folder / "docker.pid"),
                    "storage-driver": "overlay2",
                }
            )
        )
        with (self.folder / "dockerd.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["dockerd", "--config-file", str(config)],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while subprocess.run(
            ["docker", "info"], env={**os.environ, **self.env}, capture_output=True, check=False
        ).returncode:
            assert self._process.poll() is None, (self.folder / "dockerd.log").read_text()[-3000:]
            assert time.monotonic() < deadline, "dockerd did not answer within 60 s"
            time.sleep(0.25)

    def docker(self, *arguments: str, timeout: float = 600) -> str:
        return run("docker", *arguments, env=self.env, timeout=timeout)

    def compose(
        self, *arguments: str, env: dict[str, str] | None = None, timeout: float = 600
    ) -> str:
        return run("docker-compose", *arguments, env={**self.env, **(env or {})}, timeout=timeout)

    def import_base(self) -> None:
        """Make the image that the Dockerfiles start from: Debian's own Python 3.11 and its pip."""
        rootfs = self.folder / "rootfs"
        run(
            "debootstrap",
            "--variant=minbase",
            "--include=python3,python3-pip,python3-venv,ca-certificates",
            "bookworm",
            str(rootfs),
        )
        for marker in rootfs.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()
        (rootfs / "usr/bin/python").symlink_to("python3")
        if CERTIFICATES.exists():  # the machine may reach its registries through its own authority
            shutil.copy(CERTIFICATES, rootfs / "etc/ssl/certs/ca-certificates.crt")
        archive = self.folder / "rootfs.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(rootfs, arcname=".")
        self.docker(
            "import",
            "--change",
            "ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt"
            " SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
            "--change",
            'CMD ["python3"]',
            str(archive),
            BASE,
        )
        archive.unlink()
        shutil.rmtree(rootfs)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(40)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        for mount in sorted(self._mounts(), key=len, reverse=True):
            subprocess.run(["umount", "-l", mount], check=False)
        subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True, check=False)
        for dump in self._tables.values():
            subprocess.run(["iptables-restore"], input=dump, text=True, check=False)
        Path("/proc/sys/net/ipv4/ip_forward").write_text(self._forward)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mounts").read_text().splitlines()
        return [line.split()[1] for line in lines if line.split()[1].startswith(str(self.folder))]
