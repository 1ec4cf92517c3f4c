"""Starts the supervisor from a run's `lib/`."""

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from stationmaster_trainer import duty

    sys.exit(duty.main(sys.argv[1]))
