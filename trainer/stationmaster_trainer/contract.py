"""What crosses a process: the confirmed configuration, the launch order, the records, the status and the alerts.

Standard library only. Every class is a frozen dataclass; `codec.py` turns it into JSON and back. All times named
`time` are
seconds since the epoch (wall clock, for people); all durations and `elapsed` are seconds of a monotonic clock.
A non-finite float is legal in every float field and survives the codec.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

FORMAT = 1
"""Version of every file of the run folder. A reader refuses a larger one by name."""
SCRIPT = "script"
"""`framework` of a configuration that runs a script as it is."""

Framework = Literal["pytorch", "transformers", "flax", "script"]
"""Which adapter trains; `script`: nothing does, a script of the person runs as it is."""
Task = Literal["classification", "regression", "language_modeling", "custom"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class TrainingConfig:
    """The configuration that a person confirms. The keys are the checklist's own, in its order; the rest follows."""

    # Model
    model_path: str
    """Path of the Python file that defines the model (relative to the project), or an identifier or folder for
    Transformers."""
    framework: Framework
    """Which adapter trains it; detected from the imports."""
    # Data
    train_data: str
    """Path of the training data (relative to the project), or `build_data` when the model file provides it."""
    val_data: str
    """Path of the validation data, `split` (taken from the training data), `build_data`, or `none` (waived by
    the person)."""
    batch_size: int
    """Samples in one forward and backward pass (the micro-batch)."""
    gradient_accumulation: int
    """Micro-batches per optimizer step; effective batch = batch_size × gradient_accumulation."""
    # Optimizer
    optimizer: Literal["AdamW", "SGD", "script"]
    """The optimizer by its usual name; `script`, as zeros elsewhere: what a script that runs as it is decides."""
    learning_rate: float
    """Peak learning rate, reached at the end of the warm-up."""
    weight_decay: float
    """Decoupled weight decay."""
    betas: tuple[float, float]
    """AdamW's β1 and β2; for SGD the first is the momentum."""
    # Schedule
    warmup_steps: int
    """Optimizer steps of linear warm-up from zero to `learning_rate`."""
    lr_schedule: Literal["cosine", "linear", "constant", "script"]
    """Shape after the warm-up, down to `min_lr_ratio` × learning_rate at `total_steps`."""
    total_steps: int
    """Optimizer steps of the whole run = epochs × steps per epoch."""
    # Regularization
    gradient_clip: float
    """Largest global gradient norm (L2); 0 switches clipping off."""
    dropout: float | None
    """Dropout probability set on every dropout layer; null keeps what the model has."""
    # Checkpointing
    checkpoint_every: int
    """Optimizer steps between checkpoints; the last step is always saved."""
    checkpoint_dir: str
    """Folder of this run's checkpoints, relative to the project."""
    # Logging
    log_every: int
    """Optimizer steps per record; every step is seen, the record holds the window's mean and extremes."""
    validate_every: int
    """Optimizer steps between validations."""
    logging: tuple[str, ...]
    """Chosen logging backends, of `file`, `tensorboard`, `wandb`, `trackio`; the local file log is always written."""
    # Run
    run_name: str
    """Name of the run folder below `runs/`."""
    task: Task
    """What is learnt, inferred from the target; decides loss and metrics."""
    epochs: float
    """Passes over the training data that `total_steps` amounts to."""
    seed: int = 42
    """Seed of initialisation, data order and split."""
    precision: Precision = "fp32"
    """Number format of forward and backward; parameters stay fp32."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:0`, `mps`."""
    min_lr_ratio: float = 0.0
    """Floor of the schedule as a share of the peak rate, in [0, 1)."""
    model_name: str | None = None
    """Class or function in the model file; null takes `build_model`, else the only nn.Module defined there."""
    model_args: dict[str, Any] = field(default_factory=dict)
    """Arguments for the model's constructor by name; sizes known from the data are filled in where the names say so."""
    target: str | None = None
    """Column (or npz array) to predict; null: inferred (`label`, `target`, `y`, …, else the last column)."""
    val_fraction: float = 0.2
    """Share of the data held out when `val_data` is `split`."""
    group_column: str | None = None
    """Column whose equal values never land on both sides of a split."""
    time_column: str | None = None
    """Column of dates or times: a split then holds out the newest rows instead of random ones."""
    missing_values: Literal["error", "drop", "mean"] = "error"
    """What happens to rows with empty or non-finite cells: refused, left out, or filled with the training part's
    mean."""
    scale_inputs: bool = True
    """Standardise numeric inputs by the training part's mean and deviation (images: divide by 255)."""
    sequence_length: int = 128
    """Tokens per row for language modelling."""
    keep_checkpoints: int = 2
    """Newest checkpoints kept beside the best one."""
    early_stopping_patience: int | None = None
    """Validations without a better value after which the run ends; null: never."""
    num_threads: int = 0
    """CPU threads of the training process; 0 leaves the framework's own choice."""
    actions: dict[str, str] = field(default_factory=dict)
    """What a rule does beyond its alert, by rule: `stop`, or `rollback` where the rule allows it; all others alert."""
    rollback_rate_factor: float = 0.5
    """What the learning rate is multiplied by at each rollback, from there to the end of the schedule."""
    max_hours: float | None = None
    """Hours of training, all attempts together, after which the run saves and stops; null: no limit. Waiting in a queue
    does not count."""
    max_disk_gb: float | None = None
    """GB (10^9 bytes) of run folder and checkpoints before the run saves and stops; null: no limit."""
    when_busy: Literal["refuse", "queue", "share"] = "share"
    """While another run of this person uses the device: `refuse` the start, `queue` behind that run, or `share` it."""
    script_args: tuple[str, ...] = ()
    """Arguments of a script that runs as it is (`framework: script`, chosen by the change `script`)."""
    command: tuple[str, ...] = ()
    """The command line of a launcher or program that runs as it is (`torchrun train.py`), without a shell; empty: the
    script is run by the project's Python."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Options of one adapter (for example `lora_r` for transformers), validated by that adapter's policy."""


@dataclass(frozen=True)
class DataFacts:
    """What was measured about the data and the model before the start, and what the person decided about validation."""

    train_samples: int
    """Training samples after the split and after dropped rows."""
    val_samples: int
    """Validation samples; 0 when waived."""
    steps_per_epoch: int
    """Optimizer steps of one pass over the training samples."""
    parameters: int
    """Parameters of the model."""
    trainable_parameters: int
    """Parameters that get a gradient."""
    classes: tuple[str, ...] = ()
    """Class names for classification, in label order."""
    sample_unit: str = "samples"
    """What one sample is: `samples` or `sequences`."""
    fingerprint: str = ""
    """SHA-256 over the content of every data file."""
    entry_sha256: str = ""
    """SHA-256 over the entry file and its local imports."""
    device: str = ""
    """Device that the model was measured on, which is the one that trains; empty in runs made before it was kept."""
    about: bool = False
    """Whether the numbers of samples are estimates; the record of a run's start has them counted."""


@dataclass(frozen=True)
class Spec:
    """`spec.json`: everything the worker needs, resolved; the same for every attempt of a run."""

    config: TrainingConfig
    """The confirmed configuration."""
    facts: DataFacts
    """What was measured; the worker refuses to train when it finds other data."""
    project_dir: str
    """Absolute path of the user's project; relative paths of the configuration start here."""
    run_dir: str
    """Absolute path of this run's folder."""
    checkpoint_dir: str
    """Absolute path of this run's checkpoints."""
    digest: str
    """SHA-256 of what the person confirmed."""
    format: int = FORMAT
    """Version of the file."""


@dataclass(frozen=True)
class Launch:
    """`attempts/<nnn>/launch.json`: the order to the supervisor for one attempt."""

    attempt: int
    """1 for the first start, then one more for each resume."""
    argv: tuple[str, ...]
    """The worker's command: the user's Python, a script path below `lib/`, the attempt folder."""
    cwd: str
    """Working folder of the worker: the project."""
    env: dict[str, str]
    """The worker's whole environment (an allow-list of the server's, plus what the configuration names)."""
    recorder_argv: tuple[str, ...]
    """The recorder's command (the server's Python); empty when only the stream is wanted."""
    resume_from: str | None = None
    """Absolute path of the verified checkpoint to continue from; null starts from step 0."""
    resume_step: int = 0
    """Step of that checkpoint. Records of earlier attempts beyond it are superseded."""
    grace_seconds: float = 60.0
    """Seconds between the request to stop and SIGTERM; SIGKILL follows after a sixth of it, at least 5 s."""
    env_names: tuple[str, ...] = ()
    """Variables that the worker gets by name only (keys, tokens): the values stand in the supervisor's environment."""
    stall_seconds: float = 60.0
    """Floor of the learned time-out after which silence of the worker is an alert (five times the longest gap seen)."""
    first_stall_seconds: float = 600.0
    """The same for a phase that has not ended once yet: import, first data, compilation, the first step."""
    rollbacks: tuple[Action, ...] = ()
    """Every rollback of the run so far, oldest first: data left out and learning rate follow from them."""
    lease: str = ""
    """Device that the run claims while it lives: `cpu`, `mps`, or a GPU's UUID; empty: none."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Limits that were changed at a resume, by key (`max_hours`, `max_disk_gb`, `when_busy`); they replace the
    configuration's."""
    format: int = FORMAT
    """Version of the file."""


# --- records: one JSON line each in attempts/<nnn>/stream.jsonl, written by the worker's rank 0 alone ---


@dataclass(frozen=True)
class Action:
    """The run did what the confirmed plan allows a rule to do.

    A rollback is the first word of the attempt that it begins, and stands at the step that it went back to; a stop is
    one of the last words of the attempt that it ends.
    """

    kind: ClassVar[str] = "action"
    time: float
    elapsed: float
    step: int
    """Step that the run stands at afterwards: that of the checkpoint, or the last one done."""
    action: Literal["stop", "rollback"]
    rule: str
    message: str
    """What the rule saw, in numbers."""
    first_step: int
    """First step of the alert."""
    last_step: int
    """Its last step when the action was decided."""
    series: str = ""
    samples: tuple[int, ...] = ()
    """Rows of the batch concerned, where the alert names them."""
    number: int = 0
    """Rollbacks of the run, this one included."""
    attempt: int = 0
    """Attempt that a rollback begins."""
    checkpoint: str = ""
    """Folder that a rollback went back to, relative to the project."""
    skipped_first: int = 0
    """First optimizer step of the order without gaps whose data are left out; no step when it is beyond the last."""
    skipped_last: int = 0
    """Last such step: step `step` + 1 takes the data of the one behind it."""
    rate_factor: float = 1.0
    """What the schedule's learning rate is multiplied by from here on, earlier rollbacks included."""
    removed: tuple[str, ...] = ()
    """Checkpoints of the steps that were given up, deleted; relative to the project."""


@dataclass(frozen=True)
class Started:
    """The adapter is ready: model built, data read, checkpoint loaded; the first step follows."""

    kind: ClassVar[str] = "started"
    time: float
    elapsed: float
    """Seconds since the worker started."""
    framework: str
    device: str
    """Device as used, for example `cpu` or `cuda:0 (NVIDIA H200)`."""
    precision: str
    total_steps: int
    steps_per_epoch: int
    train_samples: int
    val_samples: int
    parameters: int
    step: int = 0
    """Step continued from; 0 at the first attempt."""


@dataclass(frozen=True)
class Train:
    """A window of `steps` optimizer steps that ends at `step`. Every step of the window is in its figures."""

    kind: ClassVar[str] = "train"
    time: float
    elapsed: float
    step: int
    """Last optimizer step of the window, counted from 1."""
    epoch: float
    """Passes over the training data so far."""
    samples: int
    """Training samples seen since step 0."""
    loss: float
    """Mean loss of the window's finite steps, weighted by samples; NaN when no step was finite."""
    loss_max: float
    """Largest finite per-step loss of the window."""
    loss_min: float
    """Smallest finite per-step loss of the window."""
    grad_norm: float | None
    """Mean global L2 gradient norm before clipping, over the finite steps."""
    grad_norm_max: float | None
    """Largest finite gradient norm of the window."""
    learning_rate: float
    """Learning rate used at `step`; NaN: not seen."""
    samples_per_second: float
    """Samples of the window over its seconds of training (validation and saving left out)."""
    steps: int = 1
    """Optimizer steps in the window."""
    window_samples: int = 0
    """Samples in the window."""
    nonfinite: int = 0
    """Steps of the window whose loss or gradient norm was not finite."""
    nonfinite_step: int | None = None
    """First such step."""
    nonfinite_what: str | None = None
    """`loss` or `grad_norm` at that step."""
    skipped: int = 0
    """Steps of the window whose update was left out (loss scaler, or a non-finite gradient)."""
    loss_max_step: int | None = None
    """Step of `loss_max`."""
    grad_norm_max_step: int | None = None
    """Step of `grad_norm_max`."""
    data_seconds: float = 0.0
    """Seconds of the window spent waiting for data."""
    worst_samples: tuple[int, ...] = ()
    """Rows, in their source file and counted from 1, of the batch at `nonfinite_step`, else at `loss_max_step`; capped,
    may be empty."""
    steepest_samples: tuple[int, ...] = ()
    """The same of the batch at `grad_norm_max_step`, when that is another step."""


@dataclass(frozen=True)
class Eval:
    """One validation of the whole validation set."""

    kind: ClassVar[str] = "eval"
    time: float
    elapsed: float
    step: int
    loss: float
    """Mean validation loss, weighted by samples."""
    metrics: dict[str, float]
    """Further metrics by name, for example `accuracy` in [0, 1]."""
    samples: int
    """Validation samples."""
    seconds: float
    loss_sem: float | None = None
    """Standard error of the mean loss over samples, where known."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint is complete on disk: manifest written, folder renamed into place."""

    kind: ClassVar[str] = "checkpoint"
    time: float
    elapsed: float
    step: int
    path: str
    """Folder, relative to the project."""
    bytes: int
    seconds: float
    """Seconds from snapshot to rename."""
    stall_seconds: float
    """Seconds for which the training step waited."""
    best: bool = False
    """Whether it is the best so far by validation loss (by train loss when validation was waived)."""
    eval_loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    """Older checkpoints deleted after this one was verified, relative to the project."""


@dataclass(frozen=True)
class Phase:
    """The worker enters a phase: `import`, `data`, `model`, `resume`, `train`, `eval`, `save`, `finish`.

    Where steps are slow the reporter's thread repeats the phase, to tell the newest step: a sign of life of that step.
    """

    kind: ClassVar[str] = "phase"
    time: float
    elapsed: float
    phase: str
    step: int = 0
    ago: float = 0.0
    """Seconds since that step was done; 0 where the phase begins now."""
    output: int = 0
    """Bytes of the attempt's output by then, where a script that runs as it is begins to validate; 0: not known."""


@dataclass(frozen=True)
class Note:
    """A fact worth telling that is no number of the curve: rows dropped, class weights, precision fallen back, …"""

    kind: ClassVar[str] = "note"
    time: float
    elapsed: float
    step: int
    message: str
    level: Literal["info", "warning"] = "info"
    facts: dict[str, Any] = field(default_factory=dict)
    """Machine-readable part, for rules and the report (for example `update_ratio` per layer group)."""


@dataclass(frozen=True)
class Ack:
    """The worker has obeyed a control file."""

    kind: ClassVar[str] = "ack"
    time: float
    elapsed: float
    step: int
    control: str
    """Name of the control file."""


@dataclass(frozen=True)
class Failure:
    """The worker's own account of why it cannot go on; followed by its exit with code 1."""

    kind: ClassVar[str] = "failure"
    time: float
    elapsed: float
    step: int
    cause: str
    """A key of `states.CAUSES`: `exception`, `oom`, `disk_full`, …"""
    error: str
    """Exception type."""
    message: str
    way_out: str
    where: str
    """`file:line` of the innermost frame in the user's own code, else of ours."""
    traceback: str
    """Trimmed to the user's frames, capped at 4,000 characters."""


@dataclass(frozen=True)
class Finished:
    """The worker's last record. Without it no run has succeeded, whatever the exit code."""

    kind: ClassVar[str] = "finished"
    time: float
    elapsed: float
    step: int
    reason: str
    """`completed`, `early_stopping`, `user`, `budget`, `supervisor_gone`, `rule`, `rollback`."""
    train_seconds: float
    """Seconds of training in this attempt, validation and saving included."""
    samples: int
    """Training samples seen since step 0."""


Record = Started | Train | Eval | Checkpoint | Phase | Note | Ack | Action | Failure | Finished
RECORDS: dict[str, type] = {
    cls.kind: cls for cls in (Started, Train, Eval, Checkpoint, Phase, Note, Ack, Action, Failure, Finished)
}


# --- what the supervisor says ---


@dataclass(frozen=True)
class Alert:
    """One episode of one rule. `alerts.jsonl` holds an entry when it opens, when it worsens, and when it clears."""

    rule: str
    severity: Literal["info", "warning", "critical"]
    first_step: int
    last_step: int
    message: str
    """What was seen, in numbers."""
    meaning: str
    """What it usually means."""
    advice: str
    """What to do."""
    seen: dict[str, float] = field(default_factory=dict)
    """The numbers behind the message."""
    time: float = 0.0
    """When it was raised."""
    open: bool = True
    """False once the episode is over."""
    samples: tuple[int, ...] = ()
    """Indices of the training rows concerned, where the record names them."""
    series: str = ""
    """The series that was judged: `train/loss`, `train/grad_norm`, `train/learning_rate`, `eval/loss`, `notes`."""


@dataclass(frozen=True)
class RulePlan:
    """What a rule may know beforehand from the confirmed plan; every field may be unknown for a foreign log."""

    total_steps: int | None = None
    warmup_steps: int | None = None
    lr_schedule: str | None = None
    peak_learning_rate: float | None = None
    min_lr_ratio: float | None = None
    steps_per_epoch: int | None = None
    classes: int | None = None
    has_validation: bool | None = None
    gradient_clip: float | None = None
    samples_per_step: int | None = None
    """Effective batch size."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Thresholds that the person set, by `rule.setting` (for example `loss_spike.ratio`)."""


@dataclass(frozen=True)
class Best:
    """The best validation so far."""

    step: int
    value: float
    metric: str
    """`eval/loss`, or `train/loss` when validation was waived."""
    path: str | None = None
    """Its checkpoint, relative to the project, when it still exists."""


@dataclass(frozen=True)
class Identity:
    """A process that cannot be confused with a later one of the same pid."""

    pid: int
    start_ticks: int
    """Field 22 of /proc/<pid>/stat; 0 where the system has none."""
    boot_id: str
    """/proc/sys/kernel/random/boot_id; empty where the system has none."""
    token: str
    """Random, in the process's environment as STATIONMASTER_TOKEN."""


@dataclass(frozen=True)
class LoggerState:
    """One logger of the recorder."""

    name: str
    where: str
    """Path relative to the run folder, or a URL."""
    state: Literal["ok", "degraded", "off"] = "ok"
    message: str = ""


@dataclass(frozen=True)
class Cleared:
    """What was found to be gone after the worker had ended."""

    seconds: float
    """From the request to stop (without one: from the worker's end) until this was known."""
    forced: int = 0
    """Processes of the worker that were still there and had to be ended."""
    left: tuple[int, ...] = ()
    """Process ids that could not be ended; empty: the whole tree is gone."""
    gpu: str = ""
    """`free` when no process of the run holds memory of its GPU any more, `held` when one does; empty: not known."""


@dataclass(frozen=True)
class Status:
    """`status.json`: the newest state, small and constant in size, replaced atomically by the supervisor."""

    run: str
    attempt: int
    state: str
    """A key of `states.MOVES`; a reader may derive `lost`."""
    revision: int
    """Grows with every replacement; the cursor of `poll_status`."""
    updated: float
    """Wall clock of this replacement."""
    started: float
    """Wall clock of the attempt's start."""
    ended: float | None = None
    cause: str | None = None
    """A key of `states.CAUSES` once the state is final or stopping."""
    message: str = ""
    """One sentence of evidence for the cause; text of the user's code in it is untrusted."""
    way_out: str = ""
    where: str = ""
    """`file:line` for an exception."""
    phase: str = ""
    step: int = 0
    total_steps: int = 0
    epoch: float = 0.0
    samples: int = 0
    loss: float | None = None
    """Mean of the newest window."""
    loss_average: float | None = None
    """Moving average: exponential over steps, weighted by samples, half-life of 50 steps, finite values only."""
    learning_rate: float | None = None
    grad_norm: float | None = None
    samples_per_second: float | None = None
    """Of the newest records, smoothed."""
    eta_seconds: float | None = None
    """Estimated seconds until the end, validation and saving included."""
    elapsed: float = 0.0
    """Seconds of all attempts so far."""
    eval: Eval | None = None
    """Newest validation."""
    best: Best | None = None
    checkpoint: Checkpoint | None = None
    """Newest complete checkpoint."""
    resumed_from: int = 0
    """Step this attempt continued from."""
    alerts_open: tuple[Alert, ...] = ()
    """At most five, the worst first."""
    alerts_total: int = 0
    """Episodes so far in all attempts, info included."""
    not_checked: dict[str, str] = field(default_factory=dict)
    """Rule → why it could not judge."""
    actions: tuple[Action, ...] = ()
    """What rules did beyond alerting, in all attempts, oldest first: two rollbacks at most, and a stop."""
    curve: tuple[tuple[int, float], ...] = ()
    """At most 64 points (step, train loss), evenly thinned over the whole run."""
    eval_curve: tuple[tuple[int, float], ...] = ()
    """At most 64 points (step, validation loss)."""
    loggers: tuple[LoggerState, ...] = ()
    device: str = ""
    sight: str = ""
    """Of a script that runs as it is: what is seen of it, and what that means."""
    cleared: Cleared | None = None
    """Once the attempt is over: that nothing of it is left."""
    worker: Identity | None = None
    supervisor: Identity | None = None
    format: int = FORMAT
