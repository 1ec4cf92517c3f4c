"""The server's process: gone within a second once its client is, whatever a tool waits for; clean standard output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

SECOND = 1.0


@contextmanager
def server(project: Any) -> Iterator[Any]:
    """A server that has answered `initialize`, spoken to in bare JSON lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stationmaster_server", "serve", "--root", str(project.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **project.environment},
        cwd=project.path,
    )
    try:
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        send(process, id=1, method="initialize", params=hello)
        assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "stationmaster"
        send(process, method="notifications/initialized")
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


def send(process: Any, **message: Any) -> None:
    process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    process.stdin.flush()


def call(process: Any, number: int, tool: str, **arguments: Any) -> None:
    send(process, id=number, method="tools/call", params={"name": tool, "arguments": arguments})


def seconds_to_exit(process: Any) -> float:
    started = time.monotonic()
    process.wait(10)
    return time.monotonic() - started


def test_the_end_of_stdin_ends_the_server_and_what_was_asked_is_answered(project: Any) -> None:
    with server(project) as process:
        send(process, id=2, method="tools/list")
        assert len(json.loads(process.stdout.readline())["result"]["tools"]) >= 10
        process.stdin.close()
        assert seconds_to_exit(process) < SECOND
        assert process.returncode == 0
        assert process.stdout.read() == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_at_once(project: Any, number: int) -> None:
    with server(project) as process:
        process.send_signal(number)
        assert seconds_to_exit(process) < SECOND
        assert process.stderr.read() == b""


def test_a_tool_that_waits_in_a_thread_does_not_hold_the_exit_up(project: Any) -> None:
    import fcntl

    with server(project) as process:
        call(process, 2, "choose_logging", project_dir=str(project.path), backends=["file"])
        process.stdout.readline()
        with open(project.path / ".stationmaster" / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # as another server that is deciding
            call(process, 3, "choose_logging", project_dir=str(project.path), backends=["file"])
            send(process, id=4, method="tools/list")
            assert json.loads(process.stdout.readline())["id"] == 4
            process.stdin.close()
            assert seconds_to_exit(process) < SECOND


def test_a_line_that_is_no_message_is_survived(project: Any) -> None:
    with server(project) as process:
        process.stdin.write(b"\xff\xfe no json\n{}\n[]\n")
        send(process, id=2, method="tools/list")
        lines = [json.loads(process.stdout.readline()) for _ in range(1)]
        while lines[-1].get("id") != 2:
            lines.append(json.loads(process.stdout.readline()))
        assert "tools" in lines[-1]["result"]


def test_a_root_that_is_no_folder_is_said_on_stderr() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "stationmaster_server", "serve", "--root", "/absent"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--root /absent is not a folder." in ended.stderr


def test_the_tools_are_few_short_and_annotated(desk: Any) -> None:
    tools = desk.tools()
    assert len(tools) <= 12
    for tool in tools:
        assert len(tool.name) <= 64 and tool.title
        assert 100 <= len(" ".join(tool.description.split())) <= 300, tool.name
        assert tool.annotations.read_only_hint is not None
        assert "title" not in tool.input_schema and tool.output_schema is None
    wire = json.dumps([tool.model_dump(by_alias=True, exclude_none=True) for tool in tools])
    assert len(wire) < 8000, "about 2,500 tokens at most"
