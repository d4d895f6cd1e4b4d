"""Drift on the line: are margins and pictures still like calibrate's? One detector (evidence/drift.py) for a run.

A part is compared with the calibrate pictures of the label that the model gives it. Looking takes about a millisecond
after the verdict, in the engine's thread: while other parts wait for the engine only one in EVERY is looked at.
"""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from lineside.bundle.folder import Bundle
from lineside.bundle.looks import FILE
from lineside.bundle.looks import read as read_looks
from lineside.bundle.parity import read_reference
from lineside.data.looks import looks
from lineside.evidence.drift import ARL, Alarm, Detector
from lineside.line.decide import Answer
from lineside.tasks.classify.decode import margin

CALIBRATE = "calibrate.csv"
EVERY = 16
MARGIN = "margin"


def detector(bundle: Bundle, rng: np.random.Generator, arl: float = ARL) -> Detector:
    """The detector that starts from a bundle's calibrate pictures. BundleError where the bundle does not hold them."""
    manifest, where = bundle.manifest, str(bundle.path)
    truth = read_reference(bundle.read(CALIBRATE), manifest.classes, manifest.accept, f"{where}: {CALIBRATE}")
    columns = {MARGIN: margin(truth.logits, [manifest.classes.index(name) for name in manifest.accept])}
    if FILE in bundle.names:
        columns |= read_looks(bundle.read(FILE), truth.names, f"{where}: {FILE}")
    label = truth.logits.argmax(1)
    calibrate = {
        name: {number: values[label == k] for number, values in columns.items()}
        for k, name in enumerate(manifest.classes)
        if (label == k).any()
    }
    return Detector(calibrate, rng=rng, arl=arl)


def watcher(detector: Detector, busy: Callable[[], bool]) -> Callable[[Answer], Alarm | None]:
    """see(answer) -> an alarm, or None; busy: whether parts wait for the engine. Only decided parts are looked at."""
    passed = 0

    def see(answer: Answer) -> Alarm | None:
        nonlocal passed
        decision, picture = answer.decision, answer.picture
        if decision is None or decision.annotation is None or decision.margin is None or picture is None:
            return None
        passed += 1
        if busy() and passed % EVERY:
            return None
        numbers = {MARGIN: decision.margin, **asdict(looks(picture))}
        return detector.add(answer.event.part.sequence, decision.annotation.category, numbers)

    return see
