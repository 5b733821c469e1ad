"""The order of batches depends on seed and batch number alone: resumable, mixable, the same for any processes."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

from videopoet_jax.data.loader import Part, Stream, make_loader, mixture


class Squares:
    """Example i is {"x": [i², i²]}."""

    def __init__(self, count: int, width: int = 2):
        self._count, self._width = count, width

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {"x": np.full(self._width, index**2, np.int32)}


def alone(source, weight, batch_size):
    return Part([Stream(source)], weight, batch_size)


def examples(loader, count):
    return [batch["example"].tolist() for batch in itertools.islice(loader, count)]


def test_batches_are_stacked_dicts_with_their_example_numbers():
    batch = next(make_loader(Squares(10), batch_size=4, seed=0))
    assert batch["x"].shape == (4, 2) and batch["x"].dtype == np.int32
    np.testing.assert_array_equal(batch["x"][:, 0], batch["example"] ** 2)


def test_an_epoch_holds_every_example_once_and_the_next_is_in_another_order():
    order = sum(examples(make_loader(Squares(12), batch_size=4, seed=3), 6), [])
    assert sorted(order[:12]) == sorted(order[12:]) == list(range(12))
    assert order[:12] != order[12:] and order[:12] != list(range(12))


def test_batches_that_cross_an_epoch_lose_nothing():
    order = sum(examples(make_loader(Squares(10), batch_size=4, seed=3), 5), [])
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))


@pytest.mark.parametrize("num_threads", [0, 2])
def test_the_order_depends_on_the_seed_only(num_threads):
    def run(seed):
        return examples(make_loader(Squares(50), batch_size=5, seed=seed, num_threads=num_threads), 12)

    assert run(1) == run(1) != run(2)
    assert run(1) == examples(make_loader(Squares(50), batch_size=5, seed=1, num_threads=1), 12)


def test_without_shuffle_the_order_is_the_sources():
    assert examples(make_loader(Squares(6), batch_size=3, seed=0, shuffle=False), 3) == [
        [0, 1, 2],
        [3, 4, 5],
        [0, 1, 2],
    ]


def test_a_finite_loader_ends_and_drops_the_rest():
    assert len(examples(make_loader(Squares(10), batch_size=4, seed=0, num_epochs=1), 99)) == 2


@pytest.mark.parametrize("num_threads", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 7])
def test_resumes_at_the_very_next_batch_despite_prefetching(stop, num_threads):
    whole = examples(make_loader(Squares(20), batch_size=4, seed=5), 14)
    first = make_loader(Squares(20), batch_size=4, seed=5, num_threads=num_threads)
    examples(first, stop)
    state = json.loads(json.dumps(first.get_state()))
    second = make_loader(Squares(20), batch_size=4, seed=5, num_threads=num_threads)
    next(second)
    second.set_state(state)
    assert examples(second, 14 - stop) == whole[stop:]
    assert second.get_state()["next_batch"] == 14


@pytest.mark.parametrize("change", [{"batch_size": 2}, {"seed": 6}, {"shuffle": False}])
def test_a_state_of_other_data_is_refused(change):
    state = make_loader(Squares(20), batch_size=4, seed=5).get_state()
    other = make_loader(Squares(20), **{"batch_size": 4, "seed": 5, **change})
    with pytest.raises(ValueError, match="must be the same to go on"):
        other.set_state(state)


def test_transforms_see_one_example_and_random_ones_repeat_when_resumed():
    def double(example):
        return {"x": example["x"] * 2}

    def jitter(example, rng):
        return {"x": example["x"] + rng.integers(1000)}

    def loader(**kwargs):
        return make_loader(Squares(8), batch_size=4, seed=0, transform=double, **kwargs)

    batch = next(loader())
    np.testing.assert_array_equal(batch["x"][:, 0], 2 * batch["example"] ** 2)
    whole = [b["x"].tolist() for b in itertools.islice(loader(random_transform=jitter), 6)]
    again = loader(random_transform=jitter)
    again.set_state({**again.get_state(), "next_batch": 3})
    assert [b["x"].tolist() for b in itertools.islice(again, 3)] == whole[3:]
    assert whole[:2] != whole[2:4]  # another epoch, another draw


def parts(num_threads=2, **kwargs):
    return mixture(
        [Part([Stream(Squares(10))], 3, 4), Part([Stream(Squares(30, 5))], 1, 6)],
        seed=0,
        num_threads=num_threads,
        **kwargs,
    )


def test_each_batch_of_a_mixture_comes_from_one_source_in_fixed_proportion():
    batches = list(itertools.islice(parts(), 40))
    kinds = [set(batch["part"].tolist()) for batch in batches]
    assert all(len(kind) == 1 for kind in kinds)
    assert sum(kind == {0} for kind in kinds) == 30
    assert {batch["x"].shape for batch in batches} == {(4, 2), (6, 5)}


def test_what_is_ahead_has_every_shape_to_come_and_moves_nothing():
    loader = parts()
    turns = [batch["part"][0] for batch in itertools.islice(parts(), 20)]
    assert [b["part"][0] for b in loader.ahead(20)] == [0, 1] and loader.ahead(0) == []
    loader.set_state({**loader.get_state(), "next_batch": (last := turns.index(1)) + 1})
    assert [b["part"][0] for b in loader.ahead(turns[last + 1 :].index(1))] == [0]  # ends before the next of its kind
    ahead, following = loader.ahead(1), next(loader)
    np.testing.assert_array_equal(ahead[0]["example"], following["example"])
    assert [len(parts(num_epochs=epochs).ahead(1000)) for epochs in (1, 4)] == [1, 2]  # where data end before a turn


def test_a_mixture_resumes_at_any_step():
    whole = [(b["part"][0], b["example"].tolist()) for b in itertools.islice(parts(), 20)]
    for stop in (1, 4, 13):
        again = parts()
        again.set_state({**again.get_state(), "next_batch": stop})
        assert [(b["part"][0], b["example"].tolist()) for b in itertools.islice(again, 20 - stop)] == whole[stop:]


def blend(**kwargs):
    streams = [Stream(Squares(10), 3), Stream(Squares(7), 1, transform=lambda example: {"x": -example["x"]})]
    return mixture([Part(streams, 1, 8), alone(Squares(4), 1, 4)], seed=0, **kwargs)


def test_rows_of_a_batch_come_from_several_streams_in_fixed_proportion():
    batches = [batch for batch in itertools.islice(blend(), 40) if batch["part"][0] == 0]
    assert len(batches) == 20
    for batch in batches:
        assert np.bincount(batch["stream"]).tolist() == [6, 2]
        sign = np.where(batch["stream"] == 1, -1, 1)
        np.testing.assert_array_equal(batch["x"][:, 0], sign * batch["example"] ** 2)
    order = np.concatenate([batch["example"][batch["stream"] == 1] for batch in batches])
    assert sorted(order[:7]) == list(range(7)) and sorted(order[7:14]) == list(range(7))  # each has epochs of its own


def test_a_blend_resumes_at_any_step_and_is_shared_by_processes():
    whole = [(b["stream"].tolist(), b["example"].tolist()) for b in itertools.islice(blend(), 12)]
    again = blend()
    again.set_state({**again.get_state(), "next_batch": 5})
    assert [(b["stream"].tolist(), b["example"].tolist()) for b in itertools.islice(again, 7)] == whole[5:]
    halves = [blend(process=process, processes=2) for process in range(2)]
    for _, rows in whole:
        assert sum((next(half)["example"].tolist() for half in halves), []) == rows
    changed = mixture([Part([Stream(Squares(10), 2), Stream(Squares(7), 1)], 1, 8), alone(Squares(4), 1, 4)], seed=0)
    with pytest.raises(ValueError, match="must be the same to go on"):
        changed.set_state(blend().get_state())


@pytest.mark.parametrize("processes", [2, 4])
def test_the_rows_of_all_processes_together_are_the_batch_of_one(processes):
    one = examples(mixture([alone(Squares(20), 1, 8)], seed=2), 7)
    many = [
        examples(mixture([alone(Squares(20), 1, 8)], seed=2, process=p, processes=processes), 7)
        for p in range(processes)
    ]
    assert [sum(rows, []) for rows in zip(*many, strict=True)] == one


def test_random_transforms_do_not_depend_on_the_number_of_processes():
    def draw(example, rng):
        return {"x": rng.integers(10**9, size=2)}

    part = Part([Stream(Squares(20), random_transform=draw)], 1, 8)
    one = mixture([part], seed=2)[5]["x"]
    two = [mixture([part], seed=2, process=p, processes=2)[5]["x"] for p in range(2)]
    np.testing.assert_array_equal(np.concatenate(two), one)
    assert len(np.unique(one)) == one.size


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: make_loader(Squares(0), batch_size=1, seed=0), "holds no examples"),
        (lambda: make_loader(Squares(3), batch_size=4, seed=0, num_epochs=1), "choose at most 3"),
        (lambda: make_loader(Squares(3), batch_size=0, seed=0), "batch_size 0"),
        (
            lambda: mixture([alone(Squares(3), 1, 3)], seed=0, process=0, processes=2),
            "multiple of the 2 processes",
        ),
        (
            lambda: mixture([alone(Squares(3), 0, 1), alone(Squares(3), 1, 1)], seed=0),
            "leave the part out",
        ),
    ],
)
def test_mistakes_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_an_error_in_a_source_reaches_the_caller():
    class Broken(Squares):
        def __getitem__(self, index):
            raise OSError("clip 3 cannot be read")

    with pytest.raises(OSError, match="clip 3 cannot be read"):
        next(make_loader(Broken(4), batch_size=2, seed=0))


def test_tensorflow_is_not_imported():
    code = "import sys, videopoet_jax.data.loader; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
