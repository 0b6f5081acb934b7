"""The service's settings: from the command line, else SWEEPD_… in the environment, else these."""

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
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
    #: How much memory it may take beyond the worker's own, in MiB, before it counts as failed.
    suggest_mib: Annotated[int, Field(ge=64)] = 1024
    #: Checkpoints kept of each sweep: those of its best trials.
    keep_checkpoints: Annotated[int, Field(ge=1)] = 5
    #: Proxies, by address or network, whose X-Forwarded-For, -Proto and -Host are believed.
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    #: Certificate (PEM, the whole chain) and its key, to serve HTTPS without a proxy.
    tls_cert: Path | None = None
    tls_key: Path | None = None
    #: Requests a second that one key may make in the long run; 0: as many as it likes.
    rate_limit: Annotated[float, Field(ge=0)] = 0.0
    #: Requests that it may make at once before that; 0: what ten seconds allow.
    rate_burst: Annotated[int, Field(ge=0)] = 0
    #: Connections at once; 0: as many as the system's limit of open files allows.
    max_connections: Annotated[int, Field(ge=0)] = 0
    #: Show /metrics to everybody, not only to administrators.
    open_metrics: bool = False
    #: What the log on stderr is written for, people or machines, and how much of it.
    log_format: Literal["human", "json"] = "human"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    #: Write a line for every request, not only for those that failed here.
    access_log: bool = False
    #: How long requests in flight may take to end once the service is told to stop.
    grace_s: Annotated[float, Field(ge=0, le=600)] = 5.0
    #: How long new requests are refused before it stops, for load balancers to notice.
    drain_s: Annotated[float, Field(ge=0, le=600)] = 0.0
    #: Largest GraphQL request, in MiB.
    graphql_mib: Annotated[int, Field(ge=1, le=1024)] = 16
    #: Largest request of a run's live data, in MiB; the client sends up to 10.
    stream_mib: Annotated[int, Field(ge=16, le=1024)] = 32
    #: Largest file, in GiB.
    file_gib: Annotated[int, Field(ge=1, le=1 << 20)] = 64

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            problems = [_in_words(problem) for problem in error.errors()]
            raise InvalidInput("; ".join(problems)) from None

    @model_validator(mode="after")
    def _check_tls(self) -> "Settings":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together: give both or neither")
        return self

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            try:
                ip_network(item, strict=False)
            except ValueError:
                raise ValueError(
                    f"must be addresses or networks such as 127.0.0.1 or 10.0.0.0/8, not {item!r}"
                ) from None
        return value

    @field_validator("also_at", "trusted_proxies", mode="before")
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
