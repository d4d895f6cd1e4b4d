"""The generator itself: CAD dimensions, damage on real meshes, and the same pixels for the same seed.

Needs the extra [render] (mitsuba, bd_warehouse: 1.2 GB), which users and most CI machines do not have.
"""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mitsuba", reason="mitsuba is not installed: pip install lineside[render]")
pytest.importorskip("bd_warehouse", reason="bd_warehouse is not installed: pip install lineside[render]")

import lineside.data.nuts
from lineside.data.nuts import scene
from lineside.data.nuts.camera import FILM_PX, looking_down, to_pixels
from lineside.data.nuts.coco import encode_mask
from lineside.data.nuts.damage import damaged, find_spot, places_of, sound
from lineside.data.nuts.dimensions import KINDS, SIZES, dimensions_mm
from lineside.data.nuts.geometry import nut_mesh
from lineside.data.nuts.mesh import face_normals, first_hit, turned_over
from lineside.data.nuts.plan import deck
from lineside.data.nuts.render import render_part

SHIPPED = Path(lineside.data.nuts.__file__).parent


@pytest.fixture(scope="module", autouse=True)
def started():
    scene.start(1)


@pytest.fixture(scope="session")
def meshes(tmp_path_factory):
    return tmp_path_factory.mktemp("meshes")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_cad_solid_has_the_table_s_dimensions(kind, size, meshes):
    dims = dimensions_mm(kind, size)
    mesh = nut_mesh(kind, size, True, meshes)
    x, y, z = mesh.vertices.T
    assert z.min() == pytest.approx(0, abs=1e-3)
    assert z.max() == pytest.approx(dims["height"], abs=1e-3)
    widest = 2 * np.hypot(x, y).max()
    corner = dims.get("flange_diameter", dims["across_corners"])
    assert widest == pytest.approx(corner, rel=0.02)  # DIN 557's corners are cut by the chamfer's cone
    # across flats: a ray at a flank, from each side
    level = 0.7 * dims["height"]
    flat = np.pi / 6 if kind != "square_nut" else 0.0
    out = np.array([np.cos(flat), np.sin(flat), 0])
    sides = [first_hit(mesh, s * 60 * out + (0, 0, level), -s * out)[0] for s in (1, -1)]
    assert np.linalg.norm(sides[0] - sides[1]) == pytest.approx(dims["across_flats"], abs=0.01)
    plain = nut_mesh(kind, size, False, meshes)
    bore = 2 * np.hypot(*plain.vertices[:, :2].T).min()
    assert bore == pytest.approx(dims["thread_minor_diameter"], abs=0.01)
    crest = 2 * np.hypot(x, y).min()
    assert crest == pytest.approx(dims["thread_minor_diameter"], abs=0.12)


@pytest.mark.parametrize("damage", ["chip", "scratch", "dent", "burr", "rust_stain"])
@pytest.mark.parametrize("kind", KINDS)
def test_damage_changes_the_mesh_where_it_is_and_nowhere_else(kind, damage, meshes):
    mesh = nut_mesh(kind, "M10", True, meshes)
    plain = nut_mesh(kind, "M10", False, meshes)
    for place in places_of(damage, kind, False):
        spot = find_spot(mesh, kind, "M10", False, place, 0.4, 0.5)
        assert spot is not None, place
        worn = damaged(damage, mesh, plain, kind, "M10", spot, 0.5, np.random.default_rng(7))
        assert worn.damaged.any()
        assert len(worn.bare) == len(worn.rust) == len(worn.mesh.vertices)
        middle = worn.mesh.vertices[worn.mesh.faces].mean(1)
        reach = max(worn.size_mm.values()) * 1.6 + 0.5
        assert np.linalg.norm(middle[worn.damaged] - spot.point, axis=1).max() < reach, place
        # refinement adds points on edges; what the damage does not reach keeps its own
        far = mesh.vertices[np.linalg.norm(mesh.vertices - spot.point, axis=1) > reach]
        now = {tuple(p) for p in np.round(worn.mesh.vertices, 6)}
        assert all(tuple(p) in now for p in np.round(far, 6)), place
        assert np.isfinite(worn.mesh.vertices).all()


def test_a_blank_without_thread_has_its_whole_bore_marked(meshes):
    mesh = nut_mesh("hex_nut", "M8", True, meshes)
    plain = nut_mesh("hex_nut", "M8", False, meshes)
    worn = damaged("missing_thread", mesh, plain, "hex_nut", "M8", None, 0.5, np.random.default_rng(0))
    z = plain.vertices[plain.faces[worn.damaged]][..., 2]
    assert z.min() == pytest.approx(0, abs=1e-3)
    assert z.max() == pytest.approx(6.8, abs=1e-3)
    assert (np.abs(face_normals(plain)[worn.damaged][:, 2]) < 0.1).all()


def test_the_camera_s_numbers_are_the_renderer_s(meshes):
    """Where the path tracer's rays meet the scene, projected by the calibration, is where they started."""
    camera = looking_down(80.0, 30.0, 11.0, 40.0, 70.0, 90.0, 87.0, -0.1, 0.02)
    mesh = turned_over(nut_mesh("square_nut", "M8", True, meshes))
    from lineside.data.nuts.textures import belt, finish

    rng = np.random.default_rng(3)
    surface = finish("zinc", (0.7, 0.7, 0.7), 0.3, 0.1, 0.5, rng)
    nut = scene.nut_shape(sound(mesh), 20.0, 1.0, -2.0, surface, "zinc", 1)
    ground = scene.belt_shape(belt("pu_green", 1.0, 0.5, rng), 0.0, (0.1, 0.2))
    seen = scene.truth(nut, np.zeros(len(mesh.faces), bool), ground, camera)
    film = camera._replace(k1=0.0, k2=0.0, cx=FILM_PX / 2, cy=FILM_PX / 2)
    side = len(seen.nut)
    back = to_pixels(film, seen.seen_mm.reshape(-1, 3)).reshape(side, side, 2) * side / FILM_PX
    columns, rows = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    assert np.abs(back[..., 0] - columns).max() < 0.51  # a ray starts anywhere in its place
    assert np.abs(back[..., 1] - rows).max() < 0.51
    assert 0.1 < seen.nut.mean() < 0.6


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pycocotools 2.0 sets an array's shape
def test_run_lengths_are_the_coco_api_s():
    api = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed: it is the oracle here")
    rng = np.random.default_rng(5)
    for mask in (rng.random((17, 23)) < 0.5, np.ones((5, 4), bool), np.zeros((5, 4), bool)):
        assert encode_mask(mask)["counts"] == api.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_pixels_in_another_process(tmp_path, meshes):
    argument = ["--seed", "3", "--count", "52", "--limit", "2", "--spp", "4"]
    found = []
    for name, workers in (("a", "1"), ("b", "2")):
        out = tmp_path / name
        command = [
            sys.executable,
            "-m",
            "lineside.data.nuts.render",
            *argument,
            "--out",
            str(out),
            "--workers",
            workers,
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        found.append(json.loads((out / "nuts.json").read_text()))
    assert found[0] == found[1]  # sha256 of both pictures and every number of their truth
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "b" / "pictures").rglob("*.webp")}
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "b" / "pictures").rglob("*.webp")} == written  # resumed


@pytest.mark.slow
def test_a_shipped_picture_comes_out_again(tmp_path):
    info = json.loads((SHIPPED / "nuts.json").read_text())["info"]
    shipped = {image["id"]: image for image in json.loads((SHIPPED / "nuts.json").read_text())["images"]}
    slot = next(s for s in deck(info["seed"], info["count"]) if s.damage == "chip")
    (tmp_path / ".work").mkdir()
    again = render_part(info["seed"], slot, tmp_path, info["samples_per_pixel"])["image"]
    one, two = (
        np.asarray(Image.open(home / again["file_name"]).convert("RGB")).astype(float) for home in (SHIPPED, tmp_path)
    )
    # another processor or library may round otherwise, and a ray that just misses an edge finds another colour
    assert np.abs(one - two).mean() < 1.5
    if all(version(name) == number for name, number in info["made_with"].items()):
        assert np.abs(one - two).mean() < 0.2
        assert again["camera"] == shipped[slot.id]["camera"]
