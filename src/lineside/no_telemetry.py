"""Libraries that would call home, imported so that they do not. Nothing else in the package imports them.

onnxruntime   since 1.29 also on Linux (microsoft/onnxruntime#27379): its import alone makes an identifier of the device
              and a queue of events in ~/.cache, to be sent. disable_telemetry_events() comes too late for that; the
              variable is read once, at the import. On Windows there is only the function.
openvino      imports openvino_telemetry, which reports unless the user has opted out; it does without where that is
              missing
"""

import os
import sys

from lineside.errors import MissingExtra


def import_onnxruntime():
    """The module onnxruntime, with its telemetry off."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def import_openvino():
    """The module openvino, with its telemetry out of reach. MissingExtra where it is not installed."""
    if "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # import → ImportError: as if not installed
    try:
        import openvino
    except ImportError:
        raise MissingExtra("the engine openvino", "openvino", "openvino") from None
    return openvino
