"""Which W&B server the agent talks to, found where `wandb` looks: environment, settings, netrc."""

from collections.abc import Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass, field
from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import urlsplit

from sweepd.errors import InvalidInput, Unauthorized

__all__ = ["Server", "resolve_server"]

_CLOUD = "https://api.wandb.ai"


@dataclass(frozen=True)
class Server:
    """A W&B server, the key for it, and what the user's settings say about names."""

    url: str
    api_key: str = field(repr=False)
    entity: str | None = None
    project: str | None = None


def resolve_server(
    base_url: str | None, api_key: str | None, *, environ: Mapping[str, str], folder: Path
) -> Server:
    """Return the server and key; a value that is given wins, then the environment, then settings.

    Unlike `wandb`, no server is a default: a key in netrc alone must not send anything to a metered
    account.

    Args:
        base_url: the server's address, or "cloud" for W&B's; None to look it up.
        api_key: the key; None to look it up.
        environ: the environment.
        folder: the working folder, for its `wandb/settings`.

    Raises:
        InvalidInput: if no server is named anywhere, or its address is not one.
        Unauthorized: if there is no key for it.
    """
    settings = _read_settings(environ, folder)
    url = base_url or environ.get("WANDB_BASE_URL") or settings.get("base_url")
    if not url:
        raise InvalidInput(
            "no server: set WANDB_BASE_URL, give the address of the sweep's page, or --base-url "
            "(--base-url cloud is W&B's)"
        )
    url = _CLOUD if url == "cloud" else url.rstrip("/")
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is none
        is_address = False
    if not is_address:
        raise InvalidInput(f"the server {url!r} is not an http or https address")
    key = (
        api_key
        or environ.get("WANDB_API_KEY")
        or settings.get("api_key")
        or _netrc_key(environ, parts.netloc)
    )
    if not key:
        raise Unauthorized(
            f"no key for {url}; set WANDB_API_KEY, or run `wandb login --host={url}`"
        )
    return Server(
        url,
        key,
        entity=environ.get("WANDB_ENTITY") or settings.get("entity"),
        project=environ.get("WANDB_PROJECT") or settings.get("project"),
    )


def _read_settings(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return wandb's settings: those of the user, overridden by those of the working folder."""
    config = environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    found: dict[str, str] = {}
    for path in (Path(config).expanduser(), folder / environ.get("WANDB_DIR", ".") / "wandb"):
        parser = ConfigParser(interpolation=None)
        try:
            parser.read(path / "settings")
        except (Error, OSError, UnicodeDecodeError):
            continue
        if parser.has_section("default"):
            found.update(parser.items("default"))
    return found


def _netrc_key(environ: Mapping[str, str], host: str) -> str | None:
    """Return the key of `host` (with its port, as wandb writes it) in the user's netrc."""
    if named := environ.get("NETRC"):
        paths = [Path(named).expanduser()]
    else:
        paths = [Path("~/.netrc").expanduser(), Path("~/_netrc").expanduser()]
    for path in paths:
        try:
            entry = netrc(str(path)).authenticators(host)
        except (OSError, NetrcParseError, UnicodeDecodeError):
            continue
        if entry and entry[2]:
            return entry[2]
    return None
