"""Netron's page and scripts, from its package, which is an extra: they draw a model of any format.

As it comes, Netron asks for consent and tells Google Analytics what is opened. Here a script of
ours takes that out before Netron starts (`static/netron/quiet.js`), and the policy lets the page
reach nothing but this service, whatever a link, a model or a later Netron asks of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlencode

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from sweepd.dash.assets import HEADERS
from sweepd.dash.visit import packed
from sweepd.errors import NotFound
from sweepd.registry import install_command

__all__ = ["COMMAND", "MODELS", "Viewer", "asset", "installed", "is_model", "lacking", "pages"]

#: What a PyTorch user writes that Netron draws. It draws more; these are tried.
MODELS = (".onnx", ".pt2", ".pt", ".pth", ".safetensors")

#: What installs the viewer where the service runs.
COMMAND = install_command("netron")

_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
}
_PAGE, _QUIET = "index.html", "quiet.js"
_OURS = Path(__file__).parent / "static" / "netron" / _QUIET

#: Netron's page has a style sheet and styles in it, but no script; it draws in pages of ours only.
_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; worker-src 'self'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
    ),
    "X-Frame-Options": "SAMEORIGIN",
}


@dataclass(frozen=True)
class Viewer:
    """An installed Netron: its version, and its files by name."""

    version: str
    files: Mapping[str, Path]

    def page_of(self, url: str, name: str) -> str:
        """Return the address of the page that draws what it fetches from `url`, a file `name`."""
        query = urlencode({"url": url, "identifier": name.rpartition("/")[2]})
        return f"/-/netron/{self.version}/{_PAGE}?{query}"


def is_model(name: str) -> bool:
    """Return whether a file of this name is a model that the viewer draws."""
    return name.lower().endswith(MODELS)


def installed() -> Viewer | None:
    """Return the viewer, None where the extra is not installed. Nothing of it is imported."""
    spec = find_spec("netron")
    return _viewer(Path(spec.origin).parent) if spec is not None and spec.origin else None


def pages(place: str, names: Iterable[str]) -> dict[str, str]:
    """Return the pages that draw those of some files that are models, by name.

    Args:
        place: the address of the run's or the version's page that the files are of.
        names: of the files.
    """
    models = [name for name in names if is_model(name)]
    return {name: f"{place}/view/{quote(name)}" for name in models} if installed() else {}


def lacking(names: Iterable[str]) -> str | None:
    """Return the command that installs what draws a model among these, None if nothing lacks."""
    return COMMAND if any(map(is_model, names)) and installed() is None else None


@cache
def _viewer(folder: Path) -> Viewer:
    files = {path.name: path for path in folder.iterdir() if path.suffix in _TYPES}
    return Viewer(version("netron"), files)


async def asset(request: Request) -> Response:
    """Send a file of Netron's; all but its page and our script may be kept for a year.

    Raises:
        NotFound: unless it is a file that the installed version's page may ask for.
    """
    viewer, name = installed(), request.path_params["name"]
    files = {} if viewer is None else {**viewer.files, _QUIET: _OURS}
    if viewer is None or request.path_params["version"] != viewer.version or name not in files:
        raise NotFound("there is no such file")
    body, headers = await to_thread.run_sync(files[name].read_bytes), _HEADERS
    if name == _PAGE:
        script = f'<script type="module" src="{_QUIET}"></script>'
        body = body.replace(b"</head>", f"{script}</head>".encode(), 1)
    elif name != _QUIET:
        headers = {**_HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
    reply = Response(body, headers=headers, media_type=_TYPES[files[name].suffix])
    return await packed(request, reply)
