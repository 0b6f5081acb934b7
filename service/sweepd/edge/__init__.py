"""The service's outer edge: what is true of every request, whoever answers it.

Which hosts and proxies are known, how large, slow or many requests may be, how they are counted and
written down, and how the service takes its leave.
"""

from sweepd.edge.entrance import Entrance, Rules
from sweepd.edge.gate import Gate
from sweepd.edge.hosts import Hosts
from sweepd.edge.meters import Meters
from sweepd.edge.probes import probes
from sweepd.edge.proxies import Proxies
from sweepd.edge.rates import Rates
from sweepd.edge.server import Server
from sweepd.edge.ways import Way

__all__ = [
    "Entrance",
    "Gate",
    "Hosts",
    "Meters",
    "Proxies",
    "Rates",
    "Rules",
    "Server",
    "Way",
    "probes",
]
