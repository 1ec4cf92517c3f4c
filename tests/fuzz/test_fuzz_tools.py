"""Every tool under generated arguments, valid and not, through one real client: words for a model, always and soon."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest
from damage import FACTOR, JUNK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECONDS = 60.0
"""Longest that one call may take: clients cut it there."""
NAMES = ["digits.csv", "model.py", "old", "", ".", "..", "held.csv", "net-1", "file", "wandb", "validation", "\u202e"]
KEYS = ["learning_rate", "epochs", "run_name", "extra", "model_args", "train_data", "betas", "device", "nonsense", ""]
VALUES = st.one_of(
    st.sampled_from([value for value in JUNK if value != value or not isinstance(value, str) or "\ud800" not in value]),
    st.sampled_from(NAMES),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.floats(),
    st.integers(),
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(JUNK), max_size=3),
    st.lists(st.sampled_from(NAMES), max_size=3),
)


@pytest.fixture(scope="module")
def bench(hall: Any) -> Any:
    """A client on a project that holds one finished run; no model can be measured, so that no call takes long."""
    project = hall.make("tools")
    chat = hall.connect(project, HF_HUB_OFFLINE="1")
    digest = chat.confirmed(total_steps=20, num_threads=1).facts["digest"]
    run = chat.accepted("start_run", digest=digest).facts["run"]
    while chat("poll_status", run=run, wait_seconds=20).facts["state"] != "succeeded":
        pass
    shutil.copytree(project.path / "runs" / run, project.path / "runs" / "old")
    (project.path / "model.py").write_text("import torch\nraise RuntimeError('not today')\n")
    (project.path / "held.csv").write_text("a,label\n1,0\n2,1\n")
    return chat


def arguments(tool: Any, project: str) -> st.SearchStrategy[dict[str, Any]]:
    """Arguments by the tool's own schema: a value of the right type, or any other, or left out, or one too many."""
    known = {name: _typed(schema) for name, schema in tool.input_schema.get("properties", {}).items()}
    known["project_dir"] = st.one_of(*[st.just(project)] * 8, VALUES)
    fitting = {
        name: st.one_of(strategy, VALUES) if name != "project_dir" else strategy for name, strategy in known.items()
    }
    required = {"project_dir": fitting.pop("project_dir")} if "project_dir" in fitting else {}
    return st.fixed_dictionaries(required, optional={**fitting, "surplus": VALUES})


def _typed(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    kinds = {one.get("type") for one in schema.get("anyOf", [schema])}
    if "string" in kinds:
        return st.sampled_from(NAMES) | st.just("0" * 64)
    if "array" in kinds:
        return st.lists(st.sampled_from(NAMES), max_size=3)
    if "boolean" in kinds:
        return st.booleans()
    if "object" in kinds:
        return st.dictionaries(st.sampled_from(KEYS), st.sampled_from(JUNK), max_size=3)
    return st.floats(-5, 1) | st.integers(-5, 1)


TOOLS = (
    *("choose_logging", "check_validation", "propose_config", "start_run", "stop_run", "resume_run"),
    *("poll_status", "list_runs", "summarize", "evaluate_run", "inspect_project", "diagnose"),
)


def test_every_tool_is_fuzzed(bench: Any) -> None:
    assert {tool.name for tool in bench.tools()} == set(TOOLS)


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_answers_any_arguments_in_words(bench: Any, name: str) -> None:
    tool = next(tool for tool in bench.tools() if tool.name == name)
    count = {"inspect_project": 4, "propose_config": 12, "evaluate_run": 12, "check_validation": 40}.get(name, 80)

    @settings(
        max_examples=count * FACTOR,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=FACTOR == 1,
    )
    @given(arguments(tool, str(bench.project)))
    def check(given: dict[str, Any]) -> None:
        future = bench.portal.start_task_soon(bench._call, name, given)
        reply = future.result(timeout=SECONDS)
        assert reply.text.strip() and len(reply.text) < 50_000
        for bad in ("Error executing", "Traceback", "defect", "Internal error"):
            assert bad not in reply.text, (name, given, reply.text)

    check()
    assert not bench.raw("list_runs", {"project_dir": str(bench.project)}).is_error


CALL = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%s","arguments":%s}}'
ANSWERED = [
    CALL.replace(b"%s", b"check_validation", 1).replace(b"%s", b'{"project_dir":".","split":1e999}'),
    CALL.replace(b"%s", b"poll_status", 1).replace(b"%s", b'{"project_dir":".","wait_seconds":-1e999}'),
    CALL.replace(b"%s", b"list_runs", 1).replace(b"%s", b"[]"),
    CALL.replace(b"%s", b"list_runs", 1).replace(b"%s", b"null"),
    CALL.replace(b"%s", b"no_such_tool", 1).replace(b"%s", b"{}"),
    b'{"jsonrpc":"2.0","id":%d,"method":"no/such","params":{}}',
]
"""Requests that are JSON: each has an answer."""
BROKEN = [
    *(
        CALL.replace(b"%s", b"list_runs", 1).replace(b"%s", b'{"project_dir":"%s"}' % text)
        for text in (b"\\ud800", b"\\udfff")
    ),
    CALL.replace(b"%s", b"list_runs", 1).replace(b"%s", b"[" * 3000 + b"]" * 3000),
    b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":[]}',
    *(
        b"",
        b"{",
        b"[]",
        b"null",
        b"\x00\x00",
        b"\xff\xfe{}",
        b'"x"',
        b"[" * 200_000,
        b"{" + b'"a":' * 9000,
        b"9" * 100_000,
    ),
]
"""Lines that the SDK takes for no message: there is nobody to answer, and the next one is."""


def test_any_line_on_the_wire_leaves_the_server_alive(bench: Any) -> None:
    """Bare lines, among them texts that no client's library would send."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stationmaster_server", "serve", "--root", str(bench.project)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=bench.project,
    )
    assert process.stdin and process.stdout
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    try:
        lines = [json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}).encode()]
        process.stdin.write(lines[0] + b"\n" + b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        process.stdin.flush()
        process.stdout.readline()
        for number, line in enumerate([*ANSWERED, *BROKEN], start=10):
            sent = line.replace(b"%d", str(number).encode())
            process.stdin.write(sent + b"\n")
            process.stdin.write(b'{"jsonrpc":"2.0","id":"alive-%d","method":"tools/list"}\n' % number)
            process.stdin.flush()
            wanted, answers = {f"alive-{number}", *([number] if line in ANSWERED else [])}, []
            while wanted:
                answer = process.stdout.readline()
                assert answer, (sent[:200], answers)
                answers.append(answer)
                assert b"Traceback" not in answer and b"Error executing" not in answer, (sent[:200], answer[:2000])
                wanted.discard(json.loads(answer).get("id"))
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
