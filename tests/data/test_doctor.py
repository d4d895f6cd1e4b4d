"""The check-up: everything it must find, and what it must not say."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lineside.data import facts
from lineside.data.doctor import Checkup, check, to_leave_out
from lineside.data.finding import CODES, SEVERITIES, counts
from lineside.data.read import read
from lineside.errors import DataError
from tests.data.drawing import drawing, encoded, put


def codes(checkup: Checkup) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for finding in checkup.findings:
        found.setdefault(finding.code, set()).update(finding.names)
    return found


def clean(root: Path, parts: tuple[str, ...] = ("",), each: int = 3) -> None:
    number = 100
    for part in parts:
        for label in ("good", "bad"):
            for i in range(each):
                put(root, f"{part}{label}/{i}.png", number)
                number += 1


def test_clean_data_has_no_findings_but_few_pictures(tmp_path: Path) -> None:
    clean(tmp_path)
    checkup = check(read(str(tmp_path)))
    assert set(codes(checkup)) == {"few"}
    assert not checkup.errors
    assert len(set(checkup.cluster.tolist())) == 6
    assert checkup.size_px.tolist() == [[64, 48]] * 6
    assert [p.name for p in checkup.pictures] == [p.name for p in checkup.dataset.pictures]


def test_every_broken_file_is_named_with_its_reason(tmp_path: Path) -> None:
    clean(tmp_path)
    whole = encoded(drawing(1), "JPEG")
    broken = {
        "zero-byte": b"",
        "truncated": whole[: len(whole) // 2],
        "not-a-picture": b"a text, really",
        "tiny": encoded(drawing(1, 4, 4)),
        "animated": encoded(drawing(1), "GIF", save_all=True, append_images=[drawing(2)]),
        "corrupt": encoded(drawing(1))[:60] + b"x" + encoded(drawing(1))[61:],
    }
    for code, data in broken.items():
        (tmp_path / "good" / f"{code}.png").write_bytes(data)
    (tmp_path / "good" / "unreadable.png").symlink_to(tmp_path / "nowhere")
    checkup = check(read(str(tmp_path)))
    assert len(checkup.pictures) == 6
    for code in [*broken, "unreadable"]:
        assert codes(checkup)[code] == {f"good/{code}.png"}
    assert all(f.names[0] in f.message for f in checkup.errors)
    assert set(to_leave_out(checkup)) == {f"good/{code}.png" for code in [*broken, "unreadable"]}


def test_odd_but_usable_files_are_named(tmp_path: Path) -> None:
    clean(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    see_through = drawing(13).convert("RGBA")
    see_through.putalpha(90)
    odd = {
        "wrong-extension/a.jpg": encoded(drawing(10)),
        "16-bit/a.png": encoded(Image.fromarray(np.asarray(drawing(11).convert("L")).astype(np.uint16) * 257)),
        "cmyk/a.jpg": encoded(drawing(12).convert("CMYK"), "JPEG"),
        "alpha/a.png": encoded(see_through),
        "exif-rotated/a.jpg": encoded(drawing(14), "JPEG", exif=exif),
        "blank/a.png": encoded(Image.new("RGB", (64, 48), (7, 7, 8))),
    }
    for name, data in odd.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(data)
    checkup = check(read(str(tmp_path)))
    assert not checkup.errors
    for name in odd:
        assert codes(checkup)[name.split("/")[0]] == {name}
    assert "mixed-sizes" in codes(checkup)  # the turned one


def test_same_picture_in_another_file_format_is_a_duplicate(tmp_path: Path) -> None:
    clean(tmp_path)
    (tmp_path / "good" / "copy.bmp").write_bytes(encoded(drawing(100), "BMP"))
    checkup = check(read(str(tmp_path)))
    assert codes(checkup)["duplicate"] == {"good/0.png", "good/copy.bmp"}
    cluster = dict(zip([p.name for p in checkup.pictures], checkup.cluster.tolist(), strict=True))
    assert cluster["good/0.png"] == cluster["good/copy.bmp"] != cluster["good/1.png"]


def test_one_picture_with_two_labels_is_an_error(tmp_path: Path) -> None:
    clean(tmp_path)
    put(tmp_path, "bad/same.png", 100)
    (conflict,) = [f for f in check(read(str(tmp_path))).errors if f.code == "label-conflict"]
    assert set(conflict.names) == {"good/0.png", "bad/same.png"}
    assert "one picture has the labels bad, good" in conflict.message
    assert "decide which is right" in conflict.message


def test_nearly_one_picture_with_two_labels_is_a_doubt(tmp_path: Path) -> None:
    clean(tmp_path)
    (tmp_path / "bad" / "again.jpg").write_bytes(encoded(drawing(100), "JPEG", quality=85))
    checkup = check(read(str(tmp_path)))
    assert not checkup.errors
    assert codes(checkup)["label-doubt"] == {"good/0.png", "bad/again.jpg"}


@pytest.mark.parametrize("near", [False, True])
def test_leakage_is_an_error_and_the_test_picture_stays(tmp_path: Path, near: bool) -> None:
    clean(tmp_path, ("train/", "val/", "test/"))
    data = encoded(drawing(100), "JPEG", quality=80) if near else encoded(drawing(100))
    (tmp_path / "test/good/leak.png").write_bytes(data)
    (tmp_path / "val/good/leak.png").write_bytes(data)
    checkup = check(read(str(tmp_path)))
    (leak,) = [f for f in checkup.errors if f.code == "leakage"]
    assert set(leak.names) == {"train/good/0.png", "test/good/leak.png", "val/good/leak.png"}
    assert leak.message.startswith("nearly the same" if near else "the same")
    assert "picture is in train and calibrate and test" in leak.message
    assert set(to_leave_out(checkup)) == {"train/good/0.png", "val/good/leak.png"}


def test_a_torn_group_is_an_error(tmp_path: Path) -> None:
    clean(tmp_path)
    rows = [f"good/{i}.png,good,{part},lot {i // 2}" for i, part in enumerate(("train", "test", "test"))]
    rows += [f"bad/{i}.png,bad,train,lot 9" for i in range(3)]
    (tmp_path / "d.csv").write_text("\n".join(["path,label,split,group", *rows]))
    (torn,) = [f for f in check(read(str(tmp_path / "d.csv"))).errors if f.code == "group-torn"]
    assert "group 'lot 0' is in train and test" in torn.message


def test_classes_one_case_missing_rare(tmp_path: Path) -> None:
    for i in range(3):
        put(tmp_path, f"one/good/{i}.png", i)
        put(tmp_path, f"case/Good/{i}.png", i)
        put(tmp_path, f"case/bad/{i}.png", i + 10)
    put(tmp_path, "case/good /9.png", 9)
    (one,) = check(read(str(tmp_path / "one"))).errors
    assert one.code == "one-class"
    assert "holds only the class 'good' (3 pictures)" in one.message
    (case,) = check(read(str(tmp_path / "case"))).errors
    assert case.code == "label-case"
    assert case.names == ("good /9.png",)
    assert "'Good' (3), 'good ' (1) differ only by case or space" in case.message


def test_one_picture(tmp_path: Path) -> None:
    put(tmp_path, "good/a.png", 1)
    assert [f.code for f in check(read(str(tmp_path))).errors] == ["one-class"]


def test_a_class_that_training_never_sees(tmp_path: Path) -> None:
    clean(tmp_path, ("train/", "test/"))
    put(tmp_path, "test/burr/a.png", 50)
    put(tmp_path, "train/chip/a.png", 51)
    checkup = check(read(str(tmp_path)))
    (error,) = checkup.errors
    assert error.code == "class-not-in-train"
    assert "class 'burr': 1 picture in test, none in train (test/burr/a.png)" in error.message
    assert any(f.code == "class-missing" and "'chip': is in train, not in test" in f.message for f in checkup.findings)


def test_parts_without_train_are_named_as_a_hold_out_set(tmp_path: Path) -> None:
    clean(tmp_path, ("val/", "test/"))
    checkup = check(read(str(tmp_path)))
    assert not checkup.errors
    (message,) = [f.message for f in checkup.findings if f.code == "no-train"]
    assert "states calibrate and test but no train; `lineside evaluate` takes it as a hold-out set" in message
    (tmp_path / "val").rename(tmp_path / "train")
    assert "no-train" not in codes(check(read(str(tmp_path))))


def test_imbalance(tmp_path: Path) -> None:
    for i in range(61):
        put(tmp_path, f"good/{i}.png", i)
    for i in range(3):
        put(tmp_path, f"bad/{i}.png", i + 100)
    (finding,) = [f for f in check(read(str(tmp_path))).findings if f.code == "imbalance"]
    assert "'good' has 61 pictures, 'bad' 3" in finding.message


def test_pictures_of_one_fixture_are_not_tied_together(tmp_path: Path) -> None:
    """40 shots of one scene with sensor noise: no copies, and tying them would leave nothing to split."""
    scene = np.asarray(drawing(1, 160, 120)).astype(float)
    rng = np.random.default_rng(0)
    for i in range(40):
        noisy = np.clip(scene + rng.normal(0, 2, scene.shape), 0, 255).astype(np.uint8)
        path = tmp_path / ("good" if i % 2 else "bad") / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(Image.fromarray(noisy)))
    checkup = check(read(str(tmp_path)))
    assert len(set(checkup.cluster.tolist())) >= 20
    assert not checkup.errors


def test_workers_and_one_process_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean(tmp_path, each=30)
    (tmp_path / "good" / "zero.png").write_bytes(b"")
    alone = check(read(str(tmp_path)), workers=1)
    monkeypatch.setattr(facts, "IN_PROCESS", 0)
    monkeypatch.setattr(facts, "BATCH", 7)
    seen: list[tuple[int, int]] = []
    together = check(read(str(tmp_path)), workers=2, progress=lambda done, total, note: seen.append((done, total)))
    assert together.findings == alone.findings
    assert together.sha256 == alone.sha256
    assert np.array_equal(together.cluster, alone.cluster)
    assert seen == [(i, 61) for i in range(1, 62)]


def _die(batch: object) -> None:
    os._exit(9)


def test_a_decoder_that_dies_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean(tmp_path)
    monkeypatch.setattr(facts, "IN_PROCESS", 0)
    monkeypatch.setattr(facts, "_examine_batch", _die)
    with pytest.raises(DataError, match=r"a process that decodes pictures died near 'bad/0.png': .* --workers 1"):
        check(read(str(tmp_path)), workers=2)


PROGRAM = """
from lineside.data import facts
from lineside.data.doctor import check
from lineside.data.read import read

facts.IN_PROCESS = 0
{}print(len(check(read({!r}), workers=2).pictures))
"""


@pytest.mark.parametrize("guard", ["", 'if __name__ == "__main__": '])
def test_a_program_without_its_commands_below_main_is_told_so(tmp_path: Path, guard: str) -> None:
    clean(tmp_path / "data")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(guard, str(tmp_path / "data")))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120)
    said = done.stderr.splitlines()[-1] if done.stderr else ""
    assert (done.returncode, done.stdout) == ((0, "6\n") if guard else (1, ""))
    assert guard or 'it must be a file, with its commands below `if __name__ == "__main__":`' in said


def workers_of(pid: int) -> list[str]:
    """The children of a process that decode pictures."""
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("after_s", [0.0, 0.5])  # while the workers begin, and while they decode
def test_ctrl_c_ends_quietly_with_130(tmp_path: Path, after_s: float) -> None:
    """The whole process group gets SIGINT, as from a terminal; no worker prints and none stays."""
    data = encoded(drawing(1, 900, 700), "PNG")
    (tmp_path / "good").mkdir()
    for i in range(1500):
        (tmp_path / "good" / f"{i}.png").write_bytes(data) if i < 3 else os.link(
            tmp_path / "good" / "0.png", tmp_path / "good" / f"{i}.png"
        )
    command = [sys.executable, "-m", "lineside", "check", str(tmp_path), "--workers", "2"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(workers_of(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "stopped by Ctrl-C" in errors
    assert _ends(process.pid)


def _ends(group: int) -> bool:
    """Whether every process of a group ends within 10 s; a zombie that nobody collects has ended."""
    for _ in range(100):
        states = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()  # state, parent, group, ...
                if int(fields[2]) == group:
                    states.append(fields[0])
        if all(state == "Z" for state in states):
            return True
        time.sleep(0.1)
    return False


def test_every_code_has_a_severity_and_counts_are_sorted(tmp_path: Path) -> None:
    assert {severity for severity, _ in CODES.values()} == set(SEVERITIES)
    clean(tmp_path)
    put(tmp_path, "bad/same.png", 100)
    rows = counts(check(read(str(tmp_path))).findings)
    assert [r.severity for r in rows] == sorted((r.severity for r in rows), key=SEVERITIES.index)
    assert (rows[0].code, rows[0].findings, rows[0].pictures) == ("label-conflict", 1, 2)
