"""The training loop: a plain function over cached features.

AdamW (Loshchilov & Hutter 2017, arXiv:1711.05101) · clipped gradients · warm-up and cosine · label smoothing (Szegedy
et al. 2015, arXiv:1512.00567, sec. 7) · an exponential average of the weights is what is judged and kept · early
stopping on calibrate · bfloat16 where measured faster · balancing losses where the net has routers (nets/vmoe.py).

State is (model, average, best, optimiser, step): with draws.py every random number follows from the step, so a run
that was killed continues bit for bit (on a CPU; a GPU adds in an order of its own). An epoch is cut into batches that
differ by one picture at most: none is too small for a batch norm or for the ranks. Under torchrun each rank takes its
share of every batch; the loss is divided by the global batch, so the curve is that of one process up to rounding,
except that dropout draws differ by rank, and that batch norms of a net from scratch, and the balance of experts, see
their own rank's share only. The loss that is printed is the task's, without the balance.
"""

import json
import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lineside.errors import TrainError
from lineside.evidence.calibration import calibrated_nll
from lineside.learn import checkpoint
from lineside.learn.draws import generator, seed_of
from lineside.learn.features import Cache
from lineside.learn.precision import autocast, channels_last
from lineside.learn.ranks import Ranks
from lineside.learn.recipe import Recipe
from lineside.learn.schedule import factor
from lineside.nets.fold import without_batch_norm
from lineside.nets.vmoe import BALANCE, balance, routed
from lineside.progress import Progress, silent

USUAL_SIZE = 0.05  # root mean square of a convolution's weights for which the recipe's fine_tune_rate is meant
LEAST_SIZE_OF_A_MATRIX, LEAST_SIZE_OF_A_VECTOR = 0.02, 0.1
BETAS = (0.9, 0.98)  # AdamW's; a run here has hundreds of steps, over which torch's 0.999 would hardly forget
TOGETHER = 32  # pictures that are judged at once


@dataclass(frozen=True)
class Examples:
    """Pictures as features, with their class indices."""

    cache: Cache
    labels: np.ndarray  # (N,) int64
    names: tuple[str, ...]  # for messages


@dataclass
class State:
    """Where training stands; what a checkpoint holds beside the tensors."""

    step: int = 0  # steps done, over all epochs
    epoch_loss: float = 0.0  # sum over the pictures of this epoch so far
    best_loss: float = math.inf  # calibrate loss of `best`
    best_epoch: int = 0  # 0: the start
    ended: str = ""  # why training ended
    seconds: float = 0.0  # of the processes before this one, up to their last checkpoint
    history: list[dict[str, float]] = field(default_factory=list)  # one row an epoch, from 1; 0 is the start

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return int(self.history[-1]["epoch"]) if self.history else 0


def train(
    net: nn.Module,
    examples: Examples,
    held: Examples,
    recipe: Recipe,
    *,
    new_head: bool,
    class_weights: np.ndarray,
    folder: Path,
    ranks: Ranks,
    log: Callable[[dict[str, float]], None],
    progress: Progress = silent,
) -> State:
    """Train net (its stages above the frozen ones, ending in logits) in place; its weights end as the best average.

    new_head: the stages come with weights and only the last layer is new: they get a share of the rate, and keep their
    batch-norm statistics; their start competes too, as epoch 0 of the history: fine-tuning that only makes it worse is
    not kept. class_weights (K,) multiply the loss. folder holds the checkpoint. recipe.precision is decided ("float32"
    or "bfloat16"). TrainError: NaN loss, fewer pictures in a batch than ranks.
    """
    if recipe.batch < ranks.world:
        raise TrainError(
            f"a batch of {recipe.batch} can not be shared by {ranks.world} processes; raise the recipe's batch"
        )
    net.to(ranks.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimiser = torch.optim.AdamW(_groups(net, recipe, new_head), betas=BETAS)
    peaks = [group["lr"] for group in optimiser.param_groups]
    average = {name: t.detach().clone() for name, t in net.state_dict().items()}
    best = {name: t.clone() for name, t in average.items()}
    saved, state = folder / "checkpoint.safetensors", State()
    ranks.barrier()
    if saved.is_file():
        state = _resume(saved, net, average, best, optimiser)
    each = math.ceil(len(examples.labels) / recipe.batch)  # steps an epoch
    steps = each * recipe.epochs
    parallel = DistributedDataParallel(net) if ranks.world > 1 else net
    weights = torch.as_tensor(class_weights, dtype=torch.float32, device=ranks.device)
    started = last_saved = monotonic()
    if new_head and not state.history:
        _judge(net, average, best, held, class_weights, recipe, ranks, state)
    while not state.ended:
        epoch, within = divmod(state.step, each)
        order = torch.randperm(len(examples.labels), generator=generator(recipe.seed, "order", epoch)).numpy()
        examples.cache.fill(epoch)
        net.train()
        if new_head:
            keep_statistics(net)
        for at, rows in list(enumerate(np.array_split(order, each)))[within:]:
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * factor(state.step, steps, recipe.warmup)
            torch.manual_seed(seed_of(recipe.seed, "step", state.step, ranks.rank))
            loss = _step(parallel, optimiser, examples, rows, weights, recipe, ranks, epoch)
            if not math.isfinite(loss):
                raise TrainError(_lost(loss, epoch, at, rows, examples, recipe))
            state.step += 1
            state.epoch_loss += loss
            _follow(average, net, min(recipe.ema, (1 + state.step) / (10 + state.step)))
            learnt = round(state.step * len(order) / each)
            rate = optimiser.param_groups[-1]["lr"]
            note = f"epoch {epoch + 1}, loss {loss / len(rows):.3f}, rate {rate:.1e}"
            progress(learnt, recipe.epochs * len(examples.labels), note)
            if ranks.first and at + 1 < each and monotonic() - last_saved > recipe.checkpoint_s:
                _save(saved, net, average, best, optimiser, state, state.seconds + monotonic() - started)
                last_saved = monotonic()
        _judge(net, average, best, held, class_weights, recipe, ranks, state, epoch + 1, state.epoch_loss / len(order))
        state.history[-1]["seconds"] = round(state.seconds + monotonic() - started, 2)
        log(state.history[-1] | {"rate": optimiser.param_groups[-1]["lr"]})
        state.epoch_loss = 0.0
        if epoch + 1 == recipe.epochs:
            state.ended = "the only epoch done" if recipe.epochs == 1 else f"all {recipe.epochs} epochs done"
        elif epoch + 1 - max(state.best_epoch, recipe.epochs // 2) >= recipe.patience:
            state.ended = f"no lower calibrate loss in {recipe.patience} epochs"
        if ranks.first:
            _save(saved, net, average, best, optimiser, state, state.seconds + monotonic() - started)
            last_saved = monotonic()
    net.load_state_dict(best)
    return state


def _step(
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    examples: Examples,
    rows: np.ndarray,
    weights: Tensor,
    recipe: Recipe,
    ranks: Ranks,
    epoch: int,
) -> float:
    """One step on this rank's share of rows; the loss summed over all rows."""
    mine = rows[ranks.rank :: ranks.world]
    x = channels_last(examples.cache.drawn(mine, epoch).to(ranks.device))
    y = torch.from_numpy(examples.labels[mine]).to(ranks.device)
    with autocast(recipe.precision, ranks.device), routed(net) as routings:
        logits = net(x)
    total = smoothed_loss(logits.float(), y, weights, recipe.label_smoothing).sum()
    loss = total * ranks.world / len(rows)  # DDP averages over ranks: the mean over the global batch
    if routings:  # a net of experts, without which one of them would get every token
        loss = loss + BALANCE * balance(routings)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
    optimiser.step()
    return ranks.total(float(total.detach()))


def smoothed_loss(logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """(B,) cross-entropy in nats against labels smoothed over the K classes, times the true class's weight."""
    return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing) * weights[labels]


def keep_statistics(net: nn.Module) -> None:
    """Batch norms use the statistics they came with: a batch of a few hundred nuts is no better source."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _groups(net: nn.Module, recipe: Recipe, new_head: bool) -> list[dict[str, Any]]:
    """Every parameter with its rate and decay; the last layer's come last. Biases and norms are not decayed.

    A new last layer learns at the recipe's rate; what came with weights at a share of it, in proportion to its size:
    AdamW's step is as long as its rate whatever it changes, and what is a nudge to one layer undoes another. (LARS, You
    et al. 2017, arXiv:1708.03888, does so at every step; here the sizes at the start are enough.)
    """
    groups = []
    for name, p in net.named_parameters():
        if p.requires_grad:
            is_old = new_head and name not in ("head.fc.weight", "head.fc.bias")
            rate = recipe.rate * (recipe.fine_tune_rate * _size(p) / USUAL_SIZE if is_old else 1.0)
            groups.append({"params": [p], "lr": rate, "weight_decay": recipe.weight_decay if p.dim() > 1 else 0.0})
    return groups


def _size(p: nn.Parameter) -> float:
    """Root mean square of a tensor, or of what it may become soon: a bias of zeros must be able to leave zero."""
    least = LEAST_SIZE_OF_A_MATRIX if p.dim() > 1 else LEAST_SIZE_OF_A_VECTOR
    return max(float(p.detach().float().square().mean().sqrt()), least)


def _follow(average: dict[str, Tensor], net: nn.Module, decay: float) -> None:
    """average ← decay · average + (1 − decay) · net; counters are copied."""
    with torch.no_grad():
        for name, now in net.state_dict().items():
            if now.is_floating_point():
                average[name].lerp_(now, 1 - decay)
            else:
                average[name].copy_(now)


def _judge(
    net: nn.Module,
    average: dict[str, Tensor],
    best: dict[str, Tensor],
    held: Examples,
    weights: np.ndarray,
    recipe: Recipe,
    ranks: Ranks,
    state: State,
    epoch: int = 0,
    train_loss: float | None = None,
) -> None:
    """Loss and accuracy of the average on calibrate, into the history; keeps it where it is the best so far.

    The loss is that at the best temperature (evidence/calibration.py): the bundle will have it. epoch counts from 1; 0
    is the start, of which no train_loss is known.
    """
    judged = deepcopy(net)
    judged.load_state_dict(average)
    judged = without_batch_norm(judged).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    found = []
    with torch.inference_mode(), autocast(recipe.precision, ranks.device):
        for start in range(0, len(held.labels), TOGETHER):
            x = channels_last(held.cache.plain(slice(start, start + TOGETHER)).to(ranks.device))
            found.append(judged(x).float().cpu().numpy())
    logits = np.concatenate(found)
    right = logits.argmax(1) == held.labels
    loss = calibrated_nll(logits, held.labels, weights)
    loss = ranks.from_first(loss)  # the ranks must agree about when to stop
    row = {"epoch": epoch} | ({} if train_loss is None else {"train_loss": train_loss})
    state.history.append(row | {"calibrate_loss": loss, "calibrate_top1": float(right.mean()), "seconds": 0.0})
    if not math.isfinite(loss):
        raise TrainError(f"the calibrate loss is {loss} after epoch {epoch}; lower the recipe's rate ({recipe.rate:g})")
    if loss < state.best_loss:
        state.best_loss, state.best_epoch = loss, epoch
        for name, t in average.items():
            best[name].copy_(t)


def _lost(loss: float, epoch: int, at: int, rows: np.ndarray, examples: Examples, recipe: Recipe) -> str:
    some = ", ".join(examples.names[i] for i in rows[:3])
    return (
        f"the loss became {loss} in epoch {epoch + 1}, step {at + 1}, on a batch with {some}, …; "
        f'lower the recipe\'s rate ({recipe.rate:g}), or train with precision = "float32"'
    )


def _save(
    path: Path,
    net: nn.Module,
    average: dict[str, Tensor],
    best: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    state: State,
    seconds: float,
) -> None:
    parts = {"model": net.state_dict(), "average": average, "best": best}
    tensors = {f"{part}.{name}": t for part, held in parts.items() for name, t in held.items()}
    facts = {name: getattr(state, name) for name in State.__dataclass_fields__}
    facts["seconds"] = seconds
    facts["best_loss"] = state.best_loss if math.isfinite(state.best_loss) else None
    checkpoint.save(path, tensors | checkpoint.optimiser_tensors(optimiser), facts)


def _resume(
    path: Path,
    net: nn.Module,
    average: dict[str, Tensor],
    best: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
) -> State:
    tensors, facts = checkpoint.load(path)
    try:
        net.load_state_dict({name: tensors[f"model.{name}"] for name in net.state_dict()})
        for part, held in (("average", average), ("best", best)):
            for name, t in held.items():
                t.copy_(tensors[f"{part}.{name}"])
        checkpoint.restore_optimiser(optimiser, tensors)
    except (KeyError, RuntimeError, ValueError) as error:
        raise TrainError(f"{path}: is not a checkpoint of this run ({error}); remove it to train anew") from None
    state = State(**facts)
    state.best_loss = math.inf if facts["best_loss"] is None else state.best_loss
    return state


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """One JSON object an epoch, one a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in history))
