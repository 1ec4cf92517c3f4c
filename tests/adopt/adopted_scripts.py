"""Training scripts as people write them, on scikit-learn's digits; each prints what the records have to hold."""

from __future__ import annotations

LOOP = """
import argparse
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--steps", type=int, default=12)


def evaluate(model, loader):
    model.eval()
    with torch.no_grad():
        total = sum(nn.functional.cross_entropy(model(x), y, reduction="sum").item() for x, y in loader)
    model.train()
    return total / 397


def main():
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
    train = DataLoader(TensorDataset(x[:1400], y[:1400]), batch_size=32, shuffle=True)
    val_loader = DataLoader(TensorDataset(x[1400:], y[1400:]), batch_size=128)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, args.steps)
    step = 0
    for epoch in range(args.epochs):
        for inputs, targets in train:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), targets)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            rate = optimizer.param_groups[0]["lr"]
            optimizer.step()
            schedule.step()
            step += 1
            print(f"step {step} loss {loss.item()!r} lr {rate!r} norm {norm.item()!r}", flush=True)
            if step == args.steps:
                print("val", evaluate(model, val_loader))
                return


if __name__ == "__main__":
    main()
"""
"""Clips, so that the norm before clipping stands beside it; 12 steps."""

ACCUMULATED = """
import torch

torch.manual_seed(1)
torch.set_num_threads(1)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
second = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
for step in range(1, 7):
    parts = []
    for _ in range(4):
        loss = model(torch.randn(16, 8)).square().mean()
        if step == 5:
            loss = loss * float("nan")
        parts.append(loss.item())
        scaler.scale(loss / 4).backward()
    if step != 5:
        scaler.step(optimizer)
        scaler.update()
    else:
        optimizer.step()
    second.step()
    optimizer.zero_grad()
    print(f"step {step} loss {sum(parts) / 4!r}", flush=True)
"""
"""Four backward passes a step through a loss scaler, no validation; the loss of step 5 is NaN. A second optimizer."""

ENDLESS = """
import torch

torch.set_num_threads(1)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
while True:
    loss = model(torch.randn(16, 8)).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
"""

ODD = '''
import torch


class Odd(torch.optim.SGD):
    """Its learning rate is no number, which no probe expects."""

    def step(self):
        for group in self.param_groups:
            group["lr"] = 0.01
        super().step()
        for group in self.param_groups:
            group["lr"] = "as it comes"


torch.set_num_threads(1)
model = torch.nn.Linear(2, 1)
optimizer = Odd(model.parameters(), lr=0.01)
for step in range(5):
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
print("the script went on to its end")
'''

RAISES = """
import sys


def work(name):
    raise ValueError(f"no such column: {name}")


if __name__ == "__main__":
    print("hello from", sys.argv[1:])
    work("label")
"""

LEAVES = """
import sys

for step in range(10):
    if step == 3:
        sys.exit(0)
print("never printed")
"""

SLEEPS = """
import time

print("here", flush=True)
while True:
    time.sleep(0.1)
"""

CLOSURE = """
import torch

torch.manual_seed(0)
torch.set_num_threads(1)
model = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
inputs = torch.randn(5, 3)


def closure():
    optimizer.zero_grad()
    loss = model(inputs).square().mean()
    loss.backward()
    norm = sum(one.grad.square().sum() for one in model.parameters()).sqrt()
    print(f"loss {loss.item()!r} norm {norm.item()!r}", flush=True)
    return loss


for step in range(4):
    optimizer.step(closure)
"""
"""The shape of Lightning's loop: the optimizer calls for the gradients itself."""

BY_HAND = """
import torch

torch.manual_seed(0)
torch.set_num_threads(1)
model = torch.nn.Linear(3, 1)
inputs = torch.randn(5, 3)
for step in range(4):
    model.zero_grad()
    loss = model(inputs).square().mean()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for one in model.parameters():
        one.data.add_(one.grad, alpha=-0.1)
    print(f"loss {loss.item()!r} norm {norm.item()!r}", flush=True)
"""
"""Updates its parameters itself."""

ESTIMATES = """
import torch


@torch.no_grad()
def estimate(model):
    model.eval()
    return {split: model(get_batch(split)).mean() for split in ["train", "val"]}


print(estimate(model))
"""
"""Measures a held-out split, in a function of no telling name."""

SAMPLES = """
import torch

model.eval()
with torch.no_grad():
    print(model.generate(prompt, 500))
"""
"""Evaluation mode and no gradients, yet nothing is measured."""

PRINTS = """
import torch

torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.1), torch.nn.Linear(16, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
weight = torch.tensor([1.0, 2.0])
held, answers = torch.randn(64, 8), torch.randint(2, (64,))


def validate():
    model.eval()
    with torch.no_grad():
        logits = model(held)
    model.train()
    return torch.nn.functional.cross_entropy(logits, answers, weight=weight).item()


best = float("inf")
print("step 0, val loss", validate(), flush=True)
for step in range(1, 121):
    x = torch.randn(32, 8)
    loss = torch.nn.functional.cross_entropy(model(x), (x[:, 0] > 0).long(), weight=weight)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 30 == 0:
        found = validate()
        print(f"step {step}: train loss {loss.item():.4f}, val loss {found:.6f}, val acc {step / 1000}")
        best = min(best, found)
        print(f"best val loss {best:.6f}")
print(f"test loss {validate() + 1:.6f}")
"""
"""A loss with class weights, so that nothing is derived; its validation losses are printed, and once that of a test."""
