"""`sweep serve`: the embedded service in the foreground."""

from pathlib import Path

import click

from sweepd.cli.console import say

__all__ = ["serve"]

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command()
@click.option("--host", help="Address to listen on; 127.0.0.1 unless told otherwise.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 8080 unless told otherwise.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for everything the service keeps.",
)
@click.option("--public-url", help="The address that people use; printed links are built from it.")
@click.option(
    "--also-at",
    multiple=True,
    help="Another address that clients reach this service at; may be given several times.",
)
@click.option("--any-port", is_flag=True, help="Take a free port if the port is in use.")
@click.option(
    "--trusted-proxies",
    metavar="ADDRESSES",
    help="Addresses or networks, with commas between, whose X-Forwarded headers are believed.",
)
@click.option("--tls-cert", type=_FILE, help="Certificate, to serve HTTPS; renewals are noticed.")
@click.option("--tls-key", type=_FILE, help="The certificate's key.")
@click.option(
    "--rate-limit",
    type=click.FloatRange(min=0),
    help="Requests a second that one key may make; no limit unless given.",
)
@click.option("--open-metrics", is_flag=True, help="Show /metrics without an administrator's key.")
@click.option("--log-format", type=click.Choice(["human", "json"]), help="Form of the log.")
@click.option("--access-log", is_flag=True, help="Write a line to the log for every request.")
@click.option("--quiet", "-q", is_flag=True, help="Print no addresses and no key.")
def serve(
    *,
    host: str | None,
    port: int | None,
    data: Path | None,
    public_url: str | None,
    also_at: tuple[str, ...],
    any_port: bool,
    trusted_proxies: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    rate_limit: float | None,
    open_metrics: bool,
    log_format: str | None,
    access_log: bool,
    quiet: bool,
) -> None:
    """Serve W&B's protocol and the pages until interrupted."""
    from sweepd.app import Ready, serve
    from sweepd.logs import configure_logs
    from sweepd.settings import Settings

    given = {
        "host": host,
        "port": port,
        "data": data,
        "public_url": public_url,
        "also_at": also_at or None,
        "any_port": any_port or None,
        "trusted_proxies": trusted_proxies,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "rate_limit": rate_limit,
        "open_metrics": open_metrics or None,
        "log_format": log_format,
        "access_log": access_log or None,
    }
    settings = Settings(**{name: value for name, value in given.items() if value is not None})

    configure_logs(is_json=settings.log_format == "json", level=settings.log_level)

    def greet(ready: Ready) -> None:
        say(f"sweepd is at {click.style(ready.url, bold=True)}, its data in {ready.data}")
        say("Plain wandb needs these two lines:", is_dim=True)
        say(f"  export WANDB_BASE_URL={ready.url}")
        say(f"  export WANDB_API_KEY={ready.api_key}")
        say("Sign a browser in (works once, for ten minutes):", is_dim=True)
        say(f"  {ready.login_url}")

    serve(settings, on_ready=None if quiet else greet)
