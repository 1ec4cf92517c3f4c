"""Scripts that tell their run what belongs to their state, by `stationmaster.watch`; each prints every step."""

from __future__ import annotations

LOOP = """
import sys
import time

import torch

import stationmaster

torch.set_num_threads(1)
torch.manual_seed(0)
net = torch.nn
model = net.Sequential(net.Linear(8, 16), net.BatchNorm1d(16), net.Dropout(0.2), net.Linear(16, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
run = stationmaster.watch(model=model, optimizer=optimizer, scheduler=scheduler, total_steps=40, save_every=10)
print("begins at", run.step, "resumed", run.resumed, flush=True)
for step in range(run.step, 40):
    loss = model(torch.randn(16, 8)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    print("step", step + 1, "loss", repr(loss.item()), "lr", scheduler.get_last_lr()[0], flush=True)
    if step + 1 == 20:
        run.evaluated(loss=0.5, accuracy=0.75)
    while step + 1 == 25 and "wait" in sys.argv and not run.resumed and not run.should_stop:
        time.sleep(0.05)
    if run.should_stop:
        break
print("weights", repr(sum(one.double().sum().item() for one in model.state_dict().values())))
"""
"""40 steps with batch norm and dropout; with `wait` it waits at step 25 until it is asked to stop."""

ONE_LINE = """
import time

import torch

import stationmaster

torch.set_num_threads(1)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
stationmaster.watch(model=model, optimizer=optimizer)
while True:
    loss = model(torch.randn(16, 8)).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    time.sleep(0.01)
"""
"""Trains for ever, and never looks whether it should stop."""

TREES = """
import sys
import time

import jax
import jax.numpy as jnp
import optax

import stationmaster

tx = optax.adam(optax.cosine_decay_schedule(0.05, 30))
params = {"a": jax.random.normal(jax.random.key(0), (4, 8)), "b": jnp.zeros(8, dtype=jnp.bfloat16)}
state, key = tx.init(params), jax.random.key_data(jax.random.key(7))


@jax.jit
def train_step(params, state, key):
    key, drawn = jax.random.split(jax.random.wrap_key_data(key))
    x = jax.random.normal(drawn, (16, 4))
    loss, grads = jax.value_and_grad(lambda p: (jnp.tanh(x @ p["a"] + p["b"]) - 1).astype(jnp.float32).var())(params)
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state, jax.random.key_data(key), loss


run = stationmaster.watch(
    trees=lambda: {"params": params, "optimizer": state, "key": key}, total_steps=30, save_every=10
)
if run.resumed:
    params, state, key = run.trees["params"], run.trees["optimizer"], run.trees["key"]
print("begins at", run.step, "resumed", run.resumed, flush=True)
for step in range(run.step, 30):
    params, state, key, loss = train_step(params, state, key)
    print("step", step + 1, "loss", repr(loss.item()), flush=True)
    while step + 1 == 15 and "wait" in sys.argv and not run.resumed and not run.should_stop:
        time.sleep(0.05)
    if run.should_stop:
        break
print("weights", repr(sum(one.astype(jnp.float32).sum().item() for one in jax.tree_util.tree_leaves(params))))
"""
"""30 steps of JAX with optax, a bfloat16 leaf and its own random key; with `wait` it waits at step 15 to be stopped."""

BY_HAND = """
import sys
import time

import stationmaster

run = stationmaster.watch(total_steps=12)
weight = 3.0
for step in range(12):
    gradient = 2 * weight
    weight -= 0.1 * gradient
    run.stepped(loss=weight**2, learning_rate=0.1, grad_norm=abs(gradient))
    print("step", step + 1, "loss", repr(weight**2), "norm", repr(abs(gradient)), flush=True)
    if step + 1 == 6:
        run.evaluated(loss=0.25, error=0.5)
    while step + 1 == 9 and "wait" in sys.argv and not run.should_stop:
        time.sleep(0.05)
    if run.should_stop:
        break
print("left by itself")
"""
"""A loop without any library that tells each step itself; with `wait` it waits at step 9 until it is asked to stop."""

STATELESS = """
import stationmaster


class Counter:
    state_dict = load_state_dict = dict


stationmaster.watch(counter=Counter())
"""
"""State of an object, and nothing that could write it."""
