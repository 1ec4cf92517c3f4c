"""Event files for TensorBoard, written without importing torch: scalars by step, the configuration as text and as
hyperparameters, and how the run ended.

A resume writes a session start, from which TensorBoard forgets the superseded steps.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from .. import codec
from ..contract import Record, Spec
from ..errors import FormatError
from ..rundir import RunDir
from ._logger import ending_of, scalars, summary_of


class TensorBoardLogger:
    """One event file for the whole run, so that it can be cut back to a mark like any other file."""

    def __init__(self, run: RunDir, spec: Spec, mark: dict[str, Any]) -> None:
        self.where, self._run = run.tensorboard.name, run
        run.tensorboard.mkdir(mode=0o700, exist_ok=True)
        self._name = str(mark.get("file") or _file_name(run))
        path = run.tensorboard / self._name
        size = int(mark.get("size", 0))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "r+b")
        found = os.fstat(descriptor).st_size
        if found < size:
            self._file.close()
            raise FormatError(f"{path} has {found} bytes, {size} were written")
        self._file.truncate(size)
        self._file.seek(size)
        self._writer = RecordWriter(self._file)
        self._last_time = 0.0
        if not mark:
            created = os.stat(run.spec).st_mtime
            self._put(Event(wall_time=created, file_version="brain.Event:2"))
            config = codec.to_plain(spec.config)
            table = hparams_pb(_hyperparameters(config), trial_id=spec.config.run_name)
            self._put(Event(wall_time=created, summary=table))
            self._put(Event(wall_time=created, summary=Summary(value=[_text("config", _markdown(config))])))

    def write(self, record: Record) -> None:
        figures = scalars(record)
        if figures:
            values = [Summary.Value(tag=tag, simple_value=float(value)) for tag, value in figures.items()]
            step = getattr(record, "step", 0)
            self._put(Event(wall_time=record.time, step=step, summary=Summary(value=values)))

    def rewind(self, step: int) -> None:
        start = SessionLog(status=SessionLog.START)
        self._put(Event(wall_time=self._last_time, step=step + 1, session_log=start))

    def flush(self) -> dict[str, Any]:
        self._file.flush()
        return {"file": self._name, "size": self._file.tell()}

    def close(self) -> None:
        """Adds how the run ended; behind the mark, so that a resume takes it back."""
        status = ending_of(self._run)
        if status is not None:
            text = _text("ending", _markdown(summary_of(status)))
            self._put(Event(wall_time=status.updated, step=status.step, summary=Summary(value=[text])))
        self._file.close()

    def _put(self, event: Any) -> None:
        self._last_time = event.wall_time
        self._writer.write(event.SerializeToString())


def open(run: RunDir, spec: Spec, mark: dict[str, Any]) -> TensorBoardLogger:
    if not mark:
        _remove_own(run)
    return TensorBoardLogger(run, spec, mark)


def _file_name(run: RunDir) -> str:
    """As TensorBoard looks for it; our last word in it tells our file from one that the user put there."""
    return f"events.out.tfevents.{int(os.stat(run.spec).st_mtime):010d}.{socket.gethostname()}.stationmaster"


def _remove_own(run: RunDir) -> None:
    for path in run.tensorboard.glob("events.out.tfevents.*.stationmaster"):
        path.unlink()


def _text(tag: str, text: str) -> Any:
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()], tensor_shape=shape)
    return Summary.Value(tag=tag, metadata=metadata, tensor=tensor)


def _hyperparameters(plain: dict[str, Any]) -> dict[str, bool | float | str]:
    """What TensorBoard's table of hyperparameters can hold."""
    return {key: value if isinstance(value, (bool, int, float)) else str(value) for key, value in plain.items()}


def _markdown(plain: dict[str, Any]) -> str:
    """A table."""
    lines = [f"| {key} | {value} |" for key, value in plain.items()]
    return "\n".join(["| key | value |", "|---|---|", *lines])
