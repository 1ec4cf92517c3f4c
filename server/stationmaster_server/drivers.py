"""What drives a training loop, by the calls of one Python file: an own loop, or a library that is given the model.

A sign is a call with a weight: the library's own entry weighs most, what also stands in other loops little. Not
covered: loops behind names that are made at run time.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

DRIVERS = {
    "pytorch": "raw PyTorch loop",
    "transformers": "HF Trainer",
    "trl": "TRL",
    "accelerate": "Accelerate loop",
    "lightning": "Lightning",
    "fabric": "Lightning Fabric loop",
    "keras": "Keras",
    "jax": "JAX loop",
    "deepspeed": "DeepSpeed loop",
    "sentence-transformers": "Sentence Transformers",
    "fastai": "fastai",
    "ultralytics": "Ultralytics",
    "ignite": "Ignite",
    "tensorflow": "TensorFlow loop",
}
"""Driver → how it is told."""
TRAINERS = frozenset(
    {"Trainer", "Seq2SeqTrainer", "SFTTrainer", "DPOTrainer", "GRPOTrainer", "RewardTrainer", "KTOTrainer"}
    | {"ORPOTrainer", "CPOTrainer", "PPOTrainer", "RLOOTrainer", "OnlineDPOTrainer", "BCOTrainer", "GKDTrainer"}
    | {"SentenceTransformerTrainer", "CrossEncoderTrainer", "LightningCLI"}
)
_OF_LIBRARY = {
    "transformers": "transformers", "trl": "trl", "lightning": "lightning", "pytorch_lightning": "lightning",
    "sentence_transformers": "sentence-transformers", "setfit": "sentence-transformers",
}  # fmt: skip
"""Top-level module of a trainer → driver."""
GRADIENTS = frozenset(
    {"jax.grad", "jax.value_and_grad", "flax.nnx.grad", "flax.nnx.value_and_grad", "equinox.filter_value_and_grad"}
    | {"equinox.filter_grad", "haiku.value_and_grad"}
)
_MADE = {
    "accelerate.Accelerator": ("accelerate", 5.0), "lightning.Fabric": ("fabric", 5.0),
    "lightning.fabric.Fabric": ("fabric", 5.0), "lightning_fabric.Fabric": ("fabric", 5.0),
    "deepspeed.initialize": ("deepspeed", 6.0), "ultralytics.YOLO": ("ultralytics", 1.0),
    "ignite.engine.create_supervised_trainer": ("ignite", 6.0), "tensorflow.GradientTape": ("tensorflow", 5.0),
}  # fmt: skip
"""What a library's own object is made by → driver and weight."""
WRAPPERS = {"accelerate": "accelerator", "fabric": "fabric", "deepspeed": "engine"}
"""Libraries whose object takes the loss of an own loop: `accelerator.backward(loss)`."""
_FITS = {"fit_one_cycle": "fastai", "fine_tune": "fastai"}


@dataclass(frozen=True)
class Sign:
    """A call that shows what drives the loop."""

    driver: str
    """A key of `DRIVERS`."""
    weight: float
    what: str
    """`.backward()`, `transformers.Trainer(…)`, …"""
    line: int
    trains: bool = True
    """False for an object that is only made, which may serve something else."""


class Signs:
    """Asks the calls of one file; `libraries`: top-level modules that it imports, `bases`: its classes → trainers."""

    def __init__(self, dotted: Callable[[ast.AST], str], libraries: Iterable[str], bases: dict[str, str]) -> None:
        self._dotted = dotted
        self.libraries = frozenset(libraries)
        self.bases = bases
        self.jax = bool(self.libraries & {"jax", "flax", "optax", "equinox", "haiku"})
        self.keras = bool(self.libraries & {"keras", "tensorflow", "tf_keras"})

    def of(self, node: ast.AST) -> Iterator[Sign]:
        """The signs of one node; most have none."""
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):  # @jax.value_and_grad
            for item in node.decorator_list:
                if self._dotted(item) in GRADIENTS:
                    yield Sign("jax", 4.0, self._dotted(item), item.lineno)
        if not isinstance(node, ast.Call):
            return
        dotted = self._dotted(node.func)
        driver = trainer_of(dotted) or trainer_of(self.bases.get(dotted, ""))
        if dotted in GRADIENTS:
            yield Sign("jax", 4.0, dotted, node.lineno)
        elif driver:
            yield Sign(driver, 8.0, f"{dotted}(…)", node.lineno)
        elif dotted in _MADE:
            name, weight = _MADE[dotted]
            yield Sign(name, weight, f"{dotted}(…)", node.lineno, trains=False)
        elif isinstance(node.func, ast.Attribute):
            yield from self._method(node, node.func)

    def _method(self, node: ast.Call, called: ast.Attribute) -> Iterator[Sign]:
        on, name = self._dotted(called.value).rpartition(".")[2].lower(), called.attr
        if name == "backward":
            yield self._backward(node, on)
        elif name in ("apply_gradients", "apply_updates"):
            driver = "tensorflow" if self.keras and not self.jax else "jax"
            yield Sign(driver, 4.0, f".{name}()", node.lineno)
        elif is_optimizer(on) and (name == "step" or (name == "update" and self.jax)):
            yield Sign("jax" if name == "update" else "pytorch", 3.0, f"optimizer.{name}()", node.lineno)
        elif name == "fit" and ("trainer" in on or "model" in on):
            yield from self._fit(node, on)
        elif name == "train" and on in ("trainer", "model") and (fitting := self._trained(on, node)):
            yield fitting
        elif name in _FITS and "fastai" in self.libraries:
            yield Sign(_FITS[name], 6.0, f".{name}()", node.lineno)

    def _backward(self, node: ast.Call, on: str) -> Sign:
        """`loss.backward()` is a loop of one's own; with the loss as an argument, a library's object calls it."""
        if node.args:
            for driver, usual in WRAPPERS.items():
                if usual in on or (driver in self.libraries and on not in ("autograd", "loss")):
                    return Sign(driver, 6.0, f"{usual}.backward()", node.lineno)
        return Sign("pytorch", 4.0, ".backward()", node.lineno)

    def _fit(self, node: ast.Call, on: str) -> Iterator[Sign]:
        """Whose `fit` it is; that of scikit-learn trains no network."""
        if "trainer" in on:
            known = self.libraries & {"lightning", "pytorch_lightning"}
            yield Sign("lightning", 3.0 if known else 2.0, ".fit()", node.lineno)
        elif self.keras:
            yield Sign("keras", 6.0, ".fit()", node.lineno)
        elif "sentence_transformers" in self.libraries:
            yield Sign("sentence-transformers", 6.0, ".fit()", node.lineno)
        elif not self.libraries & {"sklearn", "xgboost", "lightgbm", "catboost"}:
            yield Sign("keras", 1.0, ".fit()", node.lineno)

    def _trained(self, on: str, node: ast.Call) -> Sign | None:
        """`trainer.train()` of HuggingFace's, `model.train(data=…)` of Ultralytics; `model.train()` sets a mode."""
        if on == "model":
            ours = "ultralytics" in self.libraries and node.keywords
            return Sign("ultralytics", 6.0, ".train()", node.lineno) if ours else None
        if self.libraries & {"transformers", "trl"}:
            return Sign("trl" if "trl" in self.libraries else "transformers", 2.0, "trainer.train()", node.lineno)
        return None


def trainer_of(dotted: str) -> str:
    """The driver that a trainer's class belongs to; empty for any other name."""
    library, _, rest = dotted.partition(".")
    return _OF_LIBRARY.get(library, "") if rest and rest.rpartition(".")[2] in TRAINERS else ""


def is_optimizer(name: str) -> bool:
    """Whether a variable of this name (small letters) holds an optimizer."""
    return "optimizer" in name or name in ("opt", "optim", "adam", "adamw", "sgd")
