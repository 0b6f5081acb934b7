"""Starts agents on a Ray cluster: one detached actor each, which Ray starts again elsewhere.

Ray offers two things that outlive the command which asks for them, a job and a detached actor. A
job shows its environment, and so the API key, to everyone who can open Ray's dashboard, gives its
processes three seconds to end, and is not started again when its node is lost. A detached actor has
none of this: `max_restarts` has Ray put it on another node that has the GPUs, long after the
terminal is closed, and nobody has to watch over it.

An actor keeps its GPUs while it lives. So it dies with its agent, and what is to be known
afterwards, the exit code and the last words, lies with one more actor, the `Desk`. The cluster has
one of these, on the head node: it is there for as long as the cluster is.
"""

import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sweepd.errors import InvalidInput, LaunchError
from sweepd_agent.launchers import AgentStatus, Plan
from sweepd_agent.launchers.tools import AGENT, own_name, warn_of_loopback
from sweepd_agent.options import to_arguments

__all__ = ["AgentActor", "Desk", "Ray"]

_NAMESPACE, _DESK = "sweepd", "desk"
_ON_HEAD = {"node:__internal_head__": 0.001}
#: What of the working folder is never sent: it is large, or of this machine.
_NOT_SENT = ["/.git/", "/.venv/", "/wandb/"]
_WORDS_BYTES = 256 * 1024
_N_NOTES = 1000
_FIRST_ANSWER_S, _ANSWER_S = 20.0, 5.0
#: Ray may have to start a process first, on a machine that is busy.
_DESK_S = 90.0
_AGAIN_S = 5.0
#: Trials have 30 s to save themselves, then the agent has some to say so.
_STOP_S = 60.0

#: Runs an agent as nobody's child: Ray kills the children of a worker that ends, and an agent that
#: is killed cannot end its trials in order. It follows the worker all the same, however that ends.
_KEEPER = """
import contextlib, os, subprocess, sys, threading
worker, told, *command = sys.argv[1:]
if os.fork():
    os._exit(0)
agent = subprocess.Popen(command, stdin=subprocess.DEVNULL)

def follow():
    os.read(int(worker), 1)
    agent.terminate()

threading.Thread(target=follow, daemon=True).start()
code = agent.wait()
with contextlib.suppress(BrokenPipeError):
    os.write(int(told), str(code).encode())
os._exit(0)
"""


class Ray:
    """A `Launcher` for a Ray cluster that runs, by Ray's own library.

    The nodes need sweepd, and what the program imports; the working folder is sent to them. An
    agent whose node, or whose worker process, is lost is started again on another node, or waits
    for one; the trials that it ran run again under their run ids.
    """

    settings: Mapping[str, str] = {
        "address": "the cluster, HOST:6379 or ray://HOST:10001 (RAY_ADDRESS, or the local one)",
        "gpus": "GPUs of each agent, or a part of one (one trial's; 0 with --gpus none)",
        "cpus": "processors of each agent (1)",
        "accelerator": "the only kind of GPU, in Ray's words, such as A100",
        "upload": "false: nothing is sent, the nodes share the working folder (true)",
    }

    def start(self, plan: Plan) -> dict[str, object]:
        """Create the actors; what is kept is the cluster's address and their names.

        Raises:
            InvalidInput: a setting is no number, or neither true nor false.
            LaunchError: Ray is not installed, no cluster answers, or it cannot start an agent.
        """
        given = plan.settings
        address = given.get("address") or os.environ.get("RAY_ADDRESS") or "auto"
        is_sent = _flag("upload", given.get("upload", "true"))
        how = {
            "num_cpus": _amount("cpus", given.get("cpus", "1")),
            "num_gpus": _amount("gpus", given.get("gpus", str(plan.options.gpus_per_trial))),
            "accelerator_type": given.get("accelerator"),
        }
        if plan.options.gpus == "none":
            how["num_gpus"] = 0
        warn_of_loopback(plan.environ)
        here = os.getcwd()
        arguments = to_arguments(replace(plan.options, folder=None if is_sent else here))
        sent = {"working_dir": here, "excludes": _NOT_SENT} if is_sent else {}
        launch = own_name(plan)
        names = [f"{launch}-{number}" for number in range(1, plan.n_agents + 1)]
        with _cluster(address, runtime_env=sent) as ray:
            actor = ray.remote(AgentActor)
            made = {
                name: actor.options(
                    name=name,
                    namespace=_NAMESPACE,
                    lifetime="detached",
                    max_restarts=-1,
                    max_concurrency=8,
                    **how,
                ).remote(name, arguments, dict(plan.environ))
                for name in names
            }
            _see_them_start(ray, made)
        return {"address": address, "actors": names}

    def status(self, folder: Path, kept: Mapping[str, object]) -> Sequence[AgentStatus]:
        """Return how every agent is; one that Ray has no node for is waiting."""
        with _cluster(kept["address"]) as ray:
            return _status(ray, _actors(kept))

    def logs(self, folder: Path, kept: Mapping[str, object], name: str) -> str:
        """Return the last 256 KiB that an agent has printed, since it was started on its node."""
        actor = _actors(kept)[name]
        with _cluster(kept["address"]) as ray:
            noted: str | None = _ask_desk(ray, "words", actor)
            if noted is not None:
                return noted
            try:
                asked = ray.get_actor(actor, namespace=_NAMESPACE).words.remote()
                words: str = ray.get(asked, timeout=_ANSWER_S)
            except (ValueError, ray.exceptions.RayError):  # none has that name; it is not there yet
                return ""
            return words

    def stop(self, folder: Path, kept: Mapping[str, object]) -> None:
        """End every agent in order, and those that wait at once."""
        actors = _actors(kept)
        with _cluster(kept["address"]) as ray:
            deadline = time.monotonic() + _STOP_S
            while going := [one for one in _status(ray, actors) if one.state == "running"]:
                if time.monotonic() > deadline:
                    break
                for one in going:
                    ray.get_actor(actors[one.name], namespace=_NAMESPACE).end.remote()
                time.sleep(0.5)
            for one in _status(ray, actors):
                if one.state in ("running", "waiting"):
                    ray.kill(ray.get_actor(actors[one.name], namespace=_NAMESPACE))


class AgentActor:
    """One agent, in a process of its own, for as long as this actor lives.

    Args:
        name: the actor's own.
        arguments: of `python -m sweepd_agent`.
        environ: WANDB_BASE_URL and WANDB_API_KEY.
    """

    def __init__(self, name: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        self._name = name
        self._output = Path(tempfile.mkdtemp(prefix="sweepd-agent-")) / "agent.log"
        command = [sys.executable, *AGENT, *arguments]
        self._alive, told = _leave(command, self._output, {**os.environ, **environ})
        threading.Thread(target=self._wait, args=(told,), daemon=True).start()

    def is_here(self) -> bool:
        """Return true: this actor has a node, and its agent runs."""
        return True

    def words(self) -> str:
        """Return the last of what the agent has printed."""
        with self._output.open("rb") as file:
            file.seek(max(0, self._output.stat().st_size - _WORDS_BYTES))
            return file.read().decode(errors="replace")

    def end(self) -> None:
        """Have the agent end in order, and this actor with it."""
        alive, self._alive = self._alive, -1
        if alive >= 0:
            os.close(alive)

    def _wait(self, told: int) -> None:
        """Tell the desk how the agent ended, until it takes it: then this actor ends as well."""
        import ray

        with os.fdopen(told) as pipe:
            code = pipe.read()
        words = self.words()
        shutil.rmtree(self._output.parent)
        while True:
            try:
                noted = _desk(ray).note.remote(self._name, int(code) if code else None, words)
                ray.get(noted, timeout=_DESK_S)
                return
            except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                print(f"the desk is not reached: {_last_line(error)}", file=sys.stderr, flush=True)
                time.sleep(_AGAIN_S)


class Desk:
    """Knows how agents have ended, and lets go of their actors and GPUs."""

    def __init__(self) -> None:
        self._ended: dict[str, tuple[int | None, str]] = {}

    def note(self, name: str, code: int | None, words: str) -> None:
        """Write down how an agent ended, and end its actor for good."""
        import ray

        self._ended[name] = (code, words)
        while len(self._ended) > _N_NOTES:
            del self._ended[next(iter(self._ended))]
        ray.kill(ray.get_actor(name, namespace=_NAMESPACE), no_restart=True)

    def codes(self, names: Sequence[str]) -> dict[str, int | None]:
        """Return the exit codes of those that have ended."""
        return {name: self._ended[name][0] for name in names if name in self._ended}

    def words(self, name: str) -> str | None:
        """Return the last words of an agent; None if it has not ended."""
        return self._ended[name][1] if name in self._ended else None


@contextmanager
def _cluster(address: object, *, runtime_env: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """Connect to a cluster that runs, give Ray's library, and disconnect."""
    # Beneath `uv run`, Ray would have every worker run by uv, in an environment of its own that has
    # neither Ray nor sweepd unless the working folder is a project that asks for both.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError:
        raise LaunchError(
            "ray is not installed here; pip install 'sweepd[ray]', in the cluster's own version"
        ) from None
    _reach(str(address))
    try:
        ray.init(
            address=address,
            namespace=_NAMESPACE,
            runtime_env=dict(runtime_env or {}),
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise LaunchError(f"no Ray cluster takes us at {address}: {_last_line(error)}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raise LaunchError unless somebody listens at an address; Ray itself would try for minutes."""
    if address == "auto":
        return
    try:
        url = urlsplit(address if "://" in address else f"//{address}")
        host, port = url.hostname, url.port
    except ValueError:  # of a port that is no number
        host = port = None
    if not (host and port) or url.scheme not in ("", "ray"):
        raise LaunchError(
            f"{address} is no address of a Ray cluster's: use HOST:6379 on one of its nodes, "
            "ray://HOST:10001 from elsewhere, or auto for the one that this machine is in"
        )
    try:
        socket.create_connection((host, port), _ANSWER_S).close()
    except OSError as error:
        raise LaunchError(f"no Ray cluster answers at {address}: {error}") from None


def _desk(ray: Any) -> Any:
    return (
        ray.remote(Desk)
        .options(
            name=_DESK,
            namespace=_NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            num_cpus=0,
            resources=_ON_HEAD,
        )
        .remote()
    )


def _ask_desk(ray: Any, method: str, *arguments: object) -> Any:
    """Return what the desk answers.

    Raises:
        LaunchError: it does not, since Ray cannot start a process on the head node.
    """
    try:
        return ray.get(getattr(_desk(ray), method).remote(*arguments), timeout=_DESK_S)
    except ray.exceptions.RayError as error:
        raise LaunchError(
            "Ray starts no process of ours on its head node, whose raylet.err may say why: "
            f"{_last_line(error)}"
        ) from None


def _see_them_start(ray: Any, actors: Mapping[str, Any]) -> None:
    """Wait for first answers, for a while: those that find no free node are left waiting.

    Raises:
        LaunchError: an actor cannot be started, as where sweepd is not installed; none is left.
    """
    asked = {one.is_here.remote(): name for name, one in actors.items()}
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_FIRST_ANSWER_S)
    failed = {asked[answer]: why for answer in ready if (why := _failure(ray, answer))}
    ended = _ask_desk(ray, "codes", list(failed))  # in order: the sweep was over
    for name, why in failed.items():
        if name not in ended:
            for one in actors.values():
                ray.kill(one)
            raise LaunchError(f"Ray cannot start the agents: {why}")


def _failure(ray: Any, answer: Any) -> str | None:
    """Return why an actor is dead, of an answer that is there; None if it lives or comes again."""
    try:
        ray.get(answer)
    except ray.exceptions.ActorUnavailableError:
        return None
    except ray.exceptions.RayError as error:
        return _last_line(error)
    return None


def _status(ray: Any, actors: Mapping[str, str]) -> list[AgentStatus]:
    asked = {}
    for name in actors.values():
        with suppress(ValueError):  # Ray knows no actor of this name
            asked[ray.get_actor(name, namespace=_NAMESPACE).is_here.remote()] = name
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_S)
    states = dict.fromkeys(asked.values(), "waiting")
    for answer in ready:
        try:
            ray.get(answer)
        except ray.exceptions.ActorUnavailableError:
            continue
        except ray.exceptions.RayError:
            states[asked[answer]] = "lost"
        else:
            states[asked[answer]] = "running"
    ended = _ask_desk(ray, "codes", list(actors.values()))
    return [
        AgentStatus(name, "ended", ended[actor])
        if actor in ended
        else AgentStatus(name, states.get(actor, "lost"))
        for name, actor in actors.items()
    ]


def _leave(command: Sequence[str], output: Path, environ: Mapping[str, str]) -> tuple[int, int]:
    """Start an agent under a keeper; return two ends of pipes.

    The agent ends in order once the first is closed; its exit code is read from the second.
    """
    follows, alive = os.pipe()
    told, tells = os.pipe()
    with output.open("ab") as file:
        subprocess.run(
            [sys.executable, "-P", "-c", _KEEPER, str(follows), str(tells), *command],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            pass_fds=[follows, tells],
            start_new_session=True,
            check=True,
        )
    os.close(follows)
    os.close(tells)
    return alive, told


def _actors(kept: Mapping[str, object]) -> dict[str, str]:
    actors = kept["actors"]
    assert isinstance(actors, list), "as start() returned it"
    return {f"agent-{number}": name for number, name in enumerate(actors, 1)}


def _amount(setting: str, text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < math.inf:
        raise InvalidInput(f"{setting} must be a number of at least 0, not {text!r}")
    if amount > 1 and not amount.is_integer():
        raise InvalidInput(f"{setting} must be whole above 1, as Ray has it, not {text!r}")
    return amount


def _flag(setting: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise InvalidInput(f"{setting} must be true or false, not {text!r}")
    return text.lower() == "true"


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
