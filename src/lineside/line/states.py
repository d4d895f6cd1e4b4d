"""The states of a vision system and what leads from one to the other: OPC 40100-1 (Machine Vision, part 1), clause 8.

    preoperational   starting, or being reset
    halted           safe, until a person resets it
    error            a fault: the store, a sink, a camera or the PLC is lost
    initialized      working, but no product is prepared
    ready            a product is prepared; nothing is inspected
    single           inspecting one part        continuous   inspecting every part

The standard puts the last four into "Operational" and calls the last two SingleExecution and ContinuousExecution. A
part that comes while the station does not execute is rejected, whatever is in the picture.

Where we are wider than the standard: a product may be prepared while parts are inspected (parts that are triggered from
then on are of the new one). Where narrower: there is one mode, the automatic one, so a reset leads on to it by itself,
and to ready where a product had been prepared.
"""

from typing import Literal, get_args

State = Literal["preoperational", "halted", "error", "initialized", "ready", "single", "continuous"]
Order = Literal["halt", "reset", "prepare", "unprepare", "start", "start-single", "stop", "abort", "calibrate"]
STATES: tuple[State, ...] = get_args(State)
ORDERS: tuple[Order, ...] = get_args(Order)
EXECUTING: frozenset[State] = frozenset({"single", "continuous"})
NEVER_LATE: frozenset[Order] = frozenset({"halt", "stop", "abort"})  # to pass nothing is right at any time

# (state, order) → the states that are gone through. What is not here is refused.
LEADS: dict[tuple[State, Order], tuple[State, ...]] = {
    **{(state, "halt"): ("halted",) for state in STATES if state not in ("halted", "error")},
    ("halted", "reset"): ("preoperational", "initialized"),
    ("preoperational", "reset"): ("initialized",),
    ("initialized", "prepare"): ("ready",),
    ("ready", "prepare"): ("ready",),
    ("single", "prepare"): ("single",),
    ("continuous", "prepare"): ("continuous",),
    ("ready", "unprepare"): ("initialized",),
    ("ready", "start"): ("continuous",),
    ("ready", "start-single"): ("single",),
    ("single", "stop"): ("single",),  # and to ready when the part in flight has its verdict
    ("continuous", "stop"): ("continuous",),
    ("single", "abort"): ("ready",),
    ("continuous", "abort"): ("ready",),
    ("single", "calibrate"): ("single",),
    ("continuous", "calibrate"): ("continuous",),
}


def refusal(state: State, order: str) -> str:
    """Why an order can't be followed in this state, and what can; "" where it can."""
    if any((state, known) in LEADS for known in ORDERS if known == order):
        return ""
    possible = [known for known in ORDERS if (state, known) in LEADS]
    return f"the station is {state} and can not {order}; now it can: {', '.join(possible) or 'nothing'}"
