"""The language model in PyTorch, as a Llama is written for speed.

Pre-RMSNorm, SwiGLU, grouped queries, rotary positions, no biases, scaled dot-product attention: a Llama. What ours has
beside that the twin has too, or it would not compute the same loss: queries and keys are normalised, three rotary axes,
the next token's place beside the embeddings, separate tables for each kind of token, a chain between visual factors.

It knows one layout, of which ours knows nothing until the batch comes: every token is looked up in its own table alone,
and scored against it alone. Parameters are named and shaped as `Twin.shapes` says, layers stacked; inside they lie as
`torch.nn.Linear` would have them, `[out in]`, each layer's its own.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

VISUAL, AUDIO = 256, 256 + 2**18  # first ids of the visual and of the audio codes
LEVEL = 1024  # codes of an audio level
MOST_LOGITS = 2**28  # bytes: beyond, they are made for a chunk of tokens at a time, and again on the way back
CHUNK = 2048


class Run(NamedTuple):
    """A run of positions of one kind, "special", "text" (embeddings), "video" or "audio"."""

    kind: str
    output: bool
    start: int
    stop: int
    level: int


def padded(rows: int) -> int:
    return -(-rows // 256) * 256


def rms_norm(x: Tensor, scale: Tensor, epsilon: float) -> Tensor:
    return F.rms_norm(x.float(), scale.shape, scale, epsilon).to(x.dtype)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x, weight.to(x.dtype))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Channel pairs (i, i + e/2) of [b m n e], turned in float32."""
    x1, x2 = x.float().chunk(2, dim=-1)
    return torch.cat([x1 * cos - x2 * sin, x2 * cos + x1 * sin], dim=-1).to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | int) -> Tensor:
    """[b m n e] and [b g n e]. A mask [b 1 n n], or the length of a prefix that all rows have and see whole: flash
    attention takes no mask but the causal one, so the prefix attends by itself."""
    attention = functools.partial(F.scaled_dot_product_attention, enable_gqa=k.shape[1] != q.shape[1])
    if isinstance(mask, Tensor):
        return attention(q, k, v, attn_mask=mask)
    prefix = attention(*(x[:, :, :mask] for x in (q, k, v)))
    return torch.cat([prefix, attention(q, k, v, is_causal=True)[:, :, mask:]], dim=2)


class Block(nn.Module):
    def __init__(self, model: Mapping[str, Any]):
        super().__init__()
        d, m, g, e, hidden = (model[name] for name in ("width", "heads", "kv_heads", "head_dim", "mlp"))
        self.head_dim, self.epsilon = e, model["epsilon"]
        shapes = {"query": (m * e, d), "key": (g * e, d), "value": (g * e, d), "out": (d, m * e)}
        shapes |= {"gate": (hidden, d), "up": (hidden, d), "down": (d, hidden)}
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.empty(shape)))
        for name, size in {"attention_norm": d, "query_norm": e, "key_norm": e, "mlp_norm": d}.items():
            setattr(self, name, nn.Parameter(torch.empty(size)))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | int) -> Tensor:
        y = rms_norm(x, self.attention_norm, self.epsilon)
        q, k, v = (
            linear(y, w).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for w in (self.query, self.key, self.value)
        )
        q = rotate(rms_norm(q, self.query_norm, self.epsilon), cos, sin)
        k = rotate(rms_norm(k, self.key_norm, self.epsilon), cos, sin)
        x = x + linear(attend(q, k, v, mask).transpose(1, 2).flatten(2), self.out)
        y = rms_norm(x, self.mlp_norm, self.epsilon)
        return x + linear(F.silu(linear(y, self.gate)) * linear(y, self.up), self.down)


class Twin(nn.Module):
    """The model and its loss.

    Args:
        model: the fields of the config's `model`.
        runs: of the one layout that it knows.
        prefix: its prefix's length where no padding is to be left out, and attention then needs no mask; None: by mask.
        z_coefficient: of the config's `loss`.
        remat: compute every layer again on the way back.
    """

    def __init__(self, model: Mapping[str, Any], runs: Sequence[Run], prefix: int | None, z_coefficient: float,
                 dtype: torch.dtype, remat: bool):  # fmt: skip
        super().__init__()
        self.model, self.runs, self.prefix, self.remat, self.dtype = dict(model), runs, prefix, remat, dtype
        self.z_coefficient = z_coefficient
        self.each = round(model["visual_codes"] ** (1 / model["visual_factors"]))
        self.blocks = nn.ModuleList(Block(model) for _ in range(model["depth"]))
        for name, shape in self.shapes(model).items():
            if not name.startswith("layers."):
                self.register_parameter(name.replace(".", "_"), nn.Parameter(torch.empty(shape)))

    @staticmethod
    def shapes(model: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Of every parameter, by the name that ours has for it."""
        d, depth, factors = model["width"], model["depth"], model["visual_factors"]
        m, g, e, hidden, chain = (model[name] for name in ("heads", "kv_heads", "head_dim", "mlp", "chain_hidden"))
        each = padded(round(model["visual_codes"] ** (1 / factors)))
        shapes = {}
        for side in ("input", "output"):
            shapes[f"{side}.special_text"] = (padded(256 + model["text_pieces"]), d)
            shapes[f"{side}.visual"] = (factors, each, d)
            shapes[f"{side}.audio"] = (padded(LEVEL * model["audio_levels"]), d)
        shapes["input.text_projection"] = (model["text_dim"], d)
        places = 2 * sum(model["place_octaves"])
        for name, rows in {
            "modality": model["modalities"],
            "next_modality": model["modalities"],
            "next_place": places,
        }.items():
            shapes[f"positions.{name}"] = (rows, d)
        layer = {"attention.query": (d, m, e), "attention.key": (d, g, e), "attention.value": (d, g, e)}
        layer |= {"attention.out": (m, e, d), "mlp.gate": (d, hidden), "mlp.up": (d, hidden), "mlp.down": (hidden, d)}
        layer |= {"attention_norm.scale": (d,), "mlp_norm.scale": (d,)}
        layer |= {"attention.query_norm.scale": (e,), "attention.key_norm.scale": (e,)}
        shapes |= {f"layers.{name}": (depth, *shape) for name, shape in layer.items()}
        shapes["norm.scale"] = (d,)
        if factors > 1:
            shapes |= {"output.chain": (factors - 1, each, d), "output.chain_norm.scale": (d,)}
            shapes |= {"output.chain_mlp.gate": (d, chain), "output.chain_mlp.up": (d, chain)}
            shapes |= {"output.chain_mlp.down": (chain, d)}
        return shapes

    @staticmethod
    def kinds(runs: Iterable[Run], *, levels: bool = False) -> dict[str, list[Run]]:
        """Runs by their kind, or by `kind level`."""
        found: dict[str, list[Run]] = {}
        for run in runs:
            found.setdefault(f"{run.kind} {run.level}" if levels else run.kind, []).append(run)
        return found

    @torch.no_grad()
    def load(self, draw: Callable[[str, tuple[int, ...]], Any]) -> None:
        """Every parameter from `draw(name, shape)`, a NumPy array."""
        own = dict(self.named_parameters())
        for name, shape in self.shapes(self.model).items():
            value = torch.from_numpy(draw(name, shape))
            if not name.startswith("layers."):
                own[name.replace(".", "_")].copy_(value)
                continue
            short = name.removesuffix(".scale").rsplit(".", 1)[-1]
            for block, stacked in zip(self.blocks, value, strict=True):
                matrix = stacked if stacked.ndim == 1 else (
                    stacked.flatten(0, 1) if short == "out" else stacked.flatten(1)
                ).T  # fmt: skip
                getattr(block, short).copy_(matrix)

    def embed(self, ids: Tensor, positions: Tensor, text: Tensor) -> Tensor:
        """Every kind's tokens from their own table at once, and then in their order."""
        k, parts = self.model["visual_factors"], {}
        for kind, runs in self.kinds(self.runs).items():
            own = torch.cat([ids[:, run.start : run.stop] for run in runs], dim=1)
            if kind == "text":
                x = linear(text.to(self.dtype), self.input_text_projection.T)
            elif kind == "video":
                digits = [(own - VISUAL) // self.each ** (k - 1 - j) % self.each for j in range(k)]
                x = sum(F.embedding(c, self.input_visual[j]) for j, c in enumerate(digits))
            elif kind == "audio":
                x = F.embedding(own - AUDIO, self.input_audio)
            else:
                x = F.embedding(own, self.input_special_text)
            parts |= zip(runs, x.to(self.dtype).split([run.stop - run.start for run in runs], dim=1), strict=True)
        x = torch.cat([parts[run] for run in self.runs], dim=1)
        after = torch.cat([positions[:, 1:], positions[:, -1:]], dim=1)
        rows = torch.arange(self.model["modalities"], device=ids.device)
        features = [(p[..., 3, None] == rows).float() for p in (positions, after)]
        for axis, octaves in enumerate(self.model["place_octaves"]):
            frequencies = 2 * torch.pi / (4.0 * 2.0 ** torch.arange(octaves, device=ids.device))
            angles = after[..., axis, None].float() * frequencies
            features += [angles.sin(), angles.cos()]
        table = torch.cat([self.positions_modality, self.positions_next_modality, self.positions_next_place])
        return x + torch.cat(features, dim=-1).to(self.dtype) @ table.to(self.dtype)

    def turns(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [b 1 n e/2] of the rotary angles."""
        angles, sections = [], zip(self.model["rotary_sections"], self.model["rotary_bases"], strict=True)
        for axis, (channels, base) in enumerate(sections):
            steps = torch.arange(channels // 2, device=positions.device, dtype=torch.float32)
            angles.append(positions[..., axis, None].float() * base ** (-steps / (channels // 2)))
        angles = torch.cat(angles, dim=-1)[:, None]
        return angles.cos(), angles.sin()

    def visual(self, x: Tensor, tables: Tensor, codes: Tensor) -> Tensor:
        """Σ over the factors of −log p + z · log² Z, each given those before it."""
        k, total = self.model["visual_factors"], 0.0
        digits = [codes // self.each ** (k - 1 - j) % self.each for j in range(k)]
        for j, digit in enumerate(digits):
            y = x
            if j:
                y = x + sum(F.embedding(digits[i], self.output_chain[i].to(x.dtype)) for i in range(j))
                y = rms_norm(y, self.output_chain_norm_scale, self.model["epsilon"])
                hidden = F.silu(y @ self.output_chain_mlp_gate.to(x.dtype)) * (y @ self.output_chain_mlp_up.to(x.dtype))
                y = x + hidden @ self.output_chain_mlp_down.to(x.dtype)
            total = total + self.nll(y, tables[j], self.each, digit)
        return total

    def nll(self, x: Tensor, table: Tensor, rows: int, targets: Tensor) -> Tensor:
        logits = F.linear(x, table[:rows]).float()
        log_z = logits.logsumexp(-1)
        of_target = logits.gather(-1, targets[..., None])[..., 0]
        return (log_z - of_target).sum() + self.z_coefficient * log_z.square().sum()

    def score(self, run: Run, table: Tensor, x: Tensor, ids: Tensor) -> Tensor:
        if run.kind == "video":
            return self.visual(x, table, ids - VISUAL)
        if run.kind == "audio":
            first = LEVEL * run.level
            return self.nll(x, table[first : first + LEVEL], LEVEL, ids - AUDIO - first)
        return self.nll(x, table, 256 + self.model["text_pieces"], ids)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        ids, positions, n = batch["ids"].long(), batch["positions"], batch["ids"].shape[1]
        mask: Tensor | int | None = self.prefix
        if mask is None:
            i = torch.arange(n, device=ids.device)
            horizon = torch.maximum(batch["prefix_length"][:, None], i + 1)
            mask = ((i < horizon[..., None]) & batch["valid"][:, None])[:, None]
        x, (cos, sin) = self.embed(ids, positions, batch["text_embedding"]), self.turns(positions)
        for block in self.blocks:
            x = checkpoint(block, x, cos, sin, mask, use_reentrant=False) if self.remat else block(x, cos, sin, mask)
        x = rms_norm(x, self.norm_scale, self.model["epsilon"])
        tables = {"video": self.output_visual, "audio": self.output_audio, "special": self.output_special_text}
        tables = {kind: table.to(self.dtype) for kind, table in tables.items()}
        total, count = 0.0, 0
        for runs in self.kinds((run for run in self.runs if run.output), levels=True).values():
            hidden, own = (torch.cat([z[:, r.start - d : r.stop - d] for r in runs], 1) for z, d in ((x, 1), (ids, 0)))
            rows = {"video": self.each, "audio": LEVEL}.get(runs[0].kind, 256 + self.model["text_pieces"])
            whole = 4 * own.numel() * rows <= MOST_LOGITS
            size = own.shape[1] if whole else max(1, CHUNK // len(own))
            score = self.score if whole else functools.partial(checkpoint, self.score, use_reentrant=False)
            for start in range(0, own.shape[1], size):
                part = slice(start, start + size)
                total = total + score(runs[0], tables[runs[0].kind], hidden[:, part], own[:, part])
            count += own.numel()
        return total / count
