"""What every test may use: a project with real data, a real client over stdio, and no process left behind."""

from __future__ import annotations

import csv
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest
from hypothesis import HealthCheck, settings

from stationmaster_server.answer import facts_of

settings.register_profile(
    "shared machine",
    deadline=None,  # how fast inputs are made says nothing about the code
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,  # new inputs are looked for where somebody reads what they find
)
settings.load_profile("shared machine")

MLP = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int, hidden: int = 32):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_features, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))

    def forward(self, x):
        return self.layers(x)
"""
QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": "1"}
"""Two cores are shared: spinning threads would cost a factor of ten."""
for _name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
    os.environ.setdefault(_name, QUIET[_name])  # read once, when the first library with OpenMP loads: before any test


@dataclass(frozen=True)
class Reply:
    """One tool's answer."""

    text: str
    facts: dict[str, Any]
    is_error: bool


class Chat:
    """A real MCP client over stdio, driven without async: `chat("choose_logging", backends=["file"])`."""

    def __init__(self, portal: Any, client: Any, project: Path) -> None:
        self.portal, self.client, self.project = portal, client, project

    def on(self, project: Project) -> Chat:
        """The same client and server, on another project below the server's root."""
        return Chat(self.portal, self.client, project.path)

    def __call__(self, tool: str, /, **arguments: Any) -> Reply:
        arguments.setdefault("project_dir", str(self.project))
        return self.raw(tool, arguments)

    def raw(self, tool: str, arguments: dict[str, Any]) -> Reply:
        """One call, the arguments as they are."""
        reply: Reply = self.portal.call(self._call, tool, arguments)
        return reply

    def soon(self, tool: str, /, **arguments: Any) -> Future[Reply]:
        """A call that goes on while the test does; `.result()` waits for the reply."""
        future: Future[Reply] = self.portal.start_task_soon(
            self._call, tool, {"project_dir": str(self.project), **arguments}
        )
        return future

    async def _call(self, tool: str, arguments: dict[str, Any]) -> Reply:
        result = await self.client.call_tool(tool, arguments)
        text = "\n".join(part.text for part in result.content if part.type == "text")
        return Reply(text, facts_of(result), bool(result.is_error))

    def tools(self) -> list[Any]:
        """What the server lists."""
        return list(self.portal.call(self.client.list_tools).tools)

    def refused(self, tool: str, /, **arguments: Any) -> str:
        """The words of a refusal; the test fails when the call is not refused."""
        reply = self(tool, **arguments)
        assert reply.is_error, reply.text
        return reply.text

    def accepted(self, tool: str, /, **arguments: Any) -> Reply:
        """The answer of a call that must not be refused; asked again, as told, while a busy machine is measuring."""
        while True:
            reply = self(tool, **arguments)
            assert not reply.is_error, reply.text
            if reply.facts.get("state") != "measuring":
                return reply

    def confirmed(self, **changes: Any) -> Reply:
        """Passes logging, validation and configuration; the proposal carries the digest."""
        self.accepted("choose_logging", backends=["file"])
        self.accepted("check_validation", split=0.2)
        return self.accepted("propose_config", changes=changes)


@dataclass
class Project:
    """A user's project folder."""

    path: Path
    home: Path

    def write(self, name: str, text: str) -> Path:
        """Writes a file of the project."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), "utf-8")
        return path

    def processes(self) -> list[int]:
        """Live processes that work in this project: servers, supervisors, workers."""
        return processes_of(self.path)

    @property
    def environment(self) -> dict[str, str]:
        """What a server of this project gets: a home of its own, and this Python as the one that trains."""
        home = str(self.home)
        places = {f"XDG_{name}_HOME": f"{home}/{name.lower()}" for name in ("CONFIG", "CACHE", "DATA", "STATE")}
        return {**QUIET, **places, "HOME": home, "STATIONMASTER_PYTHON": sys.executable}


@pytest.fixture(scope="session")
def digits_csv(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """scikit-learn's 1,797 handwritten digits: 64 pixel columns and `label`."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    path = tmp_path_factory.mktemp("digits") / "digits.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"p{i}" for i in range(64)), "label"])
        writer.writerows([*map(int, row), int(label)] for row, label in zip(digits.data, digits.target, strict=True))
    return path.read_bytes()


class Workshop:
    """Makes projects below a folder and connects clients to servers of theirs."""

    def __init__(self, folder: Path, data: bytes, stack: ExitStack) -> None:
        from anyio.from_thread import start_blocking_portal

        self.folder, self.data, self.stack = folder, data, stack
        self.portal = stack.enter_context(start_blocking_portal())

    def make(self, name: str = "project", model: str | None = MLP, data: bytes | None = None) -> Project:
        """A project with digits.csv and a small network in model.py; every process in it is ended afterwards."""
        home = self.folder / f"home-{name}"
        home.mkdir()
        project = Project(self.folder / name, home)
        project.path.mkdir()
        if model is not None:
            project.write("model.py", model)
        (project.path / "digits.csv").write_bytes(self.data if data is None else data)
        self.stack.callback(end_processes, project.path)
        return project

    def connect(
        self, project: Project, *, elicit: Any = None, mode: str = "auto", root: Path | None = None, **env: str
    ) -> Chat:
        """A client of a new server; `elicit` answers the question to the person, `mode` is the protocol's era."""
        from mcp import Client
        from mcp.client.stdio import StdioServerParameters, stdio_client

        log: TextIO = self.stack.enter_context((project.home / "server.log").open("a"))
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "stationmaster_server", "serve", "--root", str(root or project.path)],
            env={**project.environment, **env},
            cwd=str(project.path),
        )
        client = Client(
            stdio_client(server, errlog=log), mode=mode, elicitation_callback=elicit, read_timeout_seconds=100
        )
        opened = self.stack.enter_context(self.portal.wrap_async_context_manager(client))
        return Chat(self.portal, opened, project.path)


@contextmanager
def workshop(folder: Path, data: bytes) -> Iterator[Workshop]:
    """A workshop whose clients, servers and runs are gone afterwards."""
    with ExitStack() as stack:
        yield Workshop(folder, data, stack)


@pytest.fixture
def shop(tmp_path: Path, digits_csv: bytes) -> Iterator[Workshop]:
    """A workshop for one test."""
    with workshop(tmp_path, digits_csv) as made:
        yield made


@pytest.fixture
def make_project(shop: Workshop) -> Callable[..., Project]:
    """Makes projects: `make_project("name", model=..., data=...)`."""
    return shop.make


@pytest.fixture
def connect(shop: Workshop) -> Callable[..., Chat]:
    """Connects clients: `connect(project, elicit=..., mode=...)`."""
    return shop.connect


@pytest.fixture
def project(shop: Workshop) -> Project:
    """One project with digits.csv and model.py."""
    return shop.make()


@pytest.fixture
def chat(shop: Workshop, project: Project) -> Chat:
    """A client without elicitation on the project."""
    return shop.connect(project)


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory, digits_csv: bytes) -> Iterator[Workshop]:
    """A workshop for all tests of a file: measuring takes seconds, and a refusal leaves nothing behind."""
    with workshop(tmp_path_factory.mktemp("hall"), digits_csv) as made:
        yield made


@pytest.fixture(scope="module")
def office(hall: Workshop) -> Project:
    """The project that the tests of a file share."""
    return hall.make("office")


@pytest.fixture(scope="module")
def desk(hall: Workshop, office: Project) -> Chat:
    """A client without elicitation on the shared project; `desk.on(project)` for the others of the file."""
    return hall.connect(office, root=hall.folder)


def end_processes(folder: Path, seconds: float = 10.0) -> None:
    """Kills every process that works in `folder` or names it on its command line, and waits until they are gone."""
    deadline = time.monotonic() + seconds
    while (pids := processes_of(folder)) and time.monotonic() < deadline:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)


def processes_of(folder: Path) -> list[int]:
    """Live processes that work in `folder` or name it on their command line; this one left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            place = os.readlink(entry / "cwd")
        except OSError:
            continue
        inside = place == str(folder) or place.startswith(f"{folder}/") or f"{folder}/" in f"{command}/"
        if inside and state != "Z":
            found.append(int(entry.name))
    return found


def eventually(look: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true value of `look`; AssertionError when there is none within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := look()):
        assert time.monotonic() < deadline, f"nothing within {seconds} s"
        time.sleep(0.02)
    return value
