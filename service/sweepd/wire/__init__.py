"""W&B's protocol, and our own operations: GraphQL, file_stream, file bytes.

This is the only place that knows W&B's names; below it everything has our own.
"""

from sweepd.wire.routes import Sizes, routes
from sweepd.wire.shortcut import Shortcut

__all__ = ["Shortcut", "Sizes", "routes"]
