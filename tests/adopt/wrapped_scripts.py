"""Scripts that a launcher starts, as people write them; small, on made-up numbers."""

from __future__ import annotations

RANKS = """
import argparse
import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from loss import criterion

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=12)
parser.add_argument("--fail-at", type=int, default=0)
args = parser.parse_args()


def batch(step):
    if step == args.fail_at and dist.get_rank() == 1:
        raise ValueError("the second shard is empty")
    return torch.randn(16, 8)


def validate(model):
    model.eval()
    with torch.no_grad():
        print("val", criterion(model(torch.ones(4, 8))).item())
    model.train()


torch.set_num_threads(1)
dist.init_process_group("gloo")
torch.manual_seed(dist.get_rank())
model = DistributedDataParallel(torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
step = 0
while step != args.steps:
    step += 1
    loss = criterion(model(batch(step)))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(f"rank {dist.get_rank()} step {step} loss {loss.item()!r}", flush=True)
validate(model.module)
dist.destroy_process_group()
"""
"""Two gloo ranks; rank 1 can be made to fail."""

LOSS = """
def criterion(output):
    return output.square().mean()
"""

WRAPPER = """
#!/usr/bin/env bash
set -e
cd "$(dirname "$0")"
python -c 'print("a short call before the training")'
echo "the wrapper got: $*"
export LEARNING_RATE=0.02
accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no single.py "$@"
echo "behind the training"
"""

SINGLE = """
import os
import sys

import torch

torch.manual_seed(0)
torch.set_num_threads(1)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=float(os.environ.get("LEARNING_RATE", "0.01")))
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 8
step = 0
while step != steps:
    step += 1
    loss = model(torch.randn(16, 8)).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(f"step {step} loss {loss.item()!r}", flush=True)
    if "boom" in sys.argv and step == 3:
        raise KeyError("no column label")
"""

SPAWNS = """
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def work(rank):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="tcp://127.0.0.1:29541", rank=rank, world_size=2)
    torch.manual_seed(rank)
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(1, 7):
        loss = model(torch.randn(16, 8)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(f"rank {rank} step {step} loss {loss.item()!r}", flush=True)
    dist.barrier()
    if rank == 1:
        time.sleep(1.0)
        raise ValueError("the last shard is missing")
    dist.barrier()


if __name__ == "__main__":
    mp.spawn(work, nprocs=2)
"""
"""No launcher: the script starts its ranks itself, and no variable tells them their rank."""
