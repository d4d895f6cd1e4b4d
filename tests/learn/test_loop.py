"""Training goes on after a kill as if nothing had been, is a function of its seed, and is the same in two processes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from lineside.errors import TrainError
from lineside.learn import checkpoint, loop
from lineside.learn.ranks import Ranks
from lineside.learn.recipe import Recipe
from lineside.nets import vit, vmoe
from lineside.nets.parts import seq
from tests.learn import shapes

PROGRAM = Path(__file__).with_name("train_shapes.py")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shapes.write(tmp_path_factory.mktemp("shapes"), each=32)


def start(*args: object, ranks: int = 1) -> int:
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--standalone"] if ranks > 1 else []
    done = subprocess.run([sys.executable, *torchrun, str(PROGRAM), *map(str, args)], capture_output=True, text=True)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


def history(run: Path) -> list[dict]:
    """The rows without their wall-clock times."""
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole")
    start(data, run, 7)
    return run


@pytest.mark.parametrize("kills", [(2, 6), (5,)])  # 5 steps an epoch: inside and at the end of one
def test_a_killed_run_goes_on_bit_for_bit(data, whole, tmp_path, kills):
    for saves in kills:
        assert start(data, tmp_path, 7, saves) == -9
        assert not (tmp_path / "final.safetensors").exists()
    assert start(data, tmp_path, 7) == 0
    expected, found = load_file(whole / "final.safetensors"), load_file(tmp_path / "final.safetensors")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert history(tmp_path) == history(whole)


def test_same_seed_same_result_another_seed_another(data, whole, tmp_path):
    start(data, tmp_path / "again", 7)
    start(data, tmp_path / "other", 8)
    expected = load_file(whole / "final.safetensors")
    again, other = (load_file(tmp_path / run / "final.safetensors") for run in ("again", "other"))
    assert all(torch.equal(expected[name], again[name]) for name in expected)
    assert not all(torch.equal(expected[name], other[name]) for name in expected)


def test_two_processes_give_the_loss_curve_of_one(data, whole, tmp_path):
    start(data, tmp_path, 7, ranks=2)
    for one, two in zip(history(whole), history(tmp_path), strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)
        assert two["calibrate_loss"] == pytest.approx(one["calibrate_loss"], rel=1e-4)


def test_it_learns(whole):
    rows = history(whole)
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


class Held:
    """Examples without a file: constant features."""

    def __init__(self, x: torch.Tensor):
        self.x = x

    def plain(self, rows):
        return self.x[rows]

    def drawn(self, rows, epoch):
        return self.x[rows]

    def fill(self, epoch):
        """There is nothing to compute."""


def fit_line(tmp_path, recipe: Recipe, scale: float = 1.0, *, new_head: bool = False, ranks=Ranks()):  # noqa: B008
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(64, 4, generator=rng) * scale
    y = (x[:, 0] > 0).long().numpy()
    net = torch.nn.Sequential()
    net.add_module("head", torch.nn.Linear(4, 2))
    if new_head:
        with torch.no_grad():
            net[0].weight.copy_(torch.tensor([[-9.0, 0, 0, 0], [9.0, 0, 0, 0]]))
    examples = loop.Examples(Held(x), y, tuple(f"p{i}.png" for i in range(64)))
    state = loop.train(
        net,
        examples,
        examples,
        recipe,
        new_head=new_head,
        class_weights=np.ones(2),
        folder=tmp_path,
        ranks=ranks,
        log=lambda row: None,
    )
    return net, state


def test_a_loss_that_is_not_finite_stops_and_says_where(tmp_path):
    with pytest.raises(TrainError, match=r"loss became nan in epoch 1, step 1, .*p\d+\.png.*rate \(0\.01\)"):
        fit_line(tmp_path, Recipe(precision="float32", rate=0.01), scale=float("inf"))


def test_early_stopping_keeps_the_best_epoch(tmp_path):
    _, state = fit_line(tmp_path, Recipe(precision="float32", rate=3.0, epochs=60, patience=2, ema=0.0))
    losses = [row["calibrate_loss"] for row in state.history]
    assert state.best_epoch == 1 + int(np.argmin(losses))
    assert len(losses) - max(state.best_epoch, 60 // 2) == 2 or len(losses) == 60  # in the second half at the earliest


def test_a_start_that_no_epoch_betters_is_kept(tmp_path):
    net, state = fit_line(tmp_path, Recipe(rate=50.0, epochs=9, patience=2, precision="float32"), new_head=True)
    assert (state.best_epoch, state.epochs, state.ended) == (0, 9 // 2 + 2, "no lower calibrate loss in 2 epochs")
    assert net[0].weight[1, 0] == 9


def test_a_batch_that_the_ranks_can_not_share_is_refused(tmp_path):
    with pytest.raises(TrainError, match="a batch of 1 can not be shared by 2 processes"):
        fit_line(tmp_path, Recipe(batch=1, precision="float32"), ranks=Ranks(0, 2))


def test_no_batch_is_a_rest_of_one(tmp_path):
    sizes = []
    drawn = Held.drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Held, "drawn", lambda self, rows, epoch: (sizes.append(len(rows)), drawn(self, rows, epoch))[1])
        fit_line(tmp_path, Recipe(batch=21, epochs=1, precision="float32"))
    assert sizes == [16, 16, 16, 16]


def test_a_checkpoint_without_room_is_a_sentence_and_leaves_the_last(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    checkpoint.save(path, {"a": torch.ones(2)}, {"step": 1})

    def full(tensors, where, metadata):
        Path(where).write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(TrainError, match=r"No space left on device.*make room and train again"):
        checkpoint.save(path, {"a": torch.zeros(2)}, {"step": 2})
    assert checkpoint.load(path)[1] == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


def test_a_damaged_checkpoint_is_refused(tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"not a checkpoint at all")
    with pytest.raises(TrainError, match="can not be read"):
        fit_line(tmp_path, Recipe(precision="float32"))
    checkpoint.save(tmp_path / "checkpoint.safetensors", {"model.head.weight": torch.zeros(3, 3)}, {})
    with pytest.raises(TrainError, match="not a checkpoint of this run"):
        fit_line(tmp_path, Recipe(precision="float32"))


def test_what_came_with_weights_learns_in_proportion_to_its_size():
    """AdamW's step is as long as its rate: the same share of every tensor, and the last layer at the full rate."""
    small, large = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
    for layer, size in ((small, 0.05), (large, 0.5)):
        torch.nn.init.constant_(layer.weight, size)
        torch.nn.init.zeros_(layer.bias)
    net = seq(stem=small, head=seq(fc6=large, fc=torch.nn.Linear(8, 2)))
    recipe = Recipe(rate=0.01, fine_tune_rate=0.1)
    rates = {id(g["params"][0]): g["lr"] for g in loop._groups(net, recipe, new_head=True)}
    named = {name: rates[id(p)] for name, p in net.named_parameters()}
    assert named["stem.weight"] == pytest.approx(0.001)
    assert named["head.fc6.weight"] == pytest.approx(0.01)
    assert named["stem.bias"] == pytest.approx(0.002)  # zeros now: as if of size 0.1
    assert named["head.fc.weight"] == named["head.fc.bias"] == 0.01
    assert {g["lr"] for g in loop._groups(net, recipe, new_head=False)} == {0.01}


def experts_net() -> torch.nn.Sequential:
    """Four experts in two of four blocks, of which two get every token."""
    torch.manual_seed(0)
    net = vmoe.build(vmoe.VMoE(vit.ViT(8, 16, 4, 2, 32, side=16), 4, range(1, 4, 2)), 2)
    for path, module in net.named_modules():
        if isinstance(module, vmoe.Experts):
            norm, score = net.get_submodule(path.replace(".mlp", ".norm")), module.router.get_submodule("score")
            assert isinstance(norm, torch.nn.LayerNorm)
            assert isinstance(score, torch.nn.Linear)
            torch.nn.init.ones_(norm.bias)
            with torch.no_grad():
                score.weight += 0.1 * torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    return net


def shares_of_experts(net: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Of each router the share of first and second choices that go to each expert, (E,)."""
    with torch.no_grad(), vmoe.routed(net.eval()) as routings:
        net(x)
    chosen = [one.logits.topk(vmoe.CHOICES, 2).indices.flatten() for one in routings.values()]
    return [torch.bincount(one, minlength=4) / len(one) for one in chosen]


def test_experts_are_trained_so_that_each_has_work(tmp_path, monkeypatch):
    """Without the balancing losses two starve for ever; with them all get work, and the task is learnt as well."""
    rng = torch.Generator().manual_seed(0)
    y = np.arange(128) % 2
    x = torch.randn(128, 3, 16, 16, generator=rng) + torch.from_numpy(y).float().view(-1, 1, 1, 1)
    before = shares_of_experts(experts_net(), x)
    found = {}
    for weight in (vmoe.BALANCE, 0.0):
        monkeypatch.setattr(loop, "BALANCE", weight)
        (tmp_path / str(weight)).mkdir()
        net, examples = experts_net(), loop.Examples(Held(x), y, tuple(f"p{i}.png" for i in range(len(y))))
        state = loop.train(
            net,
            examples,
            examples,
            Recipe(precision="float32", rate=0.01, epochs=30, patience=30, batch=32, ema=0.0),
            new_head=False,
            class_weights=np.ones(2),
            folder=tmp_path / str(weight),
            ranks=Ranks(),
            log=lambda row: None,
        )
        found[weight] = shares_of_experts(net, x)
        assert state.history[-1]["calibrate_top1"] > 0.9
    for shares in (*before, *found[0.0]):
        assert shares.tolist() == [0.5, 0.5, 0, 0]
    for shares in found[vmoe.BALANCE]:
        assert shares.min() > 0.05


def test_the_balance_reaches_the_routers_and_not_the_head(tmp_path):
    """A step on labels of weight 0: only the balancing losses move anything."""
    x, y = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0)), np.arange(32) % 2
    net = experts_net().train()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    examples = loop.Examples(Held(x), y, tuple("p" * 32))
    recipe = Recipe(precision="float32", rate=0.01, batch=32)
    loop._step(
        net, torch.optim.SGD(net.parameters(), lr=1.0), examples, np.arange(32), torch.zeros(2), recipe, Ranks(), 0
    )
    moved = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert {name for name in before if ".router." in name} <= moved
    assert not any(name.startswith("head") for name in moved)
