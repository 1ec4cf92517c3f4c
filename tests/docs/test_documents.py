"""What the documents say is so: tables fresh, links that lead somewhere, commands that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stationmaster_server.cli import known_commands

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "server/*.md", "trainer/*.md", "skill/**/*.md")
    for path in ROOT.glob(pattern)
    if not path.is_symlink()
)
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def stationmaster(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stationmaster_server", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)


def anchors(text: str) -> set[str]:
    """GitHub's anchors of the headings."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_generated_tables_are_fresh() -> None:
    checked = stationmaster("docs", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_stale_table_is_found_and_written(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- generated: epochs -->\nold\n<!-- end: epochs -->\nafter\n")
    assert stationmaster("docs", "--check", "--root", str(tmp_path)).returncode == 1
    assert "old" in page.read_text()
    assert stationmaster("docs", "--root", str(tmp_path)).returncode == 0
    written = page.read_text()
    assert "old" not in written and "training samples" in written
    assert written.startswith("before\n") and written.endswith("after\n")
    assert stationmaster("docs", "--check", "--root", str(tmp_path)).returncode == 0


def test_an_unknown_table_is_named_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("<!-- generated: nonsense -->\n<!-- end: nonsense -->\n")
    refused = stationmaster("docs", "--root", str(tmp_path))
    assert refused.returncode == 2
    assert "unknown generated block 'nonsense'" in refused.stderr and "epochs" in refused.stderr


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_link_leads_somewhere(path: Path) -> None:
    text = CODE.sub("", path.read_text("utf-8"))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        full = path.parent / file if file else path
        if not full.exists() or (anchor and anchor not in anchors(full.read_text("utf-8"))):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_stationmaster_command_named_exists(path: Path) -> None:
    named = set(re.findall(r"(?<!from )stationmaster ([a-z]+)\b", "\n".join(CODE.findall(path.read_text("utf-8")))))
    commands = {word for word in named if re.search(rf"stationmaster {word}[ `\n]", path.read_text("utf-8"))}
    assert commands - {"stationmaster"} <= set(known_commands())  # `… mcp add stationmaster stationmaster serve`


def test_the_readme_names_every_command_and_every_option_it_shows() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert [command for command in known_commands() if f"stationmaster {command}" not in text] == []
    for line in re.findall(r"`stationmaster ([a-z]+ [^`]*--[^`]*)`", text):
        command, *rest = line.split()
        helped = stationmaster(command, "--help").stdout
        assert [word for word in re.findall(r"--[a-z-]+", " ".join(rest)) if word not in helped] == []


def test_the_readme_names_every_make_target_it_shows() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    shown = set(re.findall(r"\bmake ([a-z]+)\b", "\n".join(CODE.findall((ROOT / "README.md").read_text("utf-8")))))
    assert {"demo", "test"} <= shown <= targets


def test_the_map_of_the_code_stays_short_and_names_only_what_exists() -> None:
    text = (ROOT / "AGENTS.md").read_text("utf-8")
    assert len(text.splitlines()) < 150
    paths = re.findall(r"`((?:server|trainer|skill|tests|benchmarks)/[\w./-]*)`", text)
    assert len(paths) >= 15
    assert [path for path in paths if not (ROOT / path).exists()] == []
