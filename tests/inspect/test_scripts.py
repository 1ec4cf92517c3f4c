"""What drives the loop of a project's scripts, which one is meant, and how the project's documents start it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from project_shapes import ACCELERATE, ENGINE, ENGINE_MAIN, NET, RAW, SHAPES, SKLEARN, TRAINER

from stationmaster_server import inspection, inspection_facts, startcommands
from stationmaster_server.offers import changes, offer
from stationmaster_server.project import ProjectFacts, inspect

Write = Callable[[dict[str, "str | bytes"]], Path]


def look(project: Path) -> ProjectFacts:
    return inspect(project, setting=sys.executable, measured=False)


@pytest.mark.parametrize("kind", SHAPES)
def test_what_drives_the_loop_is_told_with_file_and_line(write: Write, kind: str) -> None:
    files, path, driver = SHAPES[kind]
    root = write(dict(files))
    facts = look(root)
    script = facts.scripts[0]
    assert (script.path, script.drives[0].driver, script.runs) == (path, driver, True)
    for drive in script.drives:
        for mark in drive.evidence:
            place, _, what = mark.partition(" ")
            file, line = place.rsplit(":", 1)
            text = (root / file).read_text().splitlines()[int(line) - 1]
            name = what.removesuffix("(…)").removesuffix("()").rpartition(".")[2]
            assert name in text, f"{mark}: {text}"
    assert f"Loop: {script.drives[0].name} in {path} ({script.drives[0].evidence[0]}" in inspection.text(facts)
    assert f'propose_config changes {{"script": "{path}"}}' in offer(facts)


def test_a_script_that_only_evaluates_is_none_that_trains(write: Write) -> None:
    files, _, _ = SHAPES["a loop in an imported file"]
    assert [script.path for script in look(write(dict(files))).scripts] == ["main.py"]


def test_a_module_without_a_loop_is_told_as_that(write: Write) -> None:
    facts = look(write({"net.py": NET}))
    assert facts.scripts == () and offer(facts) == ""
    assert "Loop: none in the project; stationmaster's own trains the model" in inspection.text(facts)


def test_a_loop_that_nothing_starts_is_told_and_not_offered(write: Write) -> None:
    facts = look(write({"engine.py": ENGINE}))
    (module,) = facts.scripts
    assert not module.runs and offer(facts) == ""
    assert "Loop: raw PyTorch loop in engine.py (engine.py:6 .backward()" in inspection.text(facts)


def test_fitting_without_a_network_is_no_training_loop(write: Write) -> None:
    assert look(write({"fit.py": SKLEARN})).scripts == ()


def test_several_scripts_are_ranked_with_a_reason(write: Write) -> None:
    readme = "# Demo\n\nTo fine-tune:\n\n```sh\npython tools/tune.py --epochs 3 --lr 1e-4\n```\n"
    files = {
        "train.py": RAW,
        "model.py": NET,
        "tools/tune.py": TRAINER,
        "tests/test_train.py": RAW,
        "README.md": readme,
    }
    facts = look(write(dict(files)))
    assert [script.path for script in facts.scripts] == ["tools/tune.py", "train.py", "tests/test_train.py"]
    assert facts.scripts[0].reasons == ("README.md:6 starts it",)
    text = inspection.text(facts)
    assert "first of 3, README.md:6 starts it; also train.py (raw PyTorch loop), tests/test_train.py" in text
    assert changes(facts.scripts[0]) == {"script": "tools/tune.py", "script_args": ["--epochs", "3", "--lr", "1e-4"]}
    assert '"script_args": ["--epochs", "3", "--lr", "1e-4"]} (arguments as in README.md:6)' in text


def test_what_else_may_drive_a_loop_stands_behind_it(write: Write) -> None:
    both = ACCELERATE + "\ndef plain(loss):\n    loss.backward()\n"
    drives = look(write({"run.py": both})).scripts[0].drives
    assert [drive.driver for drive in drives] == ["accelerate", "pytorch"]
    assert "less likely raw PyTorch loop (run.py:15 .backward())" in inspection.text(look(write({"run.py": both})))


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("README.md", "Run python train.py you should see this", []),
        ("README.md", "Run `python train.py --fast` now", [("python", "train.py", ("--fast",))]),
        ("README.md", "$ CUDA_VISIBLE_DEVICES=0 python3.11 train.py | tee log", [("python", "train.py", ())]),
        ("run.sh", "torchrun --nproc_per_node=8 \\\n  train.py \\\n --lr 3", [("torchrun", "train.py", ("--lr", "3"))]),
        ("run.sh", "accelerate launch --mixed_precision bf16 sft.py a.yaml", [("accelerate", "sft.py", ("a.yaml",))]),
        ("run.sh", "python -m torch.distributed.launch t.py -x", [("torchrun", "t.py", ("-x",))]),
        ("Makefile", "train:\n\tpython -u ./train.py && echo done", [("python", "train.py", ())]),
        ("run.sh", "python setup.py install", []),
        ("run.sh", "echo train.py", []),
    ],
)
def test_commands_of_the_documents_are_read(
    write: Write, name: str, text: str, found: list[tuple[str, str, tuple[str, ...]]]
) -> None:
    commands = startcommands.read(write({name: text}), [name])
    assert [(one.launcher, one.script, one.arguments) for one in commands] == found


@pytest.mark.parametrize(
    "argument", ["$DATA", "<path>", "[--fp16]", "/path/to/coco", "hf_abcdefghijklmnopqrstuvwxyzABCDEF12"]
)
def test_placeholders_and_secrets_are_not_offered_as_arguments(write: Write, argument: str) -> None:
    root = write({"train.py": RAW, "model.py": NET, "run.sh": f"python train.py --x {argument}\n"})
    facts = look(root)
    assert changes(facts.scripts[0]) == {"script": "train.py"}
    assert "hf_abc" not in str(inspection_facts.plain(facts)) + inspection.text(facts)


@pytest.mark.parametrize(
    ("name", "text", "offered"),
    [
        ("README.md", "    torchrun --nnodes=1 train.py --lr 3", {"command": "torchrun --nnodes=1 train.py --lr 3"}),
        ("run.sh", "accelerate launch --cpu train.py", {"command": "accelerate launch --cpu train.py"}),
        ("run.sh", "python -m torch.distributed.run --nnodes 1 train.py", {"command": "torchrun --nnodes 1 train.py"}),
        ("run.sh", "torchrun --nproc_per_node=$GPUS train.py", {"script": "run.sh"}),
        ("README.md", "    torchrun --nproc_per_node=$GPUS train.py", {"script": "train.py"}),
    ],
)  # fmt: skip
def test_a_start_by_a_launcher_is_offered_as_a_command(
    write: Write, name: str, text: str, offered: dict[str, str]
) -> None:
    facts = look(write({"train.py": RAW, "model.py": NET, name: f"{text}\n"}))
    assert changes(facts.scripts[0]) == offered
    assert json.dumps(offered) in inspection.text(facts)
    assert (f"(as in {name}:1)" in inspection.text(facts)) == ("command" in offered)


def test_relative_imports_and_src_layouts_lead_to_the_loop(write: Write) -> None:
    main = ENGINE_MAIN.replace("from util.engine", "from .core.engine")
    facts = look(write({"src/app/__init__.py": "", "src/app/main.py": main, "src/app/core/engine.py": ENGINE}))
    (script,) = facts.scripts
    assert script.path == "src/app/main.py" and script.drives[0].evidence[0] == "src/app/core/engine.py:6 .backward()"


def test_files_that_import_each_other_in_a_circle_end(write: Write) -> None:
    files = {f"m{at}.py": f"from m{(at + 1) % 30} import f\nf()\n" for at in range(30)}
    assert look(write({**files, "train.py": RAW, "model.py": NET})).scripts[0].path == "train.py"
