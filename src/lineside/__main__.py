"""`python -m lineside`: the same as the command `lineside`; what torchrun starts."""

import sys

from lineside.cli.main import main

sys.exit(main())
