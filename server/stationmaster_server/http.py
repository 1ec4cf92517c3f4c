"""The MCP server over HTTP for one person on one machine: loopback only, behind a token, closed to web pages.

Every request must carry the token, name this very address as its host, and come from no other origin: a web page can
neither guess the first nor forge the other two (DNS rebinding). Not covered: other users of this machine who can read
this person's files, and encryption, which loopback does not need.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import stat
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stationmaster_trainer import rundir
from stationmaster_trainer.errors import FormatError, RunError

if TYPE_CHECKING:
    from .app import Stationmaster

ADDRESS = "127.0.0.1"
PATH = "/mcp"
TOKEN_BYTES = 32
MAX_BODY = 4 << 20
"""Bytes of the largest request."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def token_path() -> Path:
    """The file that holds the token; it stays the same, so that a client's settings do."""
    return Path.home() / ".local" / "state" / "stationmaster" / "http-token"


def token() -> str:
    """The token, made at the first time. RunError when the file is not its owner's alone or cannot be used."""
    path = token_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.path.lexists(path):
            rundir.create(path, secrets.token_urlsafe(TOKEN_BYTES).encode())
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid != os.getuid():
            raise RunError(f"{path} is not a file of yours alone.", f"chmod 600 {path}, or remove it for a new token.")
        text = rundir.read(path, 4096).decode("ascii").strip()
    except (OSError, FormatError, UnicodeDecodeError) as error:
        raise RunError(f"the token {path} cannot be used: {error}.", "Remove it for a new one.") from None
    if len(text) < 32:
        raise RunError(f"the token in {path} is shorter than 32 characters.", "Remove the file for a new one.")
    return text


def listen(port: int) -> socket.socket:
    """A socket on loopback; port 0 takes a free one. RunError when the port is taken."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((ADDRESS, port))
        bound.listen(64)
    except (OSError, OverflowError) as error:
        bound.close()
        raise RunError(f"port {port} of {ADDRESS} cannot be used: {error}.", "Name another one with --port.") from None
    return bound


def guarded(server: Stationmaster, port: int, secret: str) -> App:
    """The server's ASGI application behind the three checks."""
    from mcp.server.transport_security import TransportSecuritySettings

    hosts = [f"{name}:{port}" for name in (ADDRESS, "localhost")]
    origins = [f"http://{host}" for host in hosts]
    settings = TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=origins)
    inner: Any = server.streamable_http_app(
        streamable_http_path=PATH, max_request_body_size=MAX_BODY, transport_security=settings, host=ADDRESS
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await inner(scope, receive, send)
        elif scope["type"] != "http":  # websockets are not spoken here
            await send({"type": "websocket.close", "code": 1008})
        elif (refused := refusal(scope["headers"], hosts, origins, secret)) is not None:
            await _answer(send, *refused)
        else:
            await inner(scope, receive, send)

    return app


def refusal(
    headers: list[tuple[bytes, bytes]], hosts: list[str], origins: list[str], secret: str
) -> tuple[int, str] | None:
    """HTTP status and words for a request that may not pass. A header that stands there twice is a refusal too."""
    host, origin, authorization = (_one(headers, name) for name in (b"host", b"origin", b"authorization"))
    if host is None or host.lower() not in hosts:
        return 421, "This server answers only for its own address."
    if origin is None or (origin and origin.lower() not in origins):
        return 403, "Requests from web pages of others are refused."
    kind, _, given = (authorization or "").partition(" ")
    if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), secret.encode()):
        return 401, "A bearer token is needed; it stands in the file that the server named when it started."
    return None


def _one(headers: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    """The header's only value; empty when it is missing, None when it stands there more than once."""
    found = [value for key, value in headers if key.lower() == name]
    return found[0].decode("latin-1") if len(found) == 1 else ("" if not found else None)


async def _answer(send: Send, status: int, words: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="stationmaster"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": words.encode()})


async def serve(server: Stationmaster, bound: socket.socket, secret: str) -> None:
    """Serves until a signal ends it."""
    import uvicorn

    app: Any = guarded(server, bound.getsockname()[1], secret)
    config = uvicorn.Config(app, log_level="error", access_log=False, server_header=False, timeout_graceful_shutdown=1)
    await uvicorn.Server(config).serve(sockets=[bound])
