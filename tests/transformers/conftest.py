"""Projects with models of Transformers; nothing here asks the hub."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "pytorch"))  # its project of a real worker is used here too
os.environ["HF_HUB_OFFLINE"] = "1"

from hf_project import QUESTIONS, HfProject, save_llama


@pytest.fixture
def talk(tmp_path: Path) -> HfProject:
    """A hundred conversations and a tiny Llama from a configuration."""
    project = HfProject(tmp_path / "project")
    save_llama(project.path / "model")
    project.rows(
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
        for asked, answer in QUESTIONS
    )
    return project
