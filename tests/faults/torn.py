"""`lineside …` with pylon's emulated camera, which is told to tear frames: python -m tests.faults.torn N AT… run …

N frames come incomplete after each of the AT-th (numbers, in order): the emulator's own switch, that no camera has.
"""

import sys
from itertools import takewhile

from lineside.cli.main import main
from lineside.line.source.basler import Basler


def tear(n: int, at: set[int]) -> None:
    grab, so_far = Basler.grab, 0

    def torn(self: Basler, timeout_s: float):
        nonlocal so_far
        found = grab(self, timeout_s)
        so_far += found is not None
        if found is not None and so_far in at:
            self._camera.ForceFailedBufferCount.Value = n
            self._camera.ForceFailedBuffer.Execute()
        return found

    Basler.grab = torn


if __name__ == "__main__":
    numbers = [int(text) for text in takewhile(str.isdigit, sys.argv[1:])]
    tear(numbers[0], set(numbers[1:]))
    sys.exit(main(sys.argv[1 + len(numbers) :]))
