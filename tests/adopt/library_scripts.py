"""Scripts of libraries as people write them; each prints what the records have to hold, and what its weights became."""

from __future__ import annotations

TRAINER = """
import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

torch.set_num_threads(1)
torch.manual_seed(0)


class Pairs(torch.utils.data.Dataset):
    def __init__(self, rows, seed):
        self.tokens = torch.randint(5, 50, (rows, 8), generator=torch.Generator().manual_seed(seed))
        self.labels = (self.tokens[:, 0] > 25).long()

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, row):
        return {"input_ids": self.tokens[row], "labels": self.labels[row]}


NAMES = {"loss": "loss", "lr": "learning_rate", "norm": "grad_norm"}


class Print(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **rest):
        if "loss" in logs:
            print("step", state.global_step, *(part for name in NAMES for part in (name, logs[NAMES[name]])))

    def on_evaluate(self, args, state, control, metrics=None, **rest):
        print("step", state.global_step, "val", metrics["eval_loss"], "accuracy", metrics["eval_accuracy"])


def accuracy(predicted):
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


config = BertConfig(
    vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=2
)
arguments = TrainingArguments(
    output_dir="out", per_device_train_batch_size=8, gradient_accumulation_steps=2, num_train_epochs=2,
    logging_steps=1, eval_strategy="epoch", save_strategy="epoch", report_to="none", disable_tqdm=True, use_cpu=True,
)
trainer = Trainer(
    model=BertForSequenceClassification(config), args=arguments, train_dataset=Pairs(70, 1), eval_dataset=Pairs(40, 2),
    compute_metrics=accuracy, callbacks=[Print()],
)
trainer.train()
print("weights", sum(one.double().sum().item() for one in trainer.model.parameters()))
"""
"""HuggingFace's Trainer: 10 steps of two backward passes, the last of an epoch with one; two evaluations, two saves."""

LIGHTNING = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import {name} as pl

torch.set_num_threads(1)


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 2)
        self.losses = []

    def training_step(self, batch, index):
        loss = nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        self.losses.append(loss.item())
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, index):
        guessed = self.layer(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(guessed, batch[1]))
        self.log_dict({{"val_accuracy": (guessed.argmax(1) == batch[1]).float().mean()}})

    def on_before_optimizer_step(self, optimizer):
        norm = torch.stack([one.grad.norm() for one in self.parameters()]).norm().item()
        loss, rate = sum(self.losses) / len(self.losses), optimizer.param_groups[0]["lr"]
        print("step", self.global_step + 1, "loss", loss, "lr", rate, "norm", norm)
        self.losses = []

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return [optimizer], [{{"scheduler": schedule, "interval": "step"}}]


class Print(pl.Callback):
    def on_validation_end(self, trainer, module):
        if not trainer.sanity_checking:
            loss, accuracy = (trainer.callback_metrics[name].item() for name in ("val_loss", "val_accuracy"))
            print("step", trainer.global_step, "val", loss, "accuracy", accuracy)


pl.seed_everything(0)
inputs = torch.randn(70, 8)
labels = (inputs[:, 0] > 0).long()
trainer = pl.Trainer(
    max_epochs=2, accumulate_grad_batches=2, gradient_clip_val=0.1, accelerator="cpu", logger=False,
    enable_progress_bar=False, enable_model_summary=False, default_root_dir="out", callbacks=[Print()],
)
net = Net()
trainer.fit(
    net,
    DataLoader(TensorDataset(inputs, labels), batch_size=10, shuffle=True),
    val_dataloaders=DataLoader(TensorDataset(inputs[:30], labels[:30]), batch_size=16),
)
print("weights", sum(one.double().sum().item() for one in net.parameters()))
"""
"""Lightning under the import name `name`: 8 steps of two backward passes (the last of an epoch: one), clipped."""

KERAS = """
import os

os.environ["KERAS_BACKEND"] = "{backend}"
import keras
import numpy as np

keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(2)])
schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.5)
model.compile(
    optimizer=keras.optimizers.SGD(schedule), metrics=["accuracy"],
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
inputs = np.random.default_rng(0).normal(size=(70, 8)).astype("float32")
labels = (inputs[:, 0] > 0).astype("int32")


class Print(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.total = epoch, 0.0

    def on_train_batch_end(self, batch, logs=None):
        size, before = min(16, 70 - 16 * batch), self.total
        self.total = float(logs["loss"]) * (16 * batch + size)
        step = self.epoch * 5 + batch
        print("step", step + 1, "loss", (self.total - before) / size, "lr", 0.01 * 0.5 ** (step / 10))

    def on_epoch_end(self, epoch, logs=None):
        print("step", 5 * epoch + 5, "val", logs["val_loss"], "accuracy", logs["val_accuracy"])


model.fit(
    inputs, labels, batch_size=16, epochs=2, verbose=0, validation_data=(inputs[:30], labels[:30]), callbacks=[Print()]
)
model.save("model.keras")
print("weights", sum(float(abs(one).sum()) for one in model.get_weights()))
"""
"""Keras on a backend: 10 steps; it logs the mean of the epoch so far, from which the script takes the batch's loss."""

JAX = """
import jax
import jax.numpy as jnp
import optax

inputs = jax.random.normal(jax.random.key(0), (64, 8))
labels = (inputs[:, 0] > 0).astype(jnp.int32)
params = {"w": jnp.zeros((8, 2)), "b": jnp.zeros(2)}
tx = optax.adam(1e-2)
state = tx.init(params)


def loss_fn(params, inputs, labels):
    logits = inputs @ params["w"] + params["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits


@jax.jit
def apply_model(params, inputs, labels):
    (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, inputs, labels)
    return grads, loss, jnp.mean(jnp.argmax(logits, -1) == labels)


@jax.jit
def update_model(params, state, grads):
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state


@jax.jit
def train_step(params, state, inputs, labels):
    (loss, _), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, inputs, labels)
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state, {"nll": loss, "grad_norm": optax.global_norm(grads)}


@jax.jit
def eval_step(params, inputs, labels):
    return loss_fn(params, inputs, labels)[0]


step = 0
for epoch in range(2):
    for at in (0, 32):
        grads, loss, accuracy = apply_model(params, inputs[at : at + 32], labels[at : at + 32])
        params, state = update_model(params, state, grads)
        step += 1
        print("step", step, "loss", float(loss))
    apply_model(params, inputs, labels)
for epoch in range(2):
    for at in (0, 32):
        params, state, metrics = train_step(params, state, inputs[at : at + 32], labels[at : at + 32])
        step += 1
        print("step", step, "loss", float(metrics["nll"]), "norm", float(metrics["grad_norm"]))
    eval_step(params, inputs, labels)
print("weights", float(jnp.abs(params["w"]).sum()))
"""
"""Both ways to write a JAX loop: gradients (also measured on all data) and update apart; and one function for both."""

ACCELERATE = """
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
torch.manual_seed(0)
accelerator = Accelerator(gradient_accumulation_steps=3, cpu=True)
model = torch.nn.Linear(8, 2)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
inputs = torch.randn(80, 8)
labels = (inputs[:, 0] > 0).long()
train = DataLoader(TensorDataset(inputs, labels), batch_size=10, shuffle=True)
eval_dataloader = DataLoader(TensorDataset(inputs[:30], labels[:30]), batch_size=10)
schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.1, 20)
model, optimizer, train, eval_dataloader, schedule = accelerator.prepare(
    model, optimizer, train, eval_dataloader, schedule
)
step = 0
for epoch in range(2):
    losses = []
    for batch, targets in train:
        with accelerator.accumulate(model):
            loss = torch.nn.functional.cross_entropy(model(batch), targets)
            losses.append(loss.item())
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                norm = accelerator.clip_grad_norm_(model.parameters(), 0.5)
            rate = optimizer.param_groups[0]["lr"]
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if accelerator.sync_gradients:
            step += 1
            print("step", step, "loss", sum(losses) / len(losses), "lr", rate, "norm", norm.item())
            losses = []
    model.eval()
    with torch.no_grad():
        found = [torch.nn.functional.cross_entropy(model(batch), targets).item() for batch, targets in eval_dataloader]
    model.train()
    accelerator.log({"eval_loss": sum(found) / len(found), "train_loss": 1.0}, step=step)
    print("step", step, "val", sum(found) / len(found))
    accelerator.save_state("out")
print("weights", sum(one.double().sum().item() for one in model.parameters()))
"""
"""A loop under Accelerate: 6 steps of three backward passes, the last of an epoch of two; clipped."""

TRL = """
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import SFTConfig, SFTTrainer

torch.set_num_threads(1)
torch.manual_seed(0)
letters = {letter: at for at, letter in enumerate("<>0123456789+= ")}
made = Tokenizer(models.WordLevel(vocab=letters, unk_token=" "))
made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=">", pad_token="<", unk_token=" ")


class Print(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **rest):
        if "loss" in logs:
            names = {"loss": "loss", "lr": "learning_rate", "norm": "grad_norm"}
            print("step", state.global_step, *(part for name in names for part in (name, logs[names[name]])))

    def on_evaluate(self, args, state, control, metrics=None, **rest):
        print("step", state.global_step, "val", metrics["eval_loss"])


def rows(numbers):
    return Dataset.from_list([{"prompt": f"{a}+{b}=", "completion": str(a + b)} for a in numbers for b in range(8)])


model = LlamaForCausalLM(LlamaConfig(
    vocab_size=len(letters), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
))
arguments = SFTConfig(
    output_dir="out", per_device_train_batch_size=8, max_steps=6, logging_steps=1, eval_strategy="steps", eval_steps=3,
    save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True, bf16=False, max_length=32,
)
trainer = SFTTrainer(
    model=model, args=arguments, train_dataset=rows(range(6)), eval_dataset=rows(range(6, 8)),
    processing_class=tokenizer, callbacks=[Print()],
)
trainer.train()
print("weights", sum(one.double().sum().item() for one in trainer.model.parameters()))
"""
"""TRL's SFTTrainer on prompts with completions: 6 steps, two evaluations."""

PROMISED = """
import torch

torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)


def validate(val_loader):
    model.eval()
    with torch.no_grad():
        return sum(model(batch).square().mean() for batch in val_loader)


for step in range(30):
    optimizer.zero_grad()
    model(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
    if step == 1000:
        print(validate([torch.randn(8, 4)]))
"""
"""A validation that the source holds and that never comes."""
