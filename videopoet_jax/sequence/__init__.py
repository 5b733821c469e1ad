"""In: codes of pictures and sound, text slots, a task → Out: one sequence `prefix | output` of ids, and back.

Pure Python and NumPy. `grid` counts, `vocabulary` numbers, `tasks` declares, `mixtures` weighs, `layout` places,
`assembly` fills.
"""

from videopoet_jax.sequence.assembly import assemble, disassemble
from videopoet_jax.sequence.grid import Grid, audio_frames, latent_frames, latent_start, pixel_frames
from videopoet_jax.sequence.layout import MODALITIES, ORDERS, Layout, Segment, layout_for
from videopoet_jax.sequence.layouts import Layouts
from videopoet_jax.sequence.mixtures import MIXTURES, get_mixture
from videopoet_jax.sequence.tasks import TASKS, Span, Task, get_task, load_plugins, register
from videopoet_jax.sequence.vocabulary import AUDIO, SPECIAL_TEXT, TEXT_EMBEDDING, VISUAL, Vocabulary, name_of

__all__ = [
    "AUDIO",
    "MIXTURES",
    "MODALITIES",
    "ORDERS",
    "SPECIAL_TEXT",
    "TASKS",
    "TEXT_EMBEDDING",
    "VISUAL",
    "Grid",
    "Layout",
    "Layouts",
    "Segment",
    "Span",
    "Task",
    "Vocabulary",
    "assemble",
    "audio_frames",
    "disassemble",
    "get_mixture",
    "get_task",
    "latent_frames",
    "latent_start",
    "layout_for",
    "load_plugins",
    "name_of",
    "pixel_frames",
    "register",
]
