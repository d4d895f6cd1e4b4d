"""Another engine or precision for a bundle, if parity allows it: `lineside export`.

The calibrate pictures of the bundle's own split are found again (by name under the data set's folder, by sha256), go
through the candidate and through the engine that runs now, alternately, and are compared with the reference answers in
calibrate.csv. A candidate that passes is added; it comes first, which is what runs, only if it is also the faster one.

Parity is of verdicts, so of one operating point. `withdraw` says what a bundle keeps when it gets another.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lineside.bundle import engine as engines
from lineside.bundle import folder, parity, samples
from lineside.bundle.folder import Bundle
from lineside.bundle.made_from import SPLIT, groups_of, split_of
from lineside.bundle.manifest import AGAIN, EngineName, Manifest, Precision, Served
from lineside.bundle.model import choose, opened
from lineside.bundle.parity import Decide, Reference, Row
from lineside.data import read
from lineside.data.split import Split
from lineside.errors import BundleError
from lineside.progress import Progress, silent

MODEL = "model.onnx"


@dataclass(frozen=True)
class Outcome:
    """What an export did, with the numbers that decided it."""

    manifest: Manifest
    row: Row
    first: bool  # the candidate is what runs now
    sentence: str


def serve(
    path: str | Path,
    engine: EngineName,
    precision: Precision,
    decide: Callable[[Manifest], Decide],
    *,
    data: str | None = None,
    target: Path | None = None,
    sign: Callable[[bytes], bytes] | None = None,
    progress: Progress = silent,
    threads: int | None = None,
) -> Outcome:
    """Prove parity of an engine and precision on the bundle's calibrate pictures and add it to the bundle.

    decide(manifest) gives logits → verdicts. data: the DATA to look for the pictures in, instead of where they were.
    target: write the new bundle there and leave this one. ParityError: it does not give the same answers; BundleError:
    pictures are missing or the bundle is damaged. After an error the bundle is what it was.
    """
    bundle = folder.open_bundle(path)
    manifest = bundle.manifest
    truth = parity.read_reference(
        bundle.read("calibrate.csv"), manifest.classes, manifest.accept, f"{path}: calibrate.csv"
    )
    rows = parity.read_rows(bundle.read("parity.json"), f"{path}: parity.json")
    expected = samples.read_expected(bundle.read(samples.EXPECTED), f"{path}: {samples.EXPECTED}")
    root = _root(bundle, data)
    parts = split_of(bundle, root)
    truth = replace(truth, groups=groups_of(truth.names, parts))
    files = calibrate_files(bundle, truth, parts, root)
    now = manifest.served[0]
    current = opened(bundle, now, threads).infer
    name, model = _model(bundle.read(MODEL), engine, precision, files, progress)
    candidate = engines.open_model(engine, model, precision, threads)
    new, old = parity.answers((candidate, current), files, progress)
    row = parity.compare(truth, new.logits, new.ms, decide(manifest), engine=engine, precision=precision)
    parity.refuse(row, manifest.operating_point, str(path))

    same = (now.engine, now.precision) == (engine, precision)
    first = same or float(np.median(new.ms)) < float(np.median(old.ms))
    used = threads or engines.cores()
    entry = Served(engine, precision, name, parity.latency(new.ms, used))
    before = Served(now.engine, now.precision, now.file, parity.latency(old.ms, used))

    def change(m: Manifest) -> Manifest:
        if (m.files.get(MODEL), m.operating_point, m.served) != (
            manifest.files[MODEL],
            manifest.operating_point,
            manifest.served,
        ):  # parity is of this graph and these thresholds, and the rows of other engines were read before
            raise BundleError(f"{path}: was changed while this export ran; run the export again")
        others = [before if _is(s, now) else s for s in m.served if (s.engine, s.precision) != (engine, precision)]
        return replace(m, served=tuple([entry, *others] if first else [*others, entry]))

    rows = [r for r in rows if (r.engine, r.precision) != (engine, precision)]
    changed = {
        "parity.json": parity.write_rows([*rows, row]),
        samples.EXPECTED: samples.add(expected, truth.names, new.logits, engine, precision),
        **({} if name == MODEL else {name: model}),
    }
    manifest = folder.replace(path, changed, change, sign, target)
    return Outcome(manifest, row, first, _sentence(row, now, new.ms, old.ms, first, same))


def withdraw(bundle: Bundle) -> tuple[tuple[Served, ...], dict[str, bytes | None]]:
    """(served, changed files) of a bundle that gets another operating point: what was proved for its own only is out.

    ONNX Runtime's float32 stays, whose scores are the trained net's but for parity.SCORE_TOLERANCE. BundleError where
    the bundle does not have it.
    """
    stays = choose(bundle, "onnxruntime", "float32")
    gone = [one for one in bundle.manifest.served if not _is(one, stays)]
    if not gone:
        return bundle.manifest.served, {}
    rows = parity.read_rows(bundle.read("parity.json"), f"{bundle.path}: parity.json")
    expected = samples.read_expected(bundle.read(samples.EXPECTED), f"{bundle.path}: {samples.EXPECTED}")
    only = samples.key(stays.engine, stays.precision)
    return (stays,), {
        **{one.file: None for one in gone if one.file != stays.file},
        "parity.json": parity.write_rows(
            [r for r in rows if (r.engine, r.precision) == (stays.engine, stays.precision)]
        ),
        samples.EXPECTED: samples.write_expected(
            [replace(s, logits={key: one for key, one in s.logits.items() if key == only}) for s in expected]
        ),
    }


def calibrate_files(bundle: Bundle, truth: Reference, parts: Split, root: Path) -> list[Path]:
    """The calibrate pictures under root, in the order of calibrate.csv, each with the content that the split names."""
    content = {
        p.name: sha
        for p, sha, part in zip(parts.pictures, parts.sha256, parts.part, strict=True)
        if part == "calibrate"
    }
    files, missing, other = [], [], []
    for name in truth.names:
        if name not in content:
            raise BundleError(f"{bundle.path}: calibrate.csv: {name!r} is no calibrate picture of {SPLIT}; {AGAIN}")
        file = root / name
        files.append(file)
        try:
            if folder.sha256(file.read_bytes()) != content[name]:
                other.append(name)
        except OSError:
            missing.append(name)
    if missing or other:
        bad, what = (
            (missing, "is not there") if missing else (other, "is another picture than the bundle was made with")
        )
        raise BundleError(
            f"{root / bad[0]}: {what} ({len(missing)} missing and {len(other)} changed of {len(files)} calibrate "
            "pictures); parity needs every one as it was: name the data set with --data DATA"
        )
    return files


def _root(bundle: Bundle, data: str | None) -> Path:
    source = data or bundle.manifest.data.source
    if data is None and ":" not in source:
        return Path(bundle.manifest.data.root)
    return read.read(source).root  # built-in sets lie elsewhere on every machine


def _model(
    model: bytes, engine: EngineName, precision: Precision, files: list[Path], progress: Progress
) -> tuple[str, bytes]:
    """(name in the bundle, bytes) of the graph for this engine and precision."""
    if precision != "int8":
        return MODEL, model
    from lineside.bundle.quantise import int8  # needs onnx: the [train] extra

    engines.open_model(engine, model, "float32")  # an engine that is not installed is said before the long work
    return f"model-{engine}-int8.onnx", int8(model, files, progress)


def _is(one: Served, other: Served) -> bool:
    return (one.engine, one.precision) == (other.engine, other.precision)


def _sentence(row: Row, now: Served, new_ms: np.ndarray, old_ms: np.ndarray, first: bool, same: bool) -> str:
    if first:
        what = "still runs" if same else "runs from now on"
    else:
        what = "is in the bundle, but does not come first, as it is not the faster one"
    return (
        f"{row.engine} {row.precision} {what}: {np.median(new_ms):.2f} ms a picture, {now.engine} {now.precision} "
        f"{np.median(old_ms):.2f} ms (medians of {row.n}, alternately, on this machine); {row.label_flips} labels and "
        f"{row.verdict_flips} verdicts of {row.n} changed, {row.new_escapes} new escapes"
        + (f"; {row.paired.sentence()}" if row.paired else "")
    )
