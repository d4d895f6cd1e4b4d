"""A result or an event as the JSON that mqtt: and webhook: send. docs/sinks.md has it field by field.

ResultMetaData  names, types and codes of ResultMetaDataType in OPC 40001-101 (Machinery: Result Transfer) 1.01, 10.6,
                with ResultEvaluationEnum (10.3) and ProcessingTimesDataType (10.4). Optional fields that nothing is
                known for are not there. Durations in milliseconds (OPC UA Duration), texts as LocalizedText.
lineside        our own: the inspection as in every other sink, and what makes it checkable.

An event has no ResultMetaData; it is {"kind": "event", "EventId": …, "lineside": {the event's fields, number, hash}}.

The same result is the same bytes each time it is sent: everything comes from the store.
"""

import json
from typing import Any

from lineside.line.events import DEADLINE, DECIDED, ENGINE, FAULT, HALTED, NOT_FINITE, STOPPED, UNREADABLE
from lineside.line.sink.plant import hash_of, simulated
from lineside.line.sink.sink import written
from lineside.store.outbox import Letter
from lineside.store.records import Event, Inspection, Run

SCHEMA = 1
UNDEFINED, OK, NOT_OK, NOT_DECIDABLE = 0, 1, 2, 3  # ResultEvaluationEnum
COMPLETED, ABORTED, FAILED = 1, 3, 4  # ResultState
EVALUATION = {"accept": OK, "hold": NOT_DECIDABLE, "reject": NOT_OK}  # of the model's own word
STATE = {
    DECIDED: COMPLETED,
    NOT_FINITE: FAILED,
    UNREADABLE: FAILED,
    ENGINE: FAILED,
    DEADLINE: ABORTED,
    FAULT: ABORTED,
    STOPPED: ABORTED,
    HALTED: ABORTED,
}


def result_state(reason: str) -> int:
    """ResultState, whose codes OPC 40001-101 and OPC 40100-1 (12.19) share."""
    return STATE.get(reason, FAILED)


def message(letter: Letter) -> dict[str, Any]:
    """ResultMetaData and lineside. A part that was rejected without an answer is Undefined, never OK nor NotOK."""
    run = letter.run
    ours: dict[str, Any] = {"schema": SCHEMA, "number": letter.number, "hash": letter.hash}
    ours |= {"bundle": run.bundle, "source": run.source} if run else {}
    ours |= written(letter.record)
    if isinstance(letter.record, Event):
        return {"kind": "event", "EventId": letter.record.id, "lineside": ours}
    recipe, bundle = _recipe(run, letter.record.product) if run else ("", "")
    ours |= {"bundle": bundle} if run else {}
    return {"ResultMetaData": _meta(letter.record, run, recipe), "lineside": ours}


def _recipe(run: Run, product: str | None) -> tuple[str, str]:
    """Hash and path of what judges this product: of cameras with bundles of their own, of all of them."""
    product = product or run.settings.get("product")
    hashes = run.settings.get("products", {}).get(product)
    if not hashes:  # one camera, one product
        return run.bundle_sha256, run.bundle
    paths = run.settings.get("bundles", {}).get(product, {})
    return hash_of(list(hashes.values())), " ".join(dict.fromkeys(paths.values()))


def _meta(one: Inspection, run: Run | None, recipe: str) -> dict[str, Any]:
    row = written(one)
    decided = one.reason == DECIDED
    return {
        "ResultId": one.id,
        "IsPartial": False,
        "IsSimulated": run is not None and simulated(run.source),
        "ResultState": result_state(one.reason),
        "PartId": one.part_id,
        "InternalRecipeId": recipe,
        "JobId": one.run_id,
        "CreationTime": row["decided"],
        "ProcessingTimes": {
            "StartTime": row["captured"],
            "EndTime": row["decided"],
            "ProcessingDuration": one.total_ms,
        },
        "ResultEvaluation": EVALUATION.get(one.verdict, UNDEFINED) if decided else UNDEFINED,
        "ResultEvaluationDetails": {"Locale": "en", "Text": _details(one.verdict, one.reason, one.detail)},
    }


def payload(letter: Letter) -> bytes:
    """The message as UTF-8 (RFC 8259)."""
    return json.dumps(message(letter), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _details(verdict: str, reason: str, detail: str) -> str:
    return f"{verdict}: {reason}" + (f": {detail}" if detail else "")
