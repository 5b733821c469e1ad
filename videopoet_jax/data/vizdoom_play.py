"""Play in the worlds of ViZDoom as a source: real sound, with the depth and the objects of every picture as truth.

    VizdoomPlay(("basic", "my_way_home"), size=1000, num_frames=17, fps=8, height=128, width=128, sample_rate=16_000)[7]
    →  video uint8 [t h w 3], audio float32 [s], has_audio, caption "walking forward, then shooting in a brick room …",
       depth float32 [t h w] (1 is near, 0 far), objects uint8 [t h w] (`vizdoom_game.CATEGORIES`), id, source

    addresses("vizdoom:basic,my_way_home?clips=1000&seed=5")
    →  vizdoom:basic?seed=5#0  vizdoom:my_way_home?seed=5#1  vizdoom:basic?seed=5#2  …

A player presses buttons at random; the caption says what came of it, measured by where he was, and what is to be seen.
Example i is the same on every machine with the same ViZDoom and OpenAL. Extra `vizdoom`; the sound needs OpenAL Soft.
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np
from jaxtyping import Float, Int16, UInt8

from videopoet_jax.data.item_windows import example
from videopoet_jax.data.media import MediaError, Number, fit
from videopoet_jax.data.vizdoom_game import CATEGORIES, SAMPLE_RATE, TICS, Played, check_installed, play

# Ours, as the pictures look.
SCENARIOS = {
    "basic": "a brick room with a grid for a ceiling",
    "health_gathering": "a green field between low stone walls",
    "health_gathering_supreme": "a maze of grey walls on green ground",
    "defend_the_center": "a round arena with a brown wall",
    "defend_the_line": "a grey hall with walls of brick",
    "deathmatch": "a large hall of pale bricks",
    "deadly_corridor": "a corridor of brown stone",
    "my_way_home": "a maze of small rooms",
}
_MOVES = (
    ("MOVE_FORWARD",), ("MOVE_FORWARD", "TURN_LEFT"), ("MOVE_FORWARD", "TURN_RIGHT"), ("TURN_LEFT",), ("TURN_RIGHT",),
    ("MOVE_BACKWARD",), ("MOVE_LEFT",), ("MOVE_RIGHT",), ("ATTACK",), ("MOVE_FORWARD", "ATTACK"), (),
)  # fmt: skip
_TEMPLATES = ("{moves} in {place}{seen}", "in {place}, {moves}{seen}", "a player's view of {moves} in {place}{seen}")
_SEEN = {"Monster": ("a monster", "monsters"), "Health": ("a medical kit", "medical kits"), "Armor": ("armour",) * 2,
         "Weapon": ("a gun on the ground", "guns on the ground"), "Ammo": ("ammunition",) * 2}  # fmt: skip
_WALKED, _TURNED = 64, 20  # map units and degrees in half a clip, from which on it is said
_HOLD = 15  # tics that the player goes on with a move before the clip begins
_QUIET = 2  # of 32,768: OpenAL's dither is no sound
_TRIES = 20
_NAME = re.compile(r"vizdoom:(?P<scenarios>[\w,]+)(\?(?P<options>(clips|seed)=\d{1,9}(&(clips|seed)=\d{1,9})*))?")
_CLIPS = 256  # ours, unless a name says otherwise


def parse(name: str) -> tuple[tuple[str, ...], int, int]:
    """Scenarios, clips and seed of a name.  `vizdoom:basic,deathmatch?clips=9 → ("basic", "deathmatch"), 9, 0`

    Raises:
        MediaError: not such a name, or a scenario that is not known.
    """
    found = _NAME.fullmatch(name)
    if not found:
        raise MediaError(
            f"{name}: no name of play; vizdoom:SCENARIO,SCENARIO?clips=1000&seed=0 is one, of {', '.join(SCENARIOS)}."
        )
    scenarios = tuple(found["scenarios"].split(","))
    _check_scenarios(scenarios)
    options = dict(pair.split("=") for pair in (found["options"] or "").split("&") if pair)
    return scenarios, int(options.get("clips", _CLIPS)), int(options.get("seed", 0))


def addresses(name: str) -> Iterator[str]:
    """Of all clips of a name; each says by itself what is played.

    Raises:
        MediaError: at once: as `parse`, or ViZDoom or OpenAL is not installed.
    """
    scenarios, clips, seed = parse(name)
    check_installed()
    return (f"vizdoom:{scenarios[number % len(scenarios)]}?seed={seed}#{number}" for number in range(clips))


def windows(address: str, *, stride: int, **sizes: Any) -> Iterator[dict[str, Any]]:
    """The clip at an address, which is one window; `sizes` as in `items.decode`."""
    name, _, number = address.rpartition("#")
    scenarios, _, seed = parse(name)
    yield VizdoomPlay(scenarios, size=int(number) + 1, seed=seed, **sizes)[int(number)]


def _check_scenarios(names: Sequence[str]) -> None:
    unknown = sorted(set(names) - set(SCENARIOS))
    if unknown or not names:
        raise MediaError(f"scenarios {', '.join(unknown) or 'none'}: choose from {', '.join(SCENARIOS)}.")


class VizdoomPlay:
    """Clip i is one of scenario i % len(scenarios); a game that ends within the clip is replaced by another.

    Raises:
        MediaError: ViZDoom or OpenAL is not installed, an unknown scenario, a rate beyond the game's 35 a second.
    """

    def __init__(
        self,
        scenarios: Sequence[str] = tuple(SCENARIOS),
        *,
        size: int,
        num_frames: int,
        fps: Number,
        height: int,
        width: int,
        sample_rate: int,
        seed: int = 0,
    ):
        _check_scenarios(scenarios)
        if size < 1 or num_frames < 1 or not 0 < fps <= TICS:
            raise MediaError(
                f"{size} clips of {num_frames} frames, {float(fps):g} a second: at least one of each, at most {TICS} a "
                "second."
            )
        check_installed()
        self.scenarios, self.size, self.num_frames, self.fps = tuple(scenarios), size, num_frames, fps
        self.height, self.width, self.sample_rate, self.seed = height, width, sample_rate, seed

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"VizdoomPlay({', '.join(self.scenarios)}, {self.size} clips, seed {self.seed})"

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self.size:
            raise IndexError(f"clip {index}: there are {self.size}, numbered from 0.")
        scenario = self.scenarios[index % len(self.scenarios)]
        rng = np.random.default_rng((self.seed, index))
        played = self._played(scenario, rng)
        sound = mono(played.sound, self.sample_rate)[: round(self.num_frames * self.sample_rate / self.fps)]
        heard = bool(np.abs(played.sound).max() > _QUIET)
        made = example(
            np.stack([fit(screen, self.height, self.width) for screen in played.screens]),
            sound if heard else len(sound),
            has_audio=heard,
            caption=said(played, SCENARIOS[scenario], _TEMPLATES[rng.integers(len(_TEMPLATES))]),
            name=f"vizdoom/{scenario}/{self.seed}/{index}",
            source=f"vizdoom/{scenario}",
        )
        depth, objects = (nearest(maps, self.height, self.width) for maps in (played.depth, played.categories))
        return {**made, "depth": 1 - depth / np.float32(255), "objects": objects}

    def _played(self, scenario: str, rng: np.random.Generator) -> Played:
        tics = math.ceil(self.num_frames * TICS / self.fps)
        pictures = {math.floor(frame * TICS / self.fps) for frame in range(self.num_frames)}
        for _ in range(_TRIES):
            before = [move for move in rng.integers(len(_MOVES), size=rng.integers(1, 8)) for _ in range(_HOLD)]
            first, then = rng.integers(len(_MOVES), size=2)
            presses = [first] * (tics // 2) + [then] * (tics - tics // 2)
            played = play(
                scenario,
                int(rng.integers(1 << 31)),
                before=[_MOVES[move] for move in before],
                presses=[_MOVES[move] for move in presses],
                pictures=pictures,
            )
            if played is not None:
                return played
        raise MediaError(f"{scenario}: {_TRIES} games ended within {tics} tics; ask for shorter clips.")


def mono(sound: Int16[np.ndarray, "s 2"], sample_rate: int) -> Float[np.ndarray, " s2"]:
    """Both channels in one, at a rate, in [-1, 1]."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.reshape(1, -1)), "s16", "stereo")
    frame.sample_rate = SAMPLE_RATE
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=sample_rate, options={"rematrix_maxval": "1"})
    chunks = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([chunk.to_ndarray()[0] for chunk in chunks])


def nearest(maps: UInt8[np.ndarray, "t h w"], height: int, width: int) -> UInt8[np.ndarray, "t h2 w2"]:
    """What `fit` shows of a picture, but without mixing values: depths and numbers of objects have no middle."""
    h, w = maps.shape[1:]
    scale = max(height / h, width / w)
    rows = ((h - height / scale) / 2 + (np.arange(height) + 0.5) / scale).astype(int)
    columns = ((w - width / scale) / 2 + (np.arange(width) + 0.5) / scale).astype(int)
    return maps[:, rows[:, None], columns]


def said(played: Played, place: str, template: str) -> str:
    """The caption: what the player did in either half of the clip, where, and what large things are to be seen."""
    middle = len(played.places) // 2
    first, then = done(played.places[: middle + 1]), done(played.places[middle:])
    moves = first if first == then else f"{first}, then {then}"
    most = dict(zip(CATEGORIES, played.large.max(0), strict=True))
    seen = [words[int(most[name] > 1)] for name, words in _SEEN.items() if most[name]]
    return template.format(moves=moves, place=place, seen=f", {' and '.join(seen)} in sight" if seen else "")


def done(places: Float[np.ndarray, "tics 4"]) -> str:
    """`walking forward and turning left`: by the way that was made, whatever was pressed."""
    steps, angles = np.diff(places[:, :2], axis=0), np.radians(places[:, 2])
    facing = np.stack([np.cos(angles), np.sin(angles)], axis=1)[:-1]
    ahead = float((steps * facing).sum())
    right = float((steps[:, 0] * facing[:, 1] - steps[:, 1] * facing[:, 0]).sum())
    left_turn = float(np.degrees(np.diff(np.unwrap(angles)).sum()))
    parts = []
    if abs(ahead) > _WALKED and abs(ahead) >= abs(right):
        parts.append("walking forward" if ahead > 0 else "walking backward")
    elif abs(right) > _WALKED:
        parts.append(f"stepping to the {'right' if right > 0 else 'left'}")
    if abs(left_turn) > _TURNED:
        parts.append(f"turning {'left' if left_turn > 0 else 'right'}")
    if (np.diff(places[:, 3]) < 0).any():
        parts.append("shooting")
    return " and ".join(parts) or "standing still"
