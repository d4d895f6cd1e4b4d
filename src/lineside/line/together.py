"""Whether the frames of several cameras can be of one part: cameras out of step are a fault, not a guess.

Frames of one number belong to one part. That they really show the same part is checked by the time at which they were
taken, and of files by their names: else every later part would be judged by pictures of two. What has no picture has no
such time either (a lost frame is missed when the next one comes), and its part is rejected anyway.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath

from lineside.line.source.frame import Frame


class Together:
    """Show it every frame, in the order of its camera; then ask of a part. Final."""

    def __init__(self, within_ns: int | None):
        """within_ns: most between two frames of one part; None: half of the least between two parts."""
        self._within_ns = within_ns
        self._captured_ns: dict[str, int] = {}  # of each camera's last frame
        self._least_ns: int | None = None  # between two frames of one camera, ever seen in this run

    def see(self, camera: str, frame: Frame) -> None:
        if frame.captured_ns is None or frame.error:
            return
        before = self._captured_ns.get(camera)
        self._captured_ns[camera] = frame.captured_ns
        if before is not None and frame.captured_ns > before:
            between = frame.captured_ns - before
            self._least_ns = between if self._least_ns is None else min(self._least_ns, between)

    def apart(self, frames: Mapping[str, Frame], camera: str, frame: Frame) -> str:
        """Why this camera's frame can't be of the part of which the others' frames are; "" where it can."""
        for other, before in frames.items():
            one, two = frame.captured_ns, before.captured_ns
            if frame.data is not None and before.data is not None and _stem(frame) != _stem(before):
                return (
                    f"cameras are out of step: part {frame.sequence} is {before.name!r} to camera {other} and "
                    f"{frame.name!r} to camera {camera}; each camera needs one picture of every part, of one name"
                )
            if one is None or two is None or frame.error or before.error:
                continue
            if self._within_ns is not None and abs(one - two) > self._within_ns:
                return (
                    f"cameras are out of step: the pictures of part {frame.sequence} by {other} and {camera} are "
                    f"{abs(one - two) / 1e6:.0f} ms apart, together_ms is {self._within_ns / 1e6:g}; "
                    "look at the trigger lines"
                )
            if self._least_ns is not None and 2 * abs(one - two) > self._least_ns:
                return (
                    f"cameras are out of step: the pictures of part {frame.sequence} by {other} and {camera} are "
                    f"{abs(one - two) / 1e6:.1f} ms apart, and parts come {self._least_ns / 1e6:.1f} ms after each "
                    "other: which of them belong together can not be told; look at the trigger lines"
                )
        return ""


def _stem(frame: Frame) -> str:
    return PurePosixPath(frame.name).stem
