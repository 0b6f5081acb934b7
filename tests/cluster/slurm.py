"""A Slurm of two nodes on this machine: a controller, two daemons, a munge of their own."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["TOOLS", "Cluster"]

TOOLS = ("slurmctld", "slurmd", "sbatch", "munged")
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,batch_sched_delay=1
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=30
JobRequeue=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port1} CPUs=2 RealMemory=2000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port2} CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    """Daemons in a folder of their own, which end with it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sweepd-slurm-"))
        self.folder.chmod(0o755)
        self.environment = {"SLURM_CONF": f"{self.folder}/slurm.conf"}
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._others: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start everything, and wait until both nodes are idle."""
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        port, port1, port2 = free_ports(3)
        host = socket.gethostname().partition(".")[0]
        config = CONFIG.format(folder=self.folder, host=host, port=port, port1=port1, port2=port2)
        (self.folder / "slurm.conf").write_text(config)
        munge = [f"--key-file={key}", f"--socket={self.folder}/munge.socket", "--force"]
        munge += [f"--pid-file={self.folder}/munge.pid", f"--log-file={self.folder}/munge.log"]
        munge += [f"--seed-file={self.folder}/munge.seed"]
        self._others.append(self._spawn("munged", "--foreground", *munge))
        self._wait("munge", lambda: (self.folder / "munge.socket").exists())
        self._others.append(self._spawn("slurmctld", "-D"))
        for name in ("n1", "n2"):
            self.nodes[name] = self._spawn("slurmd", "-D", "-N", name)
        self._wait("idle nodes", lambda: self._idle() == 2)

    def kill_node(self, name: str) -> None:
        """Kill a node's daemon and all that it runs, as if the machine were gone."""
        daemon = self.nodes.pop(name)
        for pid in reversed(_family(daemon.pid)):
            subprocess.run(["kill", "-KILL", str(pid)], check=False, capture_output=True)
        daemon.wait()

    def call(self, *command: str) -> str:
        """Run one of Slurm's commands."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def stop(self) -> None:
        """End every daemon and what jobs have left, and remove the folder."""
        for daemon in (*self.nodes.values(), *reversed(self._others)):
            for pid in reversed(_family(daemon.pid)):
                subprocess.run(["kill", "-KILL", str(pid)], check=False, capture_output=True)
            daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _spawn(self, *command: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{command[0]}.out").open("ab") as output:
            return subprocess.Popen(
                command,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _idle(self) -> int:
        try:
            listed = self.call("sinfo", "--noheader", "--Node", "--format=%T")
        except AssertionError:  # the controller does not answer yet
            return 0
        return listed.split().count("idle")

    def _wait(self, what: str, condition: "object", *, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        assert callable(condition)
        while not condition():
            logs = {p.name: p.read_text()[-600:] for p in self.folder.glob("*.out")}
            assert time.monotonic() < deadline, f"no {what} within {seconds} s: {logs}"
            time.sleep(0.2)


def _family(pid: int) -> list[int]:
    """Return a process and all that descend from it; one that ends meanwhile has no children."""
    found = [pid]
    for one in found:
        with suppress(FileNotFoundError, ProcessLookupError):
            for children in Path(f"/proc/{one}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
    return found
