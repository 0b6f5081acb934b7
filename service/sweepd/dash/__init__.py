"""The pages: server-rendered, live without reload, nothing fetched from elsewhere."""

from sweepd.dash.routes import routes

__all__ = ["routes"]
