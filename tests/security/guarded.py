"""A project full of planted secrets, and what a run of it leaves, for the tests of secrets and records."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECRETS = {
    "HF_TOKEN": "hf_PlantedPlantedPlantedPlanted01",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "AWS_SECRET_ACCESS_KEY": "plantedAwsSecret+/0123456789abcdefghijkl",
    "OPENAI_API_KEY": "sk-plantedPLANTEDplanted0123456789",
    "GITHUB_TOKEN": "ghp_plantedPlantedPlanted0123456789abcd",
    "DATABASE_PASSWORD": "correct-horse-battery-staple",
    "HTTPS_PROXY": "http://proxyuser:proxy-planted-pass@127.0.0.1:9",
    "SESSION_AUTH": "planted-session-auth-value",
}
"""Variable of the server's environment → its value."""
IN_FILES = {
    "netrc": "netrc-planted-0123456789abcdef0123456789",
    "remote": "remote-planted-password-77",
    "diff": "sk-diffPLANTEDdiffPLANTEDdiff001",
    "diff by name": "a planted pass phrase",
}
"""Where a file of the person's holds it → the secret."""
NEEDLES = {**SECRETS, **IN_FILES, "HTTPS_PROXY": "proxy-planted-pass"}

MODEL = """
import json
import os
from pathlib import Path

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.layer = nn.Linear(in_features, num_classes)

    def forward(self, x):
        return self.layer(x)


Path(__file__).with_name("seen.json").write_text(json.dumps(dict(os.environ)))
"""
FAILS = """

def loss(outputs, targets):
    raise RuntimeError(
        "cannot reach https://me:remote-planted-password-77@example.org: api_key='a planted pass phrase' "
        + " ".join(os.environ.get(name, "") for name in ("HF_TOKEN", "HTTPS_PROXY"))
        + " ghp_plantedPlantedPlanted0123456789abcd"
    )
"""


def git(project: Path, *arguments: str) -> None:
    """Runs git with a name and a mail address of its own."""
    names = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *names, "-C", str(project), *arguments], check=True, capture_output=True, timeout=60)


def plant(project: Any) -> None:
    """A repository with a commit, a remote with a password, a difference with a key, and an untracked file."""
    project.write("model.py", MODEL)
    project.write("settings.py", "API = None\n")
    project.write(".gitignore", "digits.csv\nseen.json\nruns/\ncheckpoints/\n")
    git(project.path, "init")
    git(project.path, "add", "-A")
    git(project.path, "commit", "-m", "first")
    git(project.path, "remote", "add", "origin", f"https://me:{IN_FILES['remote']}@example.org/project.git")
    project.write(
        "settings.py", f"API = '{IN_FILES['diff']}'\npassword = \"{IN_FILES['diff by name']}\"\nrate = 0.125\n"
    )
    project.write("notes.txt", "untracked\n")
    netrc = project.home / ".netrc"
    netrc.write_text(f"machine api.wandb.ai\n  login user\n  password {IN_FILES['netrc']}\n")
    netrc.chmod(0o600)


def found_in(data: bytes) -> list[str]:
    """Names of the secrets that stand in some bytes."""
    return [name for name, value in NEEDLES.items() if value.encode() in data]


def leaks(*folders: Path) -> dict[str, list[str]]:
    """Every file below the folders that holds a secret, with the names of those."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path): names for path in files if (names := found_in(path.read_bytes()))}


@contextmanager
def watched(project: Path) -> Iterator[list[bytes]]:
    """Collects the command lines of every process that names the project, as often as they can be read."""
    seen: list[bytes] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and int(entry.name) != os.getpid():
                    try:
                        line = (entry / "cmdline").read_bytes()
                    except OSError:
                        continue
                    if bytes(project) in line and line not in seen:
                        seen.append(line)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def finished(chat: Any, run: str) -> dict[str, Any]:
    """The facts of a run once it is over."""
    for _ in range(20):
        facts: dict[str, Any] = chat("poll_status", run=run, wait_seconds=20).facts
        if facts["state"] in ("succeeded", "failed", "stopped", "lost"):
            return facts
    raise AssertionError(f"{run} is not over")


def record_of(project: Any, run: str, attempt: int = 1) -> dict[str, Any]:
    """The run's `environment.json`."""
    path = project.path / "runs" / run / "attempts" / f"{attempt:03d}" / "environment.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found
