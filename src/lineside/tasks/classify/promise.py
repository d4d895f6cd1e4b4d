"""What an inspection must keep, as the user states it before anything is trained."""

from dataclasses import dataclass

from lineside.evidence.operating import CONFIDENCE, MAX_ESCAPE, check_promise


@dataclass(frozen=True)
class Promise:
    """Which classes may pass, and what share of the bad parts may pass too. SettingsError where that is no rate."""

    accept: tuple[str, ...] = ()  # () where the bundle only sorts
    max_escape: float = MAX_ESCAPE
    confidence: float = CONFIDENCE

    def __post_init__(self) -> None:
        check_promise(self.max_escape, self.confidence)
