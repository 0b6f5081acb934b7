"""The GraphQL operations of the command line; for any W&B server unless marked ours."""

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from sweepd.cli.server import Server
from sweepd.errors import InvalidInput, NotFound, ProtocolError, Unauthorized
from sweepd_agent.client import Client
from sweepd_agent.options import SweepPath, parse_sweep

__all__ = ["Api", "parse_target", "path_of"]

#: What the address of a page holds before an id.
_PAGES = frozenset({"sweeps", "runs"})
_STATUS = """
  sweepdStatus { issued running finished failed queued bundled expected agents metric goal bestValue
    bestRunName metrics { name } front { runName }
    stopReason notice createdAt endedAt secondsLeft url
    budget { name used limit } }
  sweepdAgents { id host state totalRuns }
"""
#: What a service says of a field that it does not know, since it is older than we are.
_UNKNOWN = "Cannot query field 'sweepd"
_SWEEP = "id name displayName state method createdAt project { name entityName }"


def parse_target(text: str) -> SweepPath:
    """Return what `text` names: a sweep as an agent takes it, or the address of a run's page.

    An address may go on after the id, as those of a page's tabs do.

    Raises:
        InvalidInput: if it is neither.
    """
    if "://" not in text:
        return parse_sweep(text)
    try:
        url = urlsplit(text)
        fits = url.port != 0  # raises if there is no such port
    except ValueError:
        fits = False
    parts = url.path.strip("/").split("/") if fits else []
    for index in range(2, len(parts) - 1):
        if parts[index] in _PAGES:
            home, name = "/".join(parts[:index]), parts[index + 1]
            return parse_sweep(f"{url.scheme}://{url.netloc}/{home}/sweeps/{name}")
    raise InvalidInput(
        f"{text!r} is not the address of a sweep or a run; such have /ENTITY/PROJECT/sweeps/ID "
        "or /ENTITY/PROJECT/runs/ID in them"
    )


def parse_project(text: str) -> tuple[str | None, str, str | None]:
    """Return entity, project and server of `[ENTITY/]PROJECT` or the address of a project's page.

    Raises:
        InvalidInput: if it is neither.
    """
    try:
        url = urlsplit(text)
        base = f"{url.scheme}://{url.netloc}" if "://" in text and url.port != 0 else None
    except ValueError:
        base, url = None, urlsplit("")
    parts = [unquote(part) for part in (url.path if base else text).strip("/").split("/")]
    if base is not None:
        parts = parts[:2]
    if not all(parts) or len(parts) not in ((2,) if base else (1, 2)):
        raise InvalidInput(f"{text!r} names no project; use ENTITY/PROJECT or its page's address")
    return (parts[0] if len(parts) == 2 else None), parts[-1], base


def path_of(thing: SweepPath | Mapping[str, Any]) -> str:
    """Return `entity/project/name` of a sweep or run, as far as it is known."""
    if isinstance(thing, SweepPath):
        return "/".join(part for part in (thing.entity, thing.project, thing.name) if part)
    return f"{thing['project']['entityName']}/{thing['project']['name']}/{thing['name']}"


class Api:
    """A signed-in connection to one W&B server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._client = Client(server.url, server.api_key)
        self._viewer: dict[str, Any] | None = None
        self._is_ours: bool | None = None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def execute(self, document: str, **variables: Any) -> dict[str, Any]:
        """Run one GraphQL operation and return its data.

        Raises:
            Unauthorized, NotFound, ProtocolError: in the server's words.
            ServerUnreachable: if nothing answers.
        """
        try:
            return self._client.execute(document, variables)
        except ProtocolError as error:
            if _UNKNOWN not in str(error):
                raise
            words = f"{self.server.url} is of another version than this command"
            raise ProtocolError(f"{words}: upgrade both to the same ({error})") from None

    def check(self) -> None:
        """Check that the server answers and knows the key, before anything is made there.

        Raises:
            ServerUnreachable: if it does not answer.
            Unauthorized: if it does not know the key.
        """
        if self._viewer is None:
            self._viewer = self.execute("query { viewer { entity } }").get("viewer")
        if self._viewer is None:
            raise Unauthorized(
                f"{self.server.url} does not know this key; set WANDB_API_KEY to one of its own, "
                f"or run `wandb login --host={self.server.url}`"
            )

    @property
    def viewer_entity(self) -> str:
        """Return the signed-in user's default entity.

        Raises:
            InvalidInput: if they have none.
        """
        self.check()
        entity = (self._viewer or {}).get("entity")
        if not entity:
            raise InvalidInput(
                f"{self.server.url} names no default entity of yours; use ENTITY/PROJECT/ID, "
                "or set WANDB_ENTITY"
            )
        return str(entity)

    @property
    def is_ours(self) -> bool:
        """Return whether the server announces sweepd's own operations."""
        if self._is_ours is None:
            try:
                data = self.execute("query { serverInfo { features { name isEnabled } } }")
            except ProtocolError:  # servers of old have no features
                data = {}
            features = (data.get("serverInfo") or {}).get("features") or []
            self._is_ours = any(f["name"] == "SWEEPD_V1" and f["isEnabled"] for f in features)
        return self._is_ours

    def find_sweep(self, reference: SweepPath) -> dict[str, Any]:
        """Return a sweep's fields, with `sweepdStatus` as far as the server tells it.

        Raises:
            NotFound: if there is none of that name.
        """
        sweep = self._find_own(reference) if self.is_ours else self._find_portable(reference)
        if sweep is None:
            raise NotFound(f"there is no sweep {path_of(reference)} on {self.server.url}")
        return sweep

    def list_sweeps(self, entity: str | None, project: str | None) -> list[dict[str, Any]]:
        """Return the sweeps of a project, or on our server of everything the caller may read."""
        if self.is_ours:
            data = self.execute(
                f"query($e: String, $p: String) {{ sweepdSweeps(entityName: $e, projectName: $p,"
                f" first: 1000) {{ edges {{ node {{ {_SWEEP} {_STATUS} }} }} }} }}",
                e=entity,
                p=project,
            )
            return [edge["node"] for edge in data["sweepdSweeps"]["edges"]]
        project = project or os.environ.get("WANDB_PROJECT")
        if not project:
            raise InvalidInput("this server lists sweeps by project: give --project")
        data = self.execute(
            "query($e: String, $p: String) { project(name: $p, entityName: $e)"
            f" {{ sweeps(first: 1000) {{ edges {{ node {{ {_SWEEP} }} }} }} }} }}",
            e=entity or os.environ.get("WANDB_ENTITY") or self.viewer_entity,
            p=project,
        )
        if data["project"] is None:
            raise NotFound(f"there is no project {project} on {self.server.url}")
        return [edge["node"] for edge in data["project"]["sweeps"]["edges"]]

    def set_sweep_state(self, sweep: Mapping[str, Any], state: str) -> None:
        """Move a sweep to PAUSED, RUNNING, FINISHED or CANCELED."""
        self.execute(
            "mutation($id: ID, $state: String, $e: String, $p: String) { upsertSweep(input:"
            " {id: $id, state: $state, entityName: $e, projectName: $p}) { sweep { name } } }",
            id=sweep["id"],
            state=state,
            e=sweep["project"]["entityName"],
            p=sweep["project"]["name"],
        )

    def delete_sweep(self, sweep: Mapping[str, Any]) -> None:
        """Delete a sweep with its runs and files; ours only.

        Raises:
            InvalidInput: if the server is not ours.
        """
        if not self.is_ours:
            raise InvalidInput(
                f"{self.server.url} deletes sweeps on their pages only, see "
                f"{sweep['sweepdStatus']['url']}"
            )
        self.execute(
            "mutation($id: ID!) { sweepdDeleteSweep(input: {id: $id}) { success } }", id=sweep["id"]
        )

    def find_project(self, entity: str | None, project: str) -> dict[str, Any]:
        """Return a project's id, names and what it holds; ours only.

        Raises:
            InvalidInput: if the server is not ours.
            NotFound: if there is none of that name.
        """
        if not self.is_ours:
            raise InvalidInput(f"{self.server.url} deletes projects on their pages only")
        entity = entity or os.environ.get("WANDB_ENTITY") or self.viewer_entity
        data = self.execute(
            "query($e: String, $p: String) { project(name: $p, entityName: $e) { id name entityName"
            " sweepdSize { runs sweeps artifacts bytes } } }",
            e=entity,
            p=project,
        )
        found: dict[str, Any] | None = data["project"]
        if found is None:
            raise NotFound(f"there is no project {entity}/{project} on {self.server.url}")
        return found

    def delete_project(self, project: Mapping[str, Any]) -> None:
        """Delete a project with its runs, sweeps, artifacts and files."""
        self.execute(
            "mutation($id: String!) { deleteModel(input: {id: $id}) { success } }", id=project["id"]
        )

    def find_run(self, reference: SweepPath) -> dict[str, Any] | None:
        """Return a run's id, names and project, or None."""
        return self._ask_run(reference, "id name displayName")

    def has_file(self, run: SweepPath, name: str) -> bool:
        """Return whether there is a run that has a file of this name."""
        fields = "files(names: [$f], first: 1) { edges { node { name md5 } } }"
        found = self._ask_run(run, fields, name)
        # Of a name that no file has, servers tell an entry whose digest is 0.
        return found is not None and any(
            edge["node"]["md5"] != "0" for edge in found["files"]["edges"]
        )

    def delete_run(self, run: Mapping[str, Any]) -> None:
        """Delete a run with its rows and files."""
        self.execute(
            "mutation($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }", id=run["id"]
        )

    def finish_run(self, run: Mapping[str, Any]) -> None:
        """Move a run whose process is gone to finished; ours only.

        Raises:
            InvalidInput: if the server is not ours.
        """
        if not self.is_ours:
            raise InvalidInput(f"{self.server.url} has no way to mark a run as finished")
        self.execute(
            "mutation($id: ID!) { sweepdFinishRun(input: {id: $id}) { run { state } } }",
            id=run["id"],
        )

    def create_login_link(self) -> str:
        """Return a one-time address that signs a browser in; ours only."""
        data = self.execute("mutation { sweepdCreateLoginLink { url } }")
        return str(data["sweepdCreateLoginLink"]["url"])

    def _ask_run(
        self, reference: SweepPath, fields: str, file: str | None = None
    ) -> dict[str, Any] | None:
        entity, project = self._scope(reference)
        declared, given = (", $f: String", {"f": file}) if file else ("", {})
        data = self.execute(
            f"query($e: String, $p: String, $r: String!{declared}) {{ project(name: $p, "
            f"entityName: $e) {{ name entityName run(name: $r) {{ {fields} }} }} }}",
            e=entity,
            p=project,
            r=reference.name,
            **given,
        )
        home: dict[str, Any] = data["project"] or {}
        run: dict[str, Any] | None = home.get("run")
        names = {"name": home.get("name"), "entityName": home.get("entityName")}
        return {**run, "project": names} if run is not None else None

    def _scope(self, reference: SweepPath) -> tuple[str, str]:
        project = reference.project or os.environ.get("WANDB_PROJECT")
        if not project:
            raise InvalidInput(f"give {reference.name} as ENTITY/PROJECT/ID, or set WANDB_PROJECT")
        entity = reference.entity or os.environ.get("WANDB_ENTITY") or self.viewer_entity
        return entity, project

    def _find_own(self, reference: SweepPath) -> dict[str, Any] | None:
        data = self.execute(
            f"query($s: String!) {{ sweepdSweep(name: $s) {{ {_SWEEP} {_STATUS} }} }}",
            s=reference.name,
        )
        found: dict[str, Any] | None = data["sweepdSweep"]
        if found is None:
            return None
        names = found["project"]["name"], found["project"]["entityName"]
        wanted = reference.project or names[0], reference.entity or names[1]
        return found if names == wanted else None

    def _find_portable(self, reference: SweepPath) -> dict[str, Any] | None:
        entity, project = self._scope(reference)
        counts = " ".join(
            f"{state}: runCount(filters: {_count_filter(reference.name, state)})"
            for state in ("running", "finished", "failed", "crashed", "killed")
        )
        data = self.execute(
            "query($e: String, $p: String, $s: String!) { project(name: $p, entityName: $e)"
            f" {{ name entityName {counts} sweep(sweepName: $s)"
            " { id name displayName state method createdAt runCount runCountExpected bestLoss }"
            " } }",
            e=entity,
            p=project,
            s=reference.name,
        )
        found = data["project"]
        if found is None or found["sweep"] is None:
            return None
        sweep: dict[str, Any] = found["sweep"]
        sweep["project"] = {"name": found["name"], "entityName": found["entityName"]}
        sweep["sweepdStatus"] = {
            "issued": sweep["runCount"],
            "running": found["running"],
            "finished": found["finished"],
            "failed": found["failed"] + found["crashed"] + found["killed"],
            "expected": sweep["runCountExpected"],
            "bestValue": sweep["bestLoss"],
            "url": f"{self.server.page_url}/{entity}/{project}/sweeps/{sweep['name']}",
        }
        return sweep


def _count_filter(sweep: str, state: str) -> str:
    return json.dumps(json.dumps({"$and": [{"sweep": sweep}, {"state": state}]}))
