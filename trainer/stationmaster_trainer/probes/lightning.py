"""Looks into PyTorch Lightning where it is imported as `lightning.pytorch`; see `_lightning.py`."""

from __future__ import annotations

from ._lightning import install

__all__ = ["MODULE", "install"]
MODULE = "lightning.pytorch.trainer.connectors.callback_connector"
