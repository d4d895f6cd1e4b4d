"""Which of how many processes this is. `torchrun` says it through the environment; without it there is one.

torchrun --nproc-per-node 2 -m lineside train DATA -o BUNDLE
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from lineside.errors import TrainError

CPU = torch.device("cpu")
PATIENCE = timedelta(hours=12)  # the first process checks, decides and exports while the others wait


@dataclass(frozen=True)
class Ranks:
    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and draws progress."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            dist.barrier()

    def total(self, value: float) -> float:
        """The sum of value over all processes."""
        if self.world == 1:
            return value
        held = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(held)
        return float(held)

    def from_first(self, value: float) -> float:
        """The first process's value, in every process."""
        if self.world == 1:
            return value
        held = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(held, src=0)
        return float(held)


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks of this run: joins the group that torchrun made, leaves it at the end."""
    local, cuda = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.is_available()
    if cuda and local >= torch.cuda.device_count():
        raise TrainError(
            f"process {local} has no GPU of its own: this machine has {torch.cuda.device_count()}; start fewer"
        )
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(device=device)
        return
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), world, device)
    finally:
        dist.destroy_process_group()
