"""What is read from the source of a project, without importing it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stationmaster_server import sources
from stationmaster_server.project import ProjectFacts, default_entry, inspect

Write = Callable[[dict[str, "str | bytes"]], Path]


def look(project: Path) -> ProjectFacts:
    return inspect(project, setting=sys.executable, measured=False)


@pytest.mark.parametrize(
    ("kind", "framework", "evidence"),
    [
        ("digits", "pytorch", "model.py:3 import torch"),
        ("flax_mlp", "flax", "train.py:5 import flax"),
        ("transformers_sft", "transformers", "finetune.py:4 import transformers"),
        ("script_loop", "pytorch", "train.py:13 .backward()"),
    ],
)
def test_the_framework_is_told_with_file_and_line(
    sample: Callable[[str], Path], kind: str, framework: str, evidence: str
) -> None:
    facts = look(sample(kind))
    assert facts.framework.name == framework
    assert evidence in facts.framework.evidence


def test_a_model_is_told_with_its_constructor(sample: Callable[[str], Path]) -> None:
    facts = look(sample("digits"))
    assert [(m.name, m.path, m.line) for m in facts.models] == [("Net", "model.py", 7)]
    assert [(p.name, p.default) for p in facts.models[0].parameters] == [
        ("in_features", None), ("num_classes", None), ("hidden", "32"), ("dropout", "0.1"),
    ]  # fmt: skip


def test_inspecting_never_runs_the_project(write: Write) -> None:
    mark = "import pathlib; pathlib.Path(__file__).with_name('ran').touch()\n"
    root = write({"model.py": mark + "import torch\n", "torch.py": mark, "json.py": mark, "sitecustomize.py": mark})
    look(root)
    assert not (root / "ran").exists()


def test_what_is_imported_for_type_checking_only_does_not_count(write: Write) -> None:
    root = write({"a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"})
    assert look(root).framework.name is None


def test_linen_modules_called_nn_are_flax_and_not_pytorch(write: Write) -> None:
    code = "from flax import linen as nn\nclass Net(nn.Module):\n    features: int\n    depth: int = 2\n"
    facts = look(write({"net.py": code}))
    assert (facts.framework.name, facts.models[0].kind) == ("flax", "linen")
    assert [(p.name, p.default) for p in facts.models[0].parameters] == [("features", None), ("depth", "2")]


@pytest.mark.parametrize(
    "code",
    [
        "import torch as t\nclass Net(t.nn.Module): pass\n",
        "from torch.nn import Module as Base\nclass Net(Base): pass\n",
        "from torch.nn import *\nclass Net(Module): pass\n",
        "import torch.nn\nclass Half(torch.nn.Module): pass\nclass Net(Half): pass\n",
        "import torchvision\nclass Net(torchvision.models.ResNet): pass\n",
        "import torch, typing\nclass Net(torch.nn.Sequential, typing.Generic[int]): pass\n",
    ],
)
def test_a_model_is_found_however_its_base_is_imported(write: Write, code: str) -> None:
    facts = look(write({"net.py": code}))
    assert "Net" in [model.name for model in facts.models]
    assert default_entry(facts)[:2] == ("net.py", "Net")


def test_a_dataset_class_is_no_model(write: Write) -> None:
    code = "from torch.utils.data import Dataset\nclass Rows(Dataset): pass\n"
    facts = look(write({"data.py": code}))
    assert facts.models == ()
    assert default_entry(facts).path == ""


def test_with_several_models_the_parts_are_told_from_the_wholes(sample: Callable[[str], Path]) -> None:
    facts = look(sample("several_models"))
    parts = {model.name: model.part_of for model in facts.models}
    assert parts["Encoder"] == ("Classifier",)
    assert set(parts["Residual"]) == {"Encoder", "Regressor"}
    entry = default_entry(facts)
    assert (entry.path, entry.model_name) == ("nets.py", "Regressor")
    assert "also there: nets.py:Classifier" in entry.why


def test_the_model_that_a_script_builds_is_the_default(sample: Callable[[str], Path]) -> None:
    root = sample("several_models")
    (root / "run.py").write_text("from nets import Classifier\n\nmodel = Classifier(10)\n")
    entry = default_entry(look(root))
    assert entry.model_name == "Classifier"
    assert "built at run.py:3" in entry.why


def test_a_base_class_in_another_file_lends_its_kind_and_its_constructor(sample: Callable[[str], Path]) -> None:
    regressor = next(m for m in look(sample("several_models")).models if m.name == "Regressor")
    assert (regressor.kind, [p.name for p in regressor.parameters]) == ("pytorch", ["width"])


def test_build_model_is_taken_before_any_class(sample: Callable[[str], Path]) -> None:
    root = sample("digits")
    (root / "factory.py").write_text("from model import Net\n\ndef build_model(inputs=8):\n    return Net(inputs, 3)\n")
    facts = look(root)
    assert default_entry(facts)[:2] == ("factory.py", None)
    assert "factory.py:3 defines build_model" in default_entry(facts).why


def test_models_of_the_tests_are_not_taken_for_the_projects_own(sample: Callable[[str], Path]) -> None:
    root = sample("digits")
    (root / "tests").mkdir()
    (root / "tests" / "test_net.py").write_text("from torch import nn\nclass Aaa(nn.Module): pass\n")
    assert default_entry(look(root))[:2] == ("model.py", "Net")


def test_a_script_that_trains_on_import_is_warned_about(sample: Callable[[str], Path]) -> None:
    facts = look(sample("script_loop"))
    messages = [finding.message for finding in facts.findings]
    assert "train.py:17 starts training when the file is imported" in messages
    assert any(message.startswith("train.py:5 makes the model outside any class") for message in messages)
    assert facts.entry_points[0].trains_on_import == 17


def test_a_guarded_script_is_not_warned_about(sample: Callable[[str], Path]) -> None:
    assert [entry.trains_on_import for entry in look(sample("transformers_sft")).entry_points] == [0]


def test_a_model_by_identifier_is_found_and_a_tokenizer_is_not(sample: Callable[[str], Path]) -> None:
    facts = look(sample("transformers_sft"))
    assert facts.pretrained == (("HuggingFaceTB/SmolLM2-135M", "finetune.py:11 from_pretrained"),)
    assert default_entry(facts).path == "HuggingFaceTB/SmolLM2-135M"


def test_a_torch_loop_around_a_ready_model_is_transformers(write: Write) -> None:
    code = (
        "import torch\nfrom transformers import AutoModel\n\n"
        "def main():\n    model = AutoModel.from_pretrained('bert')\n"
        "    optimizer = torch.optim.AdamW(model.parameters())\n    model(1).loss.backward()\n    optimizer.step()\n"
    )
    assert look(write({"train.py": code})).framework.name == "transformers"


def test_a_classifier_of_ones_own_around_a_ready_model_is_pytorch(write: Write) -> None:
    code = (
        "from torch import nn\nfrom transformers import AutoModel\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        self.body = AutoModel.from_pretrained('bert')\n"
    )
    assert look(write({"net.py": code})).framework.name == "pytorch"


def test_a_syntax_error_is_told_with_its_line_and_hides_nothing_else(sample: Callable[[str], Path]) -> None:
    root = sample("digits")
    (root / "broken.py").write_text("import torch\n\ndef f(:\n    pass\n")
    facts = look(root)
    assert [f.message for f in facts.findings if f.check == "source"] == ["broken.py:3: syntax error: invalid syntax"]
    assert default_entry(facts).path == "model.py"


@pytest.mark.parametrize(
    "content",
    [
        b"x = '\xff\xfe'  # \xe9\nimport torch\n",
        b"\xef\xbb\xbfimport torch\n",
        b"# -*- coding: latin-1 -*-\nname = '\xe9'\nimport torch\n",
        b"pattern = '\\d'\nimport torch\n",
    ],
    ids=["not UTF-8", "byte order mark", "declared latin-1", "invalid escape"],
)
def test_odd_encodings_are_read_all_the_same(write: Write, content: bytes) -> None:
    assert look(write({"a.py": content})).framework.name == "pytorch"


@pytest.mark.parametrize(
    "content",
    [
        b"import torch\0\n",
        b"(" * 100_000,
        b"-" * 100_000 + b"1",
        b"x = 1" + b" + 1" * 40_000,
        b"x" + b".a" * 40_000,
        b"# -*- coding: no-such-code -*-\n",
        b"x = 1\n" * 300_000,
        b"",
    ],
    ids=["NUL", "brackets", "signs", "sum", "attributes", "unknown encoding", "huge", "empty"],
)
def test_a_hostile_file_is_a_finding_and_never_an_exception(write: Write, content: bytes) -> None:
    root = write({"model.py": "import torch\n", "hostile.py": content})
    assert look(root).framework.name == "pytorch"
    file = sources.read(root, "hostile.py")
    assert file.problem or not file.imports


def test_other_libraries_are_told(write: Write) -> None:
    code = "import lightning as L\nclass Lit(L.LightningModule): pass\n"
    facts = look(write({"lit.py": code}))
    assert facts.framework.name == "pytorch"
    assert any("lightning seen (lit.py:1)" in finding.message for finding in facts.findings)
