"""`stationmaster serve`: the MCP server on stdin and stdout, gone within a second once the client is; or over HTTP."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..app import Stationmaster

GRACE_SECONDS = 0.4
"""From the end of stdin to the exit; answers that are ready are still written. Runs are other processes and go on."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = subparsers.add_parser("serve", help="the MCP server on stdin and stdout, for an assistant")
    parser.add_argument("--root", action="append", metavar="DIR", help="folder that projects may lie in (repeatable)")
    parser.add_argument("--http", action="store_true", help="serve HTTP on 127.0.0.1 instead, behind a token")
    parser.add_argument("--port", type=int, default=0, help="with --http: the port (default: a free one)")


def run(arguments: argparse.Namespace) -> int:
    """Serves until stdin ends or a signal comes. Nothing but the protocol is written to stdout."""
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, _exit_at_once)
    from ..app import build_server
    from ..roots import Roots

    server = build_server(Roots.of(arguments.root))
    import anyio

    if arguments.http:
        return _serve_http(server, arguments.port)

    try:
        anyio.run(_serve, server)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the client is gone
    _leave(0)
    return 0


def _serve_http(server: Stationmaster, port: int) -> int:
    import anyio

    from .. import http

    secret, bound = http.token(), http.listen(port)
    address = f"http://{http.ADDRESS}:{bound.getsockname()[1]}{http.PATH}"
    print(f"Serving {address}; the bearer token stands in {http.token_path()}", file=sys.stderr, flush=True)
    anyio.run(http.serve, server, bound, secret)
    return 0


def _exit_at_once(number: int, frame: Any) -> None:
    """The SDK alone would wait for stdin to close; a tool that is waiting in a thread would hold the exit up."""
    os._exit(0 if number == signal.SIGTERM else 128 + number)


async def _serve(server: Stationmaster) -> None:
    from mcp.server.stdio import stdio_server

    inner = server._lowlevel_server
    async with stdio_server() as (read_stream, write_stream):
        await inner.run(_UntilEnd(read_stream), write_stream, inner.create_initialization_options())


class _UntilEnd:
    """The stream of messages; when it ends, the process ends soon after, whatever its threads are waiting for."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive(self) -> Any:
        import anyio

        try:
            return await self._stream.receive()
        except anyio.EndOfStream:
            _leave_later()
            raise

    def __aiter__(self) -> _UntilEnd:
        return self

    async def __anext__(self) -> Any:
        import anyio

        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> _UntilEnd:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stream.aclose()


def _leave_later() -> None:
    timer = threading.Timer(GRACE_SECONDS, _leave, (0,))
    timer.daemon = True
    timer.start()


def _leave(code: int) -> None:
    try:
        sys.stderr.flush()
    finally:
        os._exit(code)
