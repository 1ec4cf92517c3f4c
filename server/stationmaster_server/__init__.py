"""The MCP server of stationmaster: gates, starts, watches and explains training runs. It never imports torch,
jax or numpy."""

__version__ = "0.1.0"
