"""Small projects in the shapes of public ones: what each file of them is, and what drives the loop."""

from __future__ import annotations

RAW = """
import torch
from torch import nn
from model import Net

def train(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()

if __name__ == "__main__":
    model = Net()
    train(model, [], torch.optim.SGD(model.parameters(), 0.1))
"""
NET = "from torch import nn\nclass Net(nn.Module):\n    def __init__(self, width=8): ...\n"
TRAINER = """
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
model = AutoModelForCausalLM.from_pretrained("gpt2")
trainer = Trainer(model=model, args=TrainingArguments("out"), train_dataset=[])
trainer.train()
"""
OWN_TRAINER = """
from transformers import Trainer
class WeightedTrainer(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False): ...
"""
USES_OWN_TRAINER = """
import argparse
from weighted import WeightedTrainer
def main():
    WeightedTrainer(model=None).train()
if __name__ == "__main__":
    main()
"""
TRL = """
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer
def main():
    trainer = SFTTrainer("Qwen/Qwen2.5-0.5B", train_dataset=load_dataset("x"), args=SFTConfig())
    trainer.train()
if __name__ == "__main__":
    main()
"""
ACCELERATE = """
from accelerate import Accelerator
import torch
def main():
    accelerator = Accelerator()
    model, optimizer, loader = accelerator.prepare(None, None, None)
    for batch in loader:
        loss = model(**batch).loss
        accelerator.backward(loss)
        optimizer.step()
if __name__ == "__main__":
    main()
"""
LIGHTNING = """
import lightning as L
from module import Lit
if __name__ == "__main__":
    trainer = L.Trainer(max_epochs=3)
    trainer.fit(Lit())
"""
LIT = "import {name} as pl\nclass Lit(pl.LightningModule):\n    def training_step(self, batch, i): ...\n"
OLD_LIGHTNING = """
import pytorch_lightning as pl
from module import Lit
def main():
    pl.Trainer(max_epochs=3).fit(Lit())
main()
"""
CLI = """
from lightning.pytorch.cli import LightningCLI
from module import Lit
def cli_main():
    LightningCLI(Lit)
if __name__ == "__main__":
    cli_main()
"""
FABRIC = """
import torch
from lightning.fabric import Fabric
def main():
    fabric = Fabric()
    model, optimizer = fabric.setup(None, None)
    for batch in []:
        fabric.backward(model(batch))
        optimizer.step()
if __name__ == "__main__":
    main()
"""
KERAS = """
import keras
from keras import layers
model = keras.Sequential([layers.Dense(10)])
model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
model.fit([], [], epochs=2, validation_split=0.1)
"""
JAX = """
import jax, optax
from flax import nnx
tx = optax.adam(1e-3)
@jax.jit
def train_step(params, state, batch):
    grads = jax.grad(lambda p: 0.0)(params)
    updates, state = tx.update(grads, state)
    return optax.apply_updates(params, updates), state
def main():
    for batch in []:
        train_step({}, None, batch)
if __name__ == "__main__":
    main()
"""
ENGINE = """
import torch
def train_one_epoch(model, loader, optimizer):
    for x, y in loader:
        loss = model(x, y)
        loss.backward()
        optimizer.step()
def evaluate(model, loader): ...
"""
ENGINE_MAIN = """
import argparse
from util.engine import evaluate, train_one_epoch
def main(args):
    for epoch in range(args.epochs):
        train_one_epoch(None, [], None)
        evaluate(None, [])
if __name__ == "__main__":
    main(argparse.Namespace(epochs=1))
"""
ENGINE_EVAL = """
from util.engine import evaluate
if __name__ == "__main__":
    evaluate(None, [])
"""
SKLEARN = """
from sklearn.linear_model import LogisticRegression
model = LogisticRegression()
model.fit([[0.0]], [0])
"""
FASTAI = """
from fastai.vision.all import *
learn = vision_learner(None, resnet18)
learn.fit_one_cycle(3)
"""
YOLO = """
from ultralytics import YOLO
model = YOLO("yolov8n.pt")
model.train(data="coco8.yaml", epochs=3)
"""

SHAPES: dict[str, tuple[dict[str, str], str, str]] = {
    "a raw loop": ({"train.py": RAW, "model.py": NET}, "train.py", "pytorch"),
    "HF Trainer at the top of the file": ({"run_clm.py": TRAINER}, "run_clm.py", "transformers"),
    "an own subclass of Trainer": (
        {"run.py": USES_OWN_TRAINER, "weighted.py": OWN_TRAINER},
        "run.py",
        "transformers",
    ),
    "TRL": ({"scripts/sft.py": TRL}, "scripts/sft.py", "trl"),
    "Accelerate": ({"run_glue_no_trainer.py": ACCELERATE}, "run_glue_no_trainer.py", "accelerate"),
    "Lightning": ({"main.py": LIGHTNING, "module.py": LIT.format(name="lightning")}, "main.py", "lightning"),
    "Lightning's old name": (
        {"main.py": OLD_LIGHTNING, "module.py": LIT.format(name="pytorch_lightning")},
        "main.py",
        "lightning",
    ),
    "Lightning CLI": ({"main.py": CLI, "module.py": LIT.format(name="lightning")}, "main.py", "lightning"),
    "Lightning Fabric": ({"train_fabric.py": FABRIC}, "train_fabric.py", "fabric"),
    "Keras": ({"mnist_convnet.py": KERAS}, "mnist_convnet.py", "keras"),
    "JAX with optax": ({"train.py": JAX}, "train.py", "jax"),
    "a loop in an imported file": (
        {"main.py": ENGINE_MAIN, "util/engine.py": ENGINE, "show.py": ENGINE_EVAL},
        "main.py",
        "pytorch",
    ),
    "fastai": ({"pets.py": FASTAI}, "pets.py", "fastai"),
    "Ultralytics": ({"detect.py": YOLO}, "detect.py", "ultralytics"),
}
"""Kind → (files, the script that is meant, what drives its loop)."""
