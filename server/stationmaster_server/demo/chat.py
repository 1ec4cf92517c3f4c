"""One chat of a real MCP client with the real server over stdio; it keeps what a model would have read."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client.session import ClientRequestContext, ElicitationFnT
from mcp_types import ElicitRequestParams, ElicitResult, TextContent

from stationmaster_trainer.errors import RunError, StationmasterError

from ..answer import facts_of

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
    """An open chat that keeps what a model would have written and read."""

    client: Client
    schemas: list[dict[str, Any]]
    """The tools as listed."""
    calls: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    """The same answers' structured content, as JSON."""

    async def call(self, tool: str, /, **arguments: Any) -> Reply:
        """Calls a tool; a refusal is a Reply too."""
        reply = await self.glance(tool, **arguments)
        self.keep(tool, arguments, reply)
        return reply

    async def glance(self, tool: str, /, **arguments: Any) -> Reply:
        """The same for a look that only the screen needs: it is not counted."""
        result = await self.client.call_tool(tool, arguments)
        text = "\n".join(block.text for block in result.content if isinstance(block, TextContent))
        return Reply(text, facts_of(result), bool(result.is_error))

    def keep(self, tool: str, arguments: dict[str, Any], reply: Reply) -> None:
        """Counts a call and its answer among what the model wrote and read."""
        self.calls.append(json.dumps({"name": tool, "arguments": arguments}))
        self.texts.append(reply.text)
        self.facts.append(json.dumps(reply.facts))


@asynccontextmanager
async def open_chat(
    root: Path, answer: Answerer | None = None, env: dict[str, str] | None = None
) -> AsyncIterator[Chat]:
    """Starts `stationmaster serve` for the folder `root` and connects. Without `answer` the client cannot be asked.

    RunError when the server does not come up. A StationmasterError of the body leaves as itself, not in the group of
    exceptions that the client's tasks would make of it.
    """
    arguments = ["-m", __package__.rpartition(".")[0], "serve", "--root", str(root)]
    server = StdioServerParameters(command=sys.executable, args=arguments, cwd=root, env=env)
    ended: StationmasterError | None = None
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(Client(server, elicitation_callback=answer and _asked(answer)))
            listed = (await client.list_tools()).tools
        except Exception as error:
            raise RunError("The server did not come up.", "What it said stands above.") from error
        try:
            yield Chat(client, [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed])
        except StationmasterError as error:
            ended = error
    if ended is not None:
        raise ended


def tokens(texts: list[str]) -> int:
    """A rough count for any model's tokenizer: characters over four."""
    return sum(len(text) for text in texts) // 4


def _asked(answer: Answerer) -> ElicitationFnT:
    async def ask(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        content = answer(params.message, getattr(params, "requested_schema", {}) or {})
        return ElicitResult(action="decline") if content is None else ElicitResult(action="accept", content=content)

    return ask
