"""The engine's thread: decodes, infers and decides, one picture at a time; then looks for drift."""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from lineside.evidence.drift import Alarm
from lineside.line.decide import Answer, answerer
from lineside.line.drift import watcher
from lineside.line.source.frame import Frame
from lineside.line.view import View


class Engine:
    """Judges pictures in the order in which they are given. Final."""

    def __init__(
        self,
        views: Sequence[View],
        *,
        told: Callable[[Answer], None],
        drifted: Callable[[Alarm, str, str], None],
        now_ns: Callable[[], int],
    ):
        """told, and drifted (with alarm, camera and part id) are called in the thread. SettingsError for a bundle that
        can accept nothing."""
        self._told, self._drifted = told, drifted
        self._todo: queue.SimpleQueue[tuple[str, str, Frame] | None] = queue.SimpleQueue()
        self._answers = {(v.name, p): answerer(model, now_ns, v.name) for v in views for p, model in v.models.items()}
        watched = [(v.name, p, detector) for v in views for p, detector in v.drifts.items() if detector]
        self._see = {(name, p): watcher(detector, self._busy) for name, p, detector in watched}
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def infer(self, camera: str, product: str, frame: Frame) -> None:
        """Put a picture behind those that wait; returns at once."""
        self._todo.put((camera, product, frame))

    def end(self) -> None:
        """Nothing more is to be judged."""
        self._todo.put(None)

    def hangs(self, timeout_s: float) -> bool:
        """Whether it has not come back from its last picture within so long; after `end`."""
        self._thread.join(timeout_s)
        return self._thread.is_alive()

    def _busy(self) -> bool:
        return not self._todo.empty()

    def _work(self) -> None:
        while (job := self._todo.get()) is not None:
            camera, product, frame = job
            answer = self._answers[camera, product](frame)
            self._told(replace(answer, picture=None))
            if (see := self._see.get((camera, product))) and (alarm := see(answer)):
                self._drifted(alarm, camera, frame.part_id)
