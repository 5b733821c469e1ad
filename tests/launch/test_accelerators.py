"""Names of TPU slices and GPUs, against what Google's own tool and documentation call them."""

import pytest

from accelerators import gpus_of, slice_of  # isort: skip


@pytest.mark.parametrize(
    "name, accelerator_type, chips, hosts",
    [
        ("v4:2x2x1", "v4-8", 4, 1),
        ("v4:8x4x4", "v4-256", 128, 32),  # only v4 takes sides in any order
        ("v5e:1x1", "v5litepod-1", 1, 1),
        ("v5e:4x4", "v5litepod-16", 16, 4),
        ("v5p:2x2x1", "v5p-8", 4, 1),
        ("v5p:2x2x4", "v5p-32", 16, 4),
        ("v5p:4x4x4", "v5p-128", 64, 16),
        ("v5p:16x16x24", "v5p-12288", 6144, 1536),
        ("v6e:16x16", "v6e-256", 256, 64),
    ],
)
def test_a_slice_has_the_clouds_name_and_size(name, accelerator_type, chips, hosts):
    found = slice_of(name)
    assert (found.accelerator_type, found.chips, found.hosts) == (accelerator_type, chips, hosts)
    assert found.hosts * found.chips_per_host == chips


@pytest.mark.parametrize(
    "name, words",
    [
        ("", "no TPU of these: v4, v5e, v5p, v6e"),
        ("v9:2x2", "no TPU of these"),
        ("v5p", "use 2x2x1"),
        ("v5p:4x4", "not one that v5p has"),
        ("v5p:8x4x4", "three multiples of 4, smallest first"),
        ("v5p:4x4x04", "not one that v5p has"),
        ("v5p:4x4x4 ", "not one that v5p has"),
        ("v4:16x16x20", "at most 4096 chips"),
        ("v6e:4x2", "use one of v6e:1x1, v6e:2x2, v6e:2x4"),
    ],
)
def test_other_topologies_are_refused(name, words):
    with pytest.raises(ValueError, match="topology") as error:
        slice_of(name)
    assert words in str(error.value)


def test_gpus_are_those_of_a_machine():
    assert gpus_of("h100:8") == ("nvidia-h100-80gb", 8)
    assert gpus_of("l4:2") == ("nvidia-l4", 2)
    for name, words in (("8", "write one such as h100:8"), ("h100:4", "use h100:8"), ("l4:", "use l4:1 or l4:2")):
        with pytest.raises(ValueError) as error:
            gpus_of(name)
        assert words in str(error.value)
