"""What looking into an adopted PyTorch script costs: seconds per step with the probe over those without, same loop.

    .venv/bin/python benchmarks/adopt.py [steps]

A process each; CPU time, and the best of five rounds, so that other work on the machine hardly counts.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LOOP = """
import sys, time
width, steps, look = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "look"
if look:
    sys.path.insert(0, sys.argv[4])
    from stationmaster_trainer.probes._probe import Probe
    from stationmaster_trainer.probes import _watching
    class Quiet:
        def elapsed(self): return 0.0
        def __getattr__(self, name): return lambda *a, **k: None
    _watching.watch(Probe(Quiet(), 10))
import torch
torch.manual_seed(0)
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.ReLU(),
                            torch.nn.Linear(width, 10))
optimizer = torch.optim.AdamW(model.parameters())
x, y = torch.randn(64, 64), torch.randint(10, (64,))
def run(count):
    for _ in range(count):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
run(20)
rounds = []
for _ in range(5):
    began = time.process_time()
    run(steps)
    rounds.append((time.process_time() - began) / steps)
print(min(rounds))
"""


def seconds(width: int, steps: int, look: str) -> float:
    """CPU seconds of one step."""
    trainer = str(Path(__file__).resolve().parents[1] / "trainer")
    command = [sys.executable, "-c", LOOP, str(width), str(steps), look, trainer]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(steps: int) -> None:
    """Prints a line per size of the network."""
    for width in (32, 256, 1024):
        bare, looked = (seconds(width, steps, look) for look in ("bare", "look"))
        print(f"width {width:5}: bare {bare * 1e3:.3f} ms/step, looked into {looked * 1e3:.3f} ms/step, "
              f"{looked / bare - 1:+.1%}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
