"""What every test process needs."""

import signal

from hypothesis import settings

# A shell that starts CI in the background makes its children ignore Ctrl-C, and theirs; the tests of Ctrl-C need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# `make test` judges a change: the same examples each time. `make fuzz` looks for what nobody has thought of.
settings.register_profile("same", derandomize=True)
settings.register_profile("fuzz", derandomize=False, print_blob=True)
settings.load_profile("same")
