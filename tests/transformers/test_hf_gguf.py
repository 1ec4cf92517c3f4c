"""A GGUF file is dequantised once: whole or not at all, by one process, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hf_project import CHAT, SPECIAL, HfProject

KILLED_THEN_WHOLE = """
import json, os, signal, sys
import torch  # loaded once; each victim is a fork of this process
torch.set_num_threads(1)
from pathlib import Path
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from stationmaster_trainer.adapters import _hf_gguf, transformers

transformers.quiet()
path, seen = Path(sys.argv[1]), []
cache = _hf_gguf.cache_dir()
_hf_gguf.need("gguf", "this test")


def die(*some, **more):
    os.kill(os.getpid(), signal.SIGKILL)


def then_die(function):
    def wrapped(*some, **more):
        function(*some, **more)
        die()
    return wrapped


POINTS = {
    "before saving": lambda: setattr(PreTrainedModel, "save_pretrained", die),
    "after the weights": lambda: setattr(PreTrainedModel, "save_pretrained", then_die(PreTrainedModel.save_pretrained)),
    "before the rename": lambda: setattr(_hf_gguf.os, "rename", die),
}
for place, point in POINTS.items():
    victim = os.fork()
    if not victim:
        point()
        _hf_gguf.exported(path)
        os._exit(0)
    _, status = os.waitpid(victim, 0)
    seen.append([place, status, sorted(one.name for one in cache.iterdir())])
racers = [os.fork() for _ in range(2)]
if 0 in racers:
    _hf_gguf.exported(path)
    os._exit(0)
codes = [os.waitpid(racer, 0)[1] for racer in racers]
folder = _hf_gguf.exported(path)
print(json.dumps([seen, codes, str(folder), sorted(one.name for one in cache.iterdir())]))
"""


def write_gguf(path: Path) -> None:
    """A Llama of one layer with random weights, and a tokenizer of bytes."""
    import gguf
    import numpy as np
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = (*SPECIAL, "<|endoftext|>")  # the library adds it where it is missing
    tokens, width, inner = [*alphabet, "he", *special], 32, 64
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(16)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(alphabet) + 1) + [3] * len(special))
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(tokens.index("<|end|>"))
    writer.add_eos_token_id(tokens.index("<|end|>"))
    writer.add_pad_token_id(tokens.index("<pad>"))
    writer.add_chat_template(CHAT)
    generator = np.random.default_rng(0)
    shapes = {"token_embd": (len(tokens), width), "output": (len(tokens), width), "output_norm": (width,)}
    shapes |= {f"blk.0.attn_{name}": (width, width) for name in ("q", "k", "v", "output")}
    shapes |= {"blk.0.ffn_gate": (inner, width), "blk.0.ffn_up": (inner, width), "blk.0.ffn_down": (width, inner)}
    shapes |= {"blk.0.attn_norm": (width,), "blk.0.ffn_norm": (width,)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", generator.normal(0, 0.05, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_conversion_killed_anywhere_leaves_nothing_that_is_taken_for_a_model(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    quiet = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED_THEN_WHOLE, str(tmp_path / "tiny.gguf")],
        env={**os.environ, **quiet, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    seen, codes, folder, left = json.loads(done.stdout.splitlines()[-1])
    name = Path(folder).name
    assert [status for _, status, _ in seen] == [9, 9, 9]
    assert [names for _, _, names in seen] == [
        [f".{name}.lock"], [f".{name}.lock", f".{name}.partial"], [f".{name}.lock", f".{name}.partial"],
    ]  # fmt: skip
    assert codes == [0, 0]
    assert left == [f".{name}.lock", name]
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {path.name for path in Path(folder).iterdir()}
    assert done.stderr.count("dequantising tiny.gguf") == 4


def test_a_gguf_file_is_trained_like_a_folder_and_an_unwritable_cache_is_told(
    talk: HfProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(talk.path / "cache"))
    write_gguf(talk.path / "tiny.gguf")
    assert talk.measure(model_path="tiny.gguf", sequence_length=64).regime == "sft"
    (talk.path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(talk.path / "file"))
    refusal = talk.refusal(model_path="tiny.gguf")
    assert "tiny.gguf cannot be kept dequantised in" in refusal
    assert "XDG_CACHE_HOME" in refusal
