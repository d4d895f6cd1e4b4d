"""COCO as JSON: masks as compressed run lengths, boxes as x, y, width, height in pixels.

The run lengths are those of the COCO API (cocodataset/cocoapi, common/maskApi.c, rleEncode and rleToString): runs of
0 and 1 in column order, starting with 0; from the fourth on the difference to the run two before; five bits a letter.
"""

import numpy as np


def encode_mask(mask: np.ndarray) -> dict:
    """(H, W) bool to {"size": [H, W], "counts": str}."""
    flat = np.asarray(mask, bool).T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate([[0], edges, [flat.size]])
    runs = np.diff(starts).tolist()
    if flat[0]:
        runs.insert(0, 0)
    letters = []
    for k, run in enumerate(runs):
        x = run - runs[k - 2] if k > 2 else run
        while True:
            bits = x & 31
            x >>= 5
            more = x != -1 if bits & 16 else x != 0
            letters.append(chr((bits | 32 if more else bits) + 48))
            if not more:
                break
    return {"size": list(mask.shape), "counts": "".join(letters)}


def box_xywh(mask: np.ndarray) -> list[int]:
    """The box of a mask, pixels: left, top, width, height."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
