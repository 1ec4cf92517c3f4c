"""Who may import whom: read from the imports in the source, and checked once more in a fresh interpreter."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVER = ROOT / "server" / "stationmaster_server"
TRAINER = ROOT / "trainer" / "stationmaster_trainer"
HEAVY = {"torch", "jax", "flax", "numpy", "pandas", "pyarrow", "PIL", "transformers", "wandb", "tensorboard", "sklearn"}
CORE = {"checkpoint", "loggers.csv", "loggers.json", "recorder", "reporter", "supervisor", "worker"}
"""Where the trainer's processes begin: they, and all that they import, must load without any installed package."""
FOR_THE_SERVER = {
    "actions", "budget", "codec", "commandline", "contract", "control", "ending", "entry", "errors", "facts",
    "fingerprint", "judge", "lease", "ledger", "logfile", "manifest", "model_card", "options", "orders", "plugins",
    "pretrained", "process", "readers", "redact", "reporter", "rules", "rundir", "schedule", "states", "stream",
    "verdict", "wandb_account",
}  # fmt: skip
"""Modules of the trainer that the server may import."""


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every absolute module name that a file imports, relative ones resolved, and whether it happens at import."""
    package = path.relative_to(ROOT).with_suffix("").parts[1:-1]
    tree = ast.parse(path.read_text("utf-8"))
    late = {id(node) for scope in ast.walk(tree) if isinstance(scope, ast.FunctionDef) for node in ast.walk(scope)}
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        now = id(node) not in late and id(node) not in typing_only
        if isinstance(node, ast.Import):
            yield from ((alias.name, now) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{stem}.{alias.name}", now) for alias in node.names)


def modules(root: Path) -> list[Path]:
    """The Python files of a package; the demo's project is a user's and is never imported."""
    return sorted(path for path in root.rglob("*.py") if "project" not in path.relative_to(root).parts)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def core_modules() -> list[str]:
    """The trainer's modules that must load with nothing but the standard library; what they import loads with them."""
    plugins = {f"{kind}.{path.stem}" for kind in ("rules", "readers") for path in (TRAINER / kind).glob("[!_]*.py")}
    return sorted(f"stationmaster_trainer.{name}" for name in CORE | FOR_THE_SERVER | plugins)


@pytest.mark.parametrize("path", modules(SERVER), ids=name)
def test_the_server_never_imports_a_heavy_library(path: Path) -> None:
    assert [module for module, _ in imports(path) if module.split(".")[0] in HEAVY] == []


@pytest.mark.parametrize("path", modules(SERVER), ids=name)
def test_the_server_imports_only_the_light_part_of_the_trainer(path: Path) -> None:
    used = [module.split(".")[1] for module, _ in imports(path) if module.startswith("stationmaster_trainer.")]
    assert set(used) <= FOR_THE_SERVER


@pytest.mark.parametrize("path", modules(TRAINER), ids=name)
def test_the_trainer_never_imports_the_server(path: Path) -> None:
    assert [module for module, _ in imports(path) if module.startswith(("stationmaster_server", "mcp"))] == []


@pytest.mark.parametrize("path", modules(TRAINER / "rules"), ids=name)
def test_a_rule_imports_only_the_contract_the_schedule_and_its_helpers(path: Path) -> None:
    own = [module.split(".")[1:] for module, _ in imports(path) if module.startswith("stationmaster_trainer.")]
    rest = {module.split(".")[0] for module, _ in imports(path)} - {"stationmaster_trainer"}
    assert [m for m in own if m[0] not in ("contract", "schedule") and not m[1].startswith("_")] == []
    assert rest <= sys.stdlib_module_names


def test_the_trainers_core_loads_with_the_standard_library_alone() -> None:
    code = (
        f"import sys, json, importlib; sys.path.insert(0, {str(TRAINER.parent)!r})\n"
        f"for name in {core_modules()!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout))
    assert "stationmaster_trainer" in loaded
    assert loaded - sys.stdlib_module_names == {"stationmaster_trainer", "__main__"}


def test_a_built_server_has_loaded_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import sys, json\n"
        "from stationmaster_server.app import build_server\n"
        "from stationmaster_server.roots import Roots\n"
        "import stationmaster_server.cli\n"
        "import anyio\n"
        "tools = anyio.run(build_server(Roots.of(None)).list_tools)\n"
        "print(json.dumps([len(tools), sorted({name.split('.')[0] for name in sys.modules})]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr
    tools, loaded = json.loads(done.stdout)
    assert tools >= 10
    assert set(loaded) & HEAVY == set()
