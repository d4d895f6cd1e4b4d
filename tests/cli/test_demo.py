"""`lineside demo`: every command of the chain, with a training that is too short to be good."""

from lineside.bundle.folder import open_bundle
from lineside.cli import demo
from lineside.cli.main import main


def test_the_whole_chain_on_the_built_in_nuts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "RECIPE", 'epochs = 1\nviews = 1\nfreeze_below = "head"\n')
    assert main(["demo", "-o", str(tmp_path / "demo"), "--parts", "20"]) == 0
    said = capsys.readouterr().out
    commands = [line.split()[2] for line in said.splitlines() if line.startswith("$ lineside ")]
    assert commands == ["check", "train", "evaluate", "verify", "run"]
    closing = dict(line.split(maxsplit=1) for line in said.splitlines()[-12:] if len(line.split(maxsplit=1)) == 2)
    manifest = open_bundle(tmp_path / "demo" / "nuts.bundle").manifest
    top1 = manifest.metrics["test top-1"]
    assert closing["accuracy"].startswith(f"{top1.value:.1%} (n = {top1.n}, 95 %: ")
    assert manifest.operating_point is not None
    assert closing["promise"] == manifest.operating_point.sentence()
    for rate in ("escape", "overkill", "passed"):
        assert "(n = " in closing[rate]
    assert closing["speed"].split()[1:4] == ["ms", "per", "part"]
    assert "onnxruntime against torch on 232 pictures: 0 verdicts changed" in closing["parity"]
    assert (tmp_path / "demo" / "nuts.bundle" / "report.html").stat().st_size > 10_000
