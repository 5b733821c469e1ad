"""The peers of `tokenizers.py`, as their authors would want them timed: functions that prepare and return the work."""

import sys
import types
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from contest import THREADS
from torch.nn import functional as F
from twins import magvit2, soundstream

Work = Callable[[], object]


def quiet(work: Work) -> Work:
    """`work` on as many threads as ours has, without autograd's bookkeeping."""
    torch.set_num_threads(THREADS)

    def run() -> object:
        with torch.inference_mode():
            return work()

    return run


def lfq_entropy(tokens: int) -> Work:
    """vector-quantize-pytorch's LFQ at 2^18: its entropy loss, forward and backward."""
    from vector_quantize_pytorch import LFQ

    torch.set_num_threads(THREADS)
    quantizer = LFQ(codebook_size=2**18, dim=18, entropy_loss_weight=1.0)
    z = torch.randn(1, tokens, 18, requires_grad=True)

    def work() -> None:
        z.grad = None
        quantizer(z).entropy_aux_loss.backward()

    return work


def _twin(part: str, compiled: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    torch.manual_seed(0)
    module = getattr(magvit2.Tokenizer(64).eval(), part).to(memory_format=torch.channels_last_3d)
    return torch.compile(module) if compiled else module


def video_encode(size: tuple[int, int, int], compiled: bool) -> Work:
    encoder = _twin("encoder", compiled)
    video = torch.rand(1, 3, *size).mul(2).sub(1).to(memory_format=torch.channels_last_3d)
    return quiet(lambda: magvit2.indices(encoder(video)))


def video_decode(size: tuple[int, int, int], compiled: bool) -> Work:
    decoder = _twin("decoder", compiled)
    codes = torch.randn(1, 18, 1 + (size[0] - 1) // 4, size[1] // 8, size[2] // 8).sign()
    codes = codes.to(memory_format=torch.channels_last_3d)
    return quiet(lambda: decoder(codes))


def _on_gpu(part: str, width: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """As serving would have it: half precision, channels last, cuDNN's best algorithm, compiled for one shape.

    Compiled with CUDA graphs, and not with `max-autotune`, which tries Triton's convolutions too: on an H100 (PyTorch
    2.11) ten seconds for each shape, and 0.83 of the speed of cuDNN's for 128 channels of 16×11×32×32.
    """
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    module = getattr(magvit2.Tokenizer(width).eval(), part).to("cuda", torch.bfloat16)
    return torch.compile(module.to(memory_format=torch.channels_last_3d), mode="reduce-overhead")


def gpu_encode(width: int, clips: int, size: tuple[int, int, int]) -> Work:
    encoder, video = _on_gpu("encoder", width), torch.randint(0, 256, (clips, *size, 3), dtype=torch.uint8)

    def work() -> object:
        pixels = video.to("cuda").permute(0, 4, 1, 2, 3).to(torch.bfloat16) / 127.5 - 1
        return magvit2.indices(encoder(pixels)).cpu()

    return quiet(work)


def gpu_decode(width: int, clips: int, size: tuple[int, int, int]) -> Work:
    decoder = _on_gpu("decoder", width)
    shape = (clips, 1 + (size[0] - 1) // 4, size[1] // 8, size[2] // 8)
    codes, bits = torch.randint(0, 2**18, shape), torch.arange(18)

    def work() -> object:
        signs = (codes.to("cuda")[..., None] >> bits.to("cuda") & 1) * 2 - 1
        video = decoder(signs.to(torch.bfloat16).permute(0, 4, 1, 2, 3))
        return video.float().add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 4, 1).cpu()

    return quiet(work)


def video_step(clips: int, size: tuple[int, int, int], gan: bool, compiled: bool) -> Work:
    """What our step does less LFQ's entropy: both losses, clipping by norm, Adam, moving average; with `gan` a second
    player, which is shown what the first one made."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    model = magvit2.Tokenizer(64).to(memory_format=torch.channels_last_3d)
    average = [p.detach().clone() for p in model.parameters()]
    rate = {"betas": (0.0, 0.99), "fused": True}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, **rate)
    discriminator = magvit2.Discriminator(128, -(-size[1] // 32) * -(-size[2] // 32)).to(
        memory_format=torch.channels_last_3d
    )
    its_optimizer = torch.optim.Adam(discriminator.parameters(), lr=8e-5, **rate)
    copy, judged = (torch.compile(m) if compiled else m for m in (model, discriminator))
    video = torch.rand(clips, 3, *size).mul(2).sub(1).to(memory_format=torch.channels_last_3d)

    def update(module: torch.nn.Module, adam: torch.optim.Adam) -> None:
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0, foreach=True)
        adam.step()
        adam.zero_grad()

    def work() -> None:
        fake, z = copy(video)
        loss = 5 * F.mse_loss(fake, video) + 0.25 * F.mse_loss(z, z.detach().sign())
        if gan:
            discriminator.requires_grad_(False)
            loss = loss + 0.1 * F.softplus(-judged(fake)).mean()
            discriminator.requires_grad_(True)
        loss.backward()
        update(model, optimizer)
        with torch.no_grad():
            torch._foreach_lerp_(average, list(model.parameters()), 0.001)
        if gan:
            real, made = judged(torch.cat([video, fake.detach()])).chunk(2)
            (F.softplus(-real).mean() + F.softplus(made).mean()).backward()
            update(discriminator, its_optimizer)

    return work


def _audiolm():
    """audiolm-pytorch's SoundStream without attention: C = 32, D = 64, 4 levels, 16 kHz.

    Its package imports fairseq, wandb and more on the way in, none of which SoundStream uses when it encodes and
    decodes; so the package's own __init__ is passed by, and torchaudio (resampling, mel losses) is a stand-in.
    """
    package = types.ModuleType("audiolm_pytorch")
    package.__path__ = list(find_spec("audiolm_pytorch").submodule_search_locations)
    sys.modules["audiolm_pytorch"] = package
    _stand_in_for_torchaudio()
    from audiolm_pytorch.soundstream import SoundStream

    model = SoundStream(channels=32, codebook_dim=64, codebook_size=1024, rq_num_quantizers=4, use_local_attn=False)
    return _started(model.eval())


def _stand_in_for_torchaudio() -> None:
    torchaudio = types.ModuleType("torchaudio")
    torchaudio.transforms, torchaudio.functional = types.ModuleType("transforms"), types.ModuleType("functional")
    torchaudio.transforms.MelSpectrogram = lambda **_: torch.nn.Identity()
    torchaudio.functional.resample = None
    sys.modules |= {f"torchaudio{n}": m for n, m in (("", torchaudio), (".transforms", torchaudio.transforms))}
    sys.modules["torchaudio.functional"] = torchaudio.functional


def _started(model: torch.nn.Module) -> torch.nn.Module:
    """Codebooks that wait for k-means are given random entries instead."""
    for name, buffer in model.named_buffers():
        if name.endswith(("initted", "inited")):
            buffer.fill_(True)
        elif name.endswith("embed"):
            buffer.normal_()
    return model


def _noise(rate: int, seconds: int) -> torch.Tensor:
    return torch.randn(1, rate * seconds).mul(0.3).clamp(-1, 1)


def audiolm_encode(seconds: int) -> Work:
    model, sound = _audiolm(), _noise(16_000, seconds)
    return quiet(lambda: model(sound, return_codes_only=True))


def audiolm_decode(seconds: int) -> Work:
    model = _audiolm()
    codes = torch.randint(0, 1024, (1, seconds * 50, 4))
    return quiet(lambda: model.decode_from_codebook_indices(codes))


def _encodec():
    """EnCodec 24 kHz at 6 kbps, its weight norms folded in, as for serving."""
    _stand_in_for_torchaudio()
    from encodec import EncodecModel

    model = _started(EncodecModel.encodec_model_24khz(pretrained=False).eval())
    model.set_target_bandwidth(6.0)
    for module in model.modules():
        if hasattr(module, "weight_g"):
            torch.nn.utils.remove_weight_norm(module)
    return model


def encodec_encode(seconds: int) -> Work:
    model, sound = _encodec(), _noise(24_000, seconds)[None]
    return quiet(lambda: model.encode(sound))


def encodec_decode(seconds: int) -> Work:
    model = _encodec()
    codes = torch.randint(0, 1024, (1, 8, seconds * 75))
    return quiet(lambda: model.decode([(codes, None)]))


def _soundstream_twin() -> soundstream.Tokenizer:
    torch.manual_seed(0)
    model = soundstream.Tokenizer(32, 64).eval()
    model.quantizer.tables.data.normal_()
    return model


def soundstream_encode(seconds: int, compiled: bool) -> Work:
    model, sound = _soundstream_twin(), _noise(16_000, seconds)
    encode = torch.compile(model.encode) if compiled else model.encode
    return quiet(lambda: encode(sound))


def soundstream_decode(seconds: int, compiled: bool) -> Work:
    model, codes = _soundstream_twin(), torch.randint(0, 1024, (1, seconds * 50, 4))
    decode = torch.compile(model.decode) if compiled else model.decode
    return quiet(lambda: decode(codes))


def rvq(frames: int) -> Work:
    """The plain argmin, a level after the other."""
    quantizer = soundstream.Quantizer(4, 1024, 64)
    quantizer.tables.data.normal_()
    z = torch.from_numpy(np.random.default_rng(0).standard_normal((frames, 64), np.float32))
    return quiet(lambda: quantizer.encode(z))
