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
