"""Settings of a camera: the short form in a URL, and what is refused."""

import pytest

from lineside.errors import SettingsError
from lineside.line.source.settings import Camera, refuse, with_tail
from lineside.settings import read


def test_the_tail_of_a_url():
    url = "0815#trigger=software,exposure_us=2000,gain_db=-1.5,white_balance=1.2:1:1.7,roi=640x480+16+0,timeout_s=2"
    assert with_tail(f"basler:{url}", url, Camera()) == (
        "0815",
        Camera(2000.0, -1.5, (1.2, 1.0, 1.7), (16, 0, 640, 480), "software", 2.0),
    )


def test_what_a_table_says_is_not_said_again_in_the_tail():
    assert with_tail("x:a#gain_db=1", "a#gain_db=1", Camera(exposure_us=5))[1] == Camera(5, 1)
    assert with_tail("x:a", "a", Camera(gain_db=2))[1] == Camera(gain_db=2)
    with pytest.raises(SettingsError, match="gain_db is set beside this URL, too; leave one of the two out"):
        with_tail("x:a#gain_db=1", "a#gain_db=1", Camera(gain_db=2, exposure_us=5))


@pytest.mark.parametrize(
    ("tail", "says"),
    [
        ("exposre_us=3", r"'basler:a#exposre_us=\*\*\*': exposre_us: unknown key; did you mean exposure_us\?"),
        ("exposure_us=fast", "exposure_us: expected a number, got 'fast'"),
        ("exposure_us=0", "exposure_us: expected a number above 0, got 0.0"),
        ("exposure_us=nan", "exposure_us: expected a number above 0, got nan"),
        ("exposure_us", "after the # expected key=value"),
        ("", "after the # expected key=value"),
        ("gain_db=1,gain_db=2", "gain_db is given twice"),
        ("gain_db=inf", "gain_db: expected a number, got inf"),
        ("trigger=sofware", "trigger: expected one of 'free', 'software', 'hardware', got 'sofware'"),
        ("roi=640:480", r"roi: expected WIDTHxHEIGHT\+X\+Y such as 640x480\+16\+0, got '640:480'"),
        ("roi=640,480", "after the # expected key=value,key=value"),
        ("white_balance=1:x", "white_balance: expected RED:GREEN:BLUE such as 1.2:1:1.7, got '1:x'"),
        ("roi=0x480+0+0", "roi: expected x, y from 0 and width, height from 1"),
        ("white_balance=1:2", "white_balance: expected a list of 3: a number, got"),
        ("white_balance=1:2:0", "white_balance: expected three gains above 0"),
        ("timeout_s=-1", "timeout_s: expected a number above 0, got -1.0"),
    ],
)
def test_wrong_settings_are_sentences(tail, says):
    with pytest.raises(SettingsError, match=says):
        with_tail(f"basler:a#{tail}", f"a#{tail}", Camera())


def test_a_table_reads_the_same_record():
    table = {"exposure_us": 100, "roi": [0, 0, 64, 64], "trigger": "hardware", "reconnect_s": 60}
    assert read(Camera, table, "line.toml") == Camera(100.0, roi=(0, 0, 64, 64), trigger="hardware", reconnect_s=60.0)
    with pytest.raises(SettingsError, match=r"line\.toml: roi: expected"):
        read(Camera, {"roi": [0, 0, -1, 64]}, "line.toml")


def test_what_a_source_has_not_is_refused():
    with pytest.raises(SettingsError, match=r"folder:x: a folder has no exposure_us \(5 was asked for\); leave it out"):
        refuse("folder:x", Camera(exposure_us=5), "a folder")
    with pytest.raises(SettingsError, match=r"no trigger .* leave it out; it takes timeout_s"):
        refuse("rtsp://x", Camera(trigger="software", timeout_s=1), "a stream", ("timeout_s",))
    refuse("folder:x", Camera(), "a folder")
