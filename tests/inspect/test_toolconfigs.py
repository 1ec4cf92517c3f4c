"""Configurations of other training tools: known by their keys, told with what they say, parsed within limits."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from project_shapes import CLI, LIT

from stationmaster_server import boundedyaml, hydra, inspection, offers, toolconfigs
from stationmaster_server.project import ProjectFacts, inspect

Write = Callable[[dict[str, "str | bytes"]], Path]
AXOLOTL = """
base_model: NousResearch/Llama-3.2-1B
datasets:
  - path: teknium/GPT4-LLM-Cleaned
    type: alpaca
adapter: lora
micro_batch_size: 2
num_epochs: 1
learning_rate: 0.0002
output_dir: ./outputs/lora-out
"""
FACTORY = """
model_name_or_path: Qwen/Qwen2.5-0.5B
stage: sft
do_train: true
finetuning_type: lora
dataset: identity,alpaca_en_demo
template: qwen
output_dir: saves/qwen
learning_rate: 1.0e-4
num_train_epochs: 3.0
"""
TORCHTUNE = """
# tune run --nproc_per_node 2 lora_finetune_distributed --config tune.yaml
output_dir: /tmp/out
tokenizer:
  _component_: torchtune.models.llama3.llama3_tokenizer
model:
  _component_: torchtune.models.llama3.lora_llama3_8b
dataset:
  _component_: torchtune.datasets.alpaca_dataset
optimizer:
  _component_: torch.optim.AdamW
  lr: 3e-4
epochs: 2
"""
HYDRA = """
defaults:
  - _self_
  - model: mnist
model:
  _target_: os.system
optimizer:
  lr: 0.01
trainer:
  max_epochs: 10
"""
HYDRA_SCRIPT = """
import hydra
import torch
@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    loss = torch.zeros(1)
    loss.backward()
if __name__ == "__main__":
    main()
"""
LIGHTNING = """
trainer:
  max_epochs: 4
  default_root_dir: out
model:
  class_path: module.Lit
  init_args:
    learning_rate: 0.001
data:
  class_path: module.Digits
"""
ACCELERATE = (
    "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\nnum_processes: 2\nmixed_precision: bf16\n"
)


def look(project: Path) -> ProjectFacts:
    return inspect(project, setting=sys.executable, measured=False)


CASES: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "axolotl": (
        {"qlora.yml": AXOLOTL},
        {"model": "NousResearch/Llama-3.2-1B", "data": "teknium/GPT4-LLM-Cleaned", "learning rate": "0.0002",
         "epochs": "1", "output": "./outputs/lora-out"},
        '{"command": "axolotl train qlora.yml"}',
    ),
    "LLaMA-Factory": (
        {"my sft.yaml": FACTORY},
        {"model": "Qwen/Qwen2.5-0.5B", "data": "identity,alpaca_en_demo", "learning rate": "0.0001", "epochs": "3.0",
         "output": "saves/qwen"},
        '{"command": "llamafactory-cli train \'my sft.yaml\'"}',
    ),
    "LLaMA-Factory, JSON": (
        {"sft.json": json.dumps(boundedyaml.parse(FACTORY.encode()), indent=2), "package.json": '{"trainer": {}}'},
        {"model": "Qwen/Qwen2.5-0.5B", "data": "identity,alpaca_en_demo", "learning rate": "0.0001", "epochs": "3.0",
         "output": "saves/qwen"},
        '{"command": "llamafactory-cli train sft.json"}',
    ),
    "torchtune": (
        {"tune.yaml": TORCHTUNE},
        {"model": "torchtune.models.llama3.lora_llama3_8b", "data": "torchtune.datasets.alpaca_dataset",
         "learning rate": "3e-4", "epochs": "2", "output": "/tmp/out"},
        '{"command": "tune run lora_finetune_distributed --config tune.yaml"}',
    ),
    "Hydra": (
        {"conf/config.yaml": HYDRA, "conf/model/mnist.yaml": "_target_: a.B\nlr: 1\n", "train.py": HYDRA_SCRIPT},
        {"model": "a.B", "learning rate": "0.01", "epochs": "10"},
        '{"script": "train.py"}',
    ),
    "Lightning CLI": (
        {"config.yaml": LIGHTNING, "main.py": CLI, "module.py": LIT.format(name="lightning")},
        {"model": "module.Lit", "data": "module.Digits", "learning rate": "0.001", "epochs": "4", "output": "out"},
        '{"script": "main.py", "script_args": ["fit", "--config", "config.yaml"]}',
    ),
    "accelerate": ({"default_config.yaml": ACCELERATE}, {}, ""),
}  # fmt: skip


@pytest.mark.parametrize("tool", CASES)
def test_a_configuration_is_known_by_its_keys_and_told_with_its_call(write: Write, tool: str) -> None:
    files, says, call = CASES[tool]
    facts = look(write(dict(files)))
    (one,) = facts.configs
    assert (one.tool, one.says) == (tool.partition(",")[0], says)
    line = (Path(facts.project_dir) / one.path).read_text().splitlines()[one.line - 1]
    assert line.strip(' "').startswith(one.keys[0])
    text = inspection.text(facts)
    assert f"Config: {one.path} ({one.tool}; {one.path}:{one.line} " in text and call in text
    missing = offers.tool_config(facts, replace(one, installed=False))
    assert ("is not installed" in missing and f"install {toolconfigs.PACKAGES[one.tool]}" in missing) == bool(call)


def test_whether_the_tool_is_installed_comes_from_the_projects_python() -> None:
    one = toolconfigs.recognise("a.yml", AXOLOTL.encode(), boundedyaml.parse(AXOLOTL.encode()), [])
    assert one is not None and one.installed is None
    assert toolconfigs.installed([one], {"axolotl": "0.9"})[0].installed is True
    assert toolconfigs.installed([one], {"torch": "2"})[0].installed is False


@pytest.mark.parametrize(
    "text",
    ["name: x\nlr: 0.1\n", "model: resnet\nepochs: 3\n", "services:\n  web: {image: x}\n", "- 1\n- 2\n", "", "null",
     HYDRA, "base_model: x\n", "trainer: 3\nmodel: 4\n", "defaults: [a, b]\n", LIGHTNING],
)  # fmt: skip
def test_other_settings_are_none(write: Write, text: str) -> None:
    assert look(write({"config.yaml": text})).configs == ()


def test_nothing_that_a_configuration_names_is_made(write: Write) -> None:
    tagged = AXOLOTL + 'extra: !!python/object/apply:os.system ["touch ran"]\nmine: !Own {a: 1}\n'
    root = write({"a.yml": tagged})
    (one,) = look(root).configs
    assert one.tool == "axolotl" and not (root / "ran").exists() and not Path("ran").exists()


def bomb(levels: int, merge: bool = False) -> str:
    if merge:
        rows = [f"a{at}: &a{at}\n  <<: [*a{at - 1}, *a{at - 1}]\n  k{at}: 1" for at in range(1, levels)]
        return "a0: &a0 {x: 1}\n" + "\n".join(rows)
    rows = [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, levels)]
    return "a0: &a0 [x]\n" + "\n".join(rows)


@pytest.mark.parametrize(
    "text",
    [bomb(12), bomb(40, merge=True), "a: &a [*a]", "[" * 3000, "a: " * 500, "x: " + "9" * 99_990, "- " * 40_000,
     "a: {" * 200, "\0", "a: b: c", "*nothing", "k: [1, 2", "? " * 2000, "x" * 200_000],
)  # fmt: skip
def test_hostile_yaml_is_refused_and_hides_nothing_else(write: Write, text: str) -> None:
    with pytest.raises(ValueError):
        boundedyaml.parse(text.encode())
    facts = look(write({"bad.yaml": f"base_model: x\n{text}", "good.yml": AXOLOTL}))
    assert [one.path for one in facts.configs] == ["good.yml"]


def test_anchors_and_merges_that_people_write_are_read() -> None:
    text = b"base: &base {lr: 1e-4, steps: [1, 2]}\nrun:\n  <<: *base\n  epochs: 3\nagain: *base\n"
    assert boundedyaml.parse(text) == yaml.safe_load(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
KEYS = st.sampled_from(
    ["base_model", "datasets", "dataset", "model", "trainer", "data", "defaults", "fit", "stage", "model_name_or_path",
     "template", "distributed_type", "num_processes", "optimizer", "lr", "hydra"]
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(values=st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=3), max_size=6))
def test_any_plain_settings_are_read_as_the_library_reads_them_and_told_or_not(values: dict[str, Any]) -> None:
    text = yaml.safe_dump(values).encode()
    assert boundedyaml.parse(text) == yaml.safe_load(text)
    one = toolconfigs.recognise("a.yaml", text, values, [])
    assert one is None or all(isinstance(value, str) and len(value) <= 400 for value in one.says.values())


PLAIN = (type(None), bool, int, float, str, bytes, list, dict, set, datetime.date, datetime.datetime)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=60) | st.text("ab:-*&<[]{}!|>'\"\n \t?,#%@`=", max_size=60).map(str.encode))
@example(b"=: 1")
@example(b"2024-13-45")
@example(b"a: !!int x")
def test_any_bytes_are_plain_values_or_refused(content: bytes) -> None:
    try:
        found = boundedyaml.parse(content)
    except ValueError:
        return
    assert type(found) in PLAIN


GROUPS = {
    "conf/train.yaml": """defaults:
  - _self_
  - model: net
  - trainer@fit.trainer: default
  - optional local: default
  - paths: null
  - /model/optimizer@second: adam
  - experiment: fast
seed: 1
fit:
  trainer:
    max_epochs: 3
""",
    "conf/model/net.yaml": "defaults:\n  - optimizer: adam\n_target_: lib.Net\nwidth: 8\n",
    "conf/model/optimizer/adam.yaml": "lr: 0.002\nbetas: [0.9, 0.95]\n",
    "conf/trainer/default.yaml": "defaults:\n  - base\nmax_epochs: 10\n",
    "conf/trainer/base.yaml": "default_root_dir: out\nmax_epochs: 1\n",
    "conf/experiment/fast.yaml": "# @package _global_\nmodel:\n  width: 16\n",
    "train.py": HYDRA_SCRIPT,
}
"""Groups in groups, packages, an option for the whole, a default that is switched off and one that is not there."""


def test_what_groups_add_is_told(write: Write) -> None:
    facts = look(write(dict(GROUPS)))
    (one,) = [each for each in facts.configs if each.path == "conf/train.yaml"]
    assert one.says == {"epochs": "10", "output": "out"}
    plain = {**GROUPS, "conf/train.yaml": GROUPS["conf/train.yaml"].replace("@fit.trainer", "").replace("fit:\n  ", "")}
    (one,) = [each for each in look(write(plain)).configs if each.path == "conf/train.yaml"]
    assert one.says == {"model": "lib.Net", "learning rate": "0.002", "epochs": "10", "output": "out"}


VARIANTS = {
    "groups": "",
    "a package before the file's own word": "defaults:\n  - a@p: other\n  - a@r: whole\n",
    "a text with a group": "defaults:\n  - a/x\n  - /a/x@q\n",
    "from the root, within a group": "defaults:\n  - b: y\n",
    "a list of options": "defaults:\n  - a: [x, z]\n  - _self_\na:\n  q: 9\n",
    "the file's own word": "defaults:\n  - a: [other, whole]\n",
    "here": "defaults:\n  - a@_here_: x\n  - b@_global_: z\n",
}
PARTS = {
    "a/x.yaml": "q: 1\n",
    "a/z.yaml": "r: 2\n",
    "a/other.yaml": "# @package other\nq: 3\n",
    "a/whole.yaml": "# @package _global_\nw: 4\n",
    "b/y.yaml": "defaults:\n  - /a: x\n  - /a@k: z\nn: 6\n",
    "b/z.yaml": "m: 7\n",
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_configuration_is_put_together_as_hydra_does_it(write: Write, variant: str) -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    files = dict(GROUPS)
    if VARIANTS[variant]:
        files = {"conf/train.yaml": VARIANTS[variant], **{f"conf/{name}": text for name, text in PARTS.items()}}
    root = write(dict(files))
    with initialize_config_dir(str(root / "conf"), version_base=None):
        wanted = OmegaConf.to_container(compose("train"))
    found = hydra.composed(root, "conf/train.yaml", boundedyaml.parse((root / "conf/train.yaml").read_bytes()))
    assert found == wanted != {}


@pytest.mark.parametrize(
    "text",
    [f"# @package {'.'.join('a' * 3000)}\nq: 1\n", "learning_rate: 0x" + "f" * 5000 + "\n", "q: [1, {2: 3}]\n"],
)
def test_odd_groups_are_no_more_than_left_out(write: Write, text: str) -> None:
    files = {"conf/train.yaml": "defaults:\n  - a: x\nseed: 1\n", "conf/a/x.yaml": text, "train.py": HYDRA_SCRIPT}
    assert [one.tool for one in look(write(dict(files))).configs if one.path == "conf/train.yaml"] == ["Hydra"]
    deep = {"defaults": [{f"a@{'.'.join('p' * 3000)}": "x"}, {"a/../" * 900 + "a": "x"}]}
    hydra.composed(write(dict(files)), "conf/train.yaml", deep)


def test_a_link_out_of_the_project_is_not_followed(write: Write, tmp_path: Path) -> None:
    root = write({"conf/train.yaml": "x: 1\n"})
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.yaml").write_text("secret: 1\n")
    (root / "conf" / "m").symlink_to(outside)
    assert hydra.composed(root, "conf/train.yaml", {"defaults": [{"m": "x"}]}) == {}


def test_much_is_not_read_for_ever(write: Write) -> None:
    long = "".join(f"k{at}: {at}\n" for at in range(6000))
    root = write({f"conf/a/x{at}.yaml": long for at in range(30)})
    began = time.process_time()
    found = hydra.composed(root, "conf/c.yaml", {"defaults": [{"a": [f"x{at}" for at in range(30)]}]})
    assert len(found["a"]) == 6000
    assert time.process_time() - began < 30


def test_groups_that_name_each_other_come_to_an_end_and_nothing_outside_is_read(write: Write) -> None:
    inside = {"a/x.yaml": "defaults:\n  - /a: [x, x, x]\nn: 1\n", "b/x.yaml": "defaults: [../../c]\n"}
    root = write({**{f"conf/{name}": text for name, text in inside.items()}, "c.yaml": "secret: 1\n"})
    (root.parent / "c.yaml").write_text("secret: 2\n")
    assert hydra.composed(root, "conf/config.yaml", {"defaults": [{"a": "x"}]})["a"]["n"] == 1
    assert hydra.composed(root, "conf/config.yaml", {"defaults": [{"../..": "c"}, {"b": "x"}]}) == {"b": {}}
