"""Measure the client's `Viewer` query, which every `wandb.init` and `wandb.Api()` sends.

    python bench/viewer.py              15 s
    python bench/viewer.py --smoke      3 s

Eight connections ask one after the other. The key is looked up in the store at every request, so
that one that was revoked is refused at once.

The bars: 2,000 a second, p99 under 20 ms, no error. Exit code 1 where one is missed.
"""

import argparse
import json
import sys

from serving import closed_loop, conditions, post, service, verdict, wrk

N_CONNECTIONS = 8
PER_S_BAR, P99_BAR_MS = 2_000, 20.0
#: What the client asks for: id, entity, user name, address, flags and the names of teams.
VIEWER = """query Viewer {
  viewer { id entity username email flags teams { edges { node { name } } } }
}"""
BODY = json.dumps({"query": VIEWER, "variables": {}, "operationName": "Viewer"})
SCRIPT = """
function init(args)
  headers = {["Content-Type"] = "application/json", ["Authorization"] = args[1]}
  asked = wrk.format("POST", "/graphql", headers, args[2])
end
function request() return asked end
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--smoke", action="store_true", help="3 s")
    parser.add_argument("--python", action="store_true", help="do not use wrk")
    options = parser.parse_args()
    seconds = 3 if options.smoke else options.seconds
    print(conditions(), flush=True)
    with service() as served:
        load, used_s = None, served.cpu_s()
        if not options.python:
            load = wrk(
                served.url,
                SCRIPT,
                connections=N_CONNECTIONS,
                threads=1,
                seconds=seconds,
                args=[served.authorization, BODY],
            )
        if load is None:
            request = post(served, "/graphql", BODY.encode())
            load = closed_loop(served.url, [lambda _: request] * N_CONNECTIONS, seconds=seconds)
        used_s = served.cpu_s() - used_s
    print(
        f"Viewer, {N_CONNECTIONS} connections, by {load.generator}: {load.requests} requests, "
        f"p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms, worst {load.max_ms:.0f} ms, "
        f"{load.errors} errors; {1e6 * used_s / max(1, load.requests):.0f} µs of the service's "
        "processor time a request"
    )
    rate, is_fast = verdict("requests", load.per_s, PER_S_BAR, unit="/s", at_most=False)
    p99, is_even = verdict("p99", load.p99_ms, P99_BAR_MS, unit="ms", at_most=True)
    print(f"{rate}; {p99}")
    return 0 if load.errors == 0 and ((is_fast and is_even) or options.smoke) else 1


if __name__ == "__main__":
    sys.exit(main())
