"""What every test process needs."""

import signal

# A shell that starts CI in the background makes its children ignore Ctrl-C, and theirs; the tests of Ctrl-C need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
