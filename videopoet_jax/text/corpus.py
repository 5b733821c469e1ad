"""The text that a small vocabulary and encoder learn from: the captions of a world, and ordinary English beside them.

The English is what every Python carries (pydoc's topics, under Python's own licence), and some prompts written for this
file, because no chapter on Python says "a dog runs along the beach". It is there so that a prompt outside the captions'
grammar is read as words and syllables, not as letters and bytes.
"""

import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videopoet_jax.text.vocabulary import FILE, Pieces, train_vocabulary

# What people ask of a video model, in the words they use: animals, people, places, weather, light, camera.
PROMPTS = """\
a dog runs along the beach at sunset, waves behind it
a black cat sleeps on a chair near the window, morning light
two horses walk through tall grass in the wind
a bird flies over the water and lands on a tree
a fish swims slowly in clear blue water
an elephant and a small bear dance in the street at night
a panda plays the guitar on a stage, people are watching
a chicken lifts weights in a gym, close up
a man with a hat rides a bicycle down the road
a woman walks through a busy city street in the rain, holding a red umbrella
a young girl smiles and looks at the camera
an old man reads a book by the fire
a boy kicks a ball into the air, slow motion
children slide down a hill in the snow
people are sitting in front of a house and talking
a person in a space suit walks on the moon
an astronaut riding a horse in a forest
a robot is making coffee in the kitchen
a chef cuts bread and cheese on a wooden table, top view
hands pour milk into a glass cup
a car drives fast on a mountain road, shot from above
a train travelling through green fields under a cloudy sky
a boat sails across the sea toward the horizon
a plane takes off from the ground and rises into the clouds
a ship in a storm, dark water, lightning in the background
a red balloon floats up over the old town
a rocket launches into space, fire and smoke below
fireworks explode in the night sky above the river
a candle burning in a dark room
snow falling on a quiet village in winter
leaves fall from the trees in autumn, golden light
flowers opening in a garden, time lapse
a waterfall in the jungle, birds singing
the sun rises behind the mountains, orange and pink sky
stars turning around a bright moon, long shot
a desert with a lone tree, warm wind and sand
a bridge across a wide river, cars and buses passing
a tall building made of glass, clouds moving past its windows
a painting of a ship on the sea in the style of an old master, oil on canvas
a watercolor painting of a lake, soft lighting
a cartoon mouse jumps over a box and lands on its feet
a paper bird unfolds its wings and flies away
a ball bounces on the floor and rolls to the right
a square spins while a circle grows bigger and then smaller
a black box slides from the top to the bottom of the screen
a gray ball which moves around a brown square in a circle
a purple number turns orange and disappears
the letter drops, bounces twice and comes to a stop
a person plays the piano, music, hands close up
a crowd cheers and claps, loud sound
a drum, a violin and a singer on stage
water drops fall with a quiet click
camera zooms in on a face, the background is out of focus
camera moves forward through a long hall, doors on both sides
camera turns around a statue, arc shot
drone view flying over an island, high quality video
a still shot of an ugly cartoon, slideshow of an empty scene, low resolution, distorted and disfigured
highly detailed, cinematic, arc shot, high contrast, soft lighting, 8k
a photo of a teddy bear swimming in the ocean, wide shot
fire, smoke, light, shadow, metal, stone, wood, gold, silver
""".splitlines()


def english() -> list[str]:
    """Paragraphs of prose from pydoc's topics, one a line; tables, grammars and code are left out."""
    from pydoc_data.topics import topics

    paragraphs = (p for text in topics.values() for p in textwrap.dedent(text).split("\n\n"))
    lines = (" ".join(p.replace("*", "").split()) for p in paragraphs)
    prose = (line for line in lines if len(line) > 60 and line[0].isupper() and line.endswith("."))
    return [line for line in prose if not re.search(r"[{}<>|=_\\]|::|>>>", line)]


class TokenSource:
    """Lines as fixed-length ids, by index: {"ids": int32 [l], "mask": bool [l]}. What a loader reads."""

    def __init__(self, pieces: Pieces, lines: Sequence[str], length: int):
        self.tokens = pieces.encode(lines, length)

    def __len__(self) -> int:
        return len(self.tokens.ids)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {"ids": self.tokens.ids[index], "mask": self.tokens.mask[index]}


def prepare(
    captions: Sequence[str],
    directory: str | os.PathLike,
    *,
    vocabulary: Mapping[str, Any],
    length: int,
    prompt_repeats: int,
    english_share: float,
) -> tuple[Pieces, TokenSource]:
    """The vocabulary (trained, or read where `directory` has one already) and the encoder's training examples.

    Args:
        captions: of the training split alone.
        vocabulary: arguments of `train_vocabulary`.
        prompt_repeats: how often the vocabulary's training sees `PROMPTS`, so that their words count.
        english_share: of the examples, half of it prompts and half prose; the rest are captions.
    """
    prose = english()
    path = Path(directory) / FILE
    if path.is_file():
        pieces = Pieces.load(path)
    else:
        pieces = train_vocabulary([*captions, *prose, *PROMPTS * prompt_repeats], path, **vocabulary)
    half = round(len(captions) * english_share / (1 - english_share) / 2)
    prompts = (PROMPTS * -(-half // len(PROMPTS)))[:half]
    # Windows of as many words as there are slots, evenly over the text.
    words = " ".join(prose).split()
    starts = np.linspace(0, len(words) - length, half).astype(int)
    windows = [" ".join(words[start : start + length]) for start in starts]
    return pieces, TokenSource(pieces, [*captions, *prompts, *windows], length)
