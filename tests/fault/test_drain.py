"""SIGTERM under load: what was answered is kept, and everybody goes on afterwards."""

import base64
import http.client
import json
import signal
import threading
from pathlib import Path

from live import Service, wait_for

RUN = 'mutation { upsertBucket(input: {name: "%s", modelName: "p", host: "h"}) { inserted } }'
COUNT = '{ project(name: "p") { runs { edges { node { name historyLineCount } } } } }'


class Writer(threading.Thread):
    """Sends row after row, as the client does: what was not answered 200 is sent again."""

    def __init__(self, service: Service, name: str, ends: threading.Event) -> None:
        super().__init__()
        self.name_of_run, self.n_answered, self.others = name, 0, set[int]()
        self._service, self._ends, self._retry = service, ends, 0.05

    def run(self) -> None:
        while not self._ends.is_set():
            if self._post() == 200:
                self.n_answered += 1
            else:
                self._ends.wait(self._retry)

    def _post(self) -> int | None:
        token = base64.b64encode(f"api:{self._service.key}".encode()).decode()
        row = {"offset": self.n_answered, "content": [json.dumps({"x": self.n_answered})]}
        path = f"/files/{self._service.user}/p/{self.name_of_run}/file_stream"
        connection = http.client.HTTPConnection("127.0.0.1", self._service.port, timeout=10)
        try:
            connection.request(
                "POST",
                path,
                json.dumps({"files": {"wandb-history.jsonl": row}}),
                {"Authorization": f"Basic {token}"},
            )
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        if answer.status != 200:
            assert answer.status == 503, answer.status
            assert answer.headers["Retry-After"] == "1"
            self.others.add(answer.status)
        return answer.status


def test_sigterm_under_load_loses_no_answered_row_and_ends_within_seconds(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", SWEEPD_DRAIN_S="0.5")
    service.start()
    ends = threading.Event()
    names = [f"r{number}" for number in range(6)]
    for name in names:
        service.graphql(RUN % name)
    writers = [Writer(service, name, ends) for name in names]
    try:
        for writer in writers:
            writer.start()
        wait_for("rows of everybody", lambda: min(w.n_answered for w in writers) >= 5)

        assert service.signal(signal.SIGTERM).wait(15) == 0
        kept = [writer.n_answered for writer in writers]
        service.start()
        wait_for(
            "new rows of everybody",
            lambda: all(w.n_answered > k for w, k in zip(writers, kept, strict=True)),
        )
    finally:
        ends.set()
        for writer in writers:
            writer.join(20)
        found = service.graphql(COUNT)["project"]["runs"]["edges"]
        service.stop()

    counts = {edge["node"]["name"]: edge["node"]["historyLineCount"] for edge in found}
    for writer in writers:
        assert counts[writer.name_of_run] >= writer.n_answered
    assert any(writer.others == {503} for writer in writers)
