"""A camera as a source: one thread talks to it, and no exposure is left out.

gaps        a jump of the camera's own count: one lost frame for each that did not come. A count
            that goes back, or on by more than LONGEST_GAP, is a camera that was restarted: it is lost
incomplete  what came with holes in it has no picture, only the reason
skipped     where BACKLOG pictures wait already (the line is slower than the camera), the next ones lose theirs
late        a frame's time is its capture, not its reading (clock.py), so waiting counts against its deadline; one that
            comes after its trigger was given up is thrown away before the next trigger, never taken for its picture
silence     free: for timeout_s: the camera is lost. software: one lost frame per trigger, after timeout_s or as soon as
            the picture would be of no use (listen's patience_s); then what comes late is thrown away, and only
            after timeout_s the camera is asked whether it is there. hardware: no parts come, which is no failure; the
            camera is asked every PING_S anyway
lost        without reconnect_s the frames end with a LineError, which is a fault of the line. With it, opening is tried
            again, first after BACK_OFF_S[0], then with longer and longer pauses; until then a lost frame stands for
            each that ought to have come: at a free camera's own pace, for each software trigger, one for the whole
            outage where nobody can tell how many parts passed (hardware). It is back with its first frame; where it
            waits for a trigger, also when it answers that it is there

A driver that hangs is found by the reader of the frames: its thread has a heartbeat.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from lineside.errors import LineError, LinesideError, SettingsError
from lineside.line.said import Said, Say, unheard
from lineside.line.source.clock import Delay
from lineside.line.source.device import Device, Grab
from lineside.line.source.frame import Counts, Fate, Frame, Source
from lineside.line.source.settings import Camera

BACKLOG = 16  # pictures that wait for the line
MOST_WAITING = 10_000  # frames of all kinds that wait for it; above this nobody takes them any more
POLL_S = 0.1  # how soon the end is noticed
PING_S = 1.0
BACK_OFF_S = (0.5, 1.0, 2.0, 5.0)  # then always the last
LONGEST_GAP = 1_000  # a jump of the count by more is no gap: the camera was restarted
LATE_NS = 100_000_000  # this much longer on its way than the quickest
HANG_S = 10.0  # beyond timeout_s: no call into a vendor's library takes so long unless it hangs
CLOSE_S = 15.0  # to let a camera go that answers
BURIAL_S = 2.0  # one that does not: GigE Vision gives up after many retries, and nobody needs to see that


def live(
    url: str,
    open_device: Callable[[], Device],
    camera: Camera,
    *,
    now_ns: Callable[[], int] = time.monotonic_ns,
) -> Source:
    """The frames of a camera, which is opened now and started when the first frame is asked for.

    open_device must raise LineError or SettingsError with a sentence. url: without passwords, it is shown to people.
    """
    device = open_device()
    pump = _Pump(url, device, open_device, camera, now_ns)
    notes = (f"{url}: {device.name}, {device.shape[1]} × {device.shape[0]} pixels, trigger {camera.trigger}",)
    notes += tuple(f"{url}: {note}" for note in device.notes)
    return Source(
        url,
        pump.frames(),
        None,
        notes,
        pump.close,
        pump.counts,
        camera.trigger,
        device.shape,
        pump.listen,
    )


@dataclass(slots=True)
class _Away:
    """A lost camera, until it is heard again."""

    why: str
    lost_ns: int
    since_ns: int  # capture of the last frame before
    filled: int = 0  # frames that stand in for those that ought to have come since
    attempts: int = 0  # to open it


class _Pump:
    """The thread that talks to the camera, and the queue between it and the line. Final."""

    def __init__(
        self, url: str, device: Device, open_device: Callable[[], Device], camera: Camera, now_ns: Callable[[], int]
    ):
        self._url, self._device, self._open, self._camera, self._now_ns = url, device, open_device, camera, now_ns
        self._ready: deque[tuple[Fate, Frame]] = deque()
        self._changed = threading.Condition()  # guards what is between the two threads: the queue, asks, end, closing
        self._pictures = 0  # in the queue
        self._asked_ns: int | None = None  # a software trigger that has no frame yet
        self._end: LinesideError | None = None
        self._closing = self._freed = False
        self._closer = threading.Lock()
        self._thread: threading.Thread | None = None
        self._burial: threading.Thread | None = None  # of a lost camera
        self._beat_ns = now_ns()
        self._delay = Delay(round(camera.timeout_s * 1e9))
        self._made = 0  # frames so far
        self._captured_ns: int | None = None  # of the last frame
        self._interval_ns: float | None = None  # a free camera's pace, smoothed
        self._away: _Away | None = None
        self.counts = Counts()
        self._say: Say = unheard
        self._patience_s = camera.timeout_s  # of a software trigger

    def listen(self, say: Say, patience_s: float | None = None) -> None:
        self._say = say
        self._patience_s = self._camera.timeout_s if patience_s is None else min(self._camera.timeout_s, patience_s)

    # ------------------------------------------------------------------------------------------- the line's side

    def frames(self) -> Iterator[Frame]:
        with self._changed:
            if self._closing:
                return
            self._beat_ns = self._now_ns()
            self._thread = threading.Thread(target=self._run, name=f"source {self._url}", daemon=True)
            self._thread.start()
        while (item := self._next()) is not None:
            self.counts.add(item[0])
            yield item[1]

    def _next(self) -> tuple[Fate, Frame] | None:
        with self._changed:
            if self._camera.trigger == "software" and not self._ready:
                self._asked_ns = self._now_ns()
                self._changed.notify_all()
            while not self._ready and not self._closing and self._end is None:
                self._changed.wait(POLL_S)
                silent_s = (self._now_ns() - self._beat_ns) / 1e9
                if silent_s > self._camera.timeout_s + HANG_S:
                    raise LineError(f"{self._url}: the camera's driver has not come back for {silent_s:.0f} s")
            if self._closing:
                return None
            if self._ready:
                item = self._ready.popleft()
                self._pictures -= item[1].picture is not None
                return item
            assert self._end is not None
            raise self._end

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        with self._closer:
            if self._thread is None:
                if not self._freed:
                    self._give_up(self._device)
                self._freed = True
            elif self._thread is not threading.current_thread():
                self._thread.join(CLOSE_S)
                if self._burial is not None:
                    self._burial.join(BURIAL_S)

    # ----------------------------------------------------------------------------------------- the camera's side

    def _run(self) -> None:
        while True:
            try:
                self._serve(self._device)
                self._give_up(self._device)
                return
            except Exception as error:  # whatever a driver throws: the camera is lost, and the line must hear of it
                why = self._sentence(error)
            self._burial = threading.Thread(target=self._give_up, args=(self._device,), daemon=True)
            self._burial.start()  # it may take seconds, which the line does not have
            if self._camera.reconnect_s is None:
                return self._stop_with(LineError(why))
            if not self._reconnect(why, self._camera.reconnect_s):
                return

    def _serve(self, device: Device) -> None:
        """Until the end is asked for; raises where the camera is lost."""
        device.start()
        self._delay = Delay(round(self._camera.timeout_s * 1e9))
        last_id: int | None = None
        heard_ns = pinged_ns = self._now_ns()
        while not self._closing:
            self._beat_ns = now = self._now_ns()
            if self._camera.trigger == "software":
                if not self._wait_for_ask():
                    pinged_ns = self._ping(device, pinged_ns)
                    continue
                last_id = self._expose(device, last_id)
                pinged_ns = self._now_ns()
                continue
            grab = device.grab(POLL_S)
            if grab is None:
                if self._camera.trigger == "hardware":
                    pinged_ns = self._ping(device, pinged_ns)
                elif now - heard_ns > self._camera.timeout_s * 1e9:
                    raise LineError(f"no frame for {self._camera.timeout_s:g} s (timeout_s)")
                elif self._away is not None:  # it opens, and is not back before it sends something
                    self._stand_in(self._away)
                continue
            heard_ns = pinged_ns = self._now_ns()
            last_id = self._take(device, grab, last_id)

    def _expose(self, device: Device, last_id: int | None) -> int | None:
        """One software trigger, and exactly one frame for it. The camera's last frame id."""
        fired_ns = self._now_ns()
        grab: Grab | None = None
        given_up = False
        try:
            device.fire()
            while grab is None and not self._closing and self._now_ns() - fired_ns <= self._camera.timeout_s * 1e9:
                left_s = max(0, self._patience_s - (self._now_ns() - fired_ns) / 1e9)
                grab = device.grab(POLL_S if given_up else min(POLL_S, left_s))
                self._beat_ns = self._now_ns()
                if grab is None and not given_up and self._beat_ns - fired_ns > self._patience_s * 1e9:
                    self._answer("lost", self._too_late(), fired_ns)
                    given_up = True
                elif given_up:
                    self._refuse("the picture of a trigger before has not come yet")
        except Exception as error:
            if not given_up:
                why = f"the camera was lost while it took the picture: {self._sentence(error)}"
                self._answer("lost", why, fired_ns)
            raise
        if self._closing:
            return last_id
        if grab is not None:
            self._heard(fired_ns)
        if grab is not None and given_up:
            self.counts.late += 1
            return grab.frame_id
        if grab is None:
            if not given_up:
                self._answer("lost", self._too_late(), fired_ns)
        elif grab.error:
            self._answer("incomplete", grab.error, fired_ns, grab.camera_ns)
            return grab.frame_id
        elif _missed(last_id, grab, device.ids) == 0:
            self._answer("delivered", "", fired_ns, grab.camera_ns, grab)
            return grab.frame_id
        else:
            ids = f"{last_id} → {grab.frame_id}"
            self._answer("lost", f"the camera's count jumped ({ids}): whose picture this is can not be told", fired_ns)
            self.counts.late += 1
        # A picture may still be on its way: it must never be taken for that of the next trigger.
        if trouble := device.alive():
            raise LineError(trouble)
        device.stop()
        device.start()
        return None

    def _too_late(self) -> str:
        which = "timeout_s" if self._patience_s == self._camera.timeout_s else "deadline_ms"
        return f"no picture within {self._patience_s:g} s ({which}) of its trigger"

    def _take(self, device: Device, grab: Grab, last_id: int | None) -> int | None:
        """What a camera sent that runs by itself: first those that are missing before it. Its id."""
        missed = _missed(last_id, grab, device.ids)
        if missed is None:
            raise LineError(f"the camera's count jumped from {last_id} to {grab.frame_id}: it was restarted")
        delay_ns = self._delay.of(grab.arrived_ns, grab.camera_ns)
        captured_ns = grab.arrived_ns - delay_ns
        self._heard(captured_ns)
        self.counts.late += delay_ns > LATE_NS
        for k in range(missed):
            if k < grab.skipped:
                self._put(
                    "skipped", "the driver had no buffer free for it: the line is slower than the camera", captured_ns
                )
            else:
                self._put("lost", f"a frame before the camera's {grab.frame_id} never arrived", captured_ns)
        for _ in range(grab.skipped - missed):
            self._put(
                "skipped", "the driver had no buffer free for it: the line is slower than the camera", captured_ns
            )
        if self._captured_ns is not None and not missed:
            gap = captured_ns - self._captured_ns
            self._interval_ns = gap if self._interval_ns is None else 0.9 * self._interval_ns + 0.1 * gap
        self._captured_ns = captured_ns
        self._put("incomplete" if grab.error else "delivered", grab.error, captured_ns, grab.camera_ns, grab)
        return grab.frame_id

    def _ping(self, device: Device, pinged_ns: int) -> int:
        now = self._now_ns()
        if now - pinged_ns < PING_S * 1e9:
            return pinged_ns
        if trouble := device.alive():
            raise LineError(trouble)
        now = self._now_ns()
        self._heard(now)
        return now

    def _reconnect(self, why: str, reconnect_s: float) -> bool:
        """Open the camera again; False where the end was asked for, or it stayed away. It is back when it is heard."""
        now = self._now_ns()
        if self._away is None:
            self._away = _Away(why, now, now if self._captured_ns is None else self._captured_ns)
            self._say(Said("camera", f"the camera is lost: {why}", "warning", facts={"camera": self._url}))
            if self._camera.trigger == "hardware" or (self._camera.trigger == "free" and not self._interval_ns):
                self._put(
                    "lost", f"the camera was lost ({why}); how many parts pass until it is back nobody can tell", now
                )
        away, away.why, final = self._away, why, False
        while True:
            self._stand_in(away)
            away_s = (self._now_ns() - away.lost_ns) / 1e9
            if away.attempts and (final or away_s > reconnect_s):
                given_up = f"given up after {away_s:.0f} s and {away.attempts} attempts"
                self._stop_with(LineError(f"{away.why}; {given_up}"))
                return False
            pause_s = BACK_OFF_S[min(away.attempts, len(BACK_OFF_S) - 1)]
            away.attempts += 1
            waited_ns = self._now_ns()
            while self._now_ns() - waited_ns < pause_s * 1e9:
                with self._changed:
                    if self._closing:
                        return False
                    self._changed.wait(POLL_S)
                self._stand_in(away)
            try:
                self._device = self._open()
            except Exception as error:  # it is still away, or someone else has it
                away.why, final = self._sentence(error), isinstance(error, SettingsError)
                continue
            self._captured_ns = None
            return True

    def _heard(self, at_ns: int) -> None:
        """The camera sends pictures, or where it need not, says that it is there: if it was lost, it is back."""
        if (away := self._away) is None:
            return
        self._fill(away, at_ns)
        self._away = None
        self.counts.reconnects += 1
        facts = {"camera": self._url, "away_s": round((self._now_ns() - away.lost_ns) / 1e9, 3)}
        self._say(Said("camera", f"{self._url}: the camera is back after {facts['away_s']:.1f} s", facts=facts))

    def _stand_in(self, away: "_Away") -> None:
        """Lost frames for what ought to have come by now."""
        self._beat_ns = now = self._now_ns()
        if self._camera.trigger == "software":
            self._refuse(f"the camera is away ({away.why})")
        self._fill(away, now)

    def _refuse(self, why: str) -> None:
        """A trigger that is not fired costs its part as soon as one that is."""
        now = self._now_ns()
        with self._changed:
            waits = self._asked_ns is not None and now - self._asked_ns > self._patience_s * 1e9
        if waits:
            self._answer("lost", why, now)

    def _fill(self, away: "_Away", until_ns: int) -> None:
        """A free camera's lost frames at its own pace; one that ought to come just now may still come."""
        if self._camera.trigger != "free" or not self._interval_ns:
            return
        interval_ns = max(self._interval_ns, 1e6)
        due = int((until_ns - away.since_ns) / interval_ns - 0.5)
        for k in range(away.filled, due):
            self._put("lost", f"the camera is away ({away.why})", round(away.since_ns + (k + 1) * interval_ns))
        away.filled = max(away.filled, due)

    # --------------------------------------------------------------------------------------------- between the two

    def _wait_for_ask(self) -> bool:
        with self._changed:
            if self._asked_ns is None and not self._closing:
                self._changed.wait(POLL_S)
            return self._asked_ns is not None and not self._closing

    def _answer(
        self, fate: Fate, error: str, fired_ns: int, camera_ns: int | None = None, grab: Grab | None = None
    ) -> None:
        with self._changed:
            self._asked_ns = None
        self._put(fate, error, fired_ns, camera_ns, grab)

    def _put(
        self, fate: Fate, error: str, captured_ns: int, camera_ns: int | None = None, grab: Grab | None = None
    ) -> None:
        self._made += 1
        picture = grab.picture if grab is not None and not error else None
        named = "" if grab is None or grab.frame_id is None else f" frame {grab.frame_id}"
        frame = Frame(
            f"{self._made:06d}",
            self._made,
            f"{self._url}{named}",
            picture=picture,
            error=f"{self._url}: {error}" if error else "",
            captured_ns=captured_ns,
            camera_ns=camera_ns,
        )
        with self._changed:
            if picture is not None and self._pictures >= BACKLOG:
                fate = "skipped"
                error = f"{self._url}: {BACKLOG} pictures were waiting already: the line is slower than the camera"
                frame = replace(frame, picture=None, error=error)
            self._pictures += frame.picture is not None
            self._ready.append((fate, frame))
            if len(self._ready) > MOST_WAITING and self._end is None:
                self._end = LineError(f"{self._url}: {MOST_WAITING:,} frames wait, and the line takes none")
            self._changed.notify_all()

    def _stop_with(self, error: LinesideError) -> None:
        with self._changed:
            self._end = error
            self._changed.notify_all()

    def _sentence(self, error: Exception) -> str:
        text = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, LinesideError):
            text = f"{type(error).__name__}: {text}" if str(error) else text
        return text if text.startswith(self._url) else f"{self._url}: {text}"

    def _give_up(self, device: Device) -> None:
        """Free the camera, whatever state it is in: nobody waits for its answer any more."""
        for call in (device.stop, device.close):
            try:
                call()
            except Exception:  # it is gone already
                continue


def _missed(last_id: int | None, grab: Grab, ids: int) -> int | None:
    """How many ids lie between two frames; None where the count jumped back, or further than any gap.

    Where a count begins anew, 0 may be left out: in GigE Vision 1 it means "no id". So max → 1 is no gap.
    """
    if last_id is None or grab.frame_id is None:
        return 0
    if ids and (last_id, grab.frame_id) == (ids - 1, 1):
        return 0
    step = grab.frame_id - last_id
    step += ids if step <= 0 else 0
    return step - 1 if 1 <= step <= LONGEST_GAP else None
