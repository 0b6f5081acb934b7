"""What a run's page fetches as its panels come into sight: histograms and media by step."""

from typing import Any

from starlette.responses import Response

from sweepd.dash.filelinks import add_links
from sweepd.dash.mediarows import logged_at, logged_objects
from sweepd.dash.mediashape import class_labels, items
from sweepd.dash.plain import dump, parse
from sweepd.dash.runpage import find
from sweepd.dash.runshape import histogram
from sweepd.dash.visit import Visit, json_text
from sweepd.errors import InvalidInput
from sweepd.store import Tx

__all__ = ["histograms", "media"]

_MOST_COLUMNS = 96  # of a heat map
_MOST_STEPS = 1000  # of a slider


def _histograms(tx: Tx, visit: Visit) -> str:
    run, key = find(tx, visit), visit.request.query_params.get("key", "")
    logged, _ = logged_objects(tx, run_id=run.id, key=key, most=_MOST_COLUMNS)
    bars = [one for step, data in logged if (one := histogram(step, data)) is not None]
    return dump({"histograms": bars})


async def histograms(visit: Visit) -> Response:
    """Answer with a key's histograms over the steps."""
    return json_text(await visit.read(_histograms, visit))


def _media(tx: Tx, visit: Visit) -> str:
    """Return the steps of a key, and its media at the step asked for, or else at the last one.

    A key that the history does not know may stand in the summary: it has no steps.
    """
    run, query = find(tx, visit), visit.request.query_params
    key, step = query.get("key", ""), _step(query.get("step"))
    found: dict[str, Any] = {}
    if step is None:
        logged, n_steps = logged_objects(tx, run_id=run.id, key=key, most=_MOST_STEPS)
        found = {"steps": [step for step, _ in logged], "n_steps": n_steps}
        step, value = logged[-1] if logged else (None, parse(run.summary).get(key))
    else:
        value = logged_at(tx, run_id=run.id, key=key, step=step)
    shown = items(value)
    labels = class_labels(run.config, key)
    layers = [layer for one in shown for name in ("masks", "boxes") for layer in one.get(name, ())]
    for layer in layers:
        layer["labels"] = labels.get(layer["name"], {})
    add_links(tx, visit, run.id, [*shown, *layers])
    return dump({**found, "step": step, "items": shown})


def _step(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.removeprefix("-").isdecimal() or len(text) > 18:
        raise InvalidInput(f"step: must be a whole number, not {text[:40]!r}")
    return int(text)


async def media(visit: Visit) -> Response:
    """Answer with what was logged under a key: its steps, and the media of one of them."""
    return json_text(await visit.read(_media, visit))
