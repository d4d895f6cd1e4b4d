"""A recipe that is wrong is a sentence with its place; what it does not say has a default."""

import pytest

from lineside.errors import SettingsError, TrainError
from lineside.learn.recipe import Augment, Recipe, read_recipe
from lineside.learn.run_folder import Decided, RunFolder, open_run
from lineside.settings import plain, read


def test_a_file_says_only_what_differs(tmp_path):
    (tmp_path / "r.toml").write_text('net = "resnet18"\nepochs = 3\n[augment]\nflip_vertical = false\n')
    recipe = read_recipe(tmp_path / "r.toml")
    assert recipe == Recipe(net="resnet18", epochs=3, augment=Augment(flip_vertical=False))
    assert read(Recipe, plain(recipe), "again") == recipe


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epocs = 3", r"r\.toml: epocs: unknown key; did you mean epochs\?"),
        (
            "[augment]\nflp_vertical = true",
            r"r\.toml: augment\.flp_vertical: unknown key; did you mean flip_vertical\?",
        ),
        ('epochs = "three"', r"r\.toml: epochs: expected a whole number, got 'three'"),
        ("epochs = 0", r"r\.toml: epochs is 0; expected at least 1"),
        ("rate = -1", r"rate is -1\.0; expected more than 0"),
        ("ema = 1.0", r"ema is 1\.0; expected 0 or more and less than 1"),
        ("pool_power = 0.5", r"pool_power is 0\.5; expected 0 .* or between 1 and 100"),
        ("seed = -1", r"seed is -1; expected 0 or more"),
        ("[augment]\nzoom = 1.0", r"zoom is 1\.0; expected 0 or more and less than 1"),
        ("clip = 0.0", r"clip is 0\.0; expected more than 0"),
        ("size_px = 8", r"size_px is 8; expected 0 .* or at least 16"),
        ('precision = "half"', r"precision: expected one of 'auto', 'float32', 'bfloat16', got 'half'"),
        ("epochs 3", r"r\.toml: not a TOML file"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, text, sentence):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(SettingsError, match=sentence):
        read_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize("name", ["none.toml", "none.json"])
def test_a_missing_file_is_said(tmp_path, name):
    with pytest.raises(SettingsError, match=rf"{name}: can not be read \(No such file"):
        read_recipe(tmp_path / name)


def test_a_run_goes_on_only_for_the_same_question(tmp_path):
    bundle, decided = tmp_path / "b", Decided(Recipe(), (), "/", "0", (1, 2), (1, 2))
    open_run(bundle, {"seed": 1}).decide(decided)
    assert open_run(bundle, {"seed": 1}).decided() == decided
    assert open_run(bundle, {"seed": 2}).decided() is None
    assert RunFolder(tmp_path / "b.run.old").decided() == decided, "an unfinished run is put aside"
    run = open_run(bundle, {"seed": 2})
    run.decide(decided)
    run.end({})
    assert open_run(bundle, {"seed": 2}).decided() is None, "a run that has ended starts anew"


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "b.run").mkdir()
    (tmp_path / "b.run" / "thesis.tex").write_text("years of work")
    with pytest.raises(TrainError, match=r"b\.run: exists and is no run folder"):
        open_run(tmp_path / "b", {})
    assert (tmp_path / "b.run" / "thesis.tex").read_text() == "years of work"
