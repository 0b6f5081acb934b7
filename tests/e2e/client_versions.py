"""Run the tests of the real client with the older versions that docs/compatibility.md names.

    python tests/e2e/client_versions.py [VERSION …] [-- pytest arguments]

Each version gets an environment of its own below the system's temporary folder, made once. The
versions run side by side; what each printed comes when all are done. The version that is installed
here is tested by `pytest tests/e2e` itself.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: The two minor versions before the one that we develop with.
VERSIONS = ("0.30.0", "0.29.0")
#: What the tests' programs use beside the client.
BESIDE = ("numpy", "pandas", "pillow", "pyarrow")

ROOT = Path(__file__).parents[2]
CACHE = Path(tempfile.gettempdir()) / "sweepd-clients"


def environment(version: str) -> Path:
    """Return the interpreter of an environment with this version of the client; make it once."""
    folder = CACHE / f"wandb-{version}-py{sys.version_info[0]}.{sys.version_info[1]}"
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    uv = shutil.which("uv")
    if uv is None:
        raise SystemExit("uv is needed to make the clients' environments")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _call(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
    packages = (f"wandb=={version}", *BESIDE)
    _call(uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *packages)
    (folder / "complete").touch()
    return python


def speaks(version: str) -> bool:
    """Say which operations of a version our schema refuses; return whether there are none."""
    print(f"== documents of wandb {version}", flush=True)
    script = ROOT / "tests" / "protocol" / "documents.py"
    client = environment(version)
    return (
        subprocess.run([sys.executable, script, f"--client={client}"], check=False).returncode == 0
    )


def run(version: str, arguments: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start the tests of the client's tier with one version, their output going into `log`."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    with log.open("wb") as output:
        return subprocess.Popen(
            [*command, *(arguments or ["tests/e2e/client"])],
            cwd=ROOT,
            env={**os.environ, "SWEEPD_CLIENT": str(environment(version))},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def main(arguments: list[str]) -> int:
    """Run every version; return 1 if a test of one failed."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    versions, rest = arguments[:split] or list(VERSIONS), arguments[split + 1 :]
    began = time.monotonic()
    logs = Path(tempfile.mkdtemp(prefix="sweepd-clients-"))
    started = {one: run(one, rest, logs / f"{one}.log") for one in versions}
    failed = [one for one in versions if not speaks(one)]
    for version, process in started.items():
        code = process.wait()
        print(f"== wandb {version}", flush=True)
        print((logs / f"{version}.log").read_text(errors="replace"), flush=True)
        failed += [version] if code and version not in failed else []
    shutil.rmtree(logs)
    print(
        f"{len(versions)} versions in {time.monotonic() - began:.0f} s; failed: {failed or 'none'}"
    )
    return 1 if failed else 0


def _call(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout.decode(errors='replace')}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
