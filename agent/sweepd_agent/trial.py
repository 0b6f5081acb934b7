"""One trial as it is to be run: its files, its environment, its command."""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sweepd import macros
from sweepd.errors import LaunchError
from sweepd_agent.api import Command, Sweep
from sweepd_agent.devices import Slot
from sweepd_agent.mps import mps_variables
from sweepd_agent.processes import new_identity
from sweepd_agent.server import Server

__all__ = [
    "Workplace",
    "environment_of",
    "is_function",
    "lease_headers",
    "missing_program",
    "prepare",
    "program_file",
]

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_LEASE_HEADER = "X-Sweepd-Lease"
_CONFIG, _LONGEST_CONFIG = "SWEEPD_CONFIG", 100_000  # the kernel takes 128 KiB a variable
#: A command that runs the program, as a file in the trial's folder or as a module (the group).
_RUNS_IT = re.compile(
    r"((\S*/)?env |\$\{env\} )?(\w+=\S* )*(\$\{interpreter\}|(\S*/)?python[\d.]*) "
    r"(-[uOBEsSIqv]+ )*(?P<module>-m )?\$\{program\}( .*)?",
    re.DOTALL,
)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Workplace:
    """What every trial of an agent shares."""

    server: Server
    sweep: Sweep
    folder: Path
    is_ours: bool
    environ: Mapping[str, str]
    is_offline: bool = False  # its trials come from a bundle
    mps: Path | None = None  # the pipe directory of an MPS daemon that runs here

    @property
    def wandb_folder(self) -> Path:
        """Return the folder that `wandb` writes below, and where this sweep's files are."""
        base = self.folder / self.environ.get("WANDB_DIR", "")
        return base / "wandb" / f"sweep-{self.sweep.name}"

    def log_path(self, run: str) -> Path:
        """Return where a run's output goes."""
        return self.wandb_folder / f"{run}.log"

    def measured_path(self, run: str) -> Path:
        """Return where a run's program may write what it has measured."""
        return self.wandb_folder / f"{run}.measured.json"


def is_function(program: str, folder: Path) -> bool:
    """Return whether a definition's program is `module:function` rather than a file."""
    return _FUNCTION.fullmatch(program) is not None and not (folder / program).exists()


def program_file(program: str, folder: Path) -> Path | None:
    """Return the file whose text tells what the program imports, if there is one."""
    if not is_function(program, folder):
        return folder / program
    module = folder.joinpath(*program.partition(":")[0].split("."))
    for path in (module.with_suffix(".py"), module / "__init__.py"):
        if path.is_file():
            return path
    return None


def prepare(place: Workplace, command: Command, slot: Slot) -> dict[str, Any]:
    """Write the trial's configuration file and return what the warm parent needs to start it.

    Raises:
        LaunchError: if the program cannot be run, in a sentence for the trial's page.
    """
    program = command.program or place.sweep.program
    config_file = _write_config(place, command)
    environment = environment_of(place, command, slot)
    own = place.sweep.command
    missing = missing_program(program, None, place.folder) if own is None else None
    if missing is not None:
        raise LaunchError(missing)
    json_file = config_file.with_suffix(".json")
    if own is not None and "${args_json_file}" in own:
        json_file.write_text(json.dumps(dict(command.args)), encoding="utf-8")

    arguments = _expand(place, command, environment, words=("${args}",), json_file=json_file)
    if own is not None:
        line = _expand(place, command, environment, words=own, json_file=json_file)
    else:
        assert program is not None
        by_name = is_function(program, place.folder)
        starter = ["-m", "sweepd_agent.call"] if by_name else []
        line = [sys.executable, *starter, program, *arguments]
    if not line:
        raise LaunchError("the definition's command is empty once its macros are expanded")
    return {
        "mode": "fork" if own is None else "exec",
        "waits": False,
        "program": program,
        "function": program is not None and is_function(program, place.folder),
        "argv": arguments,
        "config": dict(command.args),
        "exec": line,
        "env": environment,
        "cwd": str(place.folder),
    }


def missing_program(program: str | None, command: Sequence[str] | None, folder: Path) -> str | None:
    """Return in a sentence why no trial of a definition can be started, None if it may be.

    Args:
        program: of the definition.
        command: likewise; what it does with the program is known of an interpreter only.
        folder: where trials are started.
    """
    runs_it = _RUNS_IT.fullmatch("python ${program}" if command is None else " ".join(command))
    if runs_it is None:
        return None
    if program is None:
        return "the definition names no program; give it one, or run the sweep with wandb.agent"
    if runs_it["module"] or (command is None and is_function(program, folder)):
        package = program.partition(":")[0].partition(".")[0]
        if package.isidentifier() and _is_module(package, folder):
            return None
        return f"there is no module {package} in {folder}, nor is one installed"
    if (folder / program).exists():
        return None
    return f"the program {program} does not exist in {folder}"


def _is_module(package: str, folder: Path) -> bool:
    in_folder = PathFinder.find_spec(package, [str(folder)]) is not None
    return in_folder or package in sys.modules or find_spec(package) is not None


def _expand(
    place: Workplace,
    command: Command,
    environment: Mapping[str, str],
    *,
    words: Sequence[str],
    json_file: Path,
) -> list[str]:
    program = command.program or place.sweep.program
    return macros.expand(
        words, program=program, args=command.args, environ=environment, json_file=str(json_file)
    )


def _write_config(place: Workplace, command: Command) -> Path:
    """Write the run's configuration as `wandb.init` reads it in a sweep."""
    import yaml

    path = _config_path(place, command)
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {key: {"value": value} for key, value in command.args.items()}
    text = yaml.safe_dump(values, allow_unicode=True, sort_keys=False) if values else ""
    path.write_text(f"wandb_version: 1\n\n{text}", encoding="utf-8")
    return path


def _config_path(place: Workplace, command: Command) -> Path:
    return place.wandb_folder / f"config-{command.run}.yaml"


def environment_of(place: Workplace, command: Command, slot: Slot) -> dict[str, str]:
    """Return the environment of a trial's process."""
    environment = {key: value for key, value in place.environ.items() if key != "WANDB_SERVICE"}
    environment.setdefault("WANDB_DIR", str(place.folder))
    environment.update(
        WANDB_BASE_URL=place.server.url,
        WANDB_ENTITY=place.sweep.entity,
        WANDB_PROJECT=place.sweep.project,
        WANDB_SWEEP_ID=place.sweep.name,
        WANDB_RUN_ID=command.run,
        WANDB_SWEEP_PARAM_PATH=str(_config_path(place, command).resolve()),
        **new_identity(),
    )
    _add_config(environment, command)
    if command.offline is None:
        environment["WANDB_API_KEY"] = place.server.api_key
    else:
        environment.update(WANDB_MODE="offline", WANDB_DIR=str(command.offline))
    environment["PATH"] = _path_with_ours(environment.get("PATH", os.defpath))
    if "OMP_NUM_THREADS" not in environment:
        environment.update(dict.fromkeys(_THREADS, str(slot.threads)))
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    if slot.visible is not None:
        if "CUDA_VISIBLE_DEVICES" not in environment:
            environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # nvidia-smi's numbers
        environment["CUDA_VISIBLE_DEVICES"] = slot.visible
    if len(slot.gpus) == 1 and place.mps is not None:
        environment.update(mps_variables(place.mps, share=slot.share, environ=environment))
    if slot.memory_fraction is not None:
        environment.setdefault("SWEEPD_MEMORY_FRACTION", str(slot.memory_fraction))
    if place.is_ours:
        environment.setdefault("WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL", "1")
        _add_lease(environment, command)
    return environment


def _add_config(environment: dict[str, str], command: Command) -> None:
    """Give every process of the run the configuration, where one that is so long may be passed."""
    text = json.dumps(dict(command.args))
    if len(text) <= _LONGEST_CONFIG:
        environment[_CONFIG] = text
    else:
        environment.pop(_CONFIG, None)


def _path_with_ours(path: str) -> str:
    """Return a PATH that ends with the commands of our own environment, as `torchrun`.

    It begins with them where there is no `python` else: `${interpreter}` is that, as W&B has it.
    """
    ours = str(Path(sys.executable).parent)
    if shutil.which("python", path=path) is None:
        return os.pathsep.join([ours, path])
    return path if ours in path.split(os.pathsep) else os.pathsep.join([path, ours])


def lease_headers(command: Command) -> dict[str, str]:
    """Return the headers that requests of a trial's run carry: none without a lease."""
    if command.lease is None:
        return {}
    attempt, token = command.lease
    return {_LEASE_HEADER: f"{command.run};{attempt};{token}"}


def _add_lease(environment: dict[str, str], command: Command) -> None:
    """Give every request of the run its lease, beside the headers that the user asked for."""
    own = lease_headers(command)
    try:
        headers = json.loads(environment.get("WANDB_X_EXTRA_HTTP_HEADERS") or "{}")
    except ValueError:
        return  # wandb.init will say what is wrong with it
    if own:
        environment["WANDB_X_EXTRA_HTTP_HEADERS"] = json.dumps({**headers, **own})
