"""Run the tests of the real client with the older versions that docs/compatibility.md names.

    python tests/e2e/client_versions.py [VERSION …] [--python PYTHON] [-- pytest arguments]

Each version gets an environment of its own below the system's temporary folder, made once. The
versions run side by side; what each printed comes when all are done, its result last. An older
client may hang at its exit, all it was told long done: tests that failed by that alone are run once
more, by themselves, after the others. The version that is installed here is tested by `pytest
tests/e2e` itself. With `--python` (a path, or 3.13) the clients run under another Python than the
service.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from environments import environment

#: The newest of each of the two minor versions before the one that we develop with.
VERSIONS = ("0.30.0", "0.29.0")
#: What the tests' programs use beside the client.
BESIDE = (
    *("matplotlib", "numpy", "pandas", "pillow", "plotly", "pyarrow"),
    *("scikit-learn", "soundfile", "sweeps==0.2.0"),
)

ROOT = Path(__file__).parents[2]


def client(version: str, base: str) -> Path:
    """Return the interpreter of an environment with this version of the client."""
    return environment(f"wandb-{version}", f"wandb=={version}", *BESIDE, base=base)


def speaks(version: str, client: Path) -> bool:
    """Say which operations of a version our schema refuses; return whether there are none."""
    print(f"== documents of wandb {version}", flush=True)
    script = ROOT / "tests" / "protocol" / "documents.py"
    command = [sys.executable, str(script), f"--client={client}"]
    return subprocess.run(command, check=False).returncode == 0


def run(client: Path, arguments: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start the tests of the client's tier with one client, their output going into `log`."""
    cache = f"cache_dir={log.with_suffix('.cache')}"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-o", cache]
    with log.open("ab") as output:
        return subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            env={**os.environ, "SWEEPD_CLIENT": str(client), "COLUMNS": "500"},  # whole reasons
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def hung(output: str) -> bool:
    """Return whether all tests that failed did so because the client did not end."""
    failed = re.findall(r"^(?:FAILED|ERROR) .*", output, re.MULTILINE)
    return bool(failed) and all("Failed: not ended after" in line for line in failed)


def main(arguments: list[str]) -> int:
    """Run every version; return 1 if a test of one failed."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("versions", nargs="*", default=VERSIONS, metavar="VERSION")
    parser.add_argument("--python", default=sys.executable, help="for the clients")
    given, rest = parser.parse_args(arguments[:split]), arguments[split + 1 :]
    tests = rest or ["tests/e2e/client"]
    began = time.monotonic()
    logs = Path(tempfile.mkdtemp(prefix="sweepd-clients-"))
    clients = {one: client(one, given.python) for one in given.versions}
    started = {one: run(client, tests, logs / f"{one}.log") for one, client in clients.items()}
    failed = [one for one, client in clients.items() if not speaks(one, client)]
    results = []
    for version, process in started.items():
        log = logs / f"{version}.log"
        code = process.wait()
        if code and hung(log.read_text(errors="replace")):
            code = run(clients[version], [*tests, "--last-failed"], log).wait()
        output = log.read_text(errors="replace").rstrip()
        print(f"== wandb {version}\n{output}", flush=True)
        results.append(f"wandb {version}: {output.splitlines()[-1].strip('= ')}")
        failed += [version] if code and version not in failed else []
    shutil.rmtree(logs)
    print(
        f"== {len(clients)} versions in {time.monotonic() - began:.0f} s;"
        f" failed: {', '.join(failed) or 'none'}",
        *results,
        sep="\n",
    )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
