"""`sweep enqueue` and `sweep edit`: what a person wants of a sweep that runs."""

import difflib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweepd.cli.connect import open_target
from sweepd.cli.console import echo_json, say
from sweepd.cli.options import allow_unknown, as_json, data_folder, server_choice
from sweepd.errors import DefinitionError, InvalidInput

if TYPE_CHECKING:
    from sweepd.cli.api import Api

__all__ = ["edit", "enqueue"]


@click.command()
@click.argument("sweep")
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path),
    help="YAML or JSON: one config, or a list of up to 1,000.",
)
@click.option(
    "--like", metavar="RUN|best", help="Take what is left out from this run of the sweep."
)
@click.option("--name", help="Display name of the run.")
@server_choice
@data_folder
@as_json
def enqueue(
    *,
    sweep: str,
    values: Sequence[str],
    file: Path | None,
    like: str | None,
    name: str | None,
    server: str | None,
    data: Path,
    as_json: bool,
) -> None:
    """Have SWEEP try a configuration of your own next.

    Names of nested parameters have dots (opt.lr=0.1); values are YAML. NAME=VALUE goes on top of
    every config of a file. Constants are filled in; a value outside of the search runs, with a
    warning, and teaches the search nothing.
    """
    if not (values or file or like):
        raise InvalidInput("nothing to enqueue: give NAME=VALUE…, --file or --like")
    on_top = dict(_pair(text) for text in values)
    configs = [{**config, **on_top} for config in _configs(file)]
    with open_target(sweep, server, data) as (api, reference):
        _check_ours(api, "enqueues only what `wandb.Api().sweep(…).enqueue_run` sends")
        found = api.find_sweep(reference)
        answer = _enqueue(api, found["id"], configs, like=like, name=name)
    home = f"{found['project']['entityName']}/{found['project']['name']}"
    runs = [f"{home}/{run}" for run in answer["runs"]]
    for warning in answer["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        echo_json({"runs": runs, "warnings": answer["warnings"]})
        return
    for run in runs:
        say(f"enqueued {run}: the next free agent takes it")


def _enqueue(
    api: "Api", sweep: str, configs: Sequence[Any], *, like: str | None, name: str | None
) -> dict[str, Any]:
    answer: dict[str, Any] = api.execute(
        "mutation($input: SweepdEnqueueInput!) { sweepdEnqueue(input: $input) { runs warnings } }",
        input={
            "id": sweep,
            "configs": json.dumps(configs, ensure_ascii=False),
            "like": like,
            "displayName": name,
        },
    )["sweepdEnqueue"]
    return answer


@click.command()
@click.argument("sweep")
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path),
    help="The new definition; without it and --set, $EDITOR opens.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="PATH=VALUE",
    help="Set one value, e.g. run_cap=200 or metric.target=0.9; may be given several times.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@allow_unknown
@server_choice
@data_folder
@as_json
def edit(
    *,
    sweep: str,
    file: Path | None,
    assignments: Sequence[str],
    yes: bool,
    dry_run: bool,
    allow_unknown: bool,
    server: str | None,
    data: Path,
    as_json: bool,
) -> None:
    """Change the definition of SWEEP while it runs.

    Shows what changes and what that means first. Every version is kept, and each trial says which
    one it came from; trials so far stay data for the search where they are still valid. What trials
    ran and how they were judged cannot change: program, command, the metric.
    """
    with open_target(sweep, server, data) as (api, reference):
        _check_ours(api, "changes a definition only before its first run: `wandb sweep --update`")
        found = _versions(api, api.find_sweep(reference))
        old = found["config"]
        new = _new_text(old, file, assignments)
        preview = _preview(api, found["name"], new) if new != old else _NOTHING
        if not as_json:
            _tell(old, new, preview)
        if preview["problems"]:
            raise InvalidInput("; ".join(preview["problems"]))
        if new != old and not allow_unknown:
            _check_keys(old, new)
        is_made = bool(preview["changes"]) and not dry_run
        if is_made and not yes:
            _ask(f"make this version {len(found['sweepdVersions']) + 1} of {reference.name}?")
        if is_made:
            _update(api, found, new)
            found = _versions(api, found)
    version = found["sweepdVersions"][-1]["version"]
    if as_json:
        words = ("changes", "warnings", "trialsKept", "trialsLost")
        told = {name: preview[name] for name in words}
        echo_json({"edited": is_made, "version": version, **told})
    elif is_made:
        say(f"version {version} holds from now on")
    elif not preview["changes"]:
        say("nothing changes")


_NOTHING: Mapping[str, Any] = {
    "problems": [],
    "warnings": [],
    "changes": [],
    "trialsKept": 0,
    "trialsLost": 0,
}


def _check_ours(api: "Api", words: str) -> None:
    if not api.is_ours:
        raise InvalidInput(f"{api.server.url} is not a sweepd service: it {words}")


def _pair(text: str) -> tuple[str, Any]:
    from sweepd.spec import read_value

    name, is_given, value = text.partition("=")
    if not is_given or not name:
        raise InvalidInput(f"{text!r} is not NAME=VALUE")
    try:
        return name, read_value(value)
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}") from None


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(16_000_000).decode("utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{file} is not text in UTF-8") from None


def _configs(file: Path | None) -> list[dict[str, Any]]:
    """Return the configs of a file; one that is empty without a file."""
    from sweepd.spec import read_value

    if file is None:
        return [{}]
    try:
        found = read_value(_read(file))
    except InvalidInput as error:
        raise InvalidInput(f"{file}: {error}") from None
    configs = [found] if isinstance(found, dict) else found
    if not isinstance(configs, list) or not all(isinstance(one, dict) for one in configs):
        raise InvalidInput(f"{file}: must be a mapping of names to values, or a list of such")
    return configs


def _new_text(old: str, file: Path | None, assignments: Sequence[str]) -> str:
    """Return the new definition: a file's, the old one with values set, or what was edited."""
    from sweepd.spec import set_value

    if file is None and not assignments:
        if not sys.stdin.isatty():
            raise InvalidInput(
                "there is no terminal for an editor: give --file or --set PATH=VALUE"
            )
        edited = click.edit(old, extension=".yaml")
        return old if edited is None else edited
    text = old if file is None else _read(file)
    for assignment in assignments:
        path, value = _pair(assignment)
        text = set_value(text, path, value)
    return text


def _check_keys(old: str, new: str) -> None:
    """Refuse a key outside the language that an edit brings in: as likely as not a typo.

    Raises:
        InvalidInput: with each such key and the nearest known one.
    """
    from sweepd.spec import read_definition

    try:
        seen, found = (
            {odd.path: str(odd) for odd in read_definition(text, is_stored=True).warnings}
            for text in (old, new)
        )
    except DefinitionError:
        return  # the service, which has read both, is of another version and knows better
    brought = [
        words for path, words in found.items() if path not in seen and ": unknown key" in words
    ]
    if brought:
        raise InvalidInput(f"{'; '.join(brought)} (--allow-unknown takes it as it is)")


_VERSIONS = "sweepdVersions { version createdAt actor trials }"


def _versions(api: "Api", sweep: Mapping[str, Any]) -> dict[str, Any]:
    fields = f"id name config project {{ name entityName }} {_VERSIONS}"
    document = f"query($s: String!) {{ sweepdSweep(name: $s) {{ {fields} }} }}"
    found: dict[str, Any] = api.execute(document, s=sweep["name"])["sweepdSweep"]
    return found


def _preview(api: "Api", name: str, text: str) -> dict[str, Any]:
    answer = api.execute(
        "query($s: String!, $c: String!) { sweepdSweep(name: $s) { sweepdPreviewEdit(config: $c)"
        " { problems warnings changes trialsKept trialsLost } } }",
        s=name,
        c=text,
    )
    found: dict[str, Any] = answer["sweepdSweep"]["sweepdPreviewEdit"]
    return found


def _update(api: "Api", sweep: Mapping[str, Any], text: str) -> None:
    api.execute(
        "mutation($input: SweepdEditInput!) { sweepdEdit(input: $input) { version } }",
        input={
            "id": sweep["id"],
            "config": text,
            "version": sweep["sweepdVersions"][-1]["version"],
        },
    )


def _tell(old: str, new: str, preview: Mapping[str, Any]) -> None:
    """Show a diff of the two texts, what changes in words, and what becomes of the trials."""
    for line in _diff(old, new):
        color = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        say(click.style(line, fg=color) if color else line)
    for warning in preview["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    for change in preview["changes"]:
        say(f"  {change}")
    kept, lost = preview["trialsKept"], preview["trialsLost"]
    if lost:
        say(f"  {lost} of {kept + lost} trials so far are not of the new space: they are kept, and")
        say("  teach the search nothing more")


def _diff(old: str, new: str) -> Iterator[str]:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=2)
    return (line for index, line in enumerate(lines) if index >= 2)  # no names of files


def _ask(question: str) -> None:
    try:
        is_sure = click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)
        raise InvalidInput("no answer, so nothing is changed; --yes does not ask") from None
    if not is_sure:
        click.echo("nothing is changed", err=True)
        raise click.exceptions.Exit(1)
