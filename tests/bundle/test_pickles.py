"""Pickles are refused by name and by content; what looks a little like one is not."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from lineside.bundle import folder
from lineside.bundle.pickles import refuse_pickle, refuse_pickle_name
from lineside.errors import BundleError

THINGS = [{"a": [1, 2]}, list(range(50_000)), "text", 1.5, (1, "b"), np.arange(5), np.zeros(40_000)]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: type(thing).__name__)
def test_every_protocol_is_refused(protocol, thing):
    with pytest.raises(BundleError, match=r"model\.onnx: is a pickle; opening one runs the program inside it"):
        refuse_pickle(pickle.dumps(thing, protocol), "b: model.onnx")


@pytest.mark.parametrize("new", [True, False])
def test_what_torch_saves_is_refused(new):
    file = io.BytesIO()
    torch.save({"w": torch.zeros(3)}, file, _use_new_zipfile_serialization=new)
    with pytest.raises(BundleError, match="is a pickle"):
        refuse_pickle(file.getvalue(), "b: weights.safetensors")


@pytest.mark.parametrize("name", ["a.pkl", "b.PT", "c/d.pth", "e.joblib", "f.npy", "g.ckpt"])
def test_names(name):
    with pytest.raises(BundleError, match="is a pickle"):
        refuse_pickle_name(name, name)


def test_no_file_of_a_bundle_is_taken_for_one(pristine):
    for name in folder.open_bundle(pristine).manifest.files:
        refuse_pickle_name(name, name)
        refuse_pickle((pristine / name).read_bytes(), name)


@settings(deadline=None)  # no timed assertions
@given(st.integers(1, 3000))
def test_no_safetensors_header_length_is_taken_for_one(n):
    """Its first bytes are a length, which can be those of a pickle's header: 640 is 80 02."""
    refuse_pickle(save({"w" * n: np.zeros(1, np.float32)}), "weights.safetensors")


@settings(deadline=None)  # no timed assertions
@given(st.binary(max_size=300))
def test_any_bytes_are_looked_at_without_an_accident(data):
    try:
        refuse_pickle(data, "x")
    except BundleError:
        assert data[:1] in {b"\x80"} | {bytes([c]) for c in range(256)}


def test_a_pickle_can_not_be_written_either(bundle):
    with pytest.raises(BundleError, match=r"notes\.html: is a pickle"):
        folder.replace(bundle, {"notes.html": pickle.dumps([1])}, lambda m: m)
    with pytest.raises(BundleError, match="is a pickle"):
        folder.replace(bundle, {"notes.pkl": b"x"}, lambda m: m)


def test_an_innocent_archive_is_no_pickle():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "x")
    refuse_pickle(file.getvalue(), "x")
