"""The measuring script as the server starts it: a real process, a request, an answer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import Files

import stationmaster_trainer
from stationmaster_trainer import codec, measure
from stationmaster_trainer.facts import Answer, Request

PACKAGE = Path(stationmaster_trainer.__file__).parent
SCRIPT = PACKAGE / "scripts" / "stationmaster_measure.py"
QUIET = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": "1"}


def ask(
    folder: Files, what: Any, *python: str, script: Path = SCRIPT, env: dict[str, str] | None = None, **request: Any
) -> Answer:
    """One request through a process of its own; `python` is the command that runs the script."""
    question, said = folder.path / "request.json", folder.path / "answer.json"
    question.write_text(codec.dumps(Request(what, str(folder.path), **request)))
    command = [*(python or (sys.executable,)), str(script), str(question), str(said)]
    told = {**QUIET, **(env or {})}
    ended = subprocess.run(command, cwd=folder.path, env=told, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    return codec.loads(Answer, said.read_bytes())


def model(files: Files, text: str) -> dict[str, Any]:
    """Writes the user's model file and gives a configuration that uses its build_data."""
    files.write("model.py", textwrap.dedent(text))
    return {"model_path": "model.py", "framework": "pytorch", "train_data": "build_data", "val_data": "build_data"}


def test_environment_names_versions_without_importing_them(files: Files) -> None:
    found = ask(files, "environment", packages=("numpy", "torch", "no-such-package")).environment
    assert found is not None and found.packages["numpy"] == np.__version__
    assert set(found.packages) == {"numpy", "torch"} and found.missing == ("no-such-package",)
    assert found.python == sys.executable and found.version == sys.version.split()[0]


def test_data_describes_each_file_and_the_problem_of_a_bad_one(files: Files) -> None:
    files.table("t.csv", size=[1.5, None, 3.0], day=["2024-01-01", "2024-01-02", "2024-01-03"], label=["x", "y", "x"])
    files.images("pets", cat=[np.zeros((4, 6))] * 2, dog=[np.zeros((4, 6))])
    files.arrays("d.npz", x=np.zeros((9, 8, 8)), y=np.arange(9) % 3)
    files.write("t.txt", "two lines\nof text\n")
    files.write("bad.csv", "a,a\n1,2\n")
    answer = ask(files, "data", files=("t.csv", "pets", "d.npz", "t.txt", "bad.csv", "gone.csv"))
    assert answer.data is not None and not answer.error
    table, images, arrays, text, bad, gone = answer.data
    size, day, label = table.columns
    assert (table.format, table.rows, table.target, table.task) == ("csv", 3, "label", "classification")
    assert table.classes == {"x": 2, "y": 1} and table.bytes == (files.path / "t.csv").stat().st_size
    assert (size.dtype, size.missing, size.unique, size.low, size.high) == ("number", 1, 2, 1.5, 3.0)
    assert (day.dtype, label.dtype, label.unique) == ("date", "text", 2)
    assert (images.format, images.rows, images.shape, images.classes) == ("images", 3, (1, 4, 6), {"cat": 2, "dog": 1})
    assert (arrays.rows, arrays.shape, arrays.columns[0].dtype) == (9, (8, 8), "list")
    assert (text.format, text.rows, text.task) == ("text", 2, "language_modeling")
    assert "column 'a' 2 times" in bad.problem and "gone.csv does not exist" in gone.problem


def test_split_carries_the_decision_out(files: Files) -> None:
    x = np.random.default_rng(0).normal(size=50)
    files.table("t.parquet", size=x, label=["x", "y"] * 25)
    answer = ask(files, "split", config={"train_data": "t.parquet", "val_data": "split", "seed": 3})
    assert answer.split == files.facts("t.parquet", seed=3)
    assert 0 < answer.seconds < 60


def test_an_error_of_the_data_comes_back_with_its_way_out(files: Files) -> None:
    files.write("t.csv", "a,label\n1,x\n,y\n")
    answer = ask(files, "split", config={"train_data": "t.csv", "val_data": "split"})
    assert (answer.error, answer.split) == ("DataError", None)
    assert "column 'a' of t.csv has 1 missing cell" in answer.message and "`drop`" in answer.way_out
    assert ask(files, "split", config={"val_data": "split"}).error == "ConfigError"


def test_what_the_users_code_prints_does_not_disturb_the_answer(files: Files) -> None:
    config = model(
        files,
        """
        import os, sys
        print("loading", flush=True)
        os.write(1, b"raw bytes")
        def build_data(split):
            print("building", split)
            return [[float(i), 1.0] for i in range(12)], [i % 2 for i in range(12)]
        """,
    )
    answer = ask(files, "split", config=config)
    assert answer.split is not None and answer.split.train_samples == 12


def test_an_exception_of_the_users_code_names_file_and_line(files: Files) -> None:
    config = model(
        files,
        """
        def helper():
            return {}["missing"]
        def build_data(split):
            return helper()
        """,
    )
    answer = ask(files, "split", config=config)
    assert answer.error == "ModelError" and "KeyError" in answer.message and answer.where == "model.py:3"
    assert "model.py:5 in build_data" in answer.traceback and "userdata.py" not in answer.traceback


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def build_data(split)\n    return 1\n", "model.py:1: syntax error"),
        ("import sys\nsys.exit(3)\n", "importing model.py failed at model.py:2: SystemExit: 3"),
        ("import numpy.no_such_part\n", "no_such_part"),
        ("def build_data(split): exit()\n", "SystemExit"),
    ],
)
def test_a_file_that_breaks_is_a_model_error(
    files: Files, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])  # the project is put on it
    answer = measure.answer(Request("split", str(files.path), config=model(files, text)))
    assert answer.error == "ModelError" and said in answer.message and answer.way_out


def test_a_python_without_pandas_is_told_how_to_get_it(files: Files) -> None:
    files.write("t.csv", "a,label\n1,x\n2,y\n")
    files.arrays("t.npz", x=np.arange(24.0).reshape(12, 2), y=np.arange(12) % 2)
    block = files.write("block/sitecustomize.py", "import sys\nsys.modules['pandas'] = None\n")
    env = {"PYTHONPATH": str((files.path / block).parent)}
    answer = ask(files, "data", files=("t.csv",), env=env)
    assert answer.error == "PluginError" and "'pandas'" in answer.message
    assert f"{sys.executable} -m pip install pandas" in answer.way_out
    both = ask(files, "data", files=("t.csv", "t.npz"), env=env).data
    assert both is not None and "'pandas'" in both[0].problem and both[1].rows == 12  # numpy alone reads arrays
    split = {"train_data": "t.npz", "val_data": "split"}
    assert ask(files, "split", config=split, env=env).split is not None


def test_a_python_without_numpy_is_told_so(files: Files) -> None:
    files.arrays("t.npz", x=np.zeros((4, 2)), y=np.arange(4) % 2)
    answer = ask(files, "split", sys.executable, "-S", config={"train_data": "t.npz", "val_data": "split"})
    assert answer.error == "PluginError" and "'numpy'" in answer.message and "pip install" in answer.way_out


def test_files_of_the_user_named_like_other_modules_do_no_harm(files: Files) -> None:
    for name in ("numpy.py", "mine/json.py", "mine/signal.py", "mine/stationmaster_trainer.py"):
        files.write(name, "raise RuntimeError('the wrong module')\n")
    files.arrays("t.npz", x=np.random.default_rng(0).normal(size=(40, 2)), y=np.arange(40) % 2)
    config = {"train_data": "t.npz", "val_data": "split"}
    answer = ask(files, "split", config=config, env={"PYTHONPATH": str(files.path / "mine")})
    assert answer.split is not None, answer.message


def test_a_copy_of_the_package_beside_the_script_is_the_one_that_runs(files: Files) -> None:
    lib = files.path / "lib"
    shutil.copytree(PACKAGE, lib / "stationmaster_trainer", ignore=shutil.ignore_patterns("__pycache__"))
    (lib / SCRIPT.name).write_bytes(SCRIPT.read_bytes())
    module = lib / "stationmaster_trainer" / "measure.py"
    module.write_text(module.read_text().replace("platform.python_version()", "'the copy'"))
    found = ask(files, "environment", script=lib / SCRIPT.name).environment
    assert found is not None and found.version == "the copy"


def test_the_model_is_measured_by_its_adapter(files: Files) -> None:
    config = model(files, "from torch import nn\ndef build_model(): return nn.Linear(2, 2)\n")
    files.arrays("t.npz", x=np.random.default_rng(0).normal(size=(40, 2)), y=np.arange(40) % 2)
    answer = ask(files, "model", config={**config, "train_data": "t.npz", "val_data": "split", "batch_size": 8})
    assert answer.model is not None, answer.message
    assert (answer.model.parameters, answer.model.output_shape) == (6, (8, 2))
    unknown = ask(files, "model", config={**config, "framework": "caffe"})
    assert unknown.error == "PluginError" and "pytorch" in unknown.way_out


def test_a_python_that_is_too_old_gets_an_answer_all_the_same(files: Files) -> None:
    """The script is told that it runs in Python 3.8; nothing of the package is imported then."""
    code = "import runpy, sys; sys.version_info = (3, 8, 18); runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    command = [sys.executable, "-c", code, str(SCRIPT), "unread.json", str(files.path / "answer.json")]
    subprocess.run(command, check=True, timeout=60)
    answer = codec.loads(Answer, (files.path / "answer.json").read_bytes())
    assert answer.error == "PluginError" and "is Python 3.8.18; training needs 3.10 or newer" in answer.message
