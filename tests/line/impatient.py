"""`lineside`, which at its end gives a store that takes nothing five seconds instead of a minute. Run by its path."""

import sys

from lineside.cli.main import main
from lineside.line import books

COMMAND = ("-P", __file__)  # behind the interpreter's name

if __name__ == "__main__":
    books.CLOSE_S = 5.0
    sys.exit(main())
