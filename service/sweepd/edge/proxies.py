"""Requests that came through a proxy: who asked, by which scheme, under which name."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from starlette.types import Scope

__all__ = ["Proxies"]

Network = IPv4Network | IPv6Network


class Proxies:
    """Reads X-Forwarded-For, -Proto and -Host, from trusted proxies only.

    Args:
        trusted: addresses or networks, such as `127.0.0.1` or `10.0.0.0/8`; they are valid.
    """

    def __init__(self, trusted: Sequence[str]) -> None:
        self._networks: list[Network] = [ip_network(item, strict=False) for item in trusted]

    def unwrap(self, scope: Scope) -> None:
        """Put in place what a trusted proxy says; what anybody else says stays unread."""
        client = scope.get("client")
        if not self._networks or client is None or not self._is_trusted(client[0]):
            return
        said = {
            name: value.decode("latin-1")
            for name, value in scope["headers"]
            if name.startswith(b"x-forwarded-")
        }
        hops = [hop.strip() for hop in said.get(b"x-forwarded-for", "").split(",")]
        # The proxies append: the last that is not one of them is the client.
        real = next((hop for hop in reversed(hops) if hop and not self._is_trusted(hop)), None)
        if real is not None:
            scope["client"] = (real[:64], 0)
        scheme = said.get(b"x-forwarded-proto", "").strip().lower()
        if scheme in ("http", "https"):
            scope["scheme"] = scheme
        host = said.get(b"x-forwarded-host", "").partition(",")[0].strip()
        if host:
            others = [item for item in scope["headers"] if item[0] != b"host"]
            scope["headers"] = [(b"host", host.encode("latin-1")), *others]

    def _is_trusted(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._networks)
