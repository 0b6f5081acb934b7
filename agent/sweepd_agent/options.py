"""What an agent is asked to do, and the ways a sweep can be named."""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from sweepd.errors import InvalidInput

__all__ = [
    "AUTO",
    "Options",
    "SweepPath",
    "check_auto",
    "parse_pack",
    "parse_per_gpu",
    "parse_sweep",
    "to_arguments",
]

#: How many trials to run at once is found out.
AUTO = "auto"

_LARGEST_PACK = 64
_ID = re.compile(r"[\w.-]+")
_CLOUD_APP, _CLOUD_API = "https://wandb.ai", "https://api.wandb.ai"


@dataclass(frozen=True)
class Options:
    """What an agent is asked to do; None means: as the environment says, or the usual."""

    sweep: str = ""  # id, entity/project/id, or the address of its page; none with `offline`
    entity: str | None = None
    project: str | None = None
    base_url: str | None = None  # the server; "cloud" is W&B's
    api_key: str | None = None
    gpus: str = "all"  # all, none, or their numbers: 0,1
    per_gpu: int | str | None = None  # trials at once on one GPU, or on the CPU; `AUTO`
    slots: int | None = None  # trials at once in all; takes the place of per_gpu
    memory_fraction: float | None = None  # of a GPU's memory, for each of its slots
    gpus_per_trial: int = 1  # GPUs of each slot, which no other trial uses if there are several
    count: int | None = None  # trials to run in all, over every slot
    name: str | None = None  # this machine's name on the server
    folder: str | None = None  # where programs are found and run; the working folder if None
    term_timeout_s: float = 30.0  # from SIGTERM to SIGKILL when the agent itself is ended
    kill_delay_s: float = 30.0  # from SIGTERM to SIGKILL when the server stops a trial
    trial_timeout_s: float | None = None  # a trial that runs for longer is ended
    prefetch: bool = False  # the next trial is fetched and got ready while one runs
    pack: str | None = None  # trials that one process trains together: a number, or auto
    offline: str | None = None  # the folder of a bundle, whose trials are run without a server
    handshake_s: float = 20.0  # a forked trial that has not reported by then is started anew


@dataclass(frozen=True)
class SweepPath:
    """A sweep's short id, and whatever else its name told."""

    name: str
    entity: str | None = None
    project: str | None = None
    base_url: str | None = None


def parse_sweep(text: str) -> SweepPath:
    """Return the parts of `ID`, `PROJECT/ID`, `ENTITY/PROJECT/ID`, or of a sweep page's address.

    Raises:
        InvalidInput: if the text is none of these.
    """
    if "://" in text:
        return _parse_address(text)
    parts = text.strip().strip("/").split("/")
    if len(parts) > 3 or not all(parts) or not _ID.fullmatch(parts[-1]):
        raise InvalidInput(
            f"{text!r} names no sweep; use its id, ENTITY/PROJECT/ID, or the address of its page"
        )
    entity, project, name = [None] * (3 - len(parts)) + parts
    assert name is not None
    return SweepPath(name, entity=entity, project=project)


def parse_pack(text: str) -> int | None:
    """Return how many trials to pack; None for `auto`: the agent finds it out.

    Raises:
        InvalidInput: if the text is neither.
    """
    if text == AUTO:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= _LARGEST_PACK:
        raise InvalidInput(f"--pack must be auto or from 1 to {_LARGEST_PACK}, not {text!r}")
    return int(text)


def parse_per_gpu(text: str) -> int | str:
    """Return how many trials to run at once on a GPU; `AUTO`: the agent finds it out.

    Raises:
        InvalidInput: if the text is neither.
    """
    if text == AUTO:
        return AUTO
    if not text.isdecimal() or int(text) < 1:
        raise InvalidInput(f"--per-gpu must be auto or at least 1, not {text!r}")
    return int(text)


def check_auto(options: Options) -> None:
    """Check that nothing else says how many trials are to share a GPU where that is found out.

    Raises:
        InvalidInput: if something does, or `per_gpu` is another word.
    """
    if not isinstance(options.per_gpu, str):
        return
    if options.per_gpu != AUTO:
        raise InvalidInput(f"--per-gpu must be auto or at least 1, not {options.per_gpu!r}")
    rivals = {
        "--slots": options.slots,
        "--memory-fraction": options.memory_fraction,
        "--gpus-per-trial": options.gpus_per_trial if options.gpus_per_trial != 1 else None,
        "--pack": options.pack,
    }
    for flag, value in rivals.items():
        if value is not None:
            raise InvalidInput(
                f"--per-gpu {AUTO} finds out how many trials share a GPU, and {flag} {value} says "
                "otherwise; leave one of the two out"
            )


def _parse_address(text: str) -> SweepPath:
    url = urlsplit(text)
    parts = [unquote(part) for part in url.path.strip("/").split("/")]
    if url.scheme not in {"http", "https"} or len(parts) < 4 or parts[-2] != "sweeps":
        raise InvalidInput(
            f"{text!r} is not the address of a sweep; it ends in /ENTITY/PROJECT/sweeps/ID"
        )
    entity, project, _, name = parts[-4:]
    base = "/".join([f"{url.scheme}://{url.netloc}", *parts[:-4]])
    return SweepPath(name, entity, project, _CLOUD_API if base == _CLOUD_APP else base)


def to_arguments(options: Options) -> list[str]:
    """Return the command line of `python -m sweepd_agent` that means these options, less the key.

    A key belongs in the environment: command lines are for everybody to read.
    """
    flags: dict[str, object] = {
        "--entity": options.entity,
        "--project": options.project,
        "--base-url": options.base_url,
        "--gpus": options.gpus,
        "--per-gpu": options.per_gpu,
        "--gpus-per-trial": options.gpus_per_trial if options.gpus_per_trial != 1 else None,
        "--slots": options.slots,
        "--memory-fraction": options.memory_fraction,
        "--count": options.count,
        "--name": options.name,
        "--folder": options.folder,
        "--term-timeout": options.term_timeout_s,
        "--trial-timeout": options.trial_timeout_s,
        "--pack": options.pack,
        "--offline": options.offline,
    }
    return [
        *([options.sweep] if options.sweep else []),
        *(f"{flag}={value}" for flag, value in flags.items() if value is not None),
        *(["--prefetch"] if options.prefetch else []),
    ]
