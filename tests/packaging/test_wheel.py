"""What is built is what is in the checkout: wheel, sdist, and an installation in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import mcp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("stationmaster", "stationmaster_server", "stationmaster_trainer")
DEPENDENCIES = Path(mcp.__file__).resolve().parents[1]
"""Where mcp, pydantic and pyyaml are installed for this test run; no index is asked."""


def build(source: Path, target: Path, kind: str) -> Path:
    """Builds `source` without isolation, so that no index is needed."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (built,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def in_checkout() -> set[str]:
    """What the wheel should hold, by its own names."""
    found = set()
    for root, prefix in (
        (ROOT / "server", ""),
        (ROOT / "trainer", ""),
        (ROOT / "skill", "stationmaster_server/skill/"),
    ):
        for path in root.rglob("*"):
            parts = path.relative_to(root).parts
            ours = bool(prefix) or parts[0] in PACKAGES
            if ours and path.is_file() and "__pycache__" not in parts:
                found.add(prefix + "/".join(parts))
    return found


def test_the_wheel_holds_the_packages_and_the_skill_and_nothing_else(wheel: Path) -> None:
    assert names(wheel) == in_checkout()
    assert "stationmaster_server/skill/train/SKILL.md" in names(wheel)


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build(ROOT, tmp_path / "sdist", "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    assert names(build(source, tmp_path / "again", "wheel")) == names(wheel)
    assert (source / "SKILL.md").read_text("utf-8") == (ROOT / "skill" / "train" / "SKILL.md").read_text("utf-8")
    assert (source / "Makefile").is_file() and (source / "tests").is_dir()


def test_an_installed_wheel_answers_on_the_command_line(wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=60)
    python = venv / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, timeout=120)
    (packages,) = (venv / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{DEPENDENCIES}\n")
    version = subprocess.run(
        [venv / "bin" / "stationmaster", "--version"], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert version.stdout.split() == ["stationmaster", wheel.name.split("-")[1]], version.stderr
    where = "import stationmaster_server, stationmaster_trainer as t; print(stationmaster_server.__file__, t.__file__)"
    files = subprocess.run([python, "-c", where], capture_output=True, text=True, cwd=tmp_path, timeout=60).stdout
    assert files.count(str(venv)) == 2
