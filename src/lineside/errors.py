"""Everything that Lineside raises on purpose, and the exit code each gives the shell.

A message is one sentence or two for its reader: where, what was found, what was expected, what to do.

LinesideError
├── SettingsError   a flag, a recipe or a settings file is wrong                         exit 2
├── DataError       a data set does not say what its layout promises                     exit 3
│   └── PictureError    one file is not a picture that can be used
├── BundleError     a bundle is missing, damaged, unsigned, or made for another program  exit 4
│   └── ParityError     an engine does not give the answers of the trained net
├── TrainError      training can not go on (loss is NaN, a class is missing)             exit 5
├── LineError       a source, a sink or the store does not answer                        exit 6
│   └── HaltError       the station halted, and a person has to look before the next part    exit 8
└── MissingExtra    the machine lacks an optional part, and how to install it            exit 7

Exit 1 is an honest "no" of a command that ran to its end: `check` found errors, `verify` refused, an export was
refused by parity, a promise that a flag of `evaluate` asked for is not shown. 130 is Ctrl-C.
"""


class LinesideError(Exception):
    exit_code = 1


class SettingsError(LinesideError):
    exit_code = 2


class DataError(LinesideError):
    exit_code = 3


class PictureError(DataError):
    """code is the finding's name in `lineside check`: "zero-byte", "truncated", ..."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class BundleError(LinesideError):
    exit_code = 4


class ParityError(BundleError):
    exit_code = 1


class TrainError(LinesideError):
    exit_code = 5


class LineError(LinesideError):
    exit_code = 6


class HaltError(LineError):
    exit_code = 8


class MissingExtra(LinesideError):
    exit_code = 7

    def __init__(self, needed_for: str, package: str, extra: str = ""):
        """extra: which of lineside's extras brings the package; "": none, it is installed by its own name."""
        install = f"'lineside[{extra}]'" if extra else package
        super().__init__(
            f"{needed_for} needs {package}, which is not installed here; install it with: pip install {install}"
        )
