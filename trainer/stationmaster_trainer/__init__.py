"""The part of stationmaster that runs beside the model: standard library only, until an adapter loads."""

__version__ = "0.1.0"
