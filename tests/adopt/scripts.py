"""Training scripts as people write them, on scikit-learn's digits; each prints what the records have to hold."""

from __future__ import annotations

LOOP = '''
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
'''
"""Clips, so that the norm before clipping stands beside it; 12 steps."""
