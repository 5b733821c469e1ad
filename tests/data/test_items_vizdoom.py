"""Play in ViZDoom: picture, sound, depth and objects in step, captions that say what happened, the same every time."""

import numpy as np
import pytest

from videopoet_jax.data.items import Item, decode, items_of
from videopoet_jax.data.media import MediaError, fit
from videopoet_jax.data.views import views_of
from videopoet_jax.data.vizdoom_game import BUTTONS, CATEGORIES, check_installed, play
from videopoet_jax.data.vizdoom_play import SCENARIOS, VizdoomPlay, done, mono, nearest, parse

SIZE = dict(num_frames=9, fps=8, height=48, width=64, sample_rate=16_000)


@pytest.fixture(scope="module")
def vizdoom():
    try:
        check_installed()
    except MediaError as error:
        pytest.skip(str(error))


def way(steps, turns, shots=()):
    """Places of a player who starts at 0, 0 and looks east: (ahead, right) and degrees to the left at each tic."""
    places, x, y, angle = [], 0.0, 0.0, 0.0
    for tic, ((ahead, right), turn) in enumerate(zip(steps, turns, strict=True)):
        places.append((x, y, angle % 360, 50.0 - sum(shot <= tic for shot in shots)))
        east, north = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        x, y = x + ahead * east + right * north, y + ahead * north - right * east
        angle += turn
    return np.array(places)


@pytest.mark.parametrize("steps, turns, shots, words", [
    ([(8, 0)] * 20, [0] * 20, (), "walking forward"),
    ([(-8, 0)] * 20, [5] * 20, (), "walking backward and turning left"),
    ([(0, 8)] * 20, [-5] * 20, (), "stepping to the right and turning right"),
    ([(0, -8)] * 20, [0] * 20, (3,), "stepping to the left and shooting"),
    ([(8, 0)] * 90, [4] * 90, (), "walking forward and turning left"),  # a full circle: it comes back to where it was
    ([(2, 0)] * 20, [0] * 20, (), "standing still"),  # along a wall, whatever was pressed
])  # fmt: skip
def test_captions_say_what_came_of_it(steps, turns, shots, words):
    assert done(way(steps, turns, shots)) == words


def test_truth_is_cut_out_as_the_picture_is():
    maps = np.zeros((1, 24, 32), np.uint8)
    maps[0, 6:12, 20:28] = 200
    picture = np.repeat(maps[0][..., None], 3, axis=-1)
    for height, width in ((24, 32), (48, 64), (48, 48), (96, 40), (12, 16)):
        cut = nearest(maps, height, width)[0]
        assert cut.shape == (height, width) and set(np.unique(cut)) <= {0, 200}
        assert ((fit(picture, height, width)[..., 0] > 100) != (cut > 100)).mean() < 0.02


def test_stereo_becomes_mono_at_its_place():
    sound = np.zeros((44_100, 2), np.int16)
    sound[22_050:, 0] = 16_000
    wave = mono(sound, 16_000)
    assert abs(len(wave) - 16_000) <= 1
    assert np.abs(wave[:7_900]).max() < 0.01 and np.abs(wave[8_100:15_900] - 8_000 / 32_768).max() < 0.01


def test_a_shot_is_seen_and_heard_at_once(vizdoom):
    presses = [("ATTACK",) if tic == 5 else () for tic in range(30)]
    played = play("basic", 1, before=[()] * 20, presses=presses, pictures=set(range(30)))
    (fired,) = np.nonzero(np.diff(played.places[:, 3]) < 0)[0] + 1
    loud = np.abs(played.sound.astype(int)).max(1) > 1_000
    changes = np.abs(np.diff(played.screens.astype(int), axis=0)).mean((1, 2, 3))
    assert np.argmax(changes > 1) + 1 == fired  # the flash
    assert 0 <= np.argmax(loud) - fired * 1_260 < 88  # 2 ms
    assert len(played.sound) == 30 * 1_260 and len(played.places) == 30


def test_depth_and_objects_belong_to_their_picture(vizdoom):
    """While the player turns, the monster (blue in brown surroundings) is where the objects say, not where it was."""
    presses = [("TURN_LEFT",) if tic < 12 else ("TURN_RIGHT",) for tic in range(24)]
    played = play("basic", 3, before=[()] * 20, presses=presses, pictures=set(range(24)))
    monster = played.categories == CATEGORIES.index("Monster")
    blue = (played.screens[..., 2].astype(int) - played.screens[..., 0] > 40) & (np.arange(240) < 140)[:, None]
    frames = [t for t in range(1, 24) if blue[t].sum() > 20 and monster[t - 1].any()]
    assert len(frames) > 5
    now = np.mean([monster[t][blue[t]].mean() for t in frames])
    before = np.mean([monster[t - 1][blue[t]].mean() for t in frames])
    assert now > 0.95 and before < 0.6
    hand = played.categories == CATEGORIES.index("Self")
    assert played.depth[hand].mean() < played.depth[monster].mean() < played.depth.max()
    for t in frames:  # it is flat, and the wall behind is not it
        depths = played.depth[t][monster[t]].astype(int)
        assert (np.abs(depths - np.median(depths)) <= 1).mean() > 0.95


def test_buttons_do_what_they_say(vizdoom):
    said = {}
    for name in BUTTONS:
        played = play("defend_the_center", 1, before=[()] * 20, presses=[(name,)] * 30, pictures={0})
        said[name] = done(played.places)
    assert said == {
        "MOVE_FORWARD": "walking forward", "MOVE_BACKWARD": "walking backward", "MOVE_LEFT": "stepping to the left",
        "MOVE_RIGHT": "stepping to the right", "TURN_LEFT": "turning left", "TURN_RIGHT": "turning right",
        "ATTACK": "shooting",
    }  # fmt: skip


def test_clips_are_the_same_each_time_and_differ(vizdoom, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = VizdoomPlay(("basic", "defend_the_line"), size=4, **SIZE)
    clips = [source[index] for index in range(4)]
    other = VizdoomPlay(("basic", "defend_the_line"), size=9, **SIZE)
    for index in (2, 1):
        for name, value in other[index].items():
            np.testing.assert_array_equal(clips[index][name], value)
    assert not np.array_equal(clips[0]["video"], clips[2]["video"])
    for index, clip in enumerate(clips):
        scenario = ("basic", "defend_the_line")[index % 2]
        assert SCENARIOS[scenario] in str(clip["caption"]) and str(clip["id"]) == f"vizdoom/{scenario}/0/{index}"
        assert (clip["video"].shape, clip["audio"].shape) == ((9, 48, 64, 3), (18_000,))
        assert clip["depth"].shape == clip["objects"].shape == (9, 48, 64) and clip["objects"].max() < len(CATEGORIES)
        assert clip["depth"].dtype == np.float32 and 0 <= clip["depth"].min() < clip["depth"].max() <= 1
        assert bool(clip["has_audio"]) == bool(np.abs(clip["audio"]).max() > 1e-3)
    assert any(clip["has_audio"] for clip in clips)
    assert list(tmp_path.iterdir()) == []  # the game leaves nothing where the user is
    assert not np.array_equal(VizdoomPlay(("basic",), size=1, seed=1, **SIZE)[0]["video"], clips[0]["video"])
    with pytest.raises(IndexError):
        source[4]


def test_names_give_addresses_that_say_by_themselves_what_is_played(vizdoom):
    name = "vizdoom:basic,defend_the_line?seed=2&clips=3"
    items = list(items_of(name))
    assert [item.path for item in items] == [
        "vizdoom:basic?seed=2#0", "vizdoom:defend_the_line?seed=2#1", "vizdoom:basic?seed=2#2"
    ]  # fmt: skip
    source = VizdoomPlay(("basic", "defend_the_line"), size=3, seed=2, **SIZE)
    for number in (1, 2):
        (clip,) = decode(items[number], **SIZE)
        for key, value in source[number].items():
            np.testing.assert_array_equal(clip[key], value)


def test_depth_is_part_of_what_stylization_reads(vizdoom):
    """Near is bright in the picture's blue; the engine has it the other way round."""
    pytest.importorskip("cv2")
    (clip,) = decode(Item("", "vizdoom:basic?seed=0#3"), **SIZE)
    picture = views_of(clip, ["structure"], (0,))["structure"]
    np.testing.assert_array_equal(picture[..., 2], np.round(clip["depth"] * 255))
    hand = clip["objects"] == CATEGORIES.index("Self")
    assert clip["depth"][hand].mean() > clip["depth"][~hand].mean()


def test_names():
    assert parse("vizdoom:basic") == (("basic",), 256, 0)
    assert parse("vizdoom:basic,deathmatch?clips=9&seed=4") == (("basic", "deathmatch"), 9, 4)
    for wrong in ("vizdoom:", "vizdoom:basic?clips=-1", "vizdoom:basic?size=3", "vizdoom:a b", "vizdoom:basic#3"):
        with pytest.raises(MediaError, match="no name of play; vizdoom:SCENARIO,SCENARIO.* of basic, health"):
            parse(wrong)
    with pytest.raises(MediaError, match="scenarios nowhere: choose from basic"):
        parse("vizdoom:basic,nowhere")


def test_a_game_that_ends_gives_no_clip(vizdoom):
    # standing still on the green ground costs a life in some 15 seconds
    assert play("health_gathering", 1, before=[()] * 700, presses=[()] * 3, pictures={0}) is None


def test_what_cannot_be_played(monkeypatch):
    import sys

    with pytest.raises(MediaError, match="scenarios nowhere: choose from basic"):
        VizdoomPlay(("nowhere",), size=1, **SIZE)
    with pytest.raises(MediaError, match="at most 35 a second"):
        VizdoomPlay(size=1, **{**SIZE, "fps": 60})
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(MediaError, match=r"pip install 'videopoet_jax\[vizdoom\]'"):
        VizdoomPlay(size=1, **SIZE)
