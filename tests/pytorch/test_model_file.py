"""The user's model file: found, imported, built with the sizes of the data, blamed by file and line where at fault."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from training_project import Project

from stationmaster_trainer import entry, user_model
from stationmaster_trainer.contract import Failure
from stationmaster_trainer.errors import ModelError

SIZES = user_model.known_sizes((64,), 10)


def load(folder: Path, source: str, name: str = "model.py") -> Any:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(source))
    return user_model.load(entry.resolve(name, folder), folder)


def net(name: str, parameters: str = "") -> str:
    return f"""
class {name}(nn.Module):
    def __init__(self{", " + parameters if parameters else ""}):
        super().__init__()
"""


@pytest.mark.parametrize(
    ("source", "message", "way_out"),
    [
        ("def broken(:\n    pass\n", r"model\.py:1: syntax error: .*'def broken\(:'", "Correct the line"),
        ("x = 1\nraise ValueError('no GPU today')\n", r"at model\.py:2: ValueError: no GPU today", "`import` alone"),
        ("import torch\n\ndef f():\n    return 1 / 0\n\nf()\n", r"at model\.py:4: ZeroDivisionError", "`import` alone"),
        ("import surely_not_installed\n", r"model\.py:1: ModuleNotFoundError", "Install what provides 'surely_not"),
        ("import sys\nsys.exit('usage')\n", r"model\.py:2: SystemExit: usage", "__name__ == '__main__'"),
        ("from helper import missing_name\n", r"model\.py:1: ImportError", "`import` alone"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named_with_its_line(
    tmp_path: Path, source: str, message: str, way_out: str
) -> None:
    (tmp_path / "helper.py").write_text("here = 1\n")
    with pytest.raises(ModelError, match=message) as caught:
        load(tmp_path, source)
    assert way_out in caught.value.way_out
    sys.modules.pop("helper", None)


def test_an_error_in_a_local_import_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "layers_of_mine.py").write_text("\n\nraise RuntimeError('half done')\n")
    with pytest.raises(ModelError, match=r"layers_of_mine\.py:3: RuntimeError: half done"):
        load(tmp_path, "import layers_of_mine\n")


def test_the_worker_tells_the_users_place_and_message_and_never_gets_stuck(project: Project) -> None:
    project.model("import torch\n\nvalue = {}['learning']\n")
    assert project.train() == 1
    (failure,) = project.records(Failure)
    assert failure.cause == "exception"
    assert failure.error == "ModelError"
    assert failure.where == "model.py:3"
    assert "KeyError: 'learning'" in failure.message


def test_build_model_comes_before_classes_and_model_name_before_both(tmp_path: Path) -> None:
    module = load(
        tmp_path,
        "from torch import nn\n" + net("One") + net("Two") + "\ndef build_model():\n    return One()\n",
    )
    assert user_model.find_factory(module, None, nn.Module) is module.build_model
    assert user_model.find_factory(module, "Two", nn.Module) is module.Two
    with pytest.raises(ModelError, match=r"no class or function 'Three'") as caught:
        user_model.find_factory(module, "Three", nn.Module)
    assert caught.value.way_out == "model_name is one of: One, Two, build_model."


def test_several_models_are_listed_with_the_key_that_chooses(tmp_path: Path) -> None:
    module = load(tmp_path, "from torch import nn\n" + net("Small") + net("Large"))
    with pytest.raises(ModelError, match="several models: Large, Small") as caught:
        user_model.find_factory(module, None, nn.Module)
    assert "model_name" in caught.value.way_out


def test_a_class_that_others_are_made_of_is_not_the_model(tmp_path: Path) -> None:
    source = "from torch import nn\n" + net("Base") + net("Block")
    source += net("Whole") + "        self.parts = nn.ModuleList(Block() for _ in range(3))\n"
    module = load(tmp_path, source.replace("Whole(nn.Module)", "Whole(Base)"))
    assert user_model.find_factory(module, None, nn.Module) is module.Whole


def test_a_file_without_a_model_is_told_what_it_lacks(tmp_path: Path) -> None:
    module = load(tmp_path, "from torch.nn import Linear\nfrom torch import nn\n")
    with pytest.raises(ModelError, match=r"defines no Module class and no build_model\(\)"):
        user_model.find_factory(module, None, nn.Module)


@pytest.mark.parametrize(
    ("parameters", "sizes", "filled"),
    [
        ("in_features, num_classes", SIZES, {"in_features": 64, "num_classes": 10}),
        ("input_dim, output_dim, hidden=5", SIZES, {"input_dim": 64, "output_dim": 10}),
        ("input_size=784, n_classes=2", SIZES, {"input_size": 64, "n_classes": 10}),
        ("out_features=1", user_model.known_sizes((30,), 2), {}),
        ("in_channels, image_size", user_model.known_sizes((3, 32, 32), 5), {"in_channels": 3, "image_size": 32}),
        ("channels=48", user_model.known_sizes((3, 32, 32), 5), {}),
        ("channels", user_model.known_sizes((3, 32, 32), 5), {"channels": 3}),
        ("height, width", user_model.known_sizes((1, 28, 20), 5), {"height": 28, "width": 20}),
        ("vocab_size, block_size=256", user_model.known_sizes((16,), 40, 40, 16), {"vocab_size": 40, "block_size": 16}),
        ("*layers, **more", SIZES, {}),
    ],
)
def test_sizes_of_the_data_fill_the_parameters_whose_names_say_so(
    tmp_path: Path, parameters: str, sizes: dict[str, int], filled: dict[str, int]
) -> None:
    module = load(tmp_path, "from torch import nn\n" + net("Net", parameters))
    assert user_model.arguments(module.Net, sizes, {}) == filled


def test_model_args_come_first_and_what_nothing_fills_is_asked_for_by_name(tmp_path: Path) -> None:
    module = load(tmp_path, "from torch import nn\n" + net("Net", "in_features, hidden"))
    assert user_model.arguments(module.Net, SIZES, {"hidden": 8, "in_features": 3}) == {"hidden": 8, "in_features": 3}
    with pytest.raises(ModelError, match="needs the argument 'hidden'") as caught:
        user_model.arguments(module.Net, SIZES, {})
    assert "model_args: {hidden: value}" in caught.value.way_out
    with pytest.raises(ModelError, match=r"no parameter 'depth' \(from model_args\)"):
        user_model.arguments(module.Net, SIZES, {"hidden": 8, "depth": 2})


def test_a_constructor_that_raises_and_a_factory_that_returns_no_model_are_blamed(tmp_path: Path) -> None:
    source = "from torch import nn\n" + net("Net") + "        raise TypeError('wrong size')\n"
    module = load(tmp_path, source + "\ndef build_model():\n    return 'a model'\n")
    with pytest.raises(ModelError, match=r"Net\(\) failed at model\.py:6: TypeError: wrong size"):
        user_model.build(module.Net, {}, nn.Module, tmp_path)
    with pytest.raises(ModelError, match=r"build_model\(\) returned str, not a torch Module"):
        user_model.build(module.build_model, {}, nn.Module, tmp_path)


def test_files_named_like_the_standard_library_or_like_ours_do_no_harm(tmp_path: Path) -> None:
    """A fresh process: the user's folder holds a json.py, a random.py and a worker.py of their own."""
    for name in ("json.py", "random.py", "worker.py", "contract.py"):
        (tmp_path / name).write_text("raise RuntimeError('imported by mistake')\n")
    (tmp_path / "codec.py").write_text("mine = 3\n")
    (tmp_path / "types.py").write_text("import codec, json, random\nvalue = codec.mine\n")
    program = f"""
import sys
from pathlib import Path
from stationmaster_trainer import entry, user_model
folder = Path({str(tmp_path)!r})
print(user_model.load(entry.resolve("types.py", folder), folder).value)
import json, random, secrets
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd="/")
    assert done.stdout == "3\n", done.stderr


def test_a_file_inside_a_package_may_import_relatively(tmp_path: Path) -> None:
    package = tmp_path / "nets_of_mine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "parts.py").write_text("size = 7\n")
    assert load(tmp_path, "from .parts import size\n", "nets_of_mine/model.py").size == 7


def test_the_hash_covers_the_entry_and_every_local_file_that_it_imports(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    for name, content in {
        "model.py": "import torch\nfrom pkg import blocks\nimport helper\n",
        "helper.py": "def late():\n    from deeper import thing\n",
        "deeper.py": "import helper\n",
        "pkg/__init__.py": "",
        "pkg/blocks.py": "from . import norms\nfrom .acts import gelu\n",
        "pkg/norms.py": "",
        "pkg/acts.py": "",
        "pkg/unused.py": "",
        "unused.py": "",
    }.items():
        (tmp_path / name).write_text(content)
    model = entry.resolve("model.py", tmp_path)
    names = [str(path.relative_to(tmp_path)) for path in entry.local_files(model, tmp_path)]
    expected = ["deeper.py", "helper.py", "pkg/__init__.py", "pkg/acts.py", "pkg/blocks.py", "pkg/norms.py"]
    assert names == ["model.py", *expected]
    before = entry.entry_sha256(model, tmp_path)
    (tmp_path / "unused.py").write_text("changed")
    assert entry.entry_sha256(model, tmp_path) == before
    for name in names:
        content = (tmp_path / name).read_text()
        (tmp_path / name).write_text(content + "# changed\n")
        assert entry.entry_sha256(model, tmp_path) != before, name
        (tmp_path / name).write_text(content)
    assert entry.entry_sha256(model, tmp_path) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.py", "does not exist"),
        ("data.csv", "is not a Python file"),
        (".", "is not a Python file"),
        ("../outside.py", "lies outside the project"),
    ],
)
def test_what_is_no_model_file_is_refused_by_name(tmp_path: Path, name: str, message: str) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "data.csv").touch()
    (tmp_path / "outside.py").touch()
    with pytest.raises(ModelError, match=message):
        entry.resolve(name, folder)
