"""A short-lived child of the server: allow-listed environment, no shell, no input, killed as a tree at its deadline.

Only the end of its output is kept. Not covered: runs, which must survive the server (`detach.py`), and a child that
leaves its process group on purpose.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TAIL = 16_000
"""Bytes of output that are kept, the last ones."""
_NAMES = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYENV_ROOT"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "HF_HOME", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"),
)
_PREFIXES = (
    *("LC_", "CONDA_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_"),
    *("TORCH_", "PYTORCH_", "TRANSFORMERS_", "XLA_", "JAX_"),
)
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE", re.IGNORECASE)
_ALWAYS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
"""Unless the user set them: threads that spin beside any other busy process cost a factor of ten."""


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    code: int | None
    """Exit code, negative for a signal; None when it was killed at the deadline."""
    output: str
    """End of stdout and stderr together, at most `TAIL` bytes; untrusted."""
    seconds: float


def environment(source: Mapping[str, str] | None = None, **more: str) -> dict[str, str]:
    """The allow-listed part of the server's environment (or of `source`), never a secret, plus `more`.

    PYTHONPATH and PYTHONHOME are left out: where a client sets them, they are the server's and not the project's.
    """
    source = os.environ if source is None else source
    kept = {
        name: value
        for name, value in source.items()
        if (name in _NAMES or name.startswith(_PREFIXES)) and not _SECRET.search(name)
    }
    return {**_ALWAYS, **kept, **more}


def run(argv: Sequence[str], *, cwd: Path, timeout: float, env: Mapping[str, str] | None = None) -> Ended:
    """Runs a child to its end, or kills its whole process group after `timeout` seconds.

    Raises OSError when it cannot be started.
    """
    import subprocess

    began = time.monotonic()
    child = subprocess.Popen(  # nosec B603 # argv list, no shell
        list(argv),
        cwd=cwd,
        env=dict(environment() if env is None else env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        umask=0o077,
    )
    assert child.stdout is not None
    tail = _Tail(child.stdout)
    code: int | None = None
    try:
        code = child.wait(timeout)
    except subprocess.TimeoutExpired:
        pass
    finally:
        _kill_group(child.pid)
        child.wait()
        output = tail.close()
    return Ended(code, output, time.monotonic() - began)


class _Tail:
    """Drains a pipe in a thread, so that a talkative child never blocks, and keeps its end."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._kept = b""
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        while chunk := os.read(self._pipe.fileno(), 65_536):
            self._kept = (self._kept + chunk)[-TAIL:]
        self._pipe.close()

    def close(self) -> str:
        """What was kept. A grandchild that left the group may hold the pipe open: not waited for beyond a second."""
        self._thread.join(1.0)
        return self._kept.decode("utf-8", "replace")


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
