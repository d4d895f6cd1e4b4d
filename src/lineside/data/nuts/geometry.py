"""CAD -> triangle mesh, once for each kind, size and thread; kept as .npz for the next run.

bd_warehouse draws the solids, with ISO metric threads: HexNut iso4032, HexNutWithFlange din1665 (see dimensions.py),
SquareNut din557. Its threaded nut is a body bored to the major diameter plus the thread's ridges as their own solids.
"""

from pathlib import Path

import numpy as np

from lineside.data.nuts.dimensions import PITCH_MM, dimensions_mm
from lineside.data.nuts.mesh import Mesh, weld

TYPE = {"hex_nut": "iso4032", "flanged_hex_nut": "din1665", "square_nut": "din557"}


def nut_mesh(kind: str, size: str, threaded: bool, cache: Path) -> Mesh:
    """The nut on z = 0 with its axis on z, mm. Not threaded: bored to the minor diameter and never tapped."""
    kept = cache / f"{kind}-{size}-{'thread' if threaded else 'plain'}.npz"
    if kept.exists():
        with np.load(kept) as arrays:
            return Mesh(arrays["vertices"], arrays["faces"])
    mesh = _tessellated(kind, size, threaded)
    cache.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(".part.npz")
    np.savez_compressed(partial, vertices=mesh.vertices, faces=mesh.faces)
    partial.replace(kept)
    return mesh


def _tessellated(kind, size, threaded):
    # 3 s to import and needed only where a mesh is not kept yet
    from bd_warehouse.fastener import HexNut, HexNutWithFlange, SquareNut

    make = {"hex_nut": HexNut, "flanged_hex_nut": HexNutWithFlange, "square_nut": SquareNut}[kind]
    solid = make(size=f"{size}-{PITCH_MM[size]:g}", fastener_type=TYPE[kind], simple=not threaded)
    points, triangles = solid.tessellate(0.01, 0.1)  # mm, rad: below a tenth of a pixel at the pictures' scale
    mesh = weld(np.array([(p.X, p.Y, p.Z) for p in points]), np.array(triangles))
    if threaded:
        return mesh
    # bd_warehouse's simple nut has a bore of the major diameter; a blank that missed the tap has the drill's.
    dims = dimensions_mm(kind, size)
    x, y, z = mesh.vertices.T
    radius = np.hypot(x, y)
    bore = np.abs(radius - dims["thread_diameter"] / 2) < 0.02
    shrink = np.where(bore, dims["thread_minor_diameter"] / np.maximum(2 * radius, 1e-9), 1.0)
    return Mesh(np.stack([x * shrink, y * shrink, z], 1), mesh.faces)
