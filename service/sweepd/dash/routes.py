"""The addresses of the pages. `/-/` is ours: no entity's name begins with a dash."""

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from sweepd.dash import (
    adminpage,
    artifactpage,
    assets,
    byhand,
    comparepage,
    listings,
    live,
    login,
    mediapage,
    modelpage,
    runpage,
    settingspage,
    sweeppage,
    teampage,
    viewer,
)
from sweepd.dash.sweepshape import address
from sweepd.dash.visit import Guard, Visit
from sweepd.engine.services import Services
from sweepd.errors import NotFound

__all__ = ["routes"]

#: W&B's addresses below a run's, and the tab of the run's page that each is here.
_TABS = {
    "artifacts": "overview",
    "code": "files",
    "files": "files",
    "logs": "logs",
    "overview": "overview",
    "system": "system",
    "workspace": "charts",
}


def routes(services: Services) -> Sequence[BaseRoute]:
    """Return the pages' routes for an open store; mount them after the protocol's."""
    guard = Guard(services)
    return [*_open(guard), *_data(guard), *_actions(guard), *_forms(guard), *_pages(guard)]


def _open(guard: Guard) -> list[BaseRoute]:
    async def static(request: Request, _: Services) -> Response:
        return await assets.static(request)

    async def netron(request: Request, _: Services) -> Response:
        return await viewer.asset(request)

    return [
        Route("/favicon.ico", assets.favicon),
        Route("/-/static/{version}/{path:path}", guard.open(static)),
        Route("/-/netron/{version}/{name}", guard.open(netron), methods=["GET"]),
        Route("/login", guard.open(login.form), methods=["GET"]),
        Route("/login", guard.open(login.sign_in), methods=["POST"]),
        Route("/login/{token}", guard.open(login.link), methods=["GET"]),
    ]


def _data(guard: Guard) -> list[BaseRoute]:
    run = "/-/data/run/{entity}/{project}/{name}"
    compare = "/-/data/compare/{entity}/{project}"
    version = "/-/data/artifact/{entity}/{project}/{type}/{name}/{version}"
    table = {
        "/-/data/entity/{entity}": listings.entity_data,
        "/-/data/project/{entity}/{project}": listings.project_data,
        "/-/data/sweep/{entity}/{project}/{name}": sweeppage.data,
        "/-/data/sweep/{entity}/{project}/{name}/importance": sweeppage.importance,
        "/-/data/sweep/{entity}/{project}/{name}/versions": byhand.list_versions,
        f"{run}/series": runpage.series,
        f"{run}/histograms": mediapage.histograms,
        f"{run}/media": mediapage.media,
        f"{run}/log": runpage.log,
        f"{run}/output.log": runpage.log_file,
        f"{run}/file/{{path:path}}": modelpage.run_file,
        f"{version}/file/{{path:path}}": modelpage.version_file,
        run: runpage.data,
        "/-/data/chart/{entity}/{name}": runpage.preset,
        f"{compare}/curves": comparepage.curves,
        compare: comparepage.data,
        "/-/feed/entity/{entity}": live.entity_feed,
        "/-/feed/project/{entity}/{project}": live.project_feed,
        "/-/feed/sweep/{entity}/{project}/{name}": live.sweep_feed,
        "/-/feed/runs/{entity}/{project}/{names}": live.run_feed,
    }
    return [Route(path, guard.data(handler), methods=["GET"]) for path, handler in table.items()]


def _actions(guard: Guard) -> list[BaseRoute]:
    sweep = "/-/sweep/{entity}/{project}/{name}"
    run = "/-/run/{entity}/{project}/{name}"
    return [
        Route(f"{sweep}/enqueue", guard.action(byhand.enqueue), methods=["POST"]),
        Route(f"{sweep}/preview", guard.action(byhand.preview), methods=["POST"]),
        Route(f"{sweep}/edit", guard.action(byhand.edit), methods=["POST"]),
        Route(f"{sweep}/retry", guard.action(byhand.retry), methods=["POST"]),
        Route(f"{sweep}/release/{{agent}}", guard.action(byhand.release), methods=["POST"]),
        Route(f"{sweep}/{{action}}", guard.action(sweeppage.control), methods=["POST"]),
        Route(f"{run}/stop", guard.action(runpage.stop), methods=["POST"]),
        Route(f"{run}/retry", guard.action(byhand.retry_run), methods=["POST"]),
        Route(f"{run}/finish", guard.action(runpage.finish), methods=["POST"]),
        Route("/logout", guard.form(login.leave), methods=["POST"]),
    ]


def _forms(guard: Guard) -> list[BaseRoute]:
    team, user = "/-/teams/{team}", "/-/admin/users/{user}"
    member, service = f"{team}/members/{{user}}", f"{team}/services/{{user}}"
    table = {
        "/authorize": settingspage.add_key,
        "/-/settings/keys/{key}/revoke": settingspage.revoke_key,
        "/-/settings/browsers/{session}/end": settingspage.end_session,
        "/-/settings/default": settingspage.set_default,
        "/-/settings/teams/{team}/leave": settingspage.leave_team,
        f"{team}/members": teampage.add_member,
        f"{member}/role": teampage.set_role,
        f"{member}/remove": teampage.remove_member,
        f"{team}/services": teampage.add_service,
        f"{service}/keys": teampage.add_key,
        f"{service}/keys/{{key}}/revoke": teampage.revoke_key,
        "/-/admin/users": adminpage.add_user,
        f"{user}/admin": adminpage.set_admin,
        f"{user}/remove": adminpage.remove_user,
        "/-/admin/teams": adminpage.add_team,
        "/-/admin/teams/{team}/remove": adminpage.remove_team,
        "/-/access/{entity}/{project}": listings.set_access,
    }
    return [Route(path, guard.form(handler), methods=["POST"]) for path, handler in table.items()]


def _pages(guard: Guard) -> list[BaseRoute]:
    project = "/{entity}/{project}"
    version = f"{project}/artifacts/{{type}}/{{name}}/{{version}}"
    table = {
        "/authorize": settingspage.page,
        "/settings": settingspage.page,
        "/-/settings": settingspage.page,
        "/-/teams/{team}": teampage.page,
        "/-/admin": adminpage.page,
        "/": listings.home,
        "/{entity}": listings.entity_page,
        project: listings.project_page,
        f"{project}/compare": comparepage.page,
        f"{project}/sweeps/{{name}}": sweeppage.page,
        f"{project}/runs/{{name}}": runpage.page,
        f"{project}/runs/{{name}}/view/{{path:path}}": modelpage.run_page,
        f"{project}/artifacts": artifactpage.list_page,
        f"{project}/artifacts/{{type}}/{{name}}": artifactpage.collection_page,
        version: artifactpage.version_page,
        f"{version}/view/{{path:path}}": modelpage.version_page,
    }
    pages: list[BaseRoute] = [
        Route(path, guard.page(handler), methods=["GET"]) for path, handler in table.items()
    ]
    # W&B's own listings live a level down; its links lead to the same place here.
    pages += [
        Route(f"{project}/{name}", _to_project, methods=["GET"])
        for name in ("runs", "sweeps", "workspace", "overview", "table")
    ]
    run = f"{project}/runs/{{name}}"
    pages += [
        Route(f"{run}/{theirs}", _to_tab(ours), methods=["GET"]) for theirs, ours in _TABS.items()
    ]
    pages.append(Route(f"{project}/artifacts/{{type}}", _to_artifacts, methods=["GET"]))
    return [*pages, Route("/{path:path}", guard.page(_nothing), methods=["GET"])]


async def _nothing(visit: Visit) -> Response:
    raise NotFound(f"there is no page {visit.request.url.path}")


async def _to_project(request: Request) -> Response:
    return _below_project(request)


async def _to_artifacts(request: Request) -> Response:
    return _below_project(request, "artifacts")


def _to_tab(tab: str) -> Callable[[Request], Awaitable[Response]]:
    async def to_tab(request: Request) -> Response:
        return _below_project(request, "runs", request.path_params["name"], tab=tab)

    return to_tab


def _below_project(request: Request, *parts: str, tab: str | None = None) -> Response:
    params = request.path_params
    place = address(params["entity"], params["project"], *parts)
    return RedirectResponse(f"{place}#{tab}" if tab else place, 303)
