"""The skill is valid, says the checklist's sentences word for word, and names the tools that the server has."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import anyio
import yaml

import stationmaster_server
from stationmaster_server.app import build_server
from stationmaster_server.roots import Roots

ROOT = Path(__file__).resolve().parents[2]
SKILL = ROOT / "skill" / "train"
TEXT = (SKILL / "SKILL.md").read_text("utf-8")
DESCRIPTION = (
    "Execute a neural network training run with mandatory monitoring and best-practice defaults. "
    "Use when user wants to train a model, start training, or run a training job."
)
FIXED = [
    "- File-based (CSV/JSON) - zero dependencies\n- TensorBoard - local visualization\n"
    "- Weights & Biases - cloud tracking",
    "**REFUSE to train without logging configured.** Say: "
    '"I need logging configured before training. Which backend would you like to use?"',
    '"No validation dataset specified. Training without validation makes it impossible to detect overfitting. '
    "Options:\n"
    "1. Provide validation dataset path\n2. Auto-split training data (80/20)\n"
    '3. Proceed without validation (not recommended)"',
    '**Present summary and ask:** "Does this configuration look correct? Any changes?"',
    "- Current step / total steps\n- Train loss (current, moving average)\n- Learning rate\n- Gradient norm\n"
    "- Throughput (samples/sec)\n- Estimated time remaining",
    "Training Complete\n================\nTotal steps: X\nFinal train loss: X.XXX\nBest validation loss: X.XXX "
    "(step Y)\n"
    "Total time: Xh Xm\nThroughput: X samples/sec\n\nCheckpoints saved to: ./checkpoints/run_name/\n"
    "Best checkpoint: checkpoint-YYYY.pt\nLogs: [tensorboard/wandb/file path]",
    '- If converged well: "Ready for final testing on held-out test set"',
    '- If overfitting: "Consider early stopping at step X, more data, or regularization"',
    '- If underfitting: "Consider longer training, higher LR, or larger model"',
    '- If unstable: "Review gradient norms, consider lower LR or more warmup"',
]
WARNINGS = [
    "Loss spike > 2x moving average",
    "Gradient norm spike > 10x average",
    "NaN or Inf values",
    "Validation loss increasing while train decreases (overfitting)",
    "Learning rate near zero (schedule exhausted)",
]


def test_the_skill_is_valid_for_the_public_validator() -> None:
    validator = Path(sys.executable).with_name("agentskills")
    done = subprocess.run([validator, "validate", str(SKILL)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_name_and_description_are_the_checklists() -> None:
    front = yaml.safe_load(TEXT.split("---")[1])
    assert front == {"name": "train", "description": DESCRIPTION}
    assert len(TEXT.splitlines()) < 500


def test_the_checklists_sentences_stand_in_it_word_for_word() -> None:
    assert [sentence for sentence in FIXED + WARNINGS if sentence not in TEXT] == []


def test_it_names_every_tool_of_the_server_and_no_other() -> None:
    listed = anyio.run(build_server(Roots.of(None)).list_tools)
    tools = {tool.name for tool in listed}
    arguments = {name for tool in listed for name in tool.input_schema["properties"]}
    named = set(re.findall(r"`([a-z]+_[a-z]+|summarize|diagnose)[`(]", TEXT))
    assert tools - named == set()
    assert named - tools - arguments == set()


def test_the_skill_at_the_top_of_the_repository_is_the_same_text() -> None:
    assert (ROOT / "SKILL.md").read_text("utf-8") == TEXT
    assert (ROOT / "skills" / "train" / "SKILL.md").read_text("utf-8") == TEXT


def test_the_plugin_manifests_agree_with_the_package() -> None:
    plugin = json.loads((ROOT / "skill" / ".claude-plugin" / "plugin.json").read_text("utf-8"))
    market = json.loads((ROOT / ".claude-plugin" / "marketplace.json").read_text("utf-8"))
    gemini = json.loads((ROOT / "gemini-extension.json").read_text("utf-8"))
    servers = json.loads((ROOT / "skill" / ".mcp.json").read_text("utf-8"))
    assert plugin["version"] == gemini["version"] == stationmaster_server.__version__
    assert plugin["name"] == market["plugins"][0]["name"] == gemini["name"] == "stationmaster"
    assert (ROOT / market["plugins"][0]["source"] / plugin["skills"] / "SKILL.md").is_file()
    assert servers["mcpServers"] == gemini["mcpServers"]
