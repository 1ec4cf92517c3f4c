"""A script per library as people write them, that prints the CPU seconds of a step; none keeps any file."""

from __future__ import annotations

CLOCK = '''
import sys
import time

steps, since = int(sys.argv[1]), []


def tick():
    """Once a step, at its end; the first twenty are warming up. Told is the best of six stretches of equal length."""
    since.append(time.process_time())
    if len(since) == steps:
        long = (steps - 21) // 6
        print("cpu", min(since[at + long] - since[at] for at in range(20, steps - long, long)) / long)
'''
_TORCH = """
import torch

torch.set_num_threads(1)
torch.manual_seed(0)
"""
RAW = (
    _TORCH
    + CLOCK
    + """
width = int(sys.argv[2])
x, y = torch.randn(64, 64), torch.randint(10, (64,))
model = torch.nn.Sequential(
    torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.ReLU(),
    torch.nn.Linear(width, 10),
)
optimizer = torch.optim.AdamW(model.parameters())
for _ in range(steps):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    tick()
"""
)
TRAINER = (
    _TORCH
    + CLOCK
    + """
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments


class Tick(TrainerCallback):
    def on_step_end(self, *rest, **more):
        tick()


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 8 * steps

    def __getitem__(self, row):
        return {"input_ids": torch.arange(row, row + 32) % 500, "labels": row % 2}


config = BertConfig(
    vocab_size=500, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, num_labels=2
)
arguments = TrainingArguments(
    output_dir="out", per_device_train_batch_size=8, max_steps=steps, logging_steps=10, save_strategy="no",
    report_to="none", disable_tqdm=True, use_cpu=True,
)
Trainer(
    model=BertForSequenceClassification(config), args=arguments, train_dataset=Rows(), callbacks=[Tick()]
).train()
"""
)
LIGHTNING = (
    _TORCH
    + CLOCK
    + """
import lightning.pytorch as pl


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))

    def training_step(self, batch, index):
        loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def on_train_batch_end(self, *rest):
        tick()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters())


rows = torch.utils.data.TensorDataset(torch.randn(6400, 64), torch.randint(10, (6400,)))
pl.Trainer(
    max_steps=steps, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
    enable_checkpointing=False, default_root_dir="out",
).fit(Net(), torch.utils.data.DataLoader(rows, batch_size=64))
"""
)
ACCELERATE = (
    _TORCH
    + CLOCK
    + """
from accelerate import Accelerator

accelerator = Accelerator(cpu=True)
model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
rows = torch.utils.data.TensorDataset(torch.randn(64 * steps, 64), torch.randint(10, (64 * steps,)))
model, optimizer, loader = accelerator.prepare(
    model, torch.optim.AdamW(model.parameters()), torch.utils.data.DataLoader(rows, batch_size=64)
)
for x, y in loader:
    loss = torch.nn.functional.cross_entropy(model(x), y)
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    tick()
"""
)
KERAS = (
    """
import os

os.environ["KERAS_BACKEND"] = "jax"
import keras
import numpy as np
"""
    + CLOCK
    + """

class Tick(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        tick()


keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(256, activation="relu"), keras.layers.Dense(10)])
model.compile(optimizer="adamw", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
rows = np.random.default_rng(0)
model.fit(
    rows.normal(size=(64 * steps, 64)), rows.integers(0, 10, 64 * steps), batch_size=64, verbose=0, callbacks=[Tick()]
)
"""
)
JAX = (
    """
import jax
import jax.numpy as jnp
import optax
"""
    + CLOCK
    + """
x, y = jax.random.normal(jax.random.key(0), (64, 64)), jnp.arange(64) % 10
params = {"a": jax.random.normal(jax.random.key(1), (64, 256)) / 8, "b": jnp.zeros((256, 10))}
tx = optax.adamw(1e-3)
state = tx.init(params)


def loss_fn(params):
    logits = jax.nn.relu(x @ params["a"]) @ params["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


@jax.jit
def train_step(params, state):
    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss


for at in range(steps):
    params, state, loss = train_step(params, state)
    if at % 10 == 0:
        loss.item()
    tick()
"""
)
LIBRARIES: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "PyTorch, 2,000 parameters": (RAW, 4000, ("16",)),
    "PyTorch, 0.1 million": (RAW, 2000, ("256",)),
    "PyTorch, 1.1 million": (RAW, 400, ("1024",)),
    "Transformers' Trainer": (TRAINER, 300, ()),
    "Accelerate": (ACCELERATE, 2000, ()),
    "Lightning": (LIGHTNING, 1200, ()),
    "Keras 3, JAX": (KERAS, 5000, ()),
    "JAX, optax": (JAX, 9000, ()),
}
"""Script, steps of a run, and further arguments, by the name that the table has."""
