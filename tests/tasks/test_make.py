"""`lineside train` as a user runs it: what it makes, what it refuses, and that a kill costs nothing but the time."""

import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.torch import load_file

from lineside.bundle import folder
from lineside.bundle.model import load
from lineside.bundle.signature import sign
from lineside.cli.main import main
from lineside.data.picture import load as load_picture
from lineside.data.split import read_csv
from lineside.errors import DataError, SettingsError, TrainError
from lineside.learn.recipe import Recipe
from lineside.learn.run_folder import alone, beside
from lineside.progress import Screen, silent
from lineside.tasks.classify.make import make
from lineside.tasks.classify.promise import Promise
from tests.learn import shapes

RECIPE = """
net = "lenet5"
epochs = 4
batch = 16
rate = 0.004
checkpoint_s = 0.0
precision = "float32"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("make")
    shapes.write(folder / "data", each=40)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def command(*args: object, torchrun: int = 0) -> list[str]:
    spread = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(torchrun)] if torchrun else []
    return [sys.executable, *spread, "-m", "lineside", "train", *map(str, args)]


def train(*args: object, torchrun: int = 0, **environment: str) -> subprocess.CompletedProcess:
    env = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(command(*args, torchrun=torchrun), capture_output=True, text=True, env=env)


def ask(place: Path, bundle: str, *more: object) -> tuple:
    return (place / "data", "-o", place / bundle, "--recipe", place / "recipe.toml", "--accept", "disc", *more)


@pytest.fixture(scope="module")
def whole(place) -> Path:
    done = train(*ask(place, "whole.bundle", "--max-escape", "0.2"))
    assert done.returncode == 0, done.stderr
    assert "escape ≤ 20 % at 95 % confidence" in done.stdout
    assert "the net sees 32 × 32 px" in done.stderr
    assert done.stderr.index("augmented by flips") < done.stderr.index("features, train")
    return place / "whole.bundle"


def test_it_makes_a_bundle_that_answers(whole, place):
    model = load(whole)
    assert model.manifest.classes == shapes.KINDS
    assert model.manifest.accept == ("disc",)
    assert model.infer(load_picture(place / "data" / "disc" / "disc000.png")[None]).shape == (1, 3)
    ended = json.loads((place / "whole.bundle.run" / "ended.json").read_text())
    assert set(ended["seconds"]) == {"features", "training", "calibration"}
    assert list((place / "whole.bundle.run" / "events").glob("events.out.tfevents.*"))


@pytest.mark.slow
def test_a_killed_command_goes_on_to_the_same_weights(whole, place):
    args = ask(place, "killed.bundle", "--max-escape", "0.2")
    run = place / "killed.bundle.run"
    process = subprocess.Popen(command(*args), env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (run / "checkpoint.safetensors").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (place / "killed.bundle").exists()
    again = train(*args)
    assert again.returncode == 0, again.stderr
    assert "going on with the unfinished run" in again.stderr
    expected, found = (load_file(b / "weights.safetensors") for b in (whole, place / "killed.bundle"))
    assert all((expected[name] == found[name]).all() for name in expected)


def cut_short(data: Path, bundle: Path, recipe: Recipe) -> Path:
    """Train up to the export, which is stopped as Ctrl-C does; the run folder."""

    def watch(what: str):
        if what == "export and parity":
            raise KeyboardInterrupt
        return nullcontext(silent)

    with pytest.raises(KeyboardInterrupt):
        make(str(data), bundle, recipe, Promise(("disc",), 0.5), screen=Screen(watch, lambda text: None))
    return beside(bundle)


def test_a_resumed_run_finds_its_pictures_by_content(tmp_path):
    """Two names exchanged between parts, and one file renamed, so that it sorts elsewhere."""
    data = shapes.write(tmp_path / "data", each=12)
    recipe = Recipe(net="lenet5", epochs=1, batch=16, precision="float32")
    run = cut_short(data, tmp_path / "x.bundle", recipe)
    before = read_csv(run.split, data)
    one, two = (next(p.path for p in before.of(part) if p.label == "disc") for part in ("train", "calibrate"))
    for source, target in ((one, tmp_path / "aside"), (two, one), (tmp_path / "aside", two)):
        source.rename(target)
    last = before.of("train")[-1]
    last.path.rename(last.path.with_name("0 new.png"))
    (data / "mask.txt").write_text("no picture")
    said = []
    screen = Screen(lambda what: nullcontext(silent), said.append)
    made = make(str(data), tmp_path / "x.bundle", recipe, Promise(("disc",), 0.5), screen=screen)
    assert said[0].startswith("the check-up: 1 other-file (not a picture, left out), "), "warnings are not kept back"
    assert said[0].endswith(f"; see them with: lineside check {data}")
    assert "3 pictures got another name since the run began; contents decide, each keeps its part" in said
    now = read_csv(run.split, data)
    assert (now.sha256, now.part) == (before.sha256, before.part), "the features in the cache are in this order"
    for split in (now, read_csv(made.path / "split.csv", data)):
        assert split.fingerprint == before.fingerprint
        for picture, sha256 in zip(split.pictures, split.sha256, strict=True):
            assert hashlib.sha256(picture.path.read_bytes()).hexdigest() == sha256, picture.name


def test_a_resumed_run_with_another_split_csv_is_refused(tmp_path):
    data = shapes.write(tmp_path / "data", each=12)
    recipe = Recipe(net="lenet5", epochs=1, batch=16, precision="float32")
    run = cut_short(data, tmp_path / "x.bundle", recipe)
    run.split.write_text(run.split.read_text().replace("test,", "train,"))
    with pytest.raises(TrainError, match=r"split\.csv: is not the split that the run began with; move .*run away"):
        make(str(data), tmp_path / "x.bundle", recipe, Promise(("disc",), 0.5))


@pytest.mark.parametrize(("epochs", "gb", "views"), [(3, 1.0, 3), (1, 1.0, 1), (3, 8e-5, 1)])
def test_no_more_views_are_kept_than_epochs_learn_from_and_fewer_are_said(tmp_path, epochs, gb, views):
    data, said = shapes.write(tmp_path / "data", each=12), []
    recipe = Recipe(net="lenet5", freeze_below="stage1", epochs=epochs, cache_gb=gb, precision="float32")
    screen = Screen(lambda what: nullcontext(silent), said.append)
    made = make(str(data), tmp_path / "x.bundle", recipe, Promise(("disc",), 0.5), screen=screen)
    one = len(read_csv(made.run.split, data).of("train")) * 6 * 14 * 14 * 2
    assert (made.run.cache / "train.bin").stat().st_size == views * one
    short = [text for text in said if "the feature cache holds only 1 of 3 views" in text]
    assert len(short) == (views < epochs)


def test_trained_again_a_bundle_keeps_the_count_of_looks_and_says_that_its_signature_is_gone(tmp_path, capsys):
    data, bundle, recipe = shapes.write(tmp_path / "data", each=12), tmp_path / "x.bundle", tmp_path / "r.toml"

    def trained(seed: int) -> str:
        recipe.write_text(f'net = "lenet5"\nepochs = 1\nprecision = "float32"\nseed = {seed}\n')
        assert main(["train", str(data), "-o", str(bundle), "--recipe", str(recipe)]) == 0
        return capsys.readouterr().err

    assert "replaces" not in trained(0)
    for _ in range(2):
        assert main(["evaluate", str(bundle), str(data)]) == 0
    key = Ed25519PrivateKey.generate()
    folder.replace(bundle, {}, lambda now: now, sign=lambda text: sign(text, key))
    said = trained(0)
    assert "its test pictures were looked at 2 times, and that is kept" in said
    assert f"replaces a signed bundle: sign it again with: lineside export {bundle} --sign KEY" in said
    assert load(bundle).manifest.evaluations == 2
    said = trained(1)
    assert "replaces" not in said
    assert load(bundle).manifest.evaluations == 0, "another split has other test pictures"


@pytest.mark.slow
def test_torchrun_with_two_processes_makes_the_same_bundle_within_rounding(whole, place):
    done = train(*ask(place, "two.bundle", "--max-escape", "0.2"), torchrun=2)
    assert done.returncode == 0, done.stderr
    rows = [
        [json.loads(line) for line in (place / run / "history.jsonl").read_text().splitlines()]
        for run in ("whole.bundle.run", "two.bundle.run")
    ]
    for one, two in zip(*rows, strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-3)


@pytest.mark.slow
def test_ctrl_c_says_so_and_leaves_no_bundle(place):
    process = subprocess.Popen(command(*ask(place, "stopped.bundle")), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (place / "stopped.bundle.run").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "stopped by Ctrl-C" in said
    assert not (place / "stopped.bundle").exists()


@pytest.mark.parametrize(
    ("more", "code", "sentence"),
    [
        (("--accept", "dics"), 2, "--accept dics: is no class of .*; its classes: cross, disc, square"),
        (("--net", "lenet6"), 2, "net 'lenet6' is not known; did you mean lenet5"),
        (("--max-latency-ms", "0.0001"), 5, "lenet5 takes .* ms a picture here, --max-latency-ms allows 0.0001"),
        (("--max-escape", "1.5"), 2, "max escape: expected a number between 0 and 1"),
        (("--accept", "cross", "--accept", "square"), 2, "--accept names every class, so nothing could be rejected"),
        (("-o", "."), 2, r"-o \.: names no new folder; give the bundle a name"),
        (("-o", "/usr"), 4, "there is something here that is not a bundle; it is left alone"),
        (("--recipe", "gone.toml"), 2, r"gone\.toml: can not be read"),
    ],
)
def test_what_can_not_be_done_is_said(place, more, code, sentence):
    done = train(*ask(place, "refused.bundle", *more))
    assert done.returncode == code, done.stderr
    assert re.search(sentence, done.stderr.replace("\n", " ")), done.stderr
    assert "Traceback" not in done.stderr
    assert not (place / "refused.bundle").exists()


@pytest.mark.parametrize("recipe", [Recipe(net="lenet6"), Recipe(net="lenet5", weights="imagenet")])
def test_a_net_that_is_none_is_said_before_the_pictures_are_looked_at(tmp_path, recipe):
    with pytest.raises(SettingsError, match=r"lenet6|imagenet"):
        make(str(tmp_path / "gone"), tmp_path / "x.bundle", recipe, Promise())


def test_what_no_list_can_leave_out_is_not_sent_to_one(tmp_path):
    shapes.write(tmp_path / "data", each=3)
    for one in list((tmp_path / "data").iterdir())[1:]:
        shutil.rmtree(one)
    with pytest.raises(DataError, match=r"found 1 error, the first: .*only the class .*lineside check`$"):
        make(str(tmp_path / "data"), tmp_path / "x.bundle", Recipe(net="lenet5"), Promise())


def test_a_hold_out_set_is_not_trained_on(tmp_path):
    for number, part in enumerate(("val", "test")):
        shapes.write(tmp_path / "data" / part, each=3, seed=number)
    with pytest.raises(DataError, match="states calibrate, test but no train; add a train part"):
        make(str(tmp_path / "data"), tmp_path / "x.bundle", Recipe(net="lenet5"), Promise())


@pytest.mark.parametrize("source", [".", "{data}", "{tmp}/link"])
@pytest.mark.parametrize("bundle", ["x.bundle", "disc/x.bundle"])
def test_a_bundle_is_not_made_inside_the_data_set(tmp_path, monkeypatch, source, bundle):
    """It would be read as a class by the next command."""
    data = shapes.write(tmp_path / "data", each=3)
    (tmp_path / "link").symlink_to(data)
    monkeypatch.chdir(data)
    said = rf"-o {bundle}: is inside the data set .*; choose a place beside it, such as -o {tmp_path}/x\.bundle$"
    with pytest.raises(SettingsError, match=said):
        make(source.format(data=data, tmp=tmp_path), Path(bundle), Recipe(net="lenet5"), Promise())
    assert {p.name for p in data.iterdir()} == set(shapes.KINDS)
    assert not list(data.rglob("*.run")) + list(data.rglob(".*.lock"))


def test_two_do_not_train_into_one_run_folder(place, tmp_path):
    """Both would write one checkpoint, and each other's decisions."""
    with alone(tmp_path / "x.bundle"), pytest.raises(TrainError, match="another process is training there; wait"):
        make(str(place / "data"), tmp_path / "x.bundle", Recipe(net="lenet5"), Promise())
    assert not list(tmp_path.iterdir())
    with alone(tmp_path / "x.bundle"), alone(tmp_path / "y.bundle"):  # each to its own, and again after the end
        pass


def test_a_machine_without_torch_says_what_to_install(place, tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    done = train(*ask(place, "none.bundle"), PYTHONPATH=str(tmp_path))
    assert done.returncode == 7
    assert "needs torch, which is not installed here; install it with: pip install 'lineside[train]'" in done.stderr


def test_a_loss_that_is_nan_stops_with_its_place(place, tmp_path):
    (tmp_path / "hot.toml").write_text(RECIPE.replace("0.004", "1e30"))
    done = train(place / "data", "-o", tmp_path / "hot.bundle", "--recipe", tmp_path / "hot.toml")
    assert done.returncode == 5, done.stderr
    assert "lower the recipe's rate" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_can_not_be_written_is_said(place, tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    done = train(place / "data", "-o", tmp_path / "b.bundle", "--recipe", place / "recipe.toml")
    assert done.returncode != 0
    assert "can not be written" in done.stderr
