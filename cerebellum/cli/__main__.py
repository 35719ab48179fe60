"""Run the program by `python -m cerebellum.cli`."""

import sys

from cerebellum.cli.main import main

sys.exit(main())
