"""What each task reads and writes, declared.

    text_to_video       text             → video 0…, audio
    unconditional       nothing          → video 0…, audio
    image_to_video      text, frame 0    → video 1…, audio
    frame_prediction_5  frames 0…4       → video 5…, audio        (also 9 and 13)

A clip without sound drops the audio of every task. A new task is one more declaration below.
"""

import dataclasses

from videopoet_jax.sequence.grid import latent_frames


@dataclasses.dataclass(frozen=True)
class Span:
    """A stretch of one modality, in frames of *picture*: `Span("audio", 1, 17)` is the sound after the first frame.

    Attributes:
        modality: "video" or "audio".
        start: first frame.
        stop: frame after the last; None is the clip's end.
        key: entry of the record that holds the codes of the whole clip (painting reads another than it writes).
    """

    modality: str
    start: int = 0
    stop: int | None = None
    key: str = ""

    def __post_init__(self):
        object.__setattr__(self, "key", self.key or self.modality)
        for frames in (self.start, self.stop or 0):
            if frames:
                latent_frames(frames)  # a cut between two latents has no tokens


@dataclasses.dataclass(frozen=True)
class Task:
    """A kind of prefix and of output.

    Attributes:
        output: the kind of output, which names the `<task:…>` token; `+audio` joins it when sound is written too.
        text: whether the prefix has a text.
        reads: spans of the prefix, video before audio.
        writes: spans of the output, video before audio.
        ends: whether `<eov_o>` and `<eos>` close the output; text-to-image leaves them out, so that its picture is a
            first frame that can be continued.
    """

    name: str
    output: str
    text: bool
    reads: tuple[Span, ...]
    writes: tuple[Span, ...]
    ends: bool = True


def frame_prediction(frames: int) -> Task:
    """The first `frames` frames → the rest, and the sound of the whole clip."""
    return Task(
        name=f"frame_prediction_{frames}",
        output="video",
        text=False,
        reads=(Span("video", 0, frames),),
        writes=(Span("video", frames), Span("audio")),
    )


_ALL = (
    Task("text_to_video", output="video", text=True, reads=(), writes=(Span("video"), Span("audio"))),
    Task("unconditional", output="video", text=False, reads=(), writes=(Span("video"), Span("audio"))),
    Task(
        name="image_to_video",
        output="video",
        text=True,
        reads=(Span("video", 0, 1),),
        writes=(Span("video", 1), Span("audio")),
    ),
    frame_prediction(5),
    frame_prediction(9),
    frame_prediction(13),
)
TASKS = {task.name: task for task in _ALL}


def get_task(name: str) -> Task:
    """The task called `name`; raises with the list of names."""
    if name not in TASKS:
        raise ValueError(f"task {name!r}: unknown; use one of {', '.join(TASKS)}.")
    return TASKS[name]
