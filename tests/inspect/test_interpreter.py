"""Which Python is taken to train a project, and what is said about the choice."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stationmaster_server.interpreter import find_python, install_command
from stationmaster_trainer.errors import ConfigError

Write = Callable[[dict[str, "str | bytes"]], Path]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing but its own /usr/bin, and an empty home."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    return home


def venv(folder: Path) -> str:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    return str(folder / "bin" / "python")


def script(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def stand_in(path: Path) -> str:
    """An interpreter in a place of its own."""
    return script(path, f'exec {sys.executable} "$@"')


def test_the_projects_own_environment_is_taken_and_its_link_is_kept(write: Write) -> None:
    root = write({})
    own = venv(root / ".venv")
    found = find_python(root)
    assert found.path == own
    assert os.path.realpath(found.path) != found.path
    assert found.why == "the project's own .venv"
    assert found.version == ".".join(map(str, sys.version_info[:3]))
    assert (found.virtual, found.frameworks) == (True, ())


def test_when_it_lacks_a_framework_the_others_are_told_with_what_they_have(write: Write) -> None:
    root = write({})
    venv(root / "venv")
    others = {other.path: other for other in find_python(root).others}
    assert others[sys.executable].why == "the Python that runs this server"
    assert "torch" in (others[sys.executable].frameworks or ())


def test_without_any_environment_an_installed_python_with_a_framework_is_taken(write: Write) -> None:
    found = find_python(write({}))
    assert (found.path, found.why) == (sys.executable, "the Python that runs this server")
    assert "torch" in found.frameworks


def test_a_setting_wins_over_everything(
    write: Write, empty_venv: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = "python: tools/python\n"
    root = write({".stationmaster/settings.yaml": settings})
    venv(root / ".venv")
    stand_in(root / "tools" / "python")
    assert find_python(root).why == "named by .stationmaster/settings.yaml"
    assert find_python(root).path == str(root / "tools" / "python")
    monkeypatch.setenv("STATIONMASTER_PYTHON", str(empty_venv / "bin" / "python"))
    assert find_python(root).why == "named by STATIONMASTER_PYTHON"
    assert find_python(root, sys.executable).path == sys.executable


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("python: /no/such/python\n", "/no/such/python is not an executable file"),
        ("python: /bin/true\n", "/bin/true is no working Python (exit code 0)"),
        ("python: 3.11\n", "python is 3.11, wanted the path of an interpreter"),
        ("python: [\n", "is not readable YAML"),
    ],
)
def test_a_setting_that_is_no_python_is_refused_with_its_name(write: Write, settings: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"settings\.yaml") as refused:
        find_python(write({".stationmaster/settings.yaml": settings}))
    assert message in refused.value.message


def test_an_environment_that_lost_its_python_is_told_and_passed_over(write: Write) -> None:
    root = write({".venv/pyvenv.cfg": "home = /gone\n"})
    (root / ".venv" / "bin").mkdir()
    (root / ".venv" / "bin" / "python").symlink_to("/gone/bin/python3")
    found = find_python(root)
    assert found.path == sys.executable
    assert found.notes == (".venv has no working interpreter; make it again",)


def test_a_python_that_never_answers_is_ended_and_passed_over(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write({".venv/pyvenv.cfg": ""})
    script(root / ".venv" / "bin" / "python", "echo $$ > pid; exec sleep 60")
    monkeypatch.setattr("stationmaster_server.interpreter.PROBE_SECONDS", 0.5)
    found = find_python(root)
    assert found.path == sys.executable
    assert found.notes == (f"{root}/.venv/bin/python did not answer within 0.5 s.",)
    with pytest.raises(ProcessLookupError):
        os.kill(int((root / "pid").read_text()), 0)


def test_the_active_environment_counts_unless_it_is_the_servers_own(
    write: Write, empty_venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write({})
    monkeypatch.setenv("VIRTUAL_ENV", str(empty_venv))
    assert find_python(root).why == "VIRTUAL_ENV, active where the server was started"
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    assert find_python(root).why == "the Python that runs this server"
    monkeypatch.setenv("CONDA_PREFIX", str(empty_venv))
    assert find_python(root).why == "CONDA_PREFIX, active where the server was started"
    monkeypatch.setenv("CONDA_DEFAULT_ENV", "base")
    assert find_python(root).why == "the Python that runs this server"


def test_the_environments_of_uv_poetry_pdm_pixi_pipenv_conda_and_pyenv_are_found(write: Write, bare: Path) -> None:
    root = write({})
    digest = base64.urlsafe_b64encode(hashlib.sha256(os.path.realpath(root).encode()).digest()).decode()[:8]
    cases: list[tuple[str, str | bytes, Path, str]] = [
        ("uv.lock", "", root / ".venv/bin/python", "uv"),
        ("poetry.lock", "", bare / f".cache/pypoetry/virtualenvs/my-thing-{digest}-py3.11/bin/python", "poetry"),
        (".pdm-python", str(bare / "pdm/bin/python"), bare / "pdm/bin/python", "pdm"),
        ("pixi.toml", "", root / ".pixi/envs/default/bin/python", "pixi"),
        ("Pipfile", "", bare / ".local/share/virtualenvs/project-abc/bin/python", "pipenv"),
        ("environment.yml", "name: vision\n", bare / "miniforge3/envs/vision/bin/python", "conda"),
        (".python-version", "3.11.4\n", bare / ".pyenv/versions/3.11.4/bin/python", "pyenv"),
    ]
    for name, content, python, tool in cases:
        (root / name).write_text(str(content))
        stand_in(python)
        (python.parent.parent / ".project").write_text(str(root))
        found = find_python(root)
        assert found.path == str(python)
        assert tool in found.why
        (root / name).unlink()
        shutil.rmtree(python.parent)


def test_a_marker_file_cannot_name_a_path_outside_the_place_of_its_tool(write: Write, tmp_path: Path) -> None:
    stand_in(tmp_path / "evil" / "bin" / "python")
    root = write({".python-version": "../../../evil\n", "environment.yml": "name: ../../evil\n"})
    assert find_python(root).path == sys.executable


def test_modules_of_the_project_do_not_pass_for_installed_ones(write: Write) -> None:
    root = write({"torch.py": "", "json.py": "raise SystemExit", "jax/__init__.py": ""})
    venv(root / ".venv")
    assert find_python(root).frameworks == ()


def test_the_install_command_fits_the_interpreter(empty_venv: Path, write: Write) -> None:
    without_pip = install_command(str(empty_venv / "bin" / "python"), ("torch", "pandas"))
    assert without_pip == (
        f"{empty_venv}/bin/python -m ensurepip && {empty_venv}/bin/python -m pip install torch pandas"
    )
    assert install_command(sys.executable, ("torch",)) == f"{sys.executable} -m pip install torch"
    base = os.path.realpath(sys.executable)
    assert install_command(base, ("torch",)) == f"{base} -m venv .venv && .venv/bin/python -m pip install torch"
