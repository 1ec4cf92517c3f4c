"""What of a project may be run as it is, in one sentence each, with the call that does it."""

from __future__ import annotations

import json
import shlex
from typing import Any

from . import toolconfigs
from .answer import clean
from .interpreter import install_command
from .project import ProjectFacts
from .scripts import Script
from .toolconfigs import ToolConfig

LAUNCHERS = ("torchrun", "accelerate", "deepspeed")
MOST_ARGUMENTS = 12
"""Arguments of a document's command that an offer repeats; more are left to be looked up."""


def offer(facts: ProjectFacts) -> str:
    """The sentence that offers to run the project's own script, else its notebook; empty when none trains by itself."""
    script = chosen(facts)
    if script is None:
        return notebook(facts)
    return (
        f"{clean(script.path, 200)} trains by itself ({clean(script.drives[0].evidence[0], 200)}); {unchanged(script)}"
    )


def chosen(facts: ProjectFacts) -> Script | None:
    """The script that is most likely meant; None when none trains by itself."""
    return next((script for script in facts.scripts if script.runs), None)


def unchanged(script: Script) -> str:
    """How to run a script as it is, with the arguments that the project's documents give it."""
    given, command = changes(script), script.command
    what = {"command": "as in", "script_args": "arguments as in"}.get(next(reversed(given)), "")
    origin = f" ({what} {command.document}:{command.line})" if command and what else ""
    return clean(f"to run it unchanged: {call(given)}{origin}.", 600)


def notebook(facts: ProjectFacts) -> str:
    """The sentence that offers to export the notebook that trains; empty when none does."""
    trains = [one for one in facts.notebooks if one.trains]
    if not trains:
        return ""
    one, cells = trains[0], ", ".join(map(str, trains[0].trains[:4]))
    what = f"{one.path} trains in cell {cells} of {one.cells} ({one.drives[0].name})"
    return clean(f"{what}; to export it as a script, shown before it runs: {call({'script': one.path})}.", 600)


def tool_config(facts: ProjectFacts, one: ToolConfig) -> str:
    """What a configuration of another tool says, and how it is run: by its own command, if the tool is installed."""
    says = ", ".join(f"{what} {value}" for what, value in one.says.items())
    line = f"{one.path} ({one.tool}; {one.path}:{one.line} {', '.join(one.keys[:3])})" + (f": {says}" if says else "")
    if not one.command:
        return clean(line, 700)
    given: dict[str, Any] = {"command": shlex.join(one.command)}
    if one.script:
        given = {"script": one.script, **({"script_args": list(one.command[2:])} if one.command[2:] else {})}
    if one.installed is False and facts.python is not None:
        install = install_command(facts.python.path, (toolconfigs.PACKAGES[one.tool],))
        return clean(f"{line}; {one.tool} is not installed: {install}; then {call(given)}", 700)
    return clean(f"{line}; to run it: {call(given)}", 700)


def changes(script: Script) -> dict[str, Any]:
    """What `propose_config` takes to run the script as the project's documents start it: by its launcher, by the shell
    script whose variables it needs, or by itself with the arguments that they give it."""
    launched = _launched(script)
    if launched:
        return launched
    given: dict[str, Any] = {"script": script.path}
    command = script.command
    if command and command.arguments and command.settled and len(command.arguments) <= MOST_ARGUMENTS:
        given["script_args"] = list(command.arguments)
    return given


def _launched(script: Script) -> dict[str, Any]:
    """A start by a launcher; empty for one by Python alone, and for placeholders that nobody has filled in."""
    command = script.command
    if command is None or command.launcher not in LAUNCHERS:
        return {}
    words = [command.launcher, *command.options, script.path, *command.arguments]
    if command.settled and len(words) <= MOST_ARGUMENTS:
        return {"command": shlex.join(words)}
    return {"script": command.document} if command.document.endswith(".sh") else {}


def call(given: dict[str, Any]) -> str:
    """The call as an assistant writes it."""
    return f"propose_config changes {json.dumps(given, ensure_ascii=False)}"
