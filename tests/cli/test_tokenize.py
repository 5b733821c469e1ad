"""Which files of codes `videopoet tokenize` leaves as they are."""

import numpy as np

from videopoet_jax.cli.films import Job
from videopoet_jax.cli.tokenize import is_current, made_from
from videopoet_jax.data.code_files import CodeFile, Film, write_codes


def test_codes_with_a_flipped_byte_are_not_current(tmp_path):
    """Far behind the header of the array, which alone is read when the file is opened."""
    job = Job(tmp_path / "a.mp4", tmp_path / "a.npz")
    job.source.write_bytes(b"a film")
    speaks, options = {"video_tokenizer": "sha256:v"}, {"fps": 8.0}
    film = Film(1021, 32, 32, 8.0, None, "sha256:v", None, made_from(job.source, speaks, options))
    write_codes(job.target, film, np.random.default_rng(0).integers(0, 2**18, (256, 4, 4), np.int32), None)
    assert is_current(job, speaks, options)
    data = bytearray(job.target.read_bytes())
    data[len(data) // 2] ^= 0x10
    job.target.write_bytes(data)
    with CodeFile(job.target) as file:
        assert file.film == film
    assert not is_current(job, speaks, options)
