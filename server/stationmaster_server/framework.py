"""Which framework drives the training of a project, weighed from what its files import, define and call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .marks import Mark, place
from .sources import SourceFacts

FRAMEWORKS = ("pytorch", "transformers", "flax")
PACKAGES: dict[str, tuple[str, ...]] = {
    "pytorch": ("torch", "pandas", "pyarrow", "pillow", "safetensors"),
    "transformers": ("torch", "transformers", "accelerate", "peft", "datasets", "pandas", "pyarrow", "safetensors"),
    "flax": ("jax", "flax", "optax", "orbax-checkpoint", "pandas", "pyarrow", "pillow"),
}
"""What the Python that trains needs, by framework; numpy comes with each."""
OTHERS = ("lightning", "pytorch_lightning", "keras", "tensorflow", "fastai", "ignite", "haiku", "equinox")
"""Libraries that are told when seen, and that no adapter of ours drives."""
_IMPORTS = {
    "torch": ("pytorch", 1.0), "transformers": ("transformers", 2.0), "trl": ("transformers", 4.0),
    "peft": ("transformers", 4.0), "jax": ("flax", 1.5), "flax": ("flax", 3.0), "optax": ("flax", 2.0),
    "lightning": ("pytorch", 1.0), "pytorch_lightning": ("pytorch", 1.0), "torchvision": ("pytorch", 0.5),
}  # fmt: skip
"""Top-level module → framework and weight. PyTorch is imported by Transformers projects too, so it weighs little."""
_MODELS = {
    "pytorch": ("pytorch", 5.0), "lightning": ("pytorch", 4.0), "transformers": ("transformers", 4.0),
    "linen": ("flax", 5.0), "nnx": ("flax", 5.0),
}  # fmt: skip
_CALLS = {
    ".backward()": ("pytorch", 4.0), "optimizer.step()": ("pytorch", 3.0), ".apply_gradients()": ("flax", 4.0),
    ".apply_updates()": ("flax", 4.0), "optimizer.update()": ("flax", 3.0), "accelerator.backward()": ("pytorch", 4.0),
    "fabric.backward()": ("pytorch", 4.0), "engine.backward()": ("pytorch", 4.0),
}  # fmt: skip
_BESIDE = 0.2
"""Weight of tests, examples and notebooks' helpers beside the project's own files."""
_BESIDE_FOLDERS = frozenset({"tests", "test", "examples", "example", "docs", "benchmarks", "third_party", "vendor"})


@dataclass(frozen=True)
class FrameworkFacts:
    """The framework taken, and why."""

    name: str | None
    """`pytorch`, `transformers`, `flax`; None when no file uses one."""
    why: str
    evidence: tuple[str, ...] = ()
    """`file:line what`, the strongest first."""
    weights: dict[str, float] | None = None
    """Summed weight per framework seen."""
    others: tuple[str, ...] = ()
    """`file:line import lightning` and the like."""


def detect(files: Iterable[SourceFacts], model_folders: Sequence[str] = ()) -> FrameworkFacts:
    """Weighs every file; the framework with the largest sum drives the training. Without one a saved model decides."""
    files = list(files)
    own_model = any(file.models or file.inline_models or _builds(file) for file in files if not is_beside(file.path))
    weights: dict[str, float] = defaultdict(float)
    evidence: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for file in files:
        share = _BESIDE if is_beside(file.path) else 1.0
        for framework, weight, mark in _signs(file, own_model):
            weights[framework] += weight * share
            evidence[framework].append((weight * share, f"{place(file.path, mark.line)} {mark.what}"))
    others = tuple(f"{place(file.path, mark.line)} import {mark.what}" for file in files for mark in _others(file))
    if not weights and model_folders:
        saved = model_mark(model_folders[0])
        return FrameworkFacts("transformers", f"a saved model, {saved}", (saved,), others=others)
    if not weights:
        return FrameworkFacts(None, "no Python file imports torch, transformers, jax or flax", others=others)
    name = max(FRAMEWORKS, key=lambda framework: weights.get(framework, 0.0))
    strongest = sorted(evidence[name], key=lambda pair: -pair[0])
    imports = [text for _, text in strongest if " import " in text]
    shown = tuple(dict.fromkeys([*imports[:1], *(text for _, text in strongest)]))[:3]
    rest = [framework for framework in FRAMEWORKS if framework != name and weights.get(framework)]
    beside = f"; {' and '.join(rest)} weighed less" if rest else ""
    return FrameworkFacts(name, f"{'; '.join(shown[:2])}{beside}", shown, dict(weights), others)


def model_mark(folder: str) -> str:
    """The file by which a saved model was known: a GGUF file itself, else its config.json."""
    return folder if folder.endswith(".gguf") else f"{folder}/config.json"


def is_beside(path: str) -> bool:
    """Whether a file stands beside the project's own code: a test, an example, documentation."""
    *folders, name = path.split("/")
    return bool(_BESIDE_FOLDERS & set(folders)) or name.startswith("test_") or name in ("setup.py", "conftest.py")


def _signs(file: SourceFacts, own_model: bool) -> Iterator[tuple[str, float, Mark]]:
    seen: set[str] = set()
    for mark in file.imports:
        top = mark.what.partition(".")[0]
        if top in _IMPORTS and top not in seen:
            seen.add(top)
            yield (*_IMPORTS[top], Mark(f"import {top}", mark.line))
    for model in file.models:
        if model.kind in _MODELS:
            yield (*_MODELS[model.kind], Mark(f"class {model.name}", model.line))
    for mark in file.training:
        if mark.what in _CALLS:
            yield (*_CALLS[mark.what], mark)
        elif mark.what.startswith(("transformers.", "trl.")):
            yield "transformers", 6.0, mark
        elif mark.what.startswith(("jax.", "flax.")):
            yield "flax", 4.0, mark
    for sign in file.signs:
        if sign.driver in ("transformers", "trl") and sign.what.partition("(")[0] in dict(file.trainers):
            yield "transformers", 6.0, Mark(sign.what, sign.line)
    for mark in file.pretrained:
        if "transformers" in seen or "peft" in seen or "trl" in seen:
            # A loop of one's own around a ready model and no model class: there is nothing else to train.
            yield "transformers", 3.0 if own_model else 9.0, Mark(f"from_pretrained({mark.what!r})", mark.line)


def _builds(file: SourceFacts) -> bool:
    return any(function.name == "build_model" for function in file.functions)


def _others(file: SourceFacts) -> Iterator[Mark]:
    for name in OTHERS:
        mark = next((mark for mark in file.imports if mark.what.partition(".")[0] == name), None)
        if mark is not None and not is_beside(file.path):
            yield Mark(name, mark.line)
