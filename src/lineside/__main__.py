"""`python -m lineside`: the same as the command `lineside`; what torchrun starts."""

import sys

from lineside.cli.main import main

if __name__ == "__main__":  # not in the processes that `check` spawns
    sys.exit(main())
