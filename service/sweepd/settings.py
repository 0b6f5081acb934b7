"""The service's settings: from the command line, else SWEEPD_… in the environment, else these."""

import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sweepd.errors import InvalidInput

__all__ = ["Settings", "default_data"]


def default_data() -> Path:
    """Return the user's data folder: $XDG_DATA_HOME/sweepd, or ~/.local/share/sweepd."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "sweepd"


class Settings(BaseSettings):
    """Everything that can be set. Times are seconds, before `time_scale` multiplies them."""

    model_config = SettingsConfigDict(env_prefix="SWEEPD_", extra="forbid", env_ignore_empty=True)

    #: Address to listen on. Anything but loopback lets other machines in; a key is always needed.
    host: str = "127.0.0.1"
    #: Port to listen on; 0 takes a free one.
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    #: Take a free port where `port` is taken, rather than give up.
    any_port: bool = False
    #: Folder for everything the service keeps.
    data: Path = Field(default_factory=default_data)
    #: The address that people use; links are built from it. None: from each request.
    public_url: str | None = None
    #: More addresses that clients reach the service at, e.g. inside a compose network.
    also_at: Annotated[tuple[str, ...], NoDecode] = ()
    #: The first user's key, adopted at the first start; made if left out, refused if empty.
    api_key: str | None = Field(default_factory=lambda: os.environ.get("WANDB_API_KEY"))
    #: The first user's name.
    user: str = "admin"
    #: Everything that waits is multiplied by this; tests make it small.
    time_scale: Annotated[float, Field(gt=0)] = 1.0
    #: How long an agent's claim on a trial lasts without a sign of life.
    lease_s: Annotated[float, Field(gt=0)] = 60.0
    #: After how long without a sign of life a run of W&B's agents counts as crashed.
    crash_s: Annotated[float, Field(gt=0)] = 300.0
    #: How long one suggestion may take before the sweep is given space-filling points.
    suggest_s: Annotated[float, Field(gt=0)] = 60.0
    #: Checkpoints kept of each sweep: those of its best trials.
    keep_checkpoints: Annotated[int, Field(ge=1)] = 5
    #: Largest GraphQL request, in MiB.
    graphql_mib: Annotated[int, Field(ge=1, le=1024)] = 16
    #: Largest request of a run's live data, in MiB; the client sends up to 10.
    stream_mib: Annotated[int, Field(ge=16, le=1024)] = 32

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            problems = [_in_words(problem) for problem in error.errors()]
            raise InvalidInput("; ".join(problems)) from None

    @field_validator("also_at", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("public_url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        return _url(value) if value is not None else None

    @field_validator("also_at")
    @classmethod
    def _check_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_url(item) for item in value)


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"must be a URL such as https://sweeps.example.org, not {value!r}")
    if parts.path.strip("/"):
        raise ValueError(f"must be a host of its own without a path: the client drops {parts.path}")
    return value.rstrip("/")


def _in_words(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"]) or "settings"
    return f"{name}: {problem['msg'].removeprefix('Value error, ')}"
