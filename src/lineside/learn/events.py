"""TensorBoard event files of a run: `tensorboard --logdir BUNDLE.run/events`."""

from pathlib import Path
from types import TracebackType


class Events:
    """Writes one scalar a name and step; silent on ranks that write no files."""

    def __init__(self, folder: Path, active: bool):
        self.writer = None
        if active:
            from torch.utils.tensorboard.writer import SummaryWriter

            self.writer = SummaryWriter(str(folder), flush_secs=10)

    def __enter__(self) -> "Events":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writer:
            self.writer.close()

    def row(self, row: dict[str, float]) -> None:
        """One epoch's numbers: every key but "epoch" is a curve."""
        if self.writer:
            for name, value in row.items():
                if name != "epoch":
                    self.writer.add_scalar(name, value, int(row["epoch"]))
