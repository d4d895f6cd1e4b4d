"""torchvision's names and shapes of ViT and Swin, written from its sources and not from our tables, reach our nets."""

import pytest
import torch

from lineside.errors import TrainError
from lineside.nets.catalog import NETS
from lineside.nets.weights import learnt, translate

Shapes = dict[str, tuple[int, ...]]

VITS = {  # patch, layers, hidden_dim, mlp_dim, image_size
    "vit_b_16": (16, 12, 768, 3072, 224),
    "vit_b_32": (32, 12, 768, 3072, 224),
    "vit_l_16": (16, 24, 1024, 4096, 224),
    "vit_l_32": (32, 24, 1024, 4096, 224),
}
SWINS = {  # embed_dim, depths, num_heads, window, version
    "swin_t": (96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 1),
    "swin_s": (96, (2, 2, 18, 2), (3, 6, 12, 24), 7, 1),
    "swin_b": (128, (2, 2, 18, 2), (4, 8, 16, 32), 7, 1),
    "swin_v2_t": (96, (2, 2, 6, 2), (3, 6, 12, 24), 8, 2),
    "swin_v2_s": (96, (2, 2, 18, 2), (3, 6, 12, 24), 8, 2),
    "swin_v2_b": (128, (2, 2, 18, 2), (4, 8, 16, 32), 8, 2),
}


def both(key: str, *weight: int) -> Shapes:
    """A weight of this shape and its bias."""
    return {f"{key}.weight": weight, f"{key}.bias": weight[:1]}


def of_vit(patch: int, layers: int, dim: int, mlp: int, side: int, old: bool = False) -> Shapes:
    made = {"class_token": (1, 1, dim), "encoder.pos_embedding": (1, 1 + (side // patch) ** 2, dim)}
    made |= both("conv_proj", dim, 3, patch, patch) | both("encoder.ln", dim) | both("heads.head", 1000, dim)
    for i in range(layers):
        at = f"encoder.layers.encoder_layer_{i}"
        first, second = ("linear_1", "linear_2") if old else ("0", "3")
        made |= both(f"{at}.ln_1", dim) | both(f"{at}.ln_2", dim) | both(f"{at}.self_attention.out_proj", dim, dim)
        made |= both(f"{at}.mlp.{first}", mlp, dim) | both(f"{at}.mlp.{second}", dim, mlp)
        made |= {f"{at}.self_attention.in_proj_weight": (3 * dim, dim), f"{at}.self_attention.in_proj_bias": (3 * dim,)}
    return made


def of_swin(width: int, depths: tuple[int, ...], heads: tuple[int, ...], window: int, version: int) -> Shapes:
    made = both("features.0.0", width, 3, 4, 4) | both("features.0.2", width)
    for i, depth in enumerate(depths):
        dim = width * 2**i
        for j in range(depth):
            at = f"features.{2 * i + 1}.{j}"
            made |= both(f"{at}.norm1", dim) | both(f"{at}.norm2", dim)
            made |= both(f"{at}.attn.qkv", 3 * dim, dim) | both(f"{at}.attn.proj", dim, dim)
            made |= both(f"{at}.mlp.0", 4 * dim, dim) | both(f"{at}.mlp.3", dim, 4 * dim)
            made[f"{at}.attn.relative_position_index"] = (window**4,)
            if version == 1:
                made[f"{at}.attn.relative_position_bias_table"] = ((2 * window - 1) ** 2, heads[i])
            else:
                made |= {
                    f"{at}.attn.logit_scale": (heads[i], 1, 1),
                    f"{at}.attn.relative_coords_table": (1, 2 * window - 1, 2 * window - 1, 2),
                    f"{at}.attn.cpb_mlp.2.weight": (heads[i], 512),
                }
                made |= both(f"{at}.attn.cpb_mlp.0", 512, 2)
        if i < 3:
            made |= both(f"features.{2 * i + 2}.norm", 4 * dim if version == 1 else 2 * dim)
            made[f"features.{2 * i + 2}.reduction.weight"] = (2 * dim, 4 * dim)
    return made | both("norm", 8 * width) | both("head", 1000, 8 * width)


MADE = {name: of_vit(*spec) for name, spec in VITS.items()} | {name: of_swin(*spec) for name, spec in SWINS.items()}


def test_every_net_with_torchvisions_weights_is_here():
    assert not any("swag" in weights.name for row in NETS.values() for weights in row.weights)  # not for commercial use
    assert set(MADE) == {name for name, row in NETS.items() if row.weights and name.startswith(("vit", "swin"))}


@pytest.mark.parametrize("name", MADE)
def test_torchvisions_names_and_shapes_are_covered(name):
    row = NETS[name]
    state = {key: torch.empty(shape, device="meta") for key, shape in MADE[name].items()}
    with torch.device("meta"):
        net = row.build(1000)
    for weights in row.weights:
        ours = translate(learnt(state, weights), weights.names(), net, "here")
        assert {key: value.shape for key, value in ours.items()} == {k: v.shape for k, v in net.state_dict().items()}


def test_a_file_from_before_torchvision_renamed_its_layers_is_read_and_a_table_of_another_side_is_refused():
    row = NETS["vit_b_32"]
    with torch.device("meta"):
        net = row.build(1000)
        old = {key: torch.empty(shape) for key, shape in of_vit(*VITS["vit_b_32"], old=True).items()}
        other = {key: torch.empty(shape) for key, shape in of_vit(32, 12, 768, 3072, 384).items()}
    assert any("mlp.linear_1" in key for key in old)
    names = row.weights[0].names()
    assert translate(learnt(old, row.weights[0]), names, net, "here").keys() == net.state_dict().keys()
    with pytest.raises(TrainError, match=r"encoder\.pos_embedding has shape \(1, 145, 768\), expected \(1, 50, 768\)"):
        translate(other, names, net, "here")
