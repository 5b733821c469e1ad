"""What each task reads and writes, declared. A clip without sound drops the audio of every task.

    text_to_image                 text                              → video 0                    (no <eov_o> <eos>)
    text_to_video                 text                              → video 0…, audio
    unconditional                 nothing                           → video 0…, audio
    image_to_video                text, frame 0                     → video 1…, audio
    image_to_video_without_text   frame 0                           → video 1…, audio
    frame_prediction_5            frames 0…4                        → video 5…, audio            (any 1 + 4·k)
    frame_interpolation           frames 0 and -1                   → video 1…
    inpainting, outpainting       the clip with a hole              → video 0…
    editing                       text, the clip with a hole        → video 0…
    stylization                   text, flow and depth              → video 0…
    stylization_with_first_frame  text, flow and depth, frame 0     → video 1…
    video_to_audio                the clip                          → audio
    audio_to_video                its sound                         → video 0…
    audio_video_continuation      frame 0 with its sound            → video 1…, audio 1…
    video_continuation            text, frames 0…8 with their sound → video 9…, audio 9…
    captioning                    the clip                          → text

A task of your own is one more declaration: `register` it in a module that your package names as an entry point of
`videopoet_jax.tasks`, and every command knows it.
"""

import dataclasses
import functools
import re

from videopoet_jax.sequence import plugins
from videopoet_jax.sequence.grid import latent_frames
from videopoet_jax.sequence.vocabulary import OUTPUTS

MODALITIES_OF_SPANS = ("video", "audio", "text")  # the order of spans in a sequence
PLUGINS = "videopoet_jax.tasks"  # entry points: modules that register tasks when they are imported
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FRAME_PREDICTION = re.compile(r"frame_prediction_([1-9][0-9]*)")


@dataclasses.dataclass(frozen=True)
class Span:
    """A stretch of one modality, in frames of *picture*: `Span("audio", 1, 17)` is the sound after the first frame.

    Attributes:
        modality: "video", "audio" or "text" (which is written, as pieces; what a task is told is `Task.text`).
        start: first frame.
        stop: frame after the last; None is the clip's end.
        key: entry of the record that holds the codes of the whole clip, where it is not the modality's own: of the
            clip seen in another way, with a hole, say (`data.views`).
        alone: frame `start` by itself, encoded as a picture is, in one latent; -1 is the clip's last. `key` is its own.
    """

    modality: str
    start: int = 0
    stop: int | None = None
    key: str = ""
    alone: bool = False

    def __post_init__(self):
        if self.modality not in MODALITIES_OF_SPANS:
            raise ValueError(f"modality {self.modality!r}: unknown; use one of {', '.join(MODALITIES_OF_SPANS)}.")
        if self.alone and (self.modality != "video" or not self.key or self.stop is not None):
            raise ValueError(f"{self}: a frame alone is of video, has a key of its own and no stop; name it.")
        own = "text_ids" if self.modality == "text" else self.modality
        object.__setattr__(self, "key", self.key or own)
        for frames in () if self.alone else (self.start, self.stop or 0):
            if frames:
                latent_frames(frames)  # a cut between two latents has no tokens

    def frames(self, frames: int) -> tuple[int, int]:
        """The first frame of it in a clip of so many frames, and the one after its last.

        Raises:
            ValueError: the clip is too short.
        """
        start = self.start + frames if self.alone and self.start < 0 else self.start
        stop = start + 1 if self.alone else frames if self.stop is None else self.stop
        if not 0 <= start < stop <= frames:
            raise ValueError(
                f"frames {start} … {stop} of a clip of {frames}: need start < stop ≤ {frames}; use a longer clip or "
                f"another task."
            )
        return start, stop


@dataclasses.dataclass(frozen=True)
class Task:
    """A kind of prefix and of output. The loss is that of the output alone, of every token of it.

    Attributes:
        output: the kind of output, which names the `<task:…>` token; `+audio` joins it when sound is written too.
        text: whether the prefix has a text.
        reads: spans of the prefix, video before audio.
        writes: spans of the output, video before audio.
        ends: whether `<eov_o>` and `<eos>` close the output; text-to-image leaves them out, so that its picture is a
            first frame that can be continued, and captioning, whose text ends with its own `</s>`.
        frames: 1 for a task of pictures, which takes the first frame of a clip; None for one of clips.
    """

    name: str
    output: str
    text: bool
    reads: tuple[Span, ...]
    writes: tuple[Span, ...]
    ends: bool = True
    frames: int | None = None

    def __post_init__(self):
        if not _NAME.fullmatch(self.name):  # SeqIO refuses others
            raise ValueError(f"task {self.name!r}: small letters, digits and underscores are needed, a letter first.")
        if self.output not in OUTPUTS:
            raise ValueError(f"task {self.name}: output {self.output!r} has no token; use one of {', '.join(OUTPUTS)}.")
        if not self.writes:
            raise ValueError(f"task {self.name}: writes nothing; give it a span to write.")
        for spans in (self.reads, self.writes):
            order = [MODALITIES_OF_SPANS.index(span.modality) for span in spans]
            if order != sorted(order):
                raise ValueError(f"task {self.name}: video comes before audio, and audio before text; reorder {spans}.")
        if any(span.modality == "text" for span in self.reads) or any(span.alone for span in self.writes):
            raise ValueError(f"task {self.name}: a text is read by `text=True`, and a frame alone is only read.")

    @property
    def needs_text(self) -> bool:
        """Whether an example without a caption is none of this task."""
        return self.text or any(span.modality == "text" for span in self.writes)

    @property
    def needs_sound(self) -> bool:
        """Whether a silent clip is none of this task: sound is all that it reads, or all that it writes."""
        return any(spans and all(s.modality == "audio" for s in spans) for spans in (self.reads, self.writes))

    def keys(self, sound: bool) -> tuple[str, ...]:
        """Entries of the record that it reads or writes, texts apart; of a clip with or without sound."""
        spans = (s for s in (*self.reads, *self.writes) if s.modality != "text" and (sound or s.modality != "audio"))
        return tuple(dict.fromkeys(span.key for span in spans))


def frame_prediction(frames: int) -> Task:
    """The first `frames` frames → the rest, and the sound of the whole clip.

    Raises:
        ValueError: no 1 + 4·k frames.
    """
    return Task(
        name=f"frame_prediction_{frames}",
        output="video",
        text=False,
        reads=(Span("video", 0, frames),),
        writes=(Span("video", frames), Span("audio")),
    )


_VIDEO, _AUDIO, _FIRST = Span("video"), Span("audio"), Span("video", 0, 1)
_STRUCTURE = Span("video", key="structure")
_ALL = (
    Task("text_to_image", output="image", text=True, reads=(), writes=(_FIRST,), ends=False, frames=1),
    Task("text_to_video", output="video", text=True, reads=(), writes=(_VIDEO, _AUDIO)),
    Task("unconditional", output="video", text=False, reads=(), writes=(_VIDEO, _AUDIO)),
    Task("image_to_video", output="video", text=True, reads=(_FIRST,), writes=(Span("video", 1), _AUDIO)),
    Task("image_to_video_without_text", output="video", text=False, reads=(_FIRST,), writes=(Span("video", 1), _AUDIO)),
    frame_prediction(5),
    frame_prediction(9),
    frame_prediction(13),
    Task(
        name="frame_interpolation",
        output="video",
        text=False,
        reads=(_FIRST, Span("video", -1, key="last_frame", alone=True)),
        writes=(Span("video", 1),),
    ),
    Task("inpainting", output="inpainted", text=False, reads=(Span("video", key="inpainting"),), writes=(_VIDEO,)),
    Task("outpainting", output="outpainted", text=False, reads=(Span("video", key="outpainting"),), writes=(_VIDEO,)),
    Task("editing", output="inpainted", text=True, reads=(Span("video", key="editing"),), writes=(_VIDEO,)),
    Task("stylization", output="stylized", text=True, reads=(_STRUCTURE,), writes=(_VIDEO,)),
    Task(
        name="stylization_with_first_frame",
        output="stylized",
        text=True,
        reads=(_STRUCTURE, _FIRST),
        writes=(Span("video", 1),),
    ),
    Task("video_to_audio", output="audio", text=False, reads=(_VIDEO,), writes=(_AUDIO,)),
    Task("audio_to_video", output="video", text=False, reads=(_AUDIO,), writes=(_VIDEO,)),
    Task(
        name="audio_video_continuation",
        output="video",
        text=False,
        reads=(_FIRST, Span("audio", 0, 1)),
        writes=(Span("video", 1), Span("audio", 1)),
    ),
    Task(
        name="video_continuation",  # [VP] the last second → the next one; its text is the next part of the story
        output="video",
        text=True,
        reads=(Span("video", 0, 9), Span("audio", 0, 9)),
        writes=(Span("video", 9), Span("audio", 9)),
    ),
    Task("captioning", output="text", text=False, reads=(_VIDEO,), writes=(Span("text"),), ends=False),
)
TASKS = {task.name: task for task in _ALL}


def register(task: Task) -> Task:
    """Makes a task known by its name; the same one may be registered again.

    Raises:
        ValueError: another task has the name.
    """
    if TASKS.setdefault(task.name, task) != task:
        raise ValueError(f"task {task.name!r}: another one has this name already; give yours one of its own.")
    return task


@functools.cache
def load_plugins() -> None:
    """Imports the modules that installed packages name as entry points of `videopoet_jax.tasks`."""
    plugins.load(PLUGINS)


def get_task(name: str) -> Task:
    """The task called `name`, a user's own too; raises with the list of names."""
    if name not in TASKS and (match := _FRAME_PREDICTION.fullmatch(name)):
        return frame_prediction(int(match[1]))
    if name not in TASKS:
        load_plugins()
    if name not in TASKS:
        raise ValueError(f"task {name!r}: unknown; use one of {', '.join(TASKS)}.")
    return TASKS[name]
