"""Notebooks: read and never run, which cells train, and the script that is made of one."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stationmaster_server import inspection, notebook, offers
from stationmaster_server.project import ProjectFacts, inspect
from stationmaster_trainer.errors import ConfigError, StationmasterError

Write = Callable[[dict[str, "str | bytes"]], Path]
CELLS = [
    "%matplotlib inline\n!pip install torch\nimport torch",
    "%%bash\nls data\n  pwd",
    "text = '''\n%not a magic\n!nor this\n'''\nmodel = torch.nn.Linear(1, 1)\n"
    "opt = torch.optim.SGD(model.parameters(), 0.1)",
    "for step in range(3):\n    !echo step\n    loss = model(torch.ones(1)).sum()\n    loss.backward()\n    opt.step()",
    "%time print(text, loss is not None)\nmodel?",
]


def book(*cells: str, **metadata: Any) -> str:
    made = [{"cell_type": "markdown", "source": ["# Title\n"]}]
    made += [{"cell_type": "code", "source": cell.splitlines(keepends=True), "outputs": []} for cell in cells]
    return json.dumps({"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def look(project: Path) -> ProjectFacts:
    return inspect(project, setting=sys.executable, measured=False)


def test_the_cells_that_train_are_told_and_the_export_is_offered(write: Write) -> None:
    facts = look(write({"train.ipynb": book(*CELLS), "notes.ipynb": book("print(1)")}))
    assert [(one.path, one.cells, one.trains) for one in facts.notebooks] == [
        ("train.ipynb", 6, (5,)),
        ("notes.ipynb", 2, ()),
    ]
    assert facts.framework.name == "pytorch" and "train.ipynb cell 2 import torch" in facts.framework.evidence
    text = inspection.text(facts)
    offer = 'to export it as a script, shown before it runs: propose_config changes {"script": "train.ipynb"}'
    assert f"Next: train.ipynb trains in cell 5 of 6 (raw PyTorch loop); {offer}" in text
    assert "notes.ipynb (2 cells, no training)" in text
    assert offer in offers.offer(facts)


def test_the_script_runs_what_the_cells_did_and_says_what_was_left_out(write: Write) -> None:
    toy = CELLS[2].replace("torch.nn.Linear(1, 1)", "print").replace("torch.optim.SGD(model.parameters(), 0.1)", "1")
    loop = "for step in range(1):\n    !echo step\n    loss = model"
    root = write({"train.ipynb": book("%matplotlib inline\n!pip install torch", CELLS[1], toy, loop, CELLS[4])})
    assert notebook.export(root, "train.ipynb") == "train_from_notebook.py"
    script = (root / "train_from_notebook.py").read_text()
    assert "# Commented out, because only a notebook understands it: 5\n#   cell 2: %matplotlib inline\n" in script
    assert "#   cell 3: %%bash" in script and "#   cell 6: model?" in script
    ran = subprocess.run(
        [sys.executable, "train_from_notebook.py"], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert ran.stdout == "\n%not a magic\n!nor this\n True\n", ran.stderr


def test_the_person_sees_the_whole_script_before_it_runs(
    make_project: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    project = make_project()
    (project.path / "train.ipynb").write_text(book(*CELLS))
    chat = connect(project)
    chat.accepted("choose_logging", backends=["file"])
    shown = chat.accepted("propose_config", changes={"script": "train.ipynb"})
    assert "show it to the person before asking: train_from_notebook.py" in shown.text
    assert (project.path / "train_from_notebook.py").read_text().strip() in shown.text
    chat.accepted("check_validation", waive_reason="a trial")
    ready = chat.accepted("propose_config")
    assert ready.facts["digest"] and "loss.backward()" not in ready.text
    (project.path / "train.ipynb").write_text(book(*CELLS, "x = 1"))
    assert "train.ipynb changed or is gone since" in chat.accepted("propose_config").text


def test_a_notebook_below_runs_in_its_own_folder(write: Write) -> None:
    root = write({"nb/My train 1.ipynb": book("print(open('here.txt').read())"), "nb/here.txt": "found"})
    path = notebook.export(root, "nb/My train 1.ipynb")
    assert path == "nb/My_train_1_from_notebook.py"
    ran = subprocess.run([sys.executable, path], cwd=root, capture_output=True, text=True, timeout=60)
    assert ran.stdout == "found\n", ran.stderr


def test_an_export_is_never_written_over_anything(write: Write) -> None:
    root = write({"a.ipynb": book("x = 1"), "a_from_notebook.py": "mine\n"})
    assert notebook.export(root, "a.ipynb") == "a_from_notebook_2.py"
    assert notebook.export(root, "a.ipynb") == "a_from_notebook_2.py"
    (root / "a.ipynb").write_text(book("x = 2"))
    assert notebook.export(root, "a.ipynb") == "a_from_notebook_3.py"
    assert (root / "a_from_notebook.py").read_text() == "mine\n"
    (root / "b.ipynb").write_text(book("x = 1"))
    (root / "b_from_notebook.py").symlink_to(root / "elsewhere")
    assert notebook.export(root, "b.ipynb") == "b_from_notebook_2.py" and not (root / "elsewhere").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (book("x = (1"), "cell 2, line 1: "),
        (book("x = 1", "\nawait f()"), "cell 3, line 2: 'await' outside function"),
        (book("x = 1", language_info={"name": "R"}), "its language is r"),
        (book(), "no code cells"),
        ("{}", "no readable notebook"),
        ("[" * 100_000, "no readable notebook"),
        (b"\xff\xfe", "no readable notebook"),
        ('{"cells": [{"cell_type": "code", "source": 3}]}', "no readable notebook"),
    ],
)
def test_what_cannot_be_a_script_is_refused_with_its_place(write: Write, content: str | bytes, said: str) -> None:
    root = write({"train.ipynb": content})
    with pytest.raises(ConfigError, match=said):
        notebook.export(root, "train.ipynb")
    assert list(root.glob("*.py")) == []
    (facts,) = look(root).notebooks
    assert not facts.trains


@pytest.mark.parametrize("path", ["../x.ipynb", "/etc/x.ipynb", "none.ipynb", "a\n.ipynb", "link.ipynb", "\0.ipynb"])
def test_only_a_notebook_of_the_project_is_exported(write: Write, tmp_path: Path, path: str) -> None:
    root = write({"train.ipynb": book("x = 1")})
    (tmp_path / "x.ipynb").write_text(book("x = 1"))
    (root / "link.ipynb").symlink_to(tmp_path / "x.ipynb")
    with pytest.raises(StationmasterError):
        notebook.export(root, path)
    assert list(root.glob("*.py")) == []


def test_a_giant_notebook_is_told_as_that(write: Write) -> None:
    root = write({"big.ipynb": book("x = 1")})
    with open(root / "big.ipynb", "ab") as file:
        file.truncate(2_000_000_000)
    (facts,) = look(root).notebooks
    assert "larger than 16 MB" in facts.problem


def test_a_pipe_in_the_place_of_a_notebook_is_not_waited_for(write: Write) -> None:
    import os

    root = write({"a.py": ""})
    os.mkfifo(root / "pipe.ipynb")
    assert look(root).notebooks == ()
    assert notebook.read(root, "pipe.ipynb").problem


LINES = (
    "x = 1", "!ls", "    !ls", "%time x = 2", "%%bash", "for a in ():", "if x:", "'''", "(", ")", "\\", "a?", "?a",
    "# c", "    pass", "y = !ls", "%cd x \\",
    "def f():", "    return 1", "@d", "\t!x", "%", "!", "await x", "# %% cell 9",
)  # fmt: skip
LINE = st.sampled_from(LINES)
KEYS = st.sampled_from(["cells", "worksheets", "metadata", "source", "cell_type"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(st.lists(LINE | st.text(max_size=12), max_size=6).map("\n".join), max_size=4))
@example(cells=["!a\n" * 300])
def test_any_notebook_is_a_script_that_compiles_or_is_refused(write: Write, cells: list[str]) -> None:
    root = write({"any.ipynb": book(*cells)})
    found = notebook.read(root, "any.ipynb")
    assert not found.problem
    try:
        text = notebook.script(found)
    except ConfigError:
        return
    ast.parse(text)
    code = [line for cell in cells for line in cell.splitlines() if line in ("x = 1", "    return 1", "# c")]
    assert [line for line in text.split("\n") if line in ("x = 1", "    return 1", "# c")] == code


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["cells", "worksheets", "metadata", "source", "cell_type"]), inner, max_size=4
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_notebook_or_told_as_none(write: Write, document: Any) -> None:
    root = write({"any.ipynb": json.dumps(document)})
    found = notebook.read(root, "any.ipynb")
    assert found.problem or isinstance(found.cells, tuple)
