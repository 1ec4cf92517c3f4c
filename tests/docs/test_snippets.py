"""The snippets and commands that the README gives for each assistant start the server and let it list its tools."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = re.findall(r"(?:claude|codex|gemini) mcp add (stationmaster(?: --)? stationmaster serve)", README)


def entries() -> list[Any]:
    """Every server entry of the README's JSON snippets and of the manifests, with the place it comes from."""
    found = []
    snippets = [("README", text) for text in re.findall(r"```json\n(.*?)```", README, re.DOTALL)]
    snippets += [(name, (ROOT / name).read_text("utf-8")) for name in ("skill/.mcp.json", "gemini-extension.json")]
    for place, text in snippets:
        plain = json.loads(text)
        for kind in ("mcpServers", "servers"):
            found += [pytest.param(entry, id=f"{place}-{kind}") for entry in plain.get(kind, {}).values()]
    return found


def test_every_assistant_has_its_snippet_or_command() -> None:
    assert len(COMMANDS) == 3
    assert len(entries()) == 4


@pytest.mark.parametrize("entry", entries())
def test_a_snippet_starts_the_server_and_lists_the_tools(entry: dict[str, Any], tmp_path: Path) -> None:
    arguments = [argument.replace("${workspaceFolder}", str(tmp_path)) for argument in entry["args"]]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    server = StdioServerParameters(command=entry["command"], args=arguments, cwd=tmp_path, env={"PATH": path})

    async def listed() -> list[str]:
        async with Client(server) as client:
            return [tool.name for tool in (await client.list_tools()).tools]

    assert {"inspect_project", "start_run", "summarize"} <= set(anyio.run(listed))
