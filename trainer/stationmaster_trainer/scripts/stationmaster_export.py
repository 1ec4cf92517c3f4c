"""Sends one run to one logger: `python stationmaster_export.py RUN_FOLDER LOGGER again|once`."""

import sys

if __name__ == "__main__":
    from stationmaster_trainer import exporting

    sys.exit(exporting.main(*sys.argv[1:4]))
