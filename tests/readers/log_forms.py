"""Text logs as well-known training loops print them, line by line from the same made-up course."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

POINTS = 60
"""Train losses in each log."""
PREAMBLE = "Loading 3 files, vocab size: 50257\nnumber of parameters: 123.59M\nUsing seed 42 on cuda:0\n"


def loss(place: int) -> float:
    return round(1.0 + 9.0 * math.exp(-place / 30.0), 3)


def checked(place: int) -> float:
    return round(loss(place) + 0.1, 3)


@dataclass(frozen=True)
class Form:
    """One kind of log, and what is to be read from it."""

    line: Callable[[int], str]
    """Everything that is printed for one point."""
    step: Callable[[int], int]
    evals: tuple[int, ...] = ()
    """Points whose validation loss is printed."""
    rate: float | None = None
    norm: float | None = None
    columns: dict[str, str] | None = None

    def text(self) -> str:
        return PREAMBLE + "".join(map(self.line, range(POINTS)))


def nanogpt(i: int) -> str:
    line = f"iter {i * 10}: loss {loss(i):.4f}, time 123.45ms, mfu 12.3{i % 10}%\n"
    return f"step {i * 10}: train loss {loss(i):.4f}, val loss {checked(i):.4f}\n{line}" if i % 10 == 0 else line


def llmc(i: int) -> str:
    z = "nanz" if i < 3 else "1.23z"
    line = (
        f"step    {i + 1}/19560 | loss {loss(i):.6f} (+{z})| norm 1.2000 (+{z})| lr 8.57e-07 | 3056.36 ms | "
        "42.6% bf16 MFU | 171546 tok/s\n"
    )
    return line + (f"val loss {checked(i):.6f}\n" if i % 10 == 9 else "")


def torchtitan(i: int) -> str:
    return (
        f"\x1b[31m[rank0]:\x1b[0m[titan] 2026-05-18 16:04:{i % 60:02d},338 - root - INFO - \x1b[31mstep: {i:2d}  "
        f"\x1b[32mloss: {loss(i):8.5f}  \x1b[38;2;180;60;0mgrad_norm: {0.8:7.4f}  \x1b[34mmemory:  9.46GiB(64.99%)  "
        "tps: 7,282  tflops: 0.52  mfu: 0.17%\x1b[39m\n"
    )


def megatron(i: int) -> str:
    line = (
        f" iteration {i * 100:8d}/  250000 | consumed samples: {i * 1024:12d} | "
        f"elapsed time per iteration (ms): 86545.2 | learning rate: 9.150E-06 | global batch size:  1024 | "
        f"lm loss: {loss(i):.6E} | loss scale: 1.0 | grad norm: 0.231 | "
        "number of skipped iterations:   0 | number of nan iterations:   0 |\n"
    )
    rule = "-" * 90 + "\n"
    value = f" validation loss at iteration {i * 100} | lm loss value: {checked(i):.6E} | lm loss PPL: 1.068E+01 | \n"
    return line + (rule + value + rule if i % 10 == 9 else "")


def neox(i: int) -> str:
    return (
        f"[2023-07-25 21:03:21,037] [INFO] [logging.py:96:log_dist] [Rank 0] step={i * 10}, skipped=0, "
        "lr=[2.17e-06, 2.17e-06], mom=[[0.9, 0.95], [0.9, 0.95]]\n"
        f"[2023-07-25 21:03:17,269] [INFO] [timer.py:215:stop] epoch=0/micro_step={i * 10}/global_step={i * 10}, "
        "RunningAvgSamplesPerSec=7.86, MemAllocated=59.65GB\n"
        f" samples/sec: 7.799 | iteration {i * 10:8d}/   10000 | elapsed time per iteration (ms): 4103.1 | "
        f"learning rate: 2.111E-06 | approx flops per GPU: 112.9TFLOPS | lm_loss: {loss(i):.6E} | "
        "number of skipped iterations:   0 | number of nan iterations:   0 |\n"
        "time (ms) | forward: 659.86 | backward: 2164.69 | optimizer: 1172.51\n"
    )


def trainer(i: int) -> str:
    line = f"{{'loss': {loss(i):.4f}, 'grad_norm': 21.4, 'learning_rate': 0.0008, 'epoch': {i / 20:.2f}}}      \n"
    speed = "'eval_runtime': 18.4, 'eval_samples_per_second': 2.7"
    value = f"{{'eval_loss': {checked(i):.4f}, 'eval_accuracy': 0.5, {speed}, 'epoch': {i / 20:.2f}}}\n"
    return line + (value if i == POINTS - 1 else "")


def trainer_5(i: int) -> str:
    values = f"'loss': '{loss(i):.4f}', 'grad_norm': '21.4', 'learning_rate': '0.0008', 'epoch': '{i / 20:.2f}'"
    return f"{{{values}}}\r  3%|▎  | {i * 10}/1000 [00:10<02:11,  3.2it/s]\n"


def fairseq(i: int) -> str:
    line = (
        f"| epoch {1 + i // 20:03d}:    {i % 20 * 50} / 1000 loss={loss(i):.3f}, nll_loss=10.881, ppl=1886.05, "
        f"wps=52922, ups=0.5, wpb=104928, bsz=5325, num_updates={i * 50}, lr=8.90889e-05, "
        "gnorm=1.543, clip=0%, oom=0, wall=882\n"
    )
    value = (
        f"| epoch {1 + i // 20:03d} | valid on 'valid' subset | loss {checked(i):.3f} | nll_loss 6.88 | ppl 118.06 | "
        f"num_updates {i * 50} | best_loss 6.84\n"
    )
    return line + (value if i % 20 == 19 else "")


def keras(i: int) -> str:
    start = f"Epoch {1 + i // 20}/3\n" if i % 20 == 0 else ""
    line = f"\r{(i % 20 + 1) * 5}/100 [==>......] - ETA: 1s - loss: {loss(i):.4f} - accuracy: 0.91"
    return start + line + (f" - val_loss: {checked(i):.4f} - val_accuracy: 0.95\n" if i % 20 == 19 else "")


def lightning(i: int) -> str:
    bar = "█" * (i % 20)
    line = f"\rEpoch {i // 20}: {i % 20 * 5}%|{bar} | {i % 20 * 5 + 5}/100 [00:0{i % 9}<00:15, 36.2it/s, v_num=3, "
    return f"{line}train_loss={loss(i):.3f}]" + ("\n" if i % 20 == 19 else "")


def timm(i: int) -> str:
    value = f"Train: {i // 20} [{i % 20 * 50:4d}/1000 ({i % 20 * 5:3d}%)]  Loss: {loss(i):.4f} ({loss(i) + 0.05:.4f})  "
    line = f"{value}Time: 0.512s,  490.1/s  LR: 1.000e-06  Data: 0.010 (0.011)\n"
    test = (
        "Test: [   0/97]  Time: 0.5 (0.5)  Loss:  0.600 (0.600)  Acc@1: 80.0 (80.0)\n"
        f"Test: [  97/97]  Time: 0.5 (0.5)  Loss:  {checked(i):.4f} ({checked(i):.4f})  Acc@1: 80.0 (80.0)\n"
    )
    return line + (test if i % 20 == 19 else "")


def openmmlab(i: int) -> str:
    return (
        f"2026/05/18 16:04:46 - mmengine - INFO - Epoch(train)  [{1 + i // 20}][{i % 20 * 50 + 50:4d}/1000]  "
        "lr: 1.978e-03  eta: 1 day, 2:03:04  time: 0.5  data_time: 0.01  memory: 5000  "
        f"loss: {loss(i):.4f}  loss_cls: 0.3  loss_bbox: 0.2\n"
    )


def mae(i: int) -> str:
    return (
        f"[07:15:39.400163] Epoch: [{i // 20}]  [{i % 20 * 50:4d}/1000]  eta: 0:05:12  lr: 0.000005  "
        f"loss: {loss(i):.4f} ({loss(i) + 0.01:.4f})  "
        "grad_norm: 0.2537 (0.3329)  time: 4.3713  data: 0.0001  max mem: 51710\n"
    )


def mnist(i: int) -> str:
    line = f"Train Epoch: {1 + i // 20} [{i % 20 * 640}/60000 ({i % 20 * 5}%)]\tLoss: {loss(i):.6f}\n"
    test = f"\nTest set: Average loss: {checked(i):.4f}, Accuracy: 9833/10000 (98%)\n\n"
    return line + (test if i % 20 == 19 else "")


def olmo(i: int) -> str:
    return (
        f"2026-01-01T10:00:00Z INFO [olmo:train:100]\t[step={i}/1000,epoch=1]\n    optim/total_grad_norm=0.5000\n"
        f"    train/CrossEntropyLoss={loss(i):.3f}\n    optim/learning_rate_group0=0.0004\n"
    )


def composer(i: int) -> str:
    return (
        f"[batch={i * 10}/1000]:\n\t Train time/epoch: 0\n\t Train loss/train/total: {loss(i):.4f}\n"
        "\t Train lr-DecoupledAdamW/group0: 0.0001\n"
    )


def modded(i: int) -> str:
    line = f"step:{i * 25}/1750 train_loss:{loss(i):.4f} train_time:{i * 100}ms step_avg:12.30ms\n"
    return line + (f"step:{i * 25}/1750 val_loss:{checked(i):.4f} train_time:{i * 100}ms\n" if i % 10 == 9 else "")


def per_epoch(i: int) -> str:
    return (
        f"Epoch: {i + 1:02d} | Epoch Time: 0m 5s\n\tTrain Loss: {loss(i):.3f} | Train Acc: 87.31%\n"
        f"\t Val. Loss: {checked(i):.3f} |  Val. Acc: 87.30%\n"
    )


TENTH, EPOCH_END = tuple(range(9, POINTS, 10)), tuple(range(19, POINTS, 20))
FORMS = {
    "nanoGPT": Form(nanogpt, lambda i: i * 10, tuple(range(0, POINTS, 10))),
    "llm.c": Form(llmc, lambda i: i + 1, TENTH, 8.57e-07, 1.2),
    "torchtitan": Form(torchtitan, lambda i: i, norm=0.8),
    "Megatron": Form(megatron, lambda i: i * 100, TENTH, 9.15e-06, 0.231),
    "DeepSpeed": Form(neox, lambda i: i * 10, rate=2.111e-06),
    "Trainer": Form(trainer, lambda i: i + 1, (POINTS - 1,), 0.0008, 21.4),
    "Trainer 5": Form(trainer_5, lambda i: i + 1, (), 0.0008, 21.4),
    "fairseq": Form(fairseq, lambda i: i * 50, EPOCH_END, 8.90889e-05, 1.543),
    "Keras": Form(keras, lambda i: (i + 1) * 5, EPOCH_END),
    "Lightning": Form(lightning, lambda i: (i + 1) * 5),
    "timm": Form(timm, lambda i: i * 50 - i // 20 * 49, EPOCH_END, 1e-06),
    "OpenMMLab": Form(openmmlab, lambda i: (i + 1) * 50, rate=0.001978),
    "MAE": Form(mae, lambda i: i * 50 - i // 20 * 49, rate=5e-06, norm=0.2537),
    "PyTorch's MNIST": Form(mnist, lambda i: i * 640 - i // 20 * 639, EPOCH_END),
    "OLMo": Form(olmo, lambda i: i, norm=0.5),
    "Composer": Form(composer, lambda i: i * 10),
    "modded-nanogpt": Form(modded, lambda i: i * 25, TENTH),
    "a tutorial by epoch": Form(per_epoch, lambda i: i + 1, tuple(range(POINTS))),
    "a tutorial by step": Form(
        lambda i: f"Epoch [{1 + i // 20}/3], Step [{i % 20 * 5 + 5}/100], Loss: {loss(i):.4f}\n", lambda i: (i + 1) * 5
    ),
    "key=value": Form(
        lambda i: f"2026-01-01 10:00:00,123 INFO trainer: epoch=1 step={i} loss={loss(i)} lr=1e-3 grad_norm=1.2\n",
        lambda i: i,
        rate=1e-3,
        norm=1.2,
    ),
    "a bare step first": Form(
        lambda i: f"{i * 10} | loss {loss(i):.4f} | lr 3.000000e-04 | 104573.61ms\n", lambda i: i * 10, rate=3e-4
    ),
    "a word and a number": Form(
        lambda i: f"{i * 10} train {loss(i):.6f}\n" + (f"{i * 10} val {checked(i):.4f}\n" if i % 10 == 9 else ""),
        lambda i: i * 10,
        TENTH,
    ),
}
