"""Looks into PyTorch Lightning where it is imported as `pytorch_lightning`; see `_lightning.py`."""

from __future__ import annotations

from ._lightning import install

__all__ = ["MODULE", "install"]
MODULE = "pytorch_lightning.trainer.connectors.callback_connector"
