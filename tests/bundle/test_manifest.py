"""manifest.json: there and back exactly, and everything else refused with a sentence."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside.bundle import folder, manifest
from lineside.bundle.manifest import Manifest, bad_name
from lineside.errors import BundleError


@pytest.fixture(scope="session")
def good(pristine) -> Manifest:
    return folder.open_bundle(pristine).manifest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accept_at": -1e9}, r"m: operating_point: accept_at: must be finite and at least 0"),
        ({"accept_at": 1e999}, "m: not a manifest"),
        ({"accept_at": 1.0, "reject_below": 1.5}, r"m: operating_point: reject_below: must be .* at most accept_at"),
    ],
)
def test_thresholds_that_no_promise_gives_are_refused(good, changes, message):
    point = json.loads(manifest.write(good))["operating_point"] | changes
    with pytest.raises(BundleError, match=message):
        manifest.read(text(good, operating_point=point), "m")


def text(good: Manifest, **changes) -> bytes:
    return json.dumps(json.loads(manifest.write(good)) | changes).encode()


def test_there_and_back(good):
    assert manifest.read(manifest.write(good), "m") == good


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None)  # no timed assertions
@given(
    temperature=st.floats(min_value=1e-300, allow_infinity=False),
    recipe=st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False)),
)
def test_every_float_comes_back_exactly(good, temperature, recipe):
    changed = replace(good, temperature=temperature, recipe=recipe)
    assert manifest.read(manifest.write(changed), "m") == changed


def test_text_that_is_no_unicode_is_never_written(good):
    with pytest.raises(BundleError, match="every text Unicode"):
        manifest.write(replace(good, recipe={"note": "\ud800"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, r"m: format 2 is newer than this program, .* format 1; update it with: pip install --upgrade"),
        ({"format": 0}, "format 0 has never existed"),
        ({"format": "1"}, "not a Lineside manifest"),
        ({"format": True}, "not a Lineside manifest"),
        (
            {"task": "detect"},
            "m: this bundle is for the task 'detect'; this command works with 'classify' bundles only",
        ),
        ({"tempersture": 1.0}, "m: tempersture: unknown key; did you mean temperature?"),
        ({"temperature": 0}, "temperature: must be above 0"),
        ({"temperature": "warm"}, "m: temperature: expected a number, got 'warm'"),
        ({"classes": ["one"]}, "at least two"),
        ({"classes": ["good", "good"]}, "twice"),
        ({"accept": ["best"]}, "'best' is not one of the classes"),
        ({"accept": ["bad part", "good"]}, "every class is accepted"),
        ({"accept": []}, "a bundle has both, or neither"),
        ({"served": []}, "at least one engine"),
        ({"served": [{"engine": "tensorrt", "precision": "int8", "file": "model.onnx"}]}, "one of 'onnxruntime'"),
        ({"served": [{"engine": "openvino", "precision": "int8", "file": "other.onnx"}]}, "is not in files"),
        ({"created": "yesterday"}, "expected UTC as"),
        ({"files": {"../x": "0" * 64}}, "leads out of the bundle"),
        ({"files": {"/x": "0" * 64}}, "is not a plain relative path"),
        ({"files": {"a\\b": "0" * 64}}, "no file name everywhere"),
        ({"files": {"x": "abc"}}, "expected a sha256 in hex"),
        ({"files": {"manifest.json": "0" * 64}}, "can not hold its own hash"),
    ],
)
def test_refusals(good, changes, message):
    with pytest.raises(BundleError, match=message):
        manifest.read(text(good, **changes), "m")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a manifest"),
        (b"{", "not a manifest"),
        (b"[]", "not a Lineside manifest"),
        (b'{"format": 1, "format": 1}', "the key 'format' is there twice"),
        (b'{"format": NaN}', "NaN is not JSON"),
        (b'{"format": -Infinity}', "-Infinity is not JSON"),
        (b'{"format": 1e999}', "out of range"),
        (b'{"format": ' + b"9" * 5000 + b"}", "out of range"),
        (b"[" * 100_000, "not a manifest"),
        (b"\xff\xfe", "not a manifest"),
        (b"\xef\xbb\xbf{}", "not a manifest"),
    ],
)
def test_what_is_no_json_is_refused(data, message):
    with pytest.raises(BundleError, match=message):
        manifest.read(data, "m")


def test_a_number_that_is_not_finite_is_never_written(good):
    with pytest.raises(BundleError, match="must be finite"):
        manifest.write(replace(good, recipe={"rate": float("nan")}))


@settings(deadline=None)  # no timed assertions
@given(st.binary(max_size=200))
def test_bytes_never_break_the_reader(data):
    with pytest.raises(BundleError):
        manifest.read(data, "m")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)  # no timed assertions
@given(data=st.data(), value=json_values)
def test_any_field_replaced_by_anything_is_read_or_refused(good, data, value):
    values = json.loads(manifest.write(good))
    place = values
    while isinstance(place, dict) and place:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or data.draw(st.booleans()):
            place[key] = value
            break
        place = place[key]
    try:
        found = manifest.read(json.dumps(values).encode("utf-8", "surrogatepass"), "m")
    except BundleError:
        return
    assert isinstance(found, Manifest)


@settings(deadline=None)  # no timed assertions
@given(st.text(max_size=12))
def test_a_good_name_stays_inside(tmp_path_factory, name):
    if bad_name(name) is None:
        root = tmp_path_factory.getbasetemp()
        assert (root / name).resolve().is_relative_to(root.resolve())
        assert not name.startswith((".", "/"))


def test_a_checksum_holds_every_value_together(good):
    written = manifest.write(good)
    values = json.loads(written)
    assert manifest.read(json.dumps(dict(reversed(values.items()))).encode(), "m") == good  # neither order nor spaces
    for changed in ({"temperature": values["temperature"] + 1}, {"evaluations": 7}, {"checksum": "0" * 64}):
        with pytest.raises(BundleError, match="m: was changed or damaged: its checksum does not fit what it says"):
            manifest.read(text(good, **changed), "m")


def test_a_manifest_without_its_checksum_is_refused(good):
    values = json.loads(manifest.write(good))
    for absent in ({}, {"checksum": None}):
        rest = {key: value for key, value in values.items() if key != "checksum"} | absent
        with pytest.raises(BundleError, match="m: has no checksum, so nobody can tell whether it was changed"):
            manifest.read(json.dumps(rest).encode(), "m")
