"""Templates, scripts and styles: nothing is fetched from anywhere else."""

import hashlib
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from sweepd.dash.plain import dump
from sweepd.errors import NotFound

__all__ = ["HEADERS", "favicon", "render", "static"]

_HERE = Path(__file__).parent
_STATIC = _HERE / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

#: Sent with every page. Scripts and styles come from our own files only; none stand in a page.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "font-src 'self'; media-src 'self'; frame-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@cache
def _version() -> str:
    """Return a name for the present scripts and styles, so that browsers may keep them for good."""
    digest = hashlib.sha256()
    for path in sorted(_STATIC.rglob("*.*")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def _modules(page: str) -> tuple[str, ...]:
    """Return the scripts that a page's script needs, so that browsers fetch them all at once."""
    found = {page: None}
    for name in found.copy():
        _add_imports(name, found)
    return tuple(name for name in found if name != page)


def _add_imports(name: str, found: dict[str, None]) -> None:
    text = (_STATIC / "js" / name).read_text("utf-8")
    for needed in re.findall(r'^(?:import|export) .*? from "\./([\w-]+\.js)";', text, re.MULTILINE):
        if needed not in found:
            found[needed] = None
            _add_imports(needed, found)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["day"] = _day
    environment.globals["static"] = f"/-/static/{_version()}"
    environment.globals["modules"] = _modules
    return environment


def _day(at: float) -> str:
    """Return a moment as browsers without scripts show it; those with put it in their words."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def render(name: str, *, data: Any = None, **values: Any) -> str:
    """Return a page. `data` is what its script reads; templates escape everything else."""
    text = dump(data) if data is not None else None
    return _templates().get_template(name).render(data=text, **values)


async def static(request: Request) -> Response:
    """Send a script, a style or the icons; under the present version, to be kept for a year."""
    if "\0" in request.path_params["path"]:  # no system has such a file, nor says so politely
        raise NotFound("there is no such file")
    path = (_STATIC / request.path_params["path"]).resolve()
    if not path.is_relative_to(_STATIC) or path.suffix not in _TYPES or not path.is_file():
        raise NotFound("there is no such file")
    is_present = request.path_params["version"] == _version()
    keep = "public, max-age=31536000, immutable" if is_present else "no-cache"
    headers = {**HEADERS, "Cache-Control": keep}
    return FileResponse(path, media_type=_TYPES[path.suffix], headers=headers)


async def favicon(_: Request) -> Response:
    """Send the icon that browsers ask for by themselves."""
    headers = {**HEADERS, "Cache-Control": "public, max-age=86400"}
    return FileResponse(_STATIC / "favicon.svg", media_type="image/svg+xml", headers=headers)
