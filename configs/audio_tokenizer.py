"""SoundStream: `nano` (shipped), `local` (your own sounds) and `soundstream`, the paper's size.

[SS] is the SoundStream paper, [VP] VideoPoet, [c] recalled from figures and public code; the rest is ours.

    audio_tokenizer:nano          0.6 M parameters, the sounds of moving_digits, two levels of which the LM reads one
    audio_tokenizer:local         the same model, for real sounds of any loudness
    audio_tokenizer:soundstream   9.5 M parameters, with the paper's discriminators (22.5 M)
    audio_tokenizer:soundstream_24k   the same at the paper's own rate: 24 kHz, 8 levels, 0.75 to 6 kbit/s
"""

from ml_collections import ConfigDict

SIZES = ("nano", "local", "soundstream", "soundstream_24k")


def get_config(arg: str = "nano") -> ConfigDict:
    """The config of one of `SIZES`."""
    if arg not in SIZES:
        raise ValueError(f"audio_tokenizer size {arg!r}: unknown; use one of {', '.join(SIZES)}.")
    c = ConfigDict()
    c.model_type = "videopoet_audio_tokenizer"
    c.seed = 0  # ours
    c.mesh = ConfigDict(dict(data=-1, fsdp=1, tensor=1, sequence=1))  # ours; -1: the rest

    c.model = ConfigDict()
    c.model.sample_rate = 16_000  # [VP]: 34,000 samples / 320 = 106 frames
    c.model.channels = 32  # [SS] C
    c.model.dim = 64  # D: [SS] does not state it; Lyra V2 has 64
    c.model.strides = (2, 4, 5, 8)  # [SS]
    c.model.dilations = (1, 3, 9)  # [SS]
    c.model.kernel_size = 7  # [c]
    c.model.levels = 4  # [VP]
    c.model.codebook_size = 1024  # [SS]
    c.model.ema_decay = 0.99  # [SS]
    c.model.dead_usage = 0.03  # ours: of a level's mean. [SS] has 2 hits in a batch of unknown size
    c.model.kmeans_iterations = 10  # ours
    c.model.denoise = False  # [SS] trains models with and without

    c.data = ConfigDict()
    c.data.source = "folder"  # ours
    c.data.root = ""  # the folder of sounds, or of videos with sound
    c.data.fps = 8.0  # ours: the held-out end is counted in frames of this rate, as that of videos
    c.data.sample_rate = 16_000  # [VP]
    c.data.crop = 48_000  # [SS]: 3 s
    c.data.window = 50_000  # ours: a crop is taken from one; those of a file begin a frame apart
    c.data.start_share, c.data.transient_share = 0.0, 0.0  # ours
    c.data.peak_normalise, c.data.quietest = True, 0.0  # [SS]

    c.loss = ConfigDict()
    c.loss.windows = (64, 128, 256, 512, 1024, 2048)  # [SS]
    c.loss.mel_bins = 64  # [SS]
    c.loss.log_floor = 1e-3  # ours: 60 dB below full scale is silence
    c.loss.spectral_weight = 1.0  # [SS]
    c.loss.waveform_weight = 0.0  # [SS] has none: its discriminators hear phase
    c.loss.commitment_weight = 1.0  # ours
    c.loss.bypass_share = 0.0  # [SS] has none

    c.noise = ConfigDict()  # ours, all of it; used where model.denoise is True
    c.noise.noisy_share = 0.5
    c.noise.crowd_share = 0.5  # of the noises: another sound of the batch; the others are coloured noise
    c.noise.snr_low, c.noise.snr_high = 0.0, 25.0  # dB

    c.adversary = ConfigDict()
    c.adversary.weight = 1.0  # [SS]; 0 is none
    c.adversary.feature_weight = 100.0  # [SS]
    c.adversary.start = 0  # [SS] names no late start
    c.adversary.model = ConfigDict()
    c.adversary.model.scales = 3  # [SS]: 1×, ½×, ¼×
    c.adversary.model.waveform_widths = (16, 64, 256, 1024, 1024)  # [SS]: 4 times as many, up to 1,024; 16 is [c]
    c.adversary.model.waveform_kernels = (15, 41, 5, 3)  # [c]: MelGAN's
    c.adversary.model.waveform_stride, c.adversary.model.waveform_group = 4, 4  # [SS]
    c.adversary.model.stft_window = 1024  # [SS], a quarter of it the hop
    c.adversary.model.stft_kernel = 7  # [SS]
    c.adversary.model.stft_widths = (32, 64, 128, 128, 256, 256, 512)  # [SS]: 32 first; the factors of blocks are [c]
    c.adversary.model.stft_strides = ((1, 2), (2, 2), (1, 2), (2, 2), (1, 2), (2, 2))  # [SS]
    c.adversary.optimizer, c.adversary.b1, c.adversary.b2 = "adam", 0.5, 0.9  # [c]: MelGAN's
    c.adversary.learning_rate = 1e-4  # [c]: MelGAN's

    c.train = ConfigDict()  # ours, all of it: [SS] states none
    c.train.batch_size, c.train.steps = 128, 400_000
    c.train.optimizer, c.train.b1, c.train.b2, c.train.eps = "adam", 0.9, 0.99, 1e-8
    c.train.weight_decay, c.train.clip_norm = 0.0, 1.0
    c.train.schedule, c.train.learning_rate, c.train.learning_rate_end = "cosine", 1e-4, 1e-6
    c.train.warmup_steps = 1_000
    c.train.ema_decay, c.train.accumulate = 0.999, 1
    c.train.lora = ConfigDict(dict(rank=0, alpha=16.0, match="kernel"))  # rank 0: the model itself trains

    if arg == "soundstream_24k":  # [SS]: 75 frames a second, 10 bits a level
        c.model.sample_rate = c.data.sample_rate = 24_000
        c.model.levels, c.data.crop, c.data.window = 8, 72_000, 75_000
    if arg in ("nano", "local"):  # ours: what a CPU can train in minutes, without discriminators
        c.loss.spectral_weight, c.loss.waveform_weight = 1e-3, 100.0  # now the waveform itself must tell phase
        c.data.crop, c.data.window = 8_000, 34_000
        c.data.transient_share = 0.3
        c.train.batch_size, c.train.warmup_steps = 8, 50
        c.train.optimizer = "muon"
        c.train.learning_rate, c.train.learning_rate_end = 4e-3, 2e-5
        c.train.ema_decay = 0.0  # the rate ends near nothing, which is an average of its own
        c.model.channels, c.model.dim, c.model.levels = 8, 32, 2
        c.adversary.weight = 0.0
    if arg == "local":
        c.data.quietest = 30.0
        # Measured on held-out sound of films: with every example through the quantizer and a commitment of 1, the
        # latents shrink to one number, the loudness; without a waveform loss copies are a hum, as loud and as coloured.
        c.loss.bypass_share, c.loss.commitment_weight = 0.5, 0.05
        c.train.steps = 2_000
    if arg == "nano":
        c.data.source, c.data.levels, c.data.size = "moving_digits", (1, 1, 1, 2, 3), 20_000  # clicks in two of five
        c.data.height, c.data.width, c.data.zoom = 16, 16, 1.0  # of pictures that are not used
        c.data.num_frames = 41  # long clips bounce more often, and one in three crops holds a click if there is any
        c.data.start_share = 0.2  # a tone out of nothing, which crops from anywhere hardly show
        c.data.peak_normalise = False  # the clip is decoded as loud as it was
        c.train.steps = 800
    return c
