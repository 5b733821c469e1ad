"""LPIPS and I3D against forward passes written a second time, in PyTorch from the papers, on the real weights.

    ./launch/benchmark.sh perceptual_twins WEIGHTS [--sample FILE.gif --labels label_map.txt]

WEIGHTS is the folder that `launch/fetch_weights.sh` wrote. Prints JSON lines and exits 1 where a relative difference
(the largest over the largest value) is above 1e-4.

--sample: the picture of its own test clip that DeepMind's repository kinetics-i3d publishes
(data/v_CricketShot_g04_c01_rgb.gif, 79 frames of 224×224) beside data/label_map.txt; the logits are printed beside
those that the repository gives for the clip itself (out/imagenet_rgb.txt). A GIF has 256 colours: near, not equal.
"""

import argparse
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageSequence
from skimage import data

from videopoet_jax.evaluate.i3d import load_i3d, make_features
from videopoet_jax.layers.lpips import load_lpips

TOLERANCE = 1e-4
# out/imagenet_rgb.txt of kinetics-i3d, the RGB network's five first
PUBLISHED = {
    "playing cricket": 25.856646,
    "playing kickball": 12.330335,
    "catching or throwing baseball": 11.254371,
    "shooting goal (soccer)": 10.883866,
    "catching or throwing softball": 10.393131,
}
PUBLISHED_NORM = 87.108871


class VGG16(torch.nn.Module):
    """Configuration D without its head; the outputs of relu1_2, 2_2, 3_3, 4_3, 5_3."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(depth):
                layers += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.ReLU()]
                channels = width
            layers.append(torch.nn.MaxPool2d(2))
        self.layers, self.taps = torch.nn.Sequential(*layers[:-1]), (3, 8, 15, 22, 29)


class AlexNet(torch.nn.Module):
    """One stream; the outputs of all five ReLUs."""

    def __init__(self):
        super().__init__()
        conv, relu, pool = torch.nn.Conv2d, torch.nn.ReLU, torch.nn.MaxPool2d
        self.layers = torch.nn.Sequential(
            conv(3, 64, 11, 4, 2), relu(), pool(3, 2), conv(64, 192, 5, padding=2), relu(), pool(3, 2),
            conv(192, 384, 3, padding=1), relu(), conv(384, 256, 3, padding=1), relu(),
            conv(256, 256, 3, padding=1), relu(),
        )  # fmt: skip
        self.taps = (1, 4, 7, 9, 11)


def torch_lpips(network, heads, a, b):
    """Pictures [n 3 h w] in [-1, 1] → [n]; the length as the authors guard it."""
    shift = torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[None, :, None, None]
    total, pair = 0, [(x - shift) / scale for x in (a, b)]
    for i, layer in enumerate(network.layers):
        pair = [layer(x) for x in pair]
        if i in network.taps:
            x, y = (f / (f.norm(dim=1, keepdim=True) + 1e-10) for f in pair)
            head = heads[network.taps.index(i)][None, :, None, None]
            total = total + ((x - y) ** 2 * head).sum(1).mean((1, 2))
    return total


class Unit3D(torch.nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1):
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv = torch.nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.norm = torch.nn.BatchNorm3d(outputs, eps=1e-3)

    def forward(self, x):
        return F.relu(self.norm(self.conv(same(x, self.kernel, self.stride, 0.0))))


def same(x, kernel, stride, value):
    """TensorFlow's SAME: as much in front as behind, the odd one behind."""
    pads = []
    for size, k, s in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


def pool3d(x, kernel, stride):
    return F.max_pool3d(same(x, kernel, stride, -torch.inf), kernel, stride)


class Mixed(torch.nn.Module):
    def __init__(self, inputs, w):
        super().__init__()
        self.branch_0 = torch.nn.Sequential(Unit3D(inputs, w[0], 1))
        self.branch_1 = torch.nn.Sequential(Unit3D(inputs, w[1], 1), Unit3D(w[1], w[2], 3))
        self.branch_2 = torch.nn.Sequential(Unit3D(inputs, w[3], 1), Unit3D(w[3], w[4], 3))
        self.branch_3 = torch.nn.Sequential(Unit3D(inputs, w[5], 1))

    def forward(self, x):
        pooled = pool3d(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.branch_0(x), self.branch_1(x), self.branch_2(x), self.branch_3(pooled)], 1)


class TorchI3D(torch.nn.Module):
    """Figure 3 of Carreira and Zisserman: Inception-v1, inflated."""

    def __init__(self):
        super().__init__()
        self.conv3d_1a_7x7 = Unit3D(3, 64, 7, 2)
        self.conv3d_2b_1x1, self.conv3d_2c_3x3 = Unit3D(64, 64, 1), Unit3D(64, 192, 3)
        # GoogLeNet's table: #1×1, #3×3 reduce, #3×3, #5×5 reduce, #5×5 (here 3×3×3), pool proj
        self.mixed_3b, self.mixed_3c = Mixed(192, (64, 96, 128, 16, 32, 32)), Mixed(256, (128, 128, 192, 32, 96, 64))
        self.mixed_4b, self.mixed_4c = Mixed(480, (192, 96, 208, 16, 48, 64)), Mixed(512, (160, 112, 224, 24, 64, 64))
        self.mixed_4d, self.mixed_4e = Mixed(512, (128, 128, 256, 24, 64, 64)), Mixed(512, (112, 144, 288, 32, 64, 64))
        self.mixed_4f = Mixed(528, (256, 160, 320, 32, 128, 128))
        self.mixed_5b, self.mixed_5c = (
            Mixed(832, (256, 160, 320, 32, 128, 128)),
            Mixed(832, (384, 192, 384, 48, 128, 128)),
        )
        self.logits = torch.nn.Conv3d(1024, 400, 1)

    def forward(self, x):
        x = pool3d(self.conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = pool3d(self.conv3d_2c_3x3(self.conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        x = pool3d(self.mixed_3c(self.mixed_3b(x)), (3, 3, 3), (2, 2, 2))
        x = self.mixed_4f(self.mixed_4e(self.mixed_4d(self.mixed_4c(self.mixed_4b(x)))))
        x = self.mixed_5c(self.mixed_5b(pool3d(x, (2, 2, 2), (2, 2, 2))))
        return self.logits(F.avg_pool3d(x, (2, 7, 7), 1)).squeeze((3, 4)).mean(2)


def tensor(array):
    return torch.from_numpy(np.array(array))


def load_unit(unit, params):
    unit.conv.weight.data = tensor(params["kernel"].transpose(4, 3, 0, 1, 2))
    unit.norm.bias.data, unit.norm.weight.data = tensor(params["bias"]), torch.ones(len(params["bias"]))
    unit.norm.running_mean, unit.norm.running_var = tensor(params["mean"]), tensor(params["variance"])


def load_torch_i3d(params):
    network = TorchI3D().eval()
    for name, entry in params.items():
        if name.startswith("conv3d"):
            load_unit(getattr(network, name), entry)
        elif name.startswith("mixed"):
            for branch, unit in entry.items():
                units = getattr(getattr(network, name), branch[:8])
                load_unit(units[1 if branch in ("branch_1_b", "branch_2_b") else 0], unit)
    network.logits.weight.data = tensor(params["logits"]["kernel"].T[:, :, None, None, None])
    network.logits.bias.data = tensor(params["logits"]["bias"])
    return network


def load_torch_lpips(name, params):
    network = {"vgg16": VGG16, "alexnet": AlexNet}[name]().eval()
    convs = [layer for layer in network.layers if isinstance(layer, torch.nn.Conv2d)]
    for i, conv in enumerate(convs):
        conv.weight.data = tensor(params[f"conv{i}"]["kernel"].transpose(3, 2, 0, 1))
        conv.bias.data = tensor(params[f"conv{i}"]["bias"])
    return network, [tensor(params[f"head{i}"]["weight"]) for i in range(5)]


def agreement(name, ours, theirs):
    error = float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())
    print(json.dumps({"name": name, "relative_error": error, "largest": float(np.abs(theirs).max())}), flush=True)
    return error <= TOLERANCE


def check_lpips(directory):
    """A photograph beside a noisy, a shifted and a blocky one, at an even and an odd size."""
    module, params = load_lpips(directory)
    network, heads = load_torch_lpips(module.network, params)
    picture, rng, good = data.astronaut() / 127.5 - 1, np.random.default_rng(0), True
    for h, w in ((128, 128), (97, 75)):
        x = picture[50 : 50 + h, 150 : 150 + w]
        blocks = np.kron(x[::8, ::8], np.ones((8, 8, 1)))[:h, :w]
        others = [np.clip(x + rng.normal(0, 0.2, x.shape), -1, 1), picture[53 : 53 + h, 155 : 155 + w], blocks]
        a, b = np.stack([x] * 3).astype(np.float32), np.stack(others).astype(np.float32)
        ours = jax.jit(lambda params, a, b: module.apply({"params": params}, a, b))(
            params, jnp.asarray(a), jnp.asarray(b)
        )
        with torch.inference_mode():
            theirs = torch_lpips(network, heads, *(tensor(v.transpose(0, 3, 1, 2)) for v in (a, b))).numpy()
        good &= agreement(f"lpips_{module.network} {h}×{w}", ours, theirs)
    return good


def torch_stretch(video):
    """To 224×224 as TensorFlow 1's resize_bilinear does, by a matrix for each side: hats of width 1 at i·old/224."""

    def matrix(old):
        hats = (1 - (torch.arange(224)[:, None] * (old / 224) - torch.arange(old)).abs()).clamp(min=0)
        return hats / hats.sum(dim=1, keepdim=True)  # behind the last pixel it goes on

    return torch.einsum("bcthw,yh,xw->bctyx", video, *(matrix(side) for side in video.shape[3:]))


def check_i3d(directory, sample, labels):
    module, params = load_i3d(directory)
    network, good = load_torch_i3d(params), True
    features = make_features(module)
    picture = data.astronaut()
    moving = np.stack([picture[100 + t : 228 + t, 150 + 2 * t : 278 + 2 * t] for t in range(17)])
    clips = {"17×128×128, a photograph that moves": moving}
    if sample:
        frames = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(Image.open(sample))]
        clips[f"{len(frames)}×224×224, {sample.name}"] = np.stack(frames)
    for name, clip in clips.items():
        logits = np.asarray(features(params, jnp.asarray(clip[None])))
        with torch.inference_mode():
            theirs = network(torch_stretch(tensor(clip[None].transpose(0, 4, 1, 2, 3)).float()) / 127.5 - 1).numpy()
        good &= agreement(f"i3d {name}", logits, theirs)
    if sample and labels:
        names = labels.read_text().split("\n")
        found = {names[i]: float(logits[0, i]) for i in np.argsort(-logits[0])[:5]}
        pairs = {label: [float(logits[0, names.index(label)]), value] for label, value in PUBLISHED.items()}
        norm = float(np.linalg.norm(logits))
        print(json.dumps({"top": found, "ours_and_published": pairs, "norm": norm, "published_norm": PUBLISHED_NORM}))
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument("--sample", type=Path)
    parser.add_argument("--labels", type=Path)
    arguments = parser.parse_args()
    good = [check_lpips(arguments.weights / f"lpips_{name}") for name in ("vgg16", "alexnet")]
    good.append(check_i3d(arguments.weights / "i3d", arguments.sample, arguments.labels))
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
