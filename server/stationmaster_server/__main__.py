"""`python -m stationmaster_server` is the command `stationmaster`."""

import sys

from .cli import main

sys.exit(main())
