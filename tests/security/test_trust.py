"""Who may say yes, what a yes is bound to, and that nothing can be put in its place between the check and the start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from guarded import finished
from pseudo_terminal import ASSISTANTS, Terminal

from stationmaster_trainer import codec

SHORT = {"total_steps": 20, "num_threads": 1}
ALIASES = b"a: &a [x,x]\n" + b"".join(b"b%d: &b%d [*a,*a]\n" % (i, i) for i in range(30))
MERGES = b"a: &a {k: v}\n" + b"".join(b"m%d: &m%d {<<: [*a,*a,*a,*a]}\n" % (i, i) for i in range(30))
BAD_POLICIES: dict[str, bytes] = {
    "aliases": ALIASES,
    "merges": MERGES,
    "python object": b"!!python/object/apply:os.system ['touch ran']\n",
    "python name": b"require_approval: !!python/name:os.system\n",
    "unknown tag": b"require_approval: !person x\n",
    "huge": b"require_approval: person\n#" + b"x" * 100_000,
    "deep": b"[" * 30_000,
    "deep mapping": b"{a: " * 12_000,
    "binary": bytes(range(256)),
    "not utf-8": b"\xff\xfe\xfa",
    "a list": b"- require_approval\n",
    "a word": b"person\n",
    "no such date": b"require_approval: 2001-99-99\n",
    "long number": b"require_approval: " + b"9" * 30_000 + b"\n",
    "unknown key": b"require_aproval: person\n",
    "unknown value": b"require_approval: always\n",
    "two documents": b"require_approval: person\n---\nrequire_approval: assistant\n",
    "unhashable key": b"? [a]\n: b\n",
}


def approve(project: Any, *arguments: str, typed: bytes | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """`stationmaster approve` in a session without a terminal, `typed` on its standard input."""
    plain = {name: value for name, value in os.environ.items() if name not in ASSISTANTS}
    done = subprocess.run(
        command("approve", project, *arguments),
        env={**plain, **project.environment, **env},
        input=typed or b"",
        capture_output=True,
        timeout=60,
        start_new_session=True,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def command(name: str, project: Any, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "stationmaster_server", name, "--project", str(project.path), *arguments]


def policy_of(project: Any, place: str) -> Path:
    """The person's own policy file, or the project's."""
    own = project.home / ".config" / "stationmaster" / "policy.yaml"
    path = own if place == "person" else project.path / ".stationmaster" / "policy.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(path)


def runs_of(project: Any) -> list[str]:
    folder = project.path / "runs"
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(".")) if folder.exists() else []


@pytest.fixture(scope="module")
def digest(desk: Any) -> str:
    """The digest of a short run, shown and not started."""
    return str(desk.confirmed(**SHORT).facts["digest"])


@pytest.mark.parametrize("place", ["person", "project"])
@pytest.mark.parametrize("kind", [*BAD_POLICIES, "fifo", "folder", "link to nothing", "unreadable"])
def test_a_policy_that_cannot_be_read_refuses_every_start(
    desk: Any, office: Any, digest: str, kind: str, place: str
) -> None:
    path = policy_of(office, place)
    if kind == "unreadable" and os.geteuid() == 0:
        pytest.skip("nothing is unreadable for root")
    makers: dict[str, Callable[[], Any]] = {
        "fifo": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "link to nothing": lambda: path.symlink_to("/absent"),
        "unreadable": lambda: path.write_bytes(b"") and path.chmod(0),
    }
    makers.get(kind, lambda: path.write_bytes(BAD_POLICIES[kind]))()
    try:
        began = time.monotonic()
        words = desk.refused("start_run", digest=digest)
        assert str(path) in words and "defect" not in words and len(words) < 600
        assert time.monotonic() - began < 10
    finally:
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert runs_of(office) == [] and not (office.path / "ran").exists()


@pytest.mark.parametrize("strict", ["person", "project"])
def test_of_two_policies_the_stricter_counts(desk: Any, office: Any, digest: str, strict: str) -> None:
    other = {"person": "project", "project": "person"}[strict]
    policy_of(office, strict).write_text("require_approval: person\n")
    policy_of(office, other).write_text("require_approval: assistant\n")
    try:
        words = desk.refused("start_run", digest=digest)
        assert "demands that a person approves" in words and "policy.yaml" in words.split(" demands")[0]
        refused = approve(office, "--yes")
        assert refused.returncode == 2 and "demands that a person approves" in refused.stderr
        assert "demands that a person approves" in desk.refused("start_run", digest=digest)
    finally:
        policy_of(office, strict).unlink()
        policy_of(office, other).unlink()


def test_only_the_persons_own_file_allows_code_that_comes_with_a_model(desk: Any, office: Any, digest: str) -> None:
    changes = {"extra": {"trust_remote_code": True}, "model_path": "someone/model"}
    assert "no person has allowed that" in desk.refused("propose_config", changes=changes)
    policy_of(office, "project").write_text("trust_remote_code: [someone/model]\n")
    assert "unknown 'trust_remote_code'" in desk.refused("propose_config", changes=changes)
    policy_of(office, "project").unlink()
    policy_of(office, "person").write_text("trust_remote_code: [someone/other]\n")
    assert "no person has allowed that" in desk.refused("propose_config", changes=changes)
    policy_of(office, "person").write_text("trust_remote_code: [someone/model]\n")
    assert "no person has allowed" not in desk.refused("propose_config", changes=changes)  # there is no such model
    other = {**changes, "extra": {"trust_remote_code": True, "tokenizer": "someone/tokenizer"}}
    assert "the model 'someone/tokenizer', and no person" in desk.refused("propose_config", changes=other)
    (office.path / "someone" / "model").mkdir(parents=True)  # a folder of the project is not the model of that name
    assert f"{office.path}/someone/model" in desk.refused("propose_config", changes=changes)
    shutil.rmtree(office.path / "someone")
    policy_of(office, "person").unlink()
    assert desk.accepted("propose_config", changes={"extra": None, "model_path": None}).facts["digest"] == digest


@pytest.mark.parametrize("typed", [b"", b"y\n" * 100, b"yes\n", b"\n", b"AAAA\n"])
def test_without_a_terminal_nobody_has_said_yes(office: Any, digest: str, typed: bytes) -> None:
    refused = approve(office, typed=typed)
    assert refused.returncode == 2 and "there is no terminal to ask in" in refused.stderr


@pytest.mark.parametrize("marker", ASSISTANTS)
def test_the_terminal_of_an_assistant_is_no_persons(office: Any, digest: str, marker: str) -> None:
    screen = Terminal(command("approve", office), office, **{marker: "1"})
    assert f"this one is an assistant's ({marker} is set)" in screen.rest() and screen.code == 2


@pytest.mark.parametrize("answer", ["", "y", "yes", "approve", "\x04", "AAAA", "y\ny"])
def test_another_answer_than_the_code_is_a_no(desk: Any, office: Any, digest: str, answer: str) -> None:
    screen = Terminal(command("approve", office), office)
    screen.until(rb"Type (\w{4}) to approve")
    screen.type(answer)
    assert "Not approved." in screen.rest() and screen.code == 1


def test_what_was_typed_before_the_code_was_shown_is_no_answer(desk: Any, office: Any, digest: str) -> None:
    screen = Terminal(command("approve", office), office)
    for _ in range(50):
        screen.type("yes")
    code = screen.until(rb"Type (\w{4}) to approve")
    screen.type(code)
    assert "Approved: " in screen.rest() and screen.code == 0
    plan = json.loads((office.path / ".stationmaster" / "plan.json").read_text())
    assert plan["approvals"][-1]["by"] == "person (terminal)" and len(plan["approvals"][-1]["seal"]) == 64


def test_yes_on_the_command_line_is_recorded_as_declared(hall: Any) -> None:
    project = hall.make("declared")
    chat = hall.connect(project)
    digest = chat.confirmed(**SHORT).facts["digest"]
    done = approve(project, "--yes")
    assert done.returncode == 0 and "Recorded as declared" in done.stdout
    facts = chat.accepted("start_run", digest=digest).facts
    assert facts["approved_by"] == "assistant"
    finished(chat, facts["run"])


@pytest.fixture(scope="module")
def approved(hall: Any) -> tuple[Any, Any, str, str]:
    """A project whose policy wants a person, the client, the digest with its yes, and the plan that holds both."""
    project = hall.make("forged")
    chat = hall.connect(project)
    policy_of(project, "project").write_text("require_approval: person\n")
    digest = chat.confirmed(**SHORT).facts["digest"]
    screen = Terminal(command("approve", project), project)
    screen.type(screen.until(rb"Type (\w{4}) to approve"))
    assert "Approved: " in screen.rest()
    return project, chat, digest, (project.path / ".stationmaster" / "plan.json").read_text()


@pytest.mark.parametrize(
    "change", ["no seal", "another's seal", "of another digest", "of another plan", "of another configuration"]
)
def test_a_persons_yes_that_was_not_written_here_does_not_count(
    approved: tuple[Any, Any, str, str], change: str
) -> None:
    """A project that comes from elsewhere may bring its plan with it; here even one with the seal of a whole plan."""
    from stationmaster_server import digest as digests
    from stationmaster_server import plan as plans

    project, chat, digest, content = approved
    path = project.path / ".stationmaster" / "plan.json"
    path.write_text(content)
    plan = json.loads(content)
    yes = plan["approvals"][-1]
    if change == "no seal":
        yes["seal"] = ""
    elif change == "another's seal":
        yes["seal"] = "0" * 64
    elif change == "of another digest":
        plan["approvals"].append({**yes, "digest": digest})
        digest = chat.accepted("propose_config", changes={"seed": 8}).facts["digest"]
        plan = json.loads(path.read_text())
        plan["approvals"] = [{**yes, "digest": digest}]
    elif change == "of another plan":
        plan["id"] = "another"
    else:
        config = plan["proposal"]["config"]
        config["seed"] = 8
        plan["proposal"]["parts"]["configuration"] = digests.sha256(config)
    path.write_text(json.dumps(plan))
    words = chat.refused("start_run", digest=digest)
    assert "not as this installation wrote it" in words and runs_of(project) == []
    if change == "of another configuration":
        return
    plan.pop("seal")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(project.home))
        plans.save(project.path, codec.from_plain(plans.Plan, plan))
    assert "demands that a person approves" in chat.refused("start_run", digest=digest)
    assert runs_of(project) == []


# --- between the check and the start ---

EVIL = """
from pathlib import Path
Path(__file__).with_name("evil-ran").touch()
"""
HELPED = """
from helper import Layer
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.layer = Layer(in_features, num_classes)

    def forward(self, x):
        return self.layer(x)
"""
HELPER = """
from torch.nn import Linear as Layer
"""


def swapping_python(project: Any, name: str, content: str) -> str:
    """A Python that puts another file in place when it is started as a worker: after every check of the server."""
    other = project.home / f"other-{name}"
    other.write_text(content)
    path = project.home / "python"
    path.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *stationmaster_worker.py*) cp "{other}" "{project.path / name}" ;; esac\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("name", [pytest.param("model.py", marks=pytest.mark.soak), "helper.py", "digits.csv"])
def test_a_file_swapped_between_check_and_worker_is_refused_and_its_code_does_not_run(hall: Any, name: str) -> None:
    project = hall.make(f"swapped-{name}", model=HELPED)
    project.write("helper.py", HELPER)
    before = (project.path / name).read_text()
    other = before + EVIL if name.endswith(".py") else before.replace("\n0,0", "\n0,1", 5)
    chat = hall.connect(project, STATIONMASTER_PYTHON=swapping_python(project, name, other))
    digest = chat.confirmed(**SHORT).facts["digest"]
    run = chat.accepted("start_run", digest=digest).facts["run"]
    facts = finished(chat, run)
    assert (facts["state"], facts["cause"]) == ("failed", "exception")
    text = chat("poll_status", run=run).text
    assert "changed since" in text and facts["step"] == 0
    assert not (project.path / "evil-ran").exists()


def test_a_racing_swap_never_gets_its_code_to_run(hall: Any) -> None:
    project = hall.make("racing", model=HELPED)
    project.write("helper.py", HELPER)
    good, path = HELPER, project.path / "helper.py"
    chat = hall.connect(project)
    outcomes = []
    for number in range(3):
        digest = chat.confirmed(**SHORT, seed=100 + number).facts["digest"]
        over = threading.Event()

        def swap(over: threading.Event = over) -> None:
            turn = 0
            while not over.wait(0.001):
                turn += 1
                draft = path.with_suffix(".draft")
                draft.write_text(good + (EVIL if turn % 2 else ""))
                os.replace(draft, path)

        thread = threading.Thread(target=swap)
        thread.start()
        try:
            reply = chat("start_run", digest=digest)
            outcomes.append("refused" if reply.is_error else finished(chat, reply.facts["run"])["state"])
        finally:
            over.set()
            thread.join()
            path.write_text(good)
    assert set(outcomes) <= {"refused", "failed", "succeeded"}, outcomes
    assert not (project.path / "evil-ran").exists(), outcomes


def test_a_compiled_file_beside_the_code_does_not_run_in_its_place(hall: Any) -> None:
    import importlib.util
    import py_compile

    project = hall.make("compiled", model=HELPED)
    helper = project.write("helper.py", HELPER)
    stamp = helper.stat()
    chat = hall.connect(project)
    digest = chat.confirmed(**SHORT).facts["digest"]
    evil = project.home / "helper.py"
    evil.write_text((HELPER + EVIL).replace("__file__", repr(str(helper))))
    target = Path(importlib.util.cache_from_source(str(helper)))
    target.parent.mkdir(exist_ok=True)
    py_compile.compile(str(evil), cfile=str(target), dfile=str(helper))
    data = bytearray(target.read_bytes())
    data[8:12] = int(stamp.st_mtime).to_bytes(4, "little")  # as if it had been made from the confirmed source
    data[12:16] = stamp.st_size.to_bytes(4, "little")
    target.write_bytes(bytes(data))
    package = project.path / "helper" / "__init__.pyc"  # Python takes a package before a file of its name
    package.parent.mkdir()
    shutil.copy(target, package)
    assert "The model file changed" in chat.refused("start_run", digest=digest)
    shutil.rmtree(package.parent)
    project.write("sympy.py", EVIL)  # nothing confirmed imports it; PyTorch does
    facts = finished(chat, chat.accepted("start_run", digest=digest).facts["run"])
    assert facts["state"] == "succeeded" and not (project.path / "evil-ran").exists()
    ran = subprocess.run([sys.executable, "-c", "import helper"], cwd=project.path, capture_output=True, timeout=60)
    assert ran.returncode == 0 and (project.path / "evil-ran").exists(), "the planted file works where nobody guards"


PLANTED = """
import sys, sysconfig
from pathlib import Path
from types import SimpleNamespace
from stationmaster_trainer import confirmed, entry, user_model
project, kind, evil = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
path = project / "model.py"
config = SimpleNamespace(framework="pytorch", model_path="model.py")
facts = SimpleNamespace(entry_sha256=entry.entry_sha256(path, project))
confirmed.hold(SimpleNamespace(config=config, facts=facts, project_dir=str(project)))
name = {"module": "part.so", "package": "part/__init__.pyc", "installed": "yaml.py", "source": "part/__init__.py"}[kind]
target = project / name
target.parent.mkdir(exist_ok=True)
target.write_bytes(Path(evil).read_bytes())
print(user_model.load(path, project).SAID)
"""


@pytest.mark.parametrize("kind", ["module", "package", "source", "installed"])
def test_what_is_put_in_front_of_a_held_file_after_the_holding_does_not_run(tmp_path: Path, kind: str) -> None:
    """Under a load of nothing but Python: the worker holds the files in the same way."""
    import py_compile

    project, evil = tmp_path / "project", tmp_path / "evil.py"
    project.mkdir()
    (project / "model.py").write_text("import part, yaml\nSAID = part.SAID + yaml.__name__\n")
    (project / "part.py").write_text("SAID = 'as confirmed, '\n")
    evil.write_text(f"open({str(tmp_path / 'evil-ran')!r}, 'w')\nSAID = 'evil'\n")
    if kind == "package":
        py_compile.compile(str(evil), cfile=str(tmp_path / "evil.pyc"))
        evil = tmp_path / "evil.pyc"
    done = subprocess.run(
        [sys.executable, "-c", PLANTED, str(project), kind, str(evil)], capture_output=True, text=True, timeout=60
    )
    assert not (tmp_path / "evil-ran").exists()
    if kind == "installed":
        assert done.stdout == "as confirmed, yaml\n", done.stderr
    else:
        assert "would run in place of part.py, which was confirmed" in done.stderr


# --- run folders that come from elsewhere ---


@pytest.fixture(scope="module")
def stopped(hall: Any) -> tuple[Any, Any, str]:
    """A project with a run that was stopped and could be resumed."""
    project = hall.make("foreign")
    chat = hall.connect(project)
    digest = chat.confirmed(total_steps=100_000, num_threads=1, checkpoint_every=50, validate_every=50).facts["digest"]
    run = chat.accepted("start_run", digest=digest).facts["run"]
    assert chat.accepted("stop_run", run=run, wait_seconds=45).facts["state"] == "stopped"
    return project, chat, run


def _without_seal(run: Path) -> None:
    (run / "seal.json").unlink()


def _sealed_by_another(run: Path) -> None:
    seal = json.loads((run / "seal.json").read_text())
    (run / "seal.json").write_text(json.dumps({**seal, "mac": "0" * 64}))


def _other_program(run: Path) -> None:
    path = run / "lib" / "stationmaster_supervisor.py"
    path.write_text(EVIL.replace("__file__", repr(str(run.parent.parent / "x"))) + path.read_text())


def _more_program(run: Path) -> None:
    (run / "lib" / "json.py").write_text(EVIL)


def _linked_program(run: Path) -> None:
    path = run / "lib" / "stationmaster_trainer" / "loop.py"
    shutil.move(path, run / "loop.py")
    path.symlink_to(run / "loop.py")


def _other_spec(run: Path) -> None:
    path = run / "spec.json"
    path.write_text(path.read_text().replace('"seed": 42', '"seed": 43'))


def _other_checklist(run: Path) -> None:
    path = run / "checklist.json"
    path.write_text(path.read_text().replace("declared by the assistant", "given by a person (terminal)"))


def _junk_seal(run: Path) -> None:
    (run / "seal.json").write_bytes(b'{"files": [1], "mac": 7}')


@pytest.mark.parametrize(
    "change",
    [
        *(_without_seal, _sealed_by_another, _other_program, _more_program, _linked_program, _other_spec),
        *(_other_checklist, _junk_seal),
    ],
)
def test_a_run_that_was_not_made_here_is_not_resumed(
    hall: Any, stopped: tuple[Any, Any, str], change: Callable[[Path], None]
) -> None:
    project, chat, run = stopped
    folder = project.path / "runs" / run
    kept = hall.folder / "kept"
    shutil.copytree(folder, kept, symlinks=True)
    try:
        change(folder)
        words = chat.refused("resume_run", run=run)
        assert "may be anybody's" in words and "stationmaster reproduce" in words
        assert not (project.path / "evil-ran").exists()
    finally:
        shutil.rmtree(folder)
        shutil.move(kept, folder)


def test_a_run_folder_gets_no_code_of_a_model_to_run_when_it_is_scored(stopped: tuple[Any, Any, str]) -> None:
    project, chat, run = stopped
    path = project.path / "runs" / run / "spec.json"
    before = path.read_text()
    spec = json.loads(before)
    spec["config"]["extra"] = {"trust_remote_code": True}
    path.write_text(json.dumps(spec))
    try:
        assert "no person has allowed that" in chat.refused("evaluate_run", run=run, test_data="digits.csv")
    finally:
        path.write_text(before)


def test_an_allowance_that_was_taken_back_stops_the_start(desk: Any, office: Any, digest: str) -> None:
    from stationmaster_server import plan as plans

    path = office.path / ".stationmaster" / "plan.json"
    before = path.read_text()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(office.home))
        now = plans.load(office.path)
        assert now.proposal is not None
        config = replace(now.proposal.config, extra={"trust_remote_code": True})
        plans.save(office.path, replace(now, proposal=replace(now.proposal, config=config)))
    assert "no person has allowed that" in desk.refused("start_run", digest=digest)
    path.write_text(before)


def test_a_run_that_was_made_here_is_resumed_and_foreign_compiled_files_are_removed(
    stopped: tuple[Any, Any, str],
) -> None:
    project, chat, run = stopped
    lib = project.path / "runs" / run / "lib" / "stationmaster_trainer"
    planted = lib / "__pycache__" / "supervisor.cpython-399.pyc"
    planted.parent.mkdir(exist_ok=True)
    planted.write_bytes(b"junk")
    assert chat.accepted("resume_run", run=run).facts["state"] in ("starting", "running")
    assert not planted.exists()
    chat.accepted("stop_run", run=run, wait_seconds=45)
