"""At every instant, whatever happens, the path holds a whole bundle; and nothing but a whole bundle is read."""

import errno
import os
import subprocess
import sys
import textwrap
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from lineside.bundle import folder, swap
from lineside.bundle.folder import open_bundle, pack
from lineside.errors import BundleError


def everything(path: Path) -> dict[str, bytes]:
    bundle = open_bundle(path)
    return {name: bundle.read(name) for name in bundle.manifest.files}


def change_report(path: Path, text: bytes = b"<p>another") -> None:
    folder.replace(path, {"report.html": text}, lambda m: replace(m, evaluations=m.evaluations + 1))


@pytest.fixture
def bundle(bundle) -> Path:
    """With fewer files: what is written here is interrupted at every call."""
    samples = {name: None for name in everything(bundle) if name.startswith("samples/") and name > "samples/01"}
    folder.replace(bundle, samples, lambda m: m)
    return bundle


@pytest.fixture(params=["exchange", "moved aside"])
def either_swap(request, monkeypatch):
    """Both ways of swapping: the kernel's, and the one for file systems that lack it."""
    if request.param == "moved aside":
        monkeypatch.setattr(swap, "_exchange", lambda a, b: False)


def test_replace_changes_what_was_asked_and_nothing_else(bundle, either_swap):
    before, identity = everything(bundle), open_bundle(bundle).sha256
    change_report(bundle)
    assert everything(bundle) == before | {"report.html": b"<p>another"}
    assert open_bundle(bundle).manifest.evaluations == 1
    assert open_bundle(bundle).sha256 != identity
    folder.replace(bundle, {"report.html": None}, lambda m: m)
    assert "report.html" not in everything(bundle)
    assert [p.name for p in bundle.parent.iterdir()] == ["parts.bundle"]


def test_two_writers_do_not_lose_each_others_change(bundle):
    threads = [threading.Thread(target=change_report, args=(bundle, b"%d" % i)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert open_bundle(bundle).manifest.evaluations == 8


def test_a_reader_never_sees_a_mixture(bundle, either_swap):
    stop = threading.Event()

    def write():
        while not stop.is_set():
            change_report(bundle, os.urandom(200_000))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(30):
            folder.steady(bundle, lambda b: [b.read(name) for name in b.manifest.files])
    finally:
        stop.set()
        writer.join()


def test_a_reader_that_meets_a_swap_between_its_two_renames_reads_again(bundle):
    """The bundle is then the same folder at another place."""
    opened = []

    def job(b):
        opened.append(b)
        if len(opened) == 1:
            os.rename(bundle, bundle.with_name(f".{bundle.name}.old"))
        return b.read("parity.json")

    assert folder.steady(bundle, job)
    assert len(opened) == 2


def test_nothing_is_written_into_a_bundle(bundle, tmp_path):
    (tmp_path / "link").symlink_to(bundle)
    before = everything(bundle)
    for target in (bundle / "copy.zip", tmp_path / "link" / "samples" / "copy"):
        with pytest.raises(BundleError, match=r"is inside the bundle .*choose another place"):
            pack(bundle, target)
        with pytest.raises(BundleError, match=r"is inside the bundle .*choose another place"):
            folder.replace(bundle, {}, lambda m: m, target=target)
    assert everything(bundle) == before


def test_a_folder_with_links_that_is_no_bundle_is_called_that(bundle, tmp_path):
    (tmp_path / "current").symlink_to(bundle)
    with pytest.raises(BundleError, match=r"not a bundle: there is no manifest\.json"):
        open_bundle(tmp_path)


def test_a_link_to_a_bundle_stays_a_link(bundle):
    link = bundle.with_name("current")
    link.symlink_to(bundle.name)
    change_report(link)
    assert link.is_symlink()
    assert everything(bundle)["report.html"] == b"<p>another"


FAILING = ("write", "fsync", "mkdir", "rename", "replace", "open")


def nth_call_fails(monkeypatch, n: int, error: BaseException) -> list[str]:
    """Make the n-th call of any of FAILING raise; the list fills with the calls that were made."""
    calls: list[str] = []

    def wrap(name, real):
        def wrapped(*args, **kwargs):
            writes = name != "open" or (len(args) > 1 and args[1] & os.O_CREAT)
            if writes:
                calls.append(name)
                if len(calls) == n:
                    raise error
            return real(*args, **kwargs)

        return wrapped

    for name in FAILING:
        monkeypatch.setattr(os, name, wrap(name, getattr(os, name)))
    return calls


@pytest.mark.parametrize("target", ["folder", "zip"])
def test_a_full_disk_at_any_write_leaves_the_old_bundle(bundle, target, either_swap):
    if target == "zip":
        bundle = pack(bundle, bundle.with_name("parts.zip"))
    before, siblings = everything(bundle), sorted(bundle.parent.iterdir())
    for n in range(1, 500):
        with pytest.MonkeyPatch.context() as patch:
            calls = nth_call_fails(patch, n, OSError(errno.ENOSPC, "No space left on device"))
            try:
                change_report(bundle)
            except BundleError as error:
                found = str(error)
            else:
                found = ""
        if len(calls) < n:
            break
        assert sorted(bundle.parent.iterdir()) == siblings, calls
        if everything(bundle) == before:
            assert "could not be written (No space left on device)" in found
        else:  # a mkdir of what is there already, or the very last call: the new bundle is at its place
            assert found == "" or "was written, but the disk did not confirm it" in found
            change_report(bundle, before["report.html"])
            before = everything(bundle)
    assert n > (10 if target == "folder" else 3)


def test_ctrl_c_at_any_call_leaves_a_whole_bundle_and_no_litter(bundle, either_swap):
    before, siblings = everything(bundle), sorted(bundle.parent.iterdir())
    for n in range(1, 500):
        with pytest.MonkeyPatch.context() as patch:
            calls = nth_call_fails(patch, n, KeyboardInterrupt())
            try:
                change_report(bundle)
            except KeyboardInterrupt:
                assert len(calls) >= n
        if len(calls) < n:
            break
        assert everything(bundle) in (before, before | {"report.html": b"<p>another"}), calls
        assert sorted(bundle.parent.iterdir()) == siblings, calls
    assert n > 10


DIE = """
import os, sys
from dataclasses import replace
from pathlib import Path
from lineside.bundle import folder, swap

path, exchange = Path(sys.argv[1]), sys.argv[2] == "exchange"
if not exchange:
    swap._exchange = lambda a, b: False
seen = set()
for n in range(1, 1000):
    child = os.fork()
    if not child:
        count = 0
        def wrap(real, after):
            def wrapped(*args, **kwargs):
                global count
                count += 1
                now = count
                if now == n and not after:
                    os._exit(9)
                try:
                    return real(*args, **kwargs)
                finally:
                    if now == n:
                        os._exit(9)
            return wrapped
        for name in ("write", "fsync", "mkdir", "rename", "unlink", "rmdir"):
            setattr(os, name, wrap(getattr(os, name), after=n % 2))
        real = swap._exchange
        swap._exchange = wrap(real, after=n % 2)
        folder.replace(path, {"report.html": b"%d" % n}, lambda m: replace(m, evaluations=n))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    bundle = folder.open_bundle(path)  # no writer has tidied up yet
    for name in bundle.manifest.files:
        bundle.read(name)
    assert bundle.read("report.html") == b"%d" % bundle.manifest.evaluations
    seen.add(bundle.manifest.evaluations == n)
    if status == 0:
        break
folder.replace(path, {"report.html": b"0"}, lambda m: replace(m, evaluations=0))
print(n, sorted(seen), sorted(p.name for p in path.parent.iterdir()))
"""


@pytest.mark.parametrize("how", ["exchange", "moved aside"])
def test_killed_at_every_call_the_bundle_opens_whole(bundle, how):
    folder.replace(bundle, {"report.html": b"0"}, lambda m: replace(m, evaluations=0))
    done = subprocess.run([sys.executable, "-c", DIE, str(bundle), how], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rounds, rest = done.stdout.split(" ", 1)
    assert int(rounds) > 20
    assert rest.strip() == "[False, True] ['parts.bundle']"


def test_kill_9_at_random_moments(bundle, tmp_path):
    import random
    import time

    script = textwrap.dedent("""
        import sys, itertools
        from dataclasses import replace
        from lineside.bundle import folder
        print("ready", flush=True)
        for n in itertools.count():
            folder.replace(sys.argv[1], {"report.html": b"%d" % n}, lambda m: replace(m, evaluations=n))
    """)
    random.seed(5)
    for _ in range(6):
        child = subprocess.Popen([sys.executable, "-c", script, str(bundle)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(random.uniform(0.0, 0.15))
        child.kill()
        child.wait()
        child.stdout.close()
        everything(bundle)
    change_report(bundle)
    assert [p.name for p in bundle.parent.iterdir()] == ["parts.bundle"]


def test_a_really_full_disk(bundle, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        there = pack(bundle, small / "parts.bundle")
        before = everything(there)
        with pytest.raises(BundleError, match=r"could not be written \(No space left on device\).* is whole"):
            change_report(there, os.urandom(900_000))
        assert everything(there) == before
        assert [p.name for p in small.iterdir()] == ["parts.bundle"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_what_is_no_bundle_is_never_overwritten(bundle, tmp_path):
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter1.tex").write_text("long")
    file = tmp_path / "notes.zip"
    file.write_text("no zip")
    for target in (precious, file):
        with pytest.raises(BundleError, match="something here that is not a bundle; it is left alone"):
            pack(bundle, target)
    assert (precious / "chapter1.tex").read_text() == "long"
    assert file.read_text() == "no zip"


def test_a_folder_that_does_not_exist_is_not_made(bundle, tmp_path):
    with pytest.raises(BundleError, match=r"can not be used \(No such file or directory\); make it first"):
        pack(bundle, tmp_path / "a" / "b.zip")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda p: (p / "model.onnx").write_bytes(b"other"),
            r"model.onnx: was changed or damaged: its sha256 is .* take",
        ),
        (lambda p: (p / "model.onnx").unlink(), "model.onnx: is in the manifest but not in the bundle"),
        (lambda p: (p / "extra.txt").write_text("x"), "extra.txt: is not in the manifest; .* move the file away"),
        (lambda p: (p / "samples" / "a.png").write_text("x"), "samples/a.png: is not in the manifest"),
        (lambda p: (p / "weights.pth").write_text("x"), "weights.pth: is a pickle; opening one runs the program"),
        (lambda p: (p / "x.PKL").write_text("x"), "x.PKL: is a pickle"),
        (lambda p: (p / "manifest.json").unlink(), "not a bundle: there is no manifest.json"),
        (lambda p: (p / "manifest.json").write_text("{"), "not a manifest"),
        (lambda p: (p / "link").symlink_to("/etc/passwd"), "link: is a link or a device, not a file"),
        (lambda p: (p / "samples2").symlink_to("/etc"), "samples2: is a link or a device"),
        (lambda p: os.mkfifo(p / "pipe"), "pipe: is a link or a device"),
    ],
)
def test_a_spoilt_folder_is_refused(bundle, spoil, message):
    spoil(bundle)
    with pytest.raises(BundleError, match=message):
        everything(bundle)


def test_a_listed_file_that_became_a_link_is_refused(bundle, tmp_path):
    (tmp_path / "outside.html").write_bytes((bundle / "report.html").read_bytes())
    (bundle / "report.html").unlink()
    (bundle / "report.html").symlink_to(tmp_path / "outside.html")
    with pytest.raises(BundleError, match="is a link"):
        open_bundle(bundle)


def test_nothing_there(tmp_path):
    with pytest.raises(BundleError, match="there is no bundle here; make one with: lineside train DATA -o"):
        open_bundle(tmp_path / "none.bundle")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"there is no manifest\.json"):
        open_bundle(tmp_path / "empty")


def test_a_name_that_is_too_long(bundle, tmp_path):
    for name in ("x" * 254, "x" * 300):
        with pytest.raises(BundleError, match=r"can not be read \(File name too long\)"):
            open_bundle(tmp_path / name)
        with pytest.raises(BundleError, match=r"could not be written \(File name too long\)"):
            pack(bundle, tmp_path / name)


def test_a_folder_that_one_may_not_enter(bundle):
    """Neither the one that the bundle is in, nor the bundle itself."""
    for closed in (bundle.parent, bundle):
        mode = closed.stat().st_mode
        closed.chmod(0)
        try:
            if not os.geteuid():
                os.seteuid(65534)  # nobody: root may enter everything
            with pytest.raises(BundleError, match=r"can not be read \(Permission denied\)"):
                folder.steady(bundle, lambda b: b)
        finally:
            if not os.getuid():
                os.seteuid(0)
            closed.chmod(mode)


# ------------------------------------------------------------------------------------------------------------ archives


def test_an_archive_is_the_same_bundle(bundle, tmp_path):
    archive = pack(bundle, tmp_path / "parts.zip")
    assert everything(archive) == everything(bundle)
    assert open_bundle(archive).sha256 == open_bundle(bundle).sha256
    assert pack(bundle, tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    assert everything(pack(archive, tmp_path / "unpacked")) == everything(bundle)
    change_report(archive)
    assert everything(archive)["report.html"] == b"<p>another"


def rezip(bundle: Path, change) -> Path:
    """The bundle as an archive, made by hand: change(archive, files) may add or remove."""
    path = bundle.with_suffix(".zip")
    files = {str(p.relative_to(bundle)): p.read_bytes() for p in sorted(bundle.rglob("*")) if p.is_file()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        change(archive, files)
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def link(archive, files):
    info = zipfile.ZipInfo("samples/link")
    info.external_attr = 0o120777 << 16
    archive.writestr(info, "/etc/passwd")


def compressed(archive, files):
    archive.writestr("report.html", files.pop("report.html"), compress_type=zipfile.ZIP_DEFLATED)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a, f: a.writestr("../evil.txt", "x"),
            "'../evil.txt': .*leads out of the bundle; the archive is refused",
        ),
        (lambda a, f: a.writestr("/etc/evil", "x"), "'/etc/evil': is not a plain relative path"),
        (lambda a, f: a.writestr("samples/../../evil", "x"), "refused"),
        (lambda a, f: a.writestr("a\\..\\evil", "x"), "refused"),
        (lambda a, f: a.writestr("C:evil", "x"), "refused"),
        (lambda a, f: a.writestr("report.html", f["report.html"]), "a name is in the archive twice"),
        (lambda a, f: a.writestr("REPORT.HTML", "x"), "a name is in the archive twice"),
        (link, "samples/link: is a link or a device"),
        (compressed, r"report.html: is compressed; .* unpack it and use the folder"),
        (lambda a, f: a.writestr("extra.txt", "x"), "extra.txt: is not in the manifest"),
        (lambda a, f: a.writestr("x.pt", "x"), "x.pt: is a pickle"),
    ],
)
def test_archive_tricks_are_refused(bundle, change, message):
    with pytest.raises(BundleError, match=message):
        open_bundle(rezip(bundle, change))


def flagged(bundle: Path, flags: int) -> Path:
    """An archive with these flags on its last member, in the central directory."""
    path = rezip(bundle, lambda a, f: None)
    data = bytearray(path.read_bytes())
    data[(at := data.rindex(b"PK\x01\x02") + 8) : at + 2] = flags.to_bytes(2, "little")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("flags", [0x20, 0x40, 0x2000])
def test_flags_of_formats_that_are_no_plain_archive_are_refused(bundle, flags):
    """Patched data, strong encryption, a hidden directory."""
    with pytest.raises(BundleError, match=rf"has flags \({flags:#x}\).* the archive is refused"):
        everything(flagged(bundle, flags))


@pytest.mark.parametrize("flags", [0x2, 0x4, 0x8, 0x800])
def test_flags_that_say_nothing_of_a_stored_file_are_let_be(bundle, flags):
    assert everything(flagged(bundle, flags)) == everything(bundle)


def test_an_archive_that_claims_more_than_it_has_is_a_bomb(bundle):
    path = rezip(bundle, lambda a, f: None)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    for offset in (20, 24):  # compressed and real size, in the central directory
        data[at + offset : at + offset + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(BundleError, match="archive bomb is refused"):
        open_bundle(path)


@pytest.mark.parametrize("cut", [0, 10, 1000, -30, -1])
def test_a_cut_archive_is_refused(bundle, cut):
    path = rezip(bundle, lambda a, f: None)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BundleError, match=r"not a \.zip that can be read"):
        open_bundle(path)


def test_a_flipped_byte_anywhere_is_noticed(bundle):
    path = rezip(bundle, lambda a, f: None)
    good, size = path.read_bytes(), path.stat().st_size
    truth = everything(path)
    for at in range(0, size, size // 60):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x40]) + good[at + 1 :])
        try:
            found = everything(path)
        except BundleError:
            continue
        assert found == truth  # a byte of padding or of a time stamp
