"""What `measure.py` finds in the user's own Python before a run, and what it is asked: requests and answers,
frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Finding:
    """Something a check saw before the start. `error` refuses the start; `warning` is shown and must be
    confirmed with the rest."""

    check: str
    """Name of the check, for example `overlap`."""
    severity: Literal["info", "warning", "error"]
    message: str
    """What was seen, in numbers."""
    advice: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ColumnFacts:
    name: str
    dtype: str
    """`number`, `text`, `boolean`, `date`, `list`, `image`."""
    missing: int = 0
    """Empty or non-finite cells."""
    unique: int | None = None
    """Different values, counted up to 1,000; null beyond."""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class FileFacts:
    """One data file or folder."""

    path: str
    """Relative to the project."""
    format: str
    """`csv`, `tsv`, `parquet`, `jsonl`, `npz`, `images`, `text`."""
    rows: int
    bytes: int
    columns: tuple[ColumnFacts, ...] = ()
    """Columns of a table; arrays of an npz."""
    target: str | None = None
    """The column taken for the target, where one is recognised."""
    target_why: str = ""
    task: str | None = None
    task_why: str = ""
    classes: dict[str, int] = field(default_factory=dict)
    """Class → rows, for classification; at most 100 entries."""
    shape: tuple[int, ...] = ()
    """Shape of one sample, for images and arrays."""
    problem: str = ""
    """Why it cannot be used, when it cannot."""


@dataclass(frozen=True)
class EnvironmentFacts:
    """The Python that will train."""

    python: str
    """Path of the interpreter."""
    version: str
    packages: dict[str, str]
    """Package → installed version, of those that matter for training."""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitFacts:
    """The validation decision, carried out and counted."""

    method: str
    """In words: `80/20 split, seed 42, stratified by label`, `file data/val.csv`, `none (waived)`."""
    task: str
    task_why: str
    target: str | None
    train_samples: int
    val_samples: int
    dropped: int = 0
    """Rows left out because of missing values."""
    classes: tuple[str, ...] = ()
    train_counts: dict[str, int] = field(default_factory=dict)
    val_counts: dict[str, int] = field(default_factory=dict)
    overlap: int = 0
    """Validation samples whose content (inputs and target, by hash) also stands in the training part."""
    sample_shape: tuple[int, ...] = ()
    fingerprint: str = ""
    """SHA-256 over the content of every data file."""
    findings: tuple[Finding, ...] = ()
    about: bool = False
    """Whether the numbers of samples are estimates: rows may be left out, and not each was looked at."""


@dataclass(frozen=True)
class ModelFacts:
    """The user's model, built with the real data's sizes and fed one real batch (forward, loss, backward)."""

    model_name: str
    model_args: dict[str, Any]
    """What it was constructed with, filled-in sizes included."""
    parameters: int
    trainable_parameters: int
    device: str
    precisions: tuple[str, ...]
    """Number formats that the device does well, best first."""
    initial_loss: float | None = None
    expected_loss: float | None = None
    """ln(classes) for classification, ln(vocabulary) for language modelling."""
    output_shape: tuple[int, ...] = ()
    parameter_bytes: int = 0
    free_memory_bytes: int | None = None
    """Of the device that will train."""
    seconds_per_batch: float | None = None
    """Forward and backward of the second batch of `batch_size`."""
    batch_that_fits: int | None = None
    """Samples of one batch that the free memory takes, where estimated."""
    state_bytes: int | None = None
    """Memory that training needs whatever the batch: weights, gradients, optimizer, the copy for checkpoints."""
    sample_bytes: int | None = None
    """Memory that each sample of a batch needs beside it: activations at their longest."""
    regime: str = "scratch"
    """`scratch`, `continued`, `fine-tune`, `sft` or `lora`: what kind of training it is, for the table of defaults."""
    decided: dict[str, Any] = field(default_factory=dict)
    """Options of `extra` that the measurement decided (LoRA, because a full fine-tuning does not fit); the finding of
    the same name says why."""
    dropout_layers: int = 0
    entry_sha256: str = ""
    """SHA-256 over the entry file and its local imports."""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class SmokeFacts:
    """A smoke test: real steps of one configuration on its code and data, in processes of their own."""

    device: str
    steps: int
    """Optimizer steps that were done."""
    losses: tuple[float, ...] = ()
    """Train loss of each."""
    step_seconds: float | None = None
    """Median of the steps after the first ones; None when too few were done."""
    data_seconds: float | None = None
    """What of it was spent waiting for data, median."""
    startup_seconds: float | None = None
    """From the start of the process to the first step."""
    eval_seconds: float | None = None
    eval_samples: int = 0
    """Validation samples that were scored, spread over all of them."""
    eval_loss: float | None = None
    checkpoint_bytes: int | None = None
    stall_seconds: float | None = None
    """For which a checkpoint holds the training up."""
    peak_memory: int | None = None
    """Most bytes: allocated on the device, on the CPU resident, libraries included."""
    free_memory: int | None = None
    """What the process could have had, in the same terms."""
    resumed_steps: int = 0
    """Steps that were done again from the checkpoint in a fresh process."""
    resume_difference: float | None = None
    """Largest relative difference of loss and gradient norm between those and the first time."""
    overfit: tuple[float, float] | None = None
    """Loss of a few samples before they were trained on alone, and the best one then."""
    beside: str = ""
    """Which run used the device meanwhile: times are longer and memory smaller then."""
    checked: tuple[str, ...] = ()
    """What was looked at, for a script that runs as it is; empty: all of it."""
    not_checked: dict[str, str] = field(default_factory=dict)
    """What could not be looked at → why."""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class BatchFacts:
    """Largest micro-batch with the same effective batch: peak memory = `base` + `per_sample` · batch, verified once."""

    device: str
    points: tuple[tuple[int, int], ...]
    """(micro-batch, peak bytes), each measured in a process of its own."""
    base: int
    per_sample: float
    """Bytes; 0 where the measured sizes do not differ beyond noise."""
    free_memory: int | None
    effective: int
    """Samples of one optimizer step: micro-batch × accumulation."""
    batch_size: int
    """Proposed micro-batch; 0 when not even one sample fits."""
    gradient_accumulation: int
    verified: int | None = None
    """Peak bytes of the one run with the proposed micro-batch; None when that was measured already or failed."""
    failed: tuple[int, ...] = ()
    """Micro-batches that did not fit."""
    beside: str = ""


@dataclass(frozen=True)
class RateCurve:
    """A few steps at one learning rate."""

    learning_rate: float
    losses: tuple[float, ...]
    """Train loss of each step."""
    final_loss: float
    """Mean over the last fifth; NaN when it diverged."""
    eval_loss: float | None = None
    eval_sem: float | None = None
    """Standard error of it, where known."""
    diverged: bool = False


@dataclass(frozen=True)
class RateFacts:
    """Three learning rates from the same start, on the same data in the same order."""

    device: str
    steps: int
    warmup_steps: int
    """Of each of the three; constant afterwards."""
    curves: tuple[RateCurve, ...]
    """At a third of the rate, at the rate, at three times it."""
    best: float | None = None
    """The rate that was better than the configured one beyond noise; None: none was."""
    beside: str = ""


@dataclass(frozen=True)
class Request:
    """What the server asks of the user's Python."""

    what: Literal["environment", "data", "split", "model", "rows", "smoke", "batch_size", "learning_rate", "rehearsal"]
    project_dir: str
    files: tuple[str, ...] = ()
    """For `data`: the files to look at, relative to the project."""
    config: dict[str, Any] = field(default_factory=dict)
    """For `split` and `model`: what is known of the TrainingConfig so far, by its keys; for a preflight all of it."""
    packages: tuple[str, ...] = ()
    """For `environment`."""
    options: dict[str, Any] = field(default_factory=dict)
    """For a preflight: see `preflight.stage`."""


@dataclass(frozen=True)
class Answer:
    """The measured facts, or the error; exactly one of them is set."""

    environment: EnvironmentFacts | None = None
    data: tuple[FileFacts, ...] | None = None
    split: SplitFacts | None = None
    model: ModelFacts | None = None
    smoke: SmokeFacts | None = None
    batch_size: BatchFacts | None = None
    learning_rate: RateFacts | None = None
    rehearsal: dict[str, Any] | None = None
    """What one process of a preflight saw beside its records, see `preflight.rehearsal`."""
    rows: tuple[str, ...] | None = None
    """Rows as short texts; untrusted."""
    error: str = ""
    """Kind of error: a class name of `errors.py`, else `Bug`."""
    message: str = ""
    way_out: str = ""
    where: str = ""
    """`file:line` in the user's code."""
    traceback: str = ""
    """Trimmed to the user's frames; untrusted text."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Interval:
    """95 % confidence interval of a figure."""

    low: float
    high: float
    method: str
    """By which formula, over how many samples."""


@dataclass(frozen=True)
class EvaluationRequest:
    """`evaluations/<n>.request.json`: the order to score a checkpoint on a test set."""

    number: int
    """Counted from 1 over the run."""
    run_dir: str
    """Absolute path of the run's folder."""
    checkpoint: str
    """Absolute path of the checkpoint."""
    step: int
    test_data: str
    """File or folder relative to the project, or `build_data`."""
    fingerprint: str = ""
    """SHA-256 over the content of the test set; empty for `build_data`."""
    looks: tuple[str, ...] = ()
    """Evaluations of this project that scored a model on the same content before, as `<run>/<n>`."""
    validation: dict[str, float] = field(default_factory=dict)
    """What validation gave at this checkpoint: `loss` and the metrics; empty when it was waived."""
    time: float = 0.0
    format: int = 1


@dataclass(frozen=True)
class EvaluationFacts:
    """`evaluations/<n>.json`: what the checkpoint scored on the test set, or why it could not be scored."""

    request: EvaluationRequest
    time: float
    """When it was written."""
    seconds: float
    device: str = ""
    samples: int = 0
    dropped: int = 0
    """Rows left out because of missing values."""
    loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    """By the name of a metric, or `loss`; a figure without one has no interval."""
    overlap: dict[str, int] = field(default_factory=dict)
    """`training`, `validation` → test samples whose content (inputs and target, by hash) also stands there; a part that
    could not be compared is absent."""
    findings: tuple[Finding, ...] = ()
    error: str = ""
    """Kind of error: a class name of `errors.py`, else `Bug`."""
    message: str = ""
    way_out: str = ""
    where: str = ""
    traceback: str = ""
    """Trimmed to the user's frames; untrusted text."""
    format: int = 1
