"""Measures how long `diagnose` takes for a long log of each format: a fresh process, reading and judging included.

usage: python benchmarks/readers.py [--rows N] [--formats jsonl,csv,text,events,wandb] [--most SECONDS] [--keep DIR]

Each row has a step, a train loss, a learning rate and a gradient norm; one in a thousand rows is followed by a
validation. CPU seconds are printed beside wall seconds because other work on the machine stretches only the latter.
With --most the exit code is 1 when a format took more CPU seconds than that.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from stationmaster_trainer.readers import _crc32c

Row = tuple[int, float, float, float]
EVERY = 1000
"""Rows between two validations."""


def rows(count: int) -> Iterator[Row]:
    """A sound run with noise and one spike, which every format must show."""
    generator = random.Random(7)
    for step in range(1, count + 1):
        loss = 0.5 + 2.0 * math.exp(-10.0 * step / count) + generator.gauss(0.0, 0.05)
        rate, norm = 1e-3 * (1.0 - 0.9 * step / count), abs(generator.gauss(1.0, 0.2))
        yield step, 9.0 if step == count * 3 // 4 else loss, rate, norm


def validation(step: int, count: int) -> float:
    return 0.6 + 2.0 * math.exp(-10.0 * step / count)


def write_jsonl(path: Path, count: int) -> None:
    with path.open("w") as file:
        for step, loss, rate, norm in rows(count):
            file.write(
                f'{{"step": {step}, "loss": {loss:.5f}, "learning_rate": {rate:.6g}, "grad_norm": {norm:.4f}}}\n'
            )
            if step % EVERY == 0:
                file.write(f'{{"step": {step}, "eval_loss": {validation(step, count):.5f}}}\n')


def write_csv(path: Path, count: int) -> None:
    with path.open("w") as file:
        file.write("step,train_loss,val_loss,lr,grad_norm\n")
        for step, loss, rate, norm in rows(count):
            checked = f"{validation(step, count):.5f}" if step % EVERY == 0 else ""
            file.write(f"{step},{loss:.5f},{checked},{rate:.6g},{norm:.4f}\n")


def write_text(path: Path, count: int) -> None:
    with path.open("w") as file:
        for step, loss, rate, norm in rows(count):
            file.write(
                f"step {step:6d}/{count} | loss {loss:.6f} | norm {norm:.4f} | lr {rate:.2e} | 305.{step % 9} ms\n"
            )
            if step % EVERY == 0:
                file.write(f"val loss {validation(step, count):.6f}\n")


def write_events(path: Path, count: int) -> None:
    """As SummaryWriter writes them: one record for each scalar."""
    with path.open("wb") as file:
        batch: list[bytes] = [b"\x09" + struct.pack("<d", 1.0) + b"\x1a\x0dbrain.Event:2"]
        for step, loss, rate, norm in rows(count):
            batch += [_event("train/loss", step, loss), _event("train/lr", step, rate), _event("grad_norm", step, norm)]
            if step % EVERY == 0:
                batch.append(_event("eval/loss", step, validation(step, count)))
            if step % 10_000 == 0 or step == count:
                file.write(_framed(batch))
                batch = []


def _event(tag: str, step: int, value: float) -> bytes:
    name = tag.encode()
    scalar = b"\x0a" + bytes((len(name),)) + name + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + bytes((len(scalar),)) + scalar
    number, digits = step, bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    return b"\x09" + struct.pack("<d", 1.7e9 + step) + b"\x10" + digits + b"\x2a" + bytes((len(summary),)) + summary


def _framed(messages: list[bytes]) -> bytes:
    sums: dict[int, int] = {}
    groups: dict[int, list[int]] = {}
    for place, message in enumerate(messages):
        groups.setdefault(len(message), []).append(place)
    for places in groups.values():
        sums.update(zip(places, _crc32c.masked_many([messages[place] for place in places]), strict=True))
    heads = {length: struct.pack("<Q", length) for length in groups}
    heads = {length: head + struct.pack("<I", _crc32c.masked(head)) for length, head in heads.items()}
    return b"".join(heads[len(one)] + one + struct.pack("<I", sums[place]) for place, one in enumerate(messages))


def write_wandb(path: Path, count: int) -> None:
    """As W&B's core writes them: a LevelDB log of history records."""
    import zlib

    block = bytearray(b":W&B\xe1\xbe\x00")
    with path.open("wb") as file:
        for step, loss, rate, norm in rows(count):
            cells = {"train/loss": loss, "train/lr": rate, "grad_norm": norm, "_step": step}
            if step % EVERY == 0:
                cells["eval/loss"] = validation(step, count)
            items = b"".join(_item(name, json.dumps(cell)) for name, cell in cells.items())
            rest, first = b"\x12" + _size(len(items)) + items, True
            while rest:
                room = 32768 - len(block) - 7
                if room < 0:
                    file.write(bytes(block) + b"\0" * (room + 7))
                    block = bytearray()
                    continue
                part, rest = rest[:room], rest[room:]
                kind = bytes((1 if first and not rest else 2 if first else 3 if rest else 4,))
                block += struct.pack("<IH", zlib.crc32(part, zlib.crc32(kind)), len(part)) + kind + part
                first = False
        file.write(block)


def _item(name: str, cell: str) -> bytes:
    content = b"\x12" + _size(len(name)) + name.encode() + b"\x82\x01" + _size(len(cell)) + cell.encode()
    return b"\x0a" + _size(len(content)) + content


def _size(number: int) -> bytes:
    return bytes((number,)) if number < 128 else bytes((number & 127 | 128, number >> 7))


FORMATS = {
    "jsonl": ("log.jsonl", write_jsonl),
    "csv": ("metrics.csv", write_csv),
    "text": ("train.log", write_text),
    "events": ("events.out.tfevents.1700000000.host.1.0", write_events),
    "wandb": ("run-a1b2c3.wandb", write_wandb),
}


def measured(path: Path) -> tuple[float, float, dict[str, object]]:
    """(wall seconds, CPU seconds, answer) of one diagnosis in a process of its own."""
    before, began = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "stationmaster_server", "diagnose", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, used, json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--formats", default="jsonl,csv,text,events")
    parser.add_argument("--most", type=float, default=math.inf)
    parser.add_argument("--keep", help="folder for the logs that are made")
    arguments = parser.parse_args()
    slow = False
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.formats.split(","):
            file, write = FORMATS[name]
            path = Path(arguments.keep or temporary) / file
            if not path.exists():
                write(path, arguments.rows)
            wall, used, answer = measured(path)
            alerts = [(one["rule"], one["first_step"]) for one in answer["alerts"] if one["severity"] != "info"]  # type: ignore[attr-defined]
            print(
                f"{name:7s} {answer['rows']:>9,} rows, {path.stat().st_size / 1e6:6.1f} MB: {used:5.2f} s CPU, "
                f"{wall:5.2f} s wall; {answer['verdict']}, {alerts}"
            )
            slow = slow or used > arguments.most
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
