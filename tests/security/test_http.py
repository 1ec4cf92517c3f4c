"""The server over HTTP: off unless asked for, on loopback alone, closed to everyone without token, host and origin."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}


class Served(NamedTuple):
    """A running server."""

    port: int
    token: str
    process: Any
    project: Any


def start(project: Any, *arguments: str) -> Any:
    command = [sys.executable, "-m", "stationmaster_server", "serve", "--root", str(project.path), "--http", *arguments]
    return subprocess.Popen(
        command,
        env={**os.environ, **project.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=project.path,
    )


@pytest.fixture(scope="module")
def served(hall: Any) -> Iterator[Served]:
    project = hall.make("http")
    process = start(project)
    line = process.stderr.readline()
    match = re.search(r"http://127\.0\.0\.1:(\d+)/mcp", line)
    assert match, line + process.stderr.read()
    path = project.home / ".local" / "state" / "stationmaster" / "http-token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    secret = path.read_text()
    assert len(secret) >= 40 and secret not in line
    yield Served(int(match[1]), secret, process, project)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) in (0, -signal.SIGTERM, 143)
    for stream in (process.stdout, process.stderr):
        assert secret not in stream.read()
        stream.close()


def ask(served: Served, headers: list[tuple[str, str]], method: str = "POST", path: str = "/mcp") -> tuple[int, str]:
    """One request in bare bytes, the headers exactly as given; status and answer."""
    body = json.dumps(HELLO).encode()
    fixed = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in [*headers, *fixed])]
    text = "\r\n".join([*lines, f"Content-Length: {len(body)}", "Connection: close", "", ""]).encode()
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(text + body)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split()[1]), answer.decode(errors="replace")


def good(served: Served, **changes: str | None) -> list[tuple[str, str]]:
    headers: dict[str, str | None] = {"Host": f"127.0.0.1:{served.port}", "Authorization": f"Bearer {served.token}"}
    return [(name, value) for name, value in {**headers, **changes}.items() if value is not None]


def test_with_token_and_own_host_it_answers(served: Served) -> None:
    status, answer = ask(served, good(served))
    assert status == 200 and '"stationmaster"' in answer
    own = [(f"localhost:{served.port}", None), (f"127.0.0.1:{served.port}", f"http://127.0.0.1:{served.port}")]
    for host, origin in own:
        assert ask(served, good(served, Host=host, Origin=origin))[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:{port}",
            "127.0.0.1",
            "localhost",
            "127.0.0.1:1",
            "127.0.0.1:{port}.evil.example",
        ),
        *("127.0.0.1:{port}@evil.example", "evil.example#127.0.0.1:{port}", "[::1]:{port}", "0.0.0.0:{port}", ""),
        *("127.1:{port}", "2130706433:{port}", "localhost.:{port}", "stationmaster.localhost:{port}"),
    ],
)
def test_another_host_is_refused_even_with_the_token(served: Served, host: str) -> None:
    status, answer = ask(served, good(served, Host=host.format(port=served.port)))
    assert status in (400, 421) and "stationmaster_server" not in answer and '"result"' not in answer


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "http://evil.example",
            "https://127.0.0.1:{port}",
            "null",
            "http://127.0.0.1",
            "http://127.0.0.1:{port}.evil.example",
        ),
        *(
            "http://127.0.0.1:{port}/",
            "file://",
            "http://localhost",
            "chrome-extension://abc",
            "http://127.0.0.1:{port}0",
        ),
    ],
)
def test_another_origin_is_refused_even_with_the_token(served: Served, origin: str) -> None:
    assert ask(served, good(served, Origin=origin.format(port=served.port)))[0] == 403


@pytest.mark.parametrize(
    "authorization",
    [
        *(None, "", "Bearer", "Bearer ", "Bearer x", "Basic {token}", "{token}", "Bearer {token}x", "Bearer {short}"),
        *("Bearer {upper}", "Bearer \xff{token}", "Bearer {token}, Bearer {token}", "Digest {token}"),
    ],
)
def test_without_the_token_it_is_closed(served: Served, authorization: str | None) -> None:
    known = {"token": served.token, "short": served.token[:-1], "upper": served.token.swapcase()}
    value = None if authorization is None else authorization.format(**known)
    for method, path in (("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("OPTIONS", "/mcp"), ("GET", "/")):
        status, answer = ask(served, good(served, Authorization=value), method, path)
        assert status == 401 and "www-authenticate" in answer.lower()
        assert served.token not in answer


def test_a_header_that_stands_there_twice_is_refused(served: Served) -> None:
    headers = good(served)
    for name, value in (("Host", "evil.example"), ("Authorization", "Bearer x")):
        assert ask(served, [*headers, (name, value)])[0] in (400, 401, 421)
        assert ask(served, [(name, value), *headers])[0] in (400, 401, 421)
    origins = [("Origin", f"http://127.0.0.1:{served.port}"), ("Origin", "http://evil.example")]
    assert ask(served, [*headers, *origins])[0] == 403


def test_it_listens_on_loopback_alone(served: Served) -> None:
    listening = [line.split() for line in open_sockets() if line.split()[3] == "0A"]
    ours = [line[1] for line in listening if line[1].endswith(f":{served.port:04X}")]
    assert ours == [f"0100007F:{served.port:04X}"]


def open_sockets() -> list[str]:
    lines = []
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(name) as file:
            lines += file.read().splitlines()[1:]
    return lines


def test_a_real_client_uses_the_tools(hall: Any, served: Served) -> None:
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async def talk() -> tuple[int, str]:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {served.token}"}) as web,
            Client(streamable_http_client(f"http://127.0.0.1:{served.port}/mcp", http_client=web)) as client,
        ):
            tools = await client.list_tools()
            said = await client.call_tool("list_runs", {"project_dir": str(served.project.path)})
            return len(tools.tools), said.content[0].text

    count, text = hall.portal.call(talk)
    assert count >= 10 and "no run" in text.lower()


def test_a_token_that_others_can_read_is_refused(hall: Any) -> None:
    project = hall.make("open-token")
    path = project.home / ".local" / "state" / "stationmaster" / "http-token"
    path.parent.mkdir(parents=True)
    for mode, content in ((0o644, "x" * 43), (0o600, "short"), (0o600, "")):
        path.write_text(content)
        path.chmod(mode)
        process = start(project)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 2 and "http-token" in err and out == ""


def test_a_port_that_is_taken_is_said(served: Served) -> None:
    process = start(served.project, "--port", str(served.port))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and f"port {served.port} of 127.0.0.1 cannot be used" in err


def test_without_the_option_nothing_listens(hall: Any) -> None:
    project = hall.make("stdio")
    chat = hall.connect(project)
    chat("list_runs")
    inodes = {line.split()[9] for line in open_sockets() if line.split()[3] == "0A"}
    for pid in project.processes():
        links = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
        assert not [link for link in links if link.startswith("socket:[") and link[8:-1] in inodes]
