"""Scores a checkpoint on a test set: `python stationmaster_evaluate.py REQUEST.json`, run by the user's Python."""

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import stationmaster_measure

    stationmaster_measure.prepare()
    from stationmaster_trainer import evaluation

    sys.exit(evaluation.main(sys.argv[1]))
