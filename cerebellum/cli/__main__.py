"""`python -m cerebellum.cli` is the program."""

import sys

from cerebellum.cli.main import main

sys.exit(main())
