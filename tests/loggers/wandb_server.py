"""A W&B server for tests, standard library only: it keeps the rows of each run by offset, as the real one does.

It says how far it has got when a run is resumed. No more of W&B is in it than the client asks for while a run is
written.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Run:
    """What the server holds of one run."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


@dataclass
class WandbServer:
    """The server's memory; `refuse` makes it answer every request with that status."""

    url: str = ""
    runs: dict[str, Run] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    refuse: int = 0

    def the_run(self) -> Run:
        """The only run."""
        (run,) = self.runs.values()
        return run

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to one operation of the client."""
        if "upsertBucket" in query:
            return self._upsert(variables)
        if "RunResumeStatus" in query:
            return {"model": {"id": "m", "name": "p", "entity": _ENTITY, "bucket": self._bucket(variables["name"])}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if "viewer" in query:
            viewer = {"id": "u", "entity": "someone", "username": "someone", "flags": "{}", "teams": {"edges": []}}
            return {"viewer": viewer, "serverInfo": {}}
        return {}

    def stream(self, id: str, body: dict[str, Any]) -> None:
        """Takes rows in at their offset: the same rows again change nothing."""
        run = self.runs[id]
        history = body.get("files", {}).get("wandb-history.jsonl")
        if history:
            run.rows[history["offset"] :] = [json.loads(line) for line in history["content"]]
        for line in body.get("files", {}).get("wandb-summary.json", {}).get("content", []):
            run.summary = json.loads(line)
        if body.get("complete"):
            run.exit_code = body.get("exitcode")

    def _upsert(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(variables["name"], Run())
        run.name = variables.get("displayName") or run.name
        run.config = json.loads(variables.get("config") or "{}") or run.config
        project = {"id": "p", "name": variables.get("project"), "entity": _ENTITY}
        bucket = {"id": "b", "name": variables["name"], "displayName": run.name, "project": project}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def _bucket(self, id: str) -> dict[str, Any] | None:
        run = self.runs.get(id)
        if run is None:
            return None
        return {
            "id": "b",
            "name": id,
            "displayName": run.name,
            "summaryMetrics": json.dumps(run.summary),
            "logLineCount": 0,
            "historyLineCount": len(run.rows),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.rows[-1:]]),
            "eventsTail": "[]",
            "config": json.dumps(run.config),
            "tags": [],
            "notes": None,
            "wandbConfig": json.dumps({"t": 1}),
        }


_ENTITY = {"id": "e", "name": "someone"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    memory: WandbServer

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.memory.keys.add(self.headers.get("Authorization", ""))
        answer: dict[str, Any] = {}
        if not self.memory.refuse and self.path.startswith("/graphql"):
            asked = json.loads(body)
            answer = {"data": self.memory.graphql(asked["query"], asked.get("variables") or {})}
        elif not self.memory.refuse and self.path.endswith("/file_stream"):
            self.memory.stream(self.path.split("/")[-2], json.loads(body))
        data = json.dumps(answer).encode()
        self.send_response(self.memory.refuse or 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_HEAD = _answer

    def log_message(self, *_: Any) -> None: ...


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that is gone is nothing to tell: recorders are killed here."""


@contextmanager
def serve() -> Iterator[WandbServer]:
    """A server on a free port of this machine, until the block ends."""
    memory = WandbServer()
    handler = type("Handler", (_Handler,), {"memory": memory})
    server = _Server(("127.0.0.1", 0), handler)
    memory.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
