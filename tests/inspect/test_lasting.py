"""A measurement that takes longer than a call goes on, and whoever asks again gets its answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stationmaster_server import lasting, measured
from stationmaster_server.measuring import SCRIPT
from stationmaster_trainer import codec, process
from stationmaster_trainer.errors import DataError, NotYetError
from stationmaster_trainer.facts import Request

Write = Callable[[dict[str, "str | bytes"]], Path]
SLOW = f"""
import os, sys, time
with open("started", "a") as file:
    file.write(f"{{os.getpid()}} ")
print("half of it is read", file=sys.stderr, flush=True)
while not os.path.exists("go"):
    time.sleep(0.01)
os.execv(sys.executable, [sys.executable, {str(SCRIPT)!r}, *sys.argv[1:]])
"""
"""Waits for the file `go`, then answers as the real script does."""


class Bench:
    """One folder in which the packages of this Python are measured, slowly."""

    def __init__(self, project: Path, folder: Path) -> None:
        self.project, self.answers = project, project / "answers"
        self.script = folder / "slow.py"
        self.script.write_text(SLOW)
        self.request = Request("environment", str(project), packages=("torch",))

    def ask(self, seconds: float = 30.0, key: str = "a" * 64) -> Any:
        return lasting.measure(self.request, sys.executable, self.answers, key, seconds, self.script).environment

    def not_yet(self, seconds: float = 0.0, key: str = "a" * 64) -> str:
        with pytest.raises(NotYetError) as told:
            self.ask(seconds, key)
        return str(told.value)

    @property
    def started(self) -> list[int]:
        """Process ids of all that were started so far; waits for the first."""
        until(lambda: (self.project / "started").exists() and (self.project / "started").read_text())
        return [int(pid) for pid in (self.project / "started").read_text().split()]

    def go(self) -> None:
        (self.project / "go").touch()


def until(look: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"nothing within {seconds} s"
        time.sleep(0.01)


def runs(pid: int) -> bool:
    return process.state(pid) not in ("", "Z", "X")


@pytest.fixture
def bench(write: Write, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(write({"readme.txt": "none"}), tmp_path)
    yield made
    for pid in lasting.pids(made.answers):
        os.killpg(pid, signal.SIGKILL)


def test_a_second_call_waits_for_the_process_of_the_first_and_its_answer_is_kept(bench: Bench) -> None:
    bench.not_yet()
    assert len(bench.started) == 1
    words = bench.not_yet()
    assert words.startswith("Still measuring the environment, since ")
    assert "Call this tool again with the same arguments" in words
    assert "half of it is read" in words and "untrusted text" in words
    bench.go()
    assert set(bench.ask().packages) == {"torch"}
    assert set(bench.ask(seconds=0).packages) == {"torch"}
    assert len(bench.started) == 1
    until(lambda: not list(lasting.pids(bench.answers)))


def test_it_survives_the_server_that_ordered_it(bench: Bench) -> None:
    request, places = codec.dumps(bench.request), [str(bench.answers), str(bench.script)]
    script = (
        "import sys; from pathlib import Path; from stationmaster_server import lasting;"
        "from stationmaster_trainer import codec; from stationmaster_trainer.facts import Request;"
        "asked, answers, script = sys.argv[1:];"
        "lasting.measure(codec.loads(Request, asked), sys.executable, Path(answers), 'a' * 64, 60, Path(script))"
    )
    server = subprocess.Popen([sys.executable, "-c", script, request, *places], start_new_session=True)
    try:
        (first,) = bench.started
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    bench.go()
    assert bench.ask().packages["torch"]
    assert bench.started == [first]


def test_one_that_is_killed_is_told_and_the_next_call_begins_anew(bench: Bench) -> None:
    bench.not_yet()
    os.kill(bench.started[0], signal.SIGKILL)
    with pytest.raises(Exception, match=r"ended without an answer \(signal 9\)"):
        bench.ask()
    bench.not_yet()
    until(lambda: len(bench.started) == 2)
    (group,) = lasting.pids(bench.answers)
    os.killpg(group, signal.SIGKILL)
    with pytest.raises(Exception, match=r"ended without an answer \(signal 9\)"):
        bench.ask()
    bench.go()
    assert bench.ask().packages["torch"]


def test_another_question_ends_the_one_before(bench: Bench) -> None:
    bench.not_yet()
    (first,) = bench.started
    bench.not_yet(key="b" * 64)
    until(lambda: len(bench.started) == 2)
    until(lambda: not runs(first))
    assert runs(bench.started[1])


def test_it_does_not_hang_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "LONGEST", 1.0)
    bench.script.write_text(SLOW.replace("while not", "import signal; signal.alarm(1)\nwhile not"))
    with pytest.raises(Exception, match="took longer than 1 s and was ended"):
        bench.ask()
    assert not list(lasting.pids(bench.answers))


def test_an_error_is_told_and_not_kept(bench: Bench, tmp_path: Path) -> None:
    bench.request = Request("data", str(bench.project), files=("gone.csv",))
    script = 'import sys; open(sys.argv[2], "w").write(\'{"error": "DataError", "message": "no such thing"}\')'
    bench.script.write_text(script)
    with pytest.raises(DataError, match="no such thing"):
        lasting.measure(bench.request, sys.executable, bench.answers, "c" * 64, 20, bench.script)
    assert [path.name for path in bench.answers.iterdir()] == []


def test_the_assistant_is_told_to_ask_again_which_is_no_failure(
    make_project: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server in this process, so that its patience can be shortened; the model file waits for `go`."""
    import anyio
    from mcp import Client

    from stationmaster_server.app import build_server
    from stationmaster_server.roots import Roots

    slow = "import time, os\nwhile not os.path.exists('go'):\n    time.sleep(0.01)\n"
    project = make_project(model=None)
    project.write("model.py", slow + "from torch import nn\n\ndef build_model():\n    return nn.Linear(64, 10)\n")
    monkeypatch.setattr(measured, "SECONDS", 3.0)
    monkeypatch.setenv("STATIONMASTER_PYTHON", sys.executable)

    async def talk() -> tuple[Any, Any]:
        async with Client(build_server(Roots.of([str(project.path)]))) as client:

            async def call() -> Any:
                return await client.call_tool("propose_config", {"project_dir": str(project.path)})

            first = await call()
            (project.path / "go").touch()
            with anyio.fail_after(60):
                while (second := await call()).structured_content.get("state") == "measuring":
                    pass
            return first, second

    first, second = anyio.run(talk)
    assert not first.is_error
    assert first.structured_content["state"] == "measuring"
    assert "Importing the model file must not train" in first.content[0].text
    assert "build_model: " in second.content[0].text or "parameters" in second.content[0].text


def test_the_folder_of_a_preflight_that_was_killed_goes_with_the_next_order(bench: Bench) -> None:
    bench.not_yet()
    left = bench.answers / f"environment-{'a' * 32}.work" / "checkpoints"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"x")
    os.kill(bench.started[0], signal.SIGKILL)
    with pytest.raises(Exception, match="signal 9"):
        bench.ask()
    assert not left.parent.exists()
    bench.not_yet()
    lasting.forget(bench.answers, "environment", "a" * 64)
    assert not list(bench.answers.iterdir()) and not list(lasting.pids(bench.answers))
