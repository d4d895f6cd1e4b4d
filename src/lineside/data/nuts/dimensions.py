"""True dimensions of the nuts, mm.

hex_nut          ISO 4032:2012, table 1: s (width across flats, max), m (height, max)
flanged_hex_nut  DIN 6923:1983, table 1 (= ISO 4161): s max, m max, d_c max (flange diameter), c min (flange edge).
                 bd_warehouse calls it "din1665" and has the same numbers; EN 1665:1997 itself is for flanged bolts
square_nut       DIN 557:1994, table 1: s, m
threads          ISO 261 coarse pitch; minor diameter D1 = d - 1.082532 P (ISO 724, clause 5)

Checked against the CAD solids in tests/data/test_nuts_render.py, and the JSON against them in tests/data/test_nuts.py.
"""

from math import sqrt

PITCH_MM = {"M6": 1.0, "M8": 1.25, "M10": 1.5, "M12": 1.75}
SIZES = tuple(PITCH_MM)
KINDS = ("hex_nut", "flanged_hex_nut", "square_nut")

ACROSS_FLATS_MM = {
    "hex_nut": {"M6": 10.0, "M8": 13.0, "M10": 16.0, "M12": 18.0},
    "flanged_hex_nut": {"M6": 10.0, "M8": 13.0, "M10": 15.0, "M12": 18.0},
    "square_nut": {"M6": 10.0, "M8": 13.0, "M10": 17.0, "M12": 19.0},
}
HEIGHT_MM = {
    "hex_nut": {"M6": 5.2, "M8": 6.8, "M10": 8.4, "M12": 10.8},
    "flanged_hex_nut": {"M6": 6.0, "M8": 8.0, "M10": 10.0, "M12": 12.0},
    "square_nut": {"M6": 5.0, "M8": 6.5, "M10": 8.0, "M12": 10.0},
}
FLANGE_DIAMETER_MM = {"M6": 14.2, "M8": 17.9, "M10": 21.8, "M12": 26.0}
FLANGE_EDGE_MM = {"M6": 1.1, "M8": 1.2, "M10": 1.5, "M12": 1.8}


def dimensions_mm(kind: str, size: str) -> dict[str, float]:
    """Every dimension of one nut that its standard names, mm."""
    thread_mm, pitch_mm = float(size[1:]), PITCH_MM[size]
    flats_mm = ACROSS_FLATS_MM[kind][size]
    corners_mm = flats_mm * (sqrt(2) if kind == "square_nut" else 2 / sqrt(3))
    found = {
        "across_flats": flats_mm,
        "across_corners": round(corners_mm, 4),
        "height": HEIGHT_MM[kind][size],
        "thread_diameter": thread_mm,
        "thread_pitch": pitch_mm,
        "thread_minor_diameter": round(thread_mm - 1.082532 * pitch_mm, 4),
    }
    if kind == "flanged_hex_nut":
        found["flange_diameter"] = FLANGE_DIAMETER_MM[size]
        found["flange_edge_thickness"] = FLANGE_EDGE_MM[size]
    return found


def widest_mm(kind: str, size: str) -> float:
    """Diameter of the smallest circle around the nut seen from above, mm."""
    return FLANGE_DIAMETER_MM[size] if kind == "flanged_hex_nut" else dimensions_mm(kind, size)["across_corners"]
