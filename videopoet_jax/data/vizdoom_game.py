"""ViZDoom's engine, without a window → what a player saw, heard and did, tic by tic (35 a second).

in   scenario, seed, and which buttons to press at every tic
out  Played: screens uint8 [p 240 320 3], depth and categories uint8 [p 240 320], sound int16 [1260 tics, 2], places

A game is started for every clip, half a second each: in one that is played on, the sound of the past goes on. Picture
and sound are in step: of a shot, the flash is in the picture with which its sound begins (to 1 ms, as measured).
"""

import ctypes
import os
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int16, Int64, UInt8

from videopoet_jax.data.media import MediaError

TICS = 35  # a second
SAMPLE_RATE = 44_100
BUTTONS = ("MOVE_FORWARD", "MOVE_BACKWARD", "MOVE_LEFT", "MOVE_RIGHT", "TURN_LEFT", "TURN_RIGHT", "ATTACK")
# What `categories` counts from 0. The player's own hand and weapon are "Self"; what is not listed is "other".
CATEGORIES = ("nothing", "other", "Self", "Monster", "Health", "Armor", "Weapon", "Ammo")
_LEFT_BEHIND = "_vizdoom"
_LARGE = 0.004  # ours: of the picture, from which on an object is counted


class Played(NamedTuple):
    """`large` counts, for every picture, the objects of each category that are large enough to be noticed.

    `places` holds x, y (map units; a player is 32 wide), the angle in degrees and the ammunition at every tic.
    """

    screens: UInt8[np.ndarray, "p h w 3"]
    depth: UInt8[np.ndarray, "p h w"]
    categories: UInt8[np.ndarray, "p h w"]
    large: Int64[np.ndarray, "p 8"]
    sound: Int16[np.ndarray, "s 2"]
    places: Float[np.ndarray, "tics 4"]


def check_installed() -> None:
    """Looks for what the game needs.

    Raises:
        MediaError: no ViZDoom, or no OpenAL, without which it is silent.
    """
    try:
        import vizdoom  # noqa: F401
    except ImportError as error:
        raise MediaError("vizdoom: not installed; pip install 'videopoet_jax[vizdoom]'.") from error
    if sys.platform == "linux":  # elsewhere it comes with the system or with ViZDoom
        try:
            ctypes.CDLL("libopenal.so.1")
        except OSError as error:
            raise MediaError(
                "libopenal.so.1: not found, ViZDoom needs it for sound; apt install libopenal1, or your system's way."
            ) from error


def play(
    scenario: str,
    seed: int,
    *,
    before: Iterable[Collection[str]],
    presses: Iterable[Collection[str]],
    pictures: set[int],
) -> Played | None:
    """Presses `before` without recording, then records while `presses` are pressed; None if the game ends meanwhile.

    `pictures` are the tics of which the picture is kept; sound and places are kept of all.
    """
    import vizdoom

    with tempfile.TemporaryDirectory(prefix="videopoet-vizdoom-") as folder, _without(_LEFT_BEHIND):
        game = _game(vizdoom, scenario, seed, folder)
        try:
            for held in before:
                game.make_action([name in held for name in BUTTONS], 1)
            seen, sound, places = [], [], []
            for tic, held in enumerate(presses):
                state = game.get_state()
                if state is None or game.is_player_dead():
                    return None
                if tic in pictures:
                    seen.append((state.screen_buffer.copy(), state.depth_buffer.copy(), *_categories(state)))
                sound.append(state.audio_buffer.copy())  # it begins with this picture
                places.append(state.game_variables.copy())
                game.make_action([name in held for name in BUTTONS], 1)
        finally:
            game.close()
    screens, depth, categories, large = (np.stack(part) for part in zip(*seen, strict=True))
    return Played(screens, depth, categories, large, np.concatenate(sound), np.stack(places))


@contextmanager
def _without(folder: str) -> Iterator[None]:
    """The engine makes an empty folder where it is started, whatever it is told."""
    before = os.path.exists(folder)
    try:
        yield
    finally:
        if not before:
            with suppress(OSError):  # not empty, or gone
                os.rmdir(folder)


def _game(vizdoom: Any, scenario: str, seed: int, folder: str) -> Any:
    os.environ.setdefault("ALSOFT_DRIVERS", "null")  # no device of sound is looked for; the game inherits it
    game, variables = vizdoom.DoomGame(), vizdoom.GameVariable
    game.load_config(os.path.join(vizdoom.scenarios_path, f"{scenario}.cfg"))
    game.set_doom_config_path(os.path.join(folder, "vizdoom.ini"))  # else it writes where the user is
    game.add_game_args("+snd_efx 0")
    game.set_window_visible(False)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_320X240)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_render_hud(False)
    game.set_depth_buffer_enabled(True)
    game.set_labels_buffer_enabled(True)
    game.set_sound_enabled(True)
    game.set_audio_buffer_enabled(True)
    game.set_audio_sampling_rate(vizdoom.SamplingRate.SR_44100)
    game.set_audio_buffer_size(1)  # tics
    game.set_available_buttons([getattr(vizdoom.Button, name) for name in BUTTONS])
    game.set_available_game_variables(
        [variables.POSITION_X, variables.POSITION_Y, variables.ANGLE, variables.SELECTED_WEAPON_AMMO]
    )
    game.set_episode_timeout(0)
    game.set_seed(seed)
    game.init()
    return game


def _categories(state: Any) -> tuple[np.ndarray, np.ndarray]:
    """The picture's objects by category, and how many large ones each has; the engine numbers them one by one."""
    table, large = np.zeros(256, np.uint8), np.zeros(len(CATEGORIES), np.int64)
    areas = np.bincount(state.labels_buffer.ravel(), minlength=256) / state.labels_buffer.size
    for label in state.labels:
        known = label.object_category in CATEGORIES
        table[label.value] = CATEGORIES.index(label.object_category) if known else 1
        large[table[label.value]] += areas[label.value] > _LARGE
    return table[state.labels_buffer], large
