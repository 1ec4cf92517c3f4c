"""One chat of a real MCP client with the real server over stdio; it keeps what a model would have read."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client.session import ClientRequestContext, ElicitationFnT
from mcp_types import ElicitRequestParams, ElicitResult, TextContent

Answerer = Callable[[str, dict[str, Any]], dict[str, Any] | None]
"""The person: gets the server's question and the schema of an answer, gives one, or None to decline."""


@dataclass(frozen=True)
class Reply:
    """What a tool call gave back."""

    text: str
    facts: dict[str, Any]
    refused: bool


@dataclass
class Chat:
    """An open chat. `read` holds, in order, every text that a model would have read or written."""

    client: Client
    schemas: list[dict[str, Any]]
    """The tools as listed."""
    read: list[str] = field(default_factory=list)

    async def call(self, tool: str, /, **arguments: Any) -> Reply:
        """Calls a tool; a refusal is a Reply too."""
        result = await self.client.call_tool(tool, arguments)
        text = "\n".join(block.text for block in result.content if isinstance(block, TextContent))
        facts = dict(result.structured_content or {})
        self.read += [json.dumps({"name": tool, "arguments": arguments}), text, json.dumps(facts)]
        return Reply(text, facts, bool(result.is_error))


@asynccontextmanager
async def open_chat(
    root: Path, answer: Answerer | None = None, env: dict[str, str] | None = None
) -> AsyncIterator[Chat]:
    """Starts `stationmaster serve` for the folder `root` and connects. Without `answer` the client cannot be asked."""
    arguments = ["-m", __package__.rpartition(".")[0], "serve", "--root", str(root)]
    server = StdioServerParameters(command=sys.executable, args=arguments, cwd=root, env=env)
    async with Client(server, elicitation_callback=None if answer is None else _asked(answer)) as client:
        listed = (await client.list_tools()).tools
        yield Chat(client, [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed])


def tokens(texts: list[str]) -> int:
    """A rough count for any model's tokenizer: characters over four."""
    return sum(len(text) for text in texts) // 4


def _asked(answer: Answerer) -> ElicitationFnT:
    async def ask(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        content = answer(params.message, getattr(params, "requested_schema", {}) or {})
        return ElicitResult(action="decline") if content is None else ElicitResult(action="accept", content=content)

    return ask
