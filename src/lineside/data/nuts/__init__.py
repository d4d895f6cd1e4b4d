"""The built-in data set "nuts": pictures, their truth in `nuts.json`, and the generator that made both.

Users read `pictures/` and `nuts.json`. The generator is a program of its own and needs the extra `[render]`:

    python -m lineside.data.nuts.render --seed 1 --count 1240 --out DIR --workers 2

dimensions   the three standards' tables (mm)
plan         the seeded plan of every lot and part: what will be rendered, before anything is
geometry     CAD -> triangle mesh
mesh         the triangle mesh: weld, refine locally, cast rays
damage       chip, scratch, dent, burr, rust stain, missing thread, on the mesh
textures     belt and metal finish as bitmaps
camera       calibration: millimetres <-> pixels, lens distortion
scene        mesh + textures + lights + camera -> path-traced radiance and exact masks
sensor       radiance -> RGB uint8 as a camera would give it
coco         masks as run lengths, and the JSON
part         one part: draft, check that it shows, picture and truth
render       the entry: plan, render in parallel, resume, write
"""
