"""The model of a checkpoint as `from_pretrained` or PEFT reads it, and what its card says of it.

A checkpoint is such a folder already; beside it lie the optimizer and the state, which users do not need.
"""

from __future__ import annotations

from pathlib import Path

from .. import best_model, codec, manifest
from ..checkpoint import POSITION
from ..contract import Spec
from ..errors import CheckpointError, FormatError
from ..model_card import Exported
from ._hf_columns import CAUSAL, IMAGE, SEQUENCE, TOKEN
from ._hf_model import AUTO, Built
from ._torch_state import OPTIMIZER, STATE

NAME = "card.json"
"""In a checkpoint: what the card will say."""
PIPELINES = {
    CAUSAL: "text-generation",
    SEQUENCE: "text-classification",
    TOKEN: "token-classification",
    IMAGE: "image-classification",
}
"""Kind of head → task of `transformers.pipeline`."""
OURS = (NAME, POSITION, OPTIMIZER, STATE)


def remember(folder: Path, built: Built, base: str, labels: int) -> None:
    """Writes into a checkpoint what its card will say.

    `base`: the model that training started from; `labels`: outputs of a new head, 0 for a language model.
    """
    task, lora = PIPELINES[built.kind], built.lora is not None
    about = f"{'An adapter (LoRA) for' if lora else 'Trained from'} `{base}`, for {task.replace('-', ' ')}. "
    about += f"Loading needs `torch`, `transformers`{' and `peft`' * lora}."
    head = {"pipeline_tag": task, "base_model": base}
    said = Exported("peft" if lora else "transformers", _loading(built, base, labels), (), head, about)
    (folder / NAME).write_text(codec.dumps(said, indent=1), encoding="utf-8")


def export(spec: Spec, folder: Path, target: Path) -> Exported:
    """Fills `target` from a checkpoint. Raises CheckpointError, OSError."""
    try:
        said = codec.loads(Exported, (folder / NAME).read_bytes(), NAME)
    except (OSError, FormatError) as error:
        raise CheckpointError(f"{folder / NAME} cannot be read: {error}") from None
    best_model.take(folder, target, (name for name in manifest.read(folder).files if name not in OURS))
    return said


def _loading(built: Built, base: str, labels: int) -> tuple[str, ...]:
    auto, processor = AUTO[built.kind], "AutoImageProcessor" if built.kind == IMAGE else "AutoTokenizer"
    trusted = ", trust_remote_code=True" if built.trust_remote_code else ""
    head = f"from transformers import {auto}, {processor}"
    last = f"{processor.removeprefix('Auto').lower()} = {processor}.from_pretrained(folder{trusted})"
    if built.lora is None:
        return (head, "", f"model = {auto}.from_pretrained(folder{trusted}).eval()", last)
    start = repr(base)
    if base.lower().endswith(".gguf"):
        start = f"{str(Path(base).parent)!r}, gguf_file={Path(base).name!r}"
    sizes = f", num_labels={labels}" if labels else ""
    made = f"base = {auto}.from_pretrained({start}{sizes}{trusted})"
    return (
        "from peft import PeftModel",
        head,
        "",
        made,
        "model = PeftModel.from_pretrained(base, folder).eval()",
        last,
    )
