"""From records to batches: which records do for which task, sequences as they are alone, and hardly any padding."""

import functools
import hashlib
import itertools
import json

import numpy as np
import padding
import pytest
from many_tasks import INDEX, VIEWS, batches, layouts, written
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.data.task_batches import example_of, kinds_of, sequences_a_step, task_batches
from videopoet_jax.data.token_records import FIELDS, TokenSource, TokenWriter, index_of
from videopoet_jax.sequence import TASKS, Grid, assemble, disassemble, get_task


def summary(kinds):
    """`{(frames, height, width, sound, text slots): (records, rate)}`"""
    return {
        (*(getattr(k.layout.grid, n) for n in ("frames", "height", "width")), k.layout.grid.audio_levels > 0,
         k.layout.text_length): (k.records.tolist(), round(k.rate, 3))
        for k in kinds
    }  # fmt: skip


def test_a_task_has_a_kind_for_each_size_sound_and_room_for_text():
    assert summary(kinds_of(INDEX, VIEWS, {"text_to_video": 4.0}, layouts())) == {
        (17, 32, 16, True, 4): ([0], 1.0),
        (17, 32, 16, True, 8): ([1], 1.0),
        (5, 32, 16, True, 4): ([3], 1.0),
        (17, 16, 16, False, 8): ([4], 1.0),
    }  # record 2 has no caption
    assert summary(kinds_of(INDEX, VIEWS, {"inpainting": 5.0, "text_to_image": 0.0}, layouts())) == {
        (17, 32, 16, False, 4): ([0, 1, 2], 3.0),  # neither sound nor text plays a part
        (5, 32, 16, False, 4): ([3], 1.0),
        (17, 16, 16, False, 4): ([4], 1.0),
    }
    pictures = summary(kinds_of(INDEX, VIEWS, {"text_to_image": 1.0}, layouts()))
    assert pictures == {
        (1, 32, 16, False, 4): ([0, 3], 0.5),
        (1, 32, 16, False, 8): ([1], 0.25),
        (1, 16, 16, False, 8): ([4], 0.25),
    }
    assert summary(kinds_of(INDEX, VIEWS, {"video_to_audio": 1.0}, layouts())).keys() == {
        (17, 32, 16, True, 4),
        (5, 32, 16, True, 4),
    }
    assert set(summary(kinds_of(INDEX, VIEWS, {"text_to_video": 1.0}, layouts(levels=0)))) == {
        (17, 32, 16, False, 4), (17, 32, 16, False, 8), (5, 32, 16, False, 4), (17, 16, 16, False, 8),
    }  # fmt: skip


def test_clips_that_are_too_short_are_left_out_of_a_task():
    kinds = kinds_of(INDEX, VIEWS, {"frame_prediction_9": 1.0}, layouts())
    assert sorted(sum((kind.records.tolist() for kind in kinds), [])) == [0, 1, 2, 4]


@pytest.mark.parametrize(
    "index, keys, rates, words",
    [
        (INDEX, ("video",), {"inpainting": 1}, "task inpainting: the records have no inpainting \\(only video\\)"),
        (INDEX[2:3], VIEWS, {"text_to_video": 1}, "task text_to_video: no record has a caption; leave it out of data"),
        (INDEX[2:3], VIEWS, {"video_to_audio": 1}, "task video_to_audio: no record has sound; leave it out"),
        (
            INDEX[3:4],
            VIEWS,
            {"frame_prediction_9": 1},
            "task frame_prediction_9: frames 0 … 9 of a clip of 5: need",
        ),
        (INDEX, VIEWS, {"text_to_video": -1}, "rate -1 of task text_to_video: must be 0 \\(left out\\) or more"),
        (INDEX, VIEWS, {"text_to_video": 0}, "data.tasks: no task with a rate above 0"),
        (INDEX, VIEWS, {"nothing": 1}, "task 'nothing': unknown"),
    ],
)
def test_what_cannot_be_made_is_named(index, keys, rates, words):
    with pytest.raises(ValueError, match=words):
        kinds_of(index, keys, {name: float(rate) for name, rate in rates.items()}, layouts())


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return written(tmp_path_factory.mktemp("records") / "tokens")


def test_the_index_says_what_the_records_are(source):
    assert source.index.shape == (40, len(FIELDS))
    assert_array_equal(source.index[:5], INDEX)


def test_a_row_of_a_batch_is_the_example_alone_and_padding_behind(source):
    loader, seen = batches(source), set()
    kinds_of_task = functools.cache(lambda task: kinds_of(source.index, VIEWS, {task: 1.0}, layouts()))
    parts = loader.get_state()["spec"]
    for batch in itertools.islice(loader, 60):
        group = parts[batch["part"][0]]
        length = batch["ids"].shape[1]
        assert 2_000 - 2 * length < batch["ids"].size <= 2_000  # the tokens of a step
        for row in range(len(batch["ids"])):
            name = group["streams"][batch["stream"][row]]["name"]
            seen.add(name.split(",")[0])
            kinds = kinds_of_task(name.split(",")[0])
            example = {key: values[row] for key, values in batch.items()}
            number = int(example["example"])
            made = [
                assemble(kind.layout, whole(source[int(kind.records[number])], kind.layout))
                for kind in kinds
                if f"{kind.layout.task.name}, {kind.layout.length} tokens of {length}" == name
                and number < len(kind.records)
            ]
            assert any(same(example, alone) for alone in made), name
    assert seen == set(TASKS)


def whole(record, layout):
    texts = {n: record[n][: layout.text_length] for n in ("text_ids", "text_mask") if n in record}
    return {key: record[key] for key in layout.task.keys(sound=True) if key in record} | texts


def same(example, alone):
    n = len(alone["ids"])
    names = ("ids", "table", "positions", "weights", "valid")
    return all(np.array_equal(example[k][:n], alone[k]) and not example[k][n:].any() for k in names) and (
        example["prefix_length"] == alone["prefix_length"]
    )


def test_kept_embeddings_fill_their_slots_and_nothing_stands_in_the_others(source):
    """Three pieces of width 2, in a group of six text slots; a record without a caption has none."""
    number = int(np.flatnonzero(source.index[:, 4] == 3)[0])
    given = source[number] | {"text_embedding": np.ones((3, 2), np.float16)}
    bare = {name: value for name, value in given.items() if not name.startswith("text")}
    none = {"text_embedding": np.zeros((6, 2), np.float16)}
    for name, record, filled in (("text_to_video", given, 3), ("unconditional", bare, 0)):
        kind = kinds_of(source.index[number : number + 1], VIEWS, {name: 1.0}, layouts())[0]
        example = example_of(kind.layout, kind.layout.length, 6, none)(record)
        assert example["text_embedding"].dtype == np.float16
        assert_array_equal(example["text_embedding"], (np.arange(6) < filled)[:, None].repeat(2, axis=1))
        assert example["text_mask"].sum() == filled


def test_a_text_that_is_too_long_keeps_its_end():
    """Eight pieces in four slots: what is written and what is read are its first three and `</s>`."""
    pieces = np.array([9, 8, 7, 6, 5, 4, 3, 1, 0, 0])
    record = {"video": np.zeros((5, 2, 1), np.int32), "text_ids": pieces, "text_mask": pieces > 0}
    record["text_embedding"] = pieces[:8, None].astype(np.float16)
    index = np.array([index_of(record)], np.int32)
    for name in ("captioning", "text_to_video"):
        (kind,) = kinds_of(index, VIEWS, {name: 1.0}, layouts(text_lengths=(2, 4)))
        example = example_of(kind.layout, kind.layout.length, 4, {})(record)
        assert example["text_ids"].tolist() == [9, 8, 7, 1] and example["text_mask"].all()
        assert example["text_embedding"].tolist() == [[9], [8], [7], [1]]
        if name == "captioning":
            segment = next(s for s in kind.layout.segments if s.kind == "pieces")
            run = slice(segment.start, segment.stop)
            assert kind.layout.vocabulary.text_pieces_of(example["ids"][run]).tolist() == [9, 8, 7, 1]
            assert example["weights"][run].all()


def test_a_packed_row_is_its_examples_alone_one_behind_the_other(source):
    loader, seen = batches(source, packing=400), set()
    (part,) = loader.get_state()["spec"]
    kinds = [kind for task in TASKS for kind in kinds_of(source.index, VIEWS, {task: 1.0}, layouts())]
    assert [s["examples"] for s in part["streams"]] == [len(kind.records) for kind in kinds]
    for batch in itertools.islice(loader, 40):
        assert batch["ids"].shape == batch["segment"].shape == (4, 400)
        for row in range(4):
            example, start = {key: values[row] for key, values in batch.items()}, 0
            for place, (number, stream) in enumerate(zip(example["example"], example["stream"], strict=True)):
                if stream < 0:
                    assert not example["text_mask"][place:].any()
                    break
                kind = kinds[stream]
                alone = assemble(kind.layout, whole(source[int(kind.records[number])], kind.layout))
                end = start + kind.layout.length
                for name in ("ids", "table", "positions", "weights", "valid"):
                    assert_array_equal(example[name][start:end], alone[name])
                assert np.all(example["segment"][start:end] == place + 1)
                assert np.all(example["prefix_length"][start:end] == start + alone["prefix_length"])
                for name in ("text_ids", "text_mask"):
                    assert_array_equal(np.trim_zeros(example[name][place], "b"), np.trim_zeros(alone[name], "b"))
                start = end
                seen.add(kind.layout.task.name)
            for name in ("ids", "valid", "segment", "weights"):
                assert not example[name][start:].any()
    assert seen == set(TASKS)


def test_packed_rows_have_the_kinds_of_their_rates_with_hardly_any_padding(source):
    """As many sequences of each as groups would give: steps by its rate, and in a step as many as its tokens hold."""
    loader = batches(source, packing=400, num_threads=0)
    (part,) = loader.get_state()["spec"]
    weights = np.array([stream["weight"] for stream in part["streams"]])
    kinds = [kind for task in TASKS for kind in kinds_of(source.index, VIEWS, {task: 1.0}, layouts())]
    assert_array_equal(weights, [kind.rate * (2_000 // kind.layout.length // 2 * 2) for kind in kinds])
    run = [loader[number] for number in range(150)]
    drawn = np.concatenate([batch["stream"][batch["stream"] >= 0] for batch in run])
    shares = np.bincount(drawn, minlength=len(kinds)) / len(drawn)
    assert_allclose(shares, weights / weights.sum(), atol=0.002)  # of a whole turn they are exact: test_packing.py
    assert np.mean([(batch["segment"] == 0).mean() for batch in run]) < 0.02


def test_sequences_go_back_to_the_codes_of_their_record(source):
    """Every task: record → batch → codes, with nothing known but what the layout says."""
    for name in TASKS:
        for kind in kinds_of(source.index, VIEWS, {name: 1.0}, layouts()):
            wanted = source[int(kind.records[0])]
            back = disassemble(kind.layout, assemble(kind.layout, whole(wanted, kind.layout))["ids"])
            for key, codes in back.items():
                given = wanted[key][: len(codes)]
                assert_array_equal(codes[: len(given)], given)
            written = {span.key for span in get_task(name).writes if span.modality != "audio" or "audio" in wanted}
            assert written <= {*back, "audio"}


def test_few_shapes_and_all_of_them_are_known_before_the_first_batch(source):
    loader = batches(source, most_groups=3)
    shapes_seen = {batch["ids"].shape for batch in itertools.islice(loader, 40)}
    assert len(shapes_seen) == 3 == len(loader.get_state()["spec"])


def test_a_changed_mixture_is_refused(source):
    state = batches(source).get_state()
    for change in (
        {"packing": 400},
        {"most_groups": 3},
        {"tokens": 3_000},
        {"rates": dict.fromkeys(TASKS, 1.0) | {"captioning": 2.0}},
    ):
        with pytest.raises(ValueError, match="must be the same to go on"):
            batches(source, **change).set_state(state)
    state = batches(source, packing=400).get_state()
    for change in ({"packing": 401}, {"tokens": 3_000}, {"rates": dict.fromkeys(TASKS, 1.0) | {"captioning": 2.0}}):
        with pytest.raises(ValueError, match="must be the same to go on"):
            batches(source, **({"packing": 400} | change)).set_state(state)


@pytest.mark.parametrize("packing", [0, 400])
def test_other_records_of_the_same_sizes_are_refused_and_a_copy_is_not(source, tmp_path, packing):
    state = json.loads(json.dumps(batches(source, packing=packing).get_state()))
    same, others = written(tmp_path / "copy"), written(tmp_path / "others", first=40)
    assert_array_equal(source.index, others.index)
    batches(same, packing=packing).set_state(state)
    words = f"data.0..name '.*records {source.digest}' → '.*records {others.digest}': the checkpoint's data and this"
    with pytest.raises(ValueError, match=words):
        batches(others, packing=packing).set_state(state)


@pytest.mark.parametrize("packing", [0, 400])
def test_batches_are_the_same_in_every_run_after_a_stop_and_on_two_hosts(source, packing):
    """To the byte; hosts draw the same group, or rows, without talking, and each makes its own rows. A thousand batches
    of two processes are in tests/multihost."""
    count, stop = 60, 23
    made = functools.partial(batches, source, packing=packing)
    one = [digest(batch) for batch in itertools.islice(made(), count)]
    assert [digest(batch) for batch in itertools.islice(made(), count)] == one
    begun = made()
    first = [digest(batch) for batch in itertools.islice(begun, stop)]
    resumed = made()
    resumed.set_state(json.loads(json.dumps(begun.get_state())))
    assert first + [digest(batch) for batch in itertools.islice(resumed, count - stop)] == one
    hosts = [itertools.islice(made(process=p, processes=2), count) for p in range(2)]
    joined = [{k: np.concatenate([a[k], b[k]]) for k in a} for a, b in zip(*hosts, strict=True)]
    assert [digest(batch) for batch in joined] == one


def digest(batch):
    return hashlib.sha256(b"".join(batch[name].tobytes() for name in sorted(batch))).hexdigest()


@pytest.mark.parametrize("mixture", ["clips_then", "pictures_first"])
def test_hardly_any_padding_in_2000_steps_of_the_mixtures(mixture):
    """Pictures and clips of 17 and 41 frames, square and portrait, half without sound."""
    padded = computed = 0
    for length, lengths, _ in padding.schedule(mixture, 2_000, tokens=12_288, multiple=1):
        computed += length * len(lengths)
        padded += int((length - lengths).sum())
    assert padded / computed < 0.01


@pytest.mark.parametrize("most_groups, share", [(24, 0.01), (32, 0.005)])
def test_hardly_any_padding_at_the_papers_layouts(most_groups, share):
    """The same of batches as training has them, every fortieth, of all tasks equally often."""
    rng = np.random.default_rng(0)
    sizes = np.array([(1, 16, 16), (5, 16, 16), (5, 28, 16), (11, 16, 16), (11, 28, 16)])[rng.integers(0, 5, 4_000)]
    frames = np.array([0, 106, 256])[np.searchsorted([2, 6], sizes[:, 0], side="right")] * rng.integers(0, 2, 4_000)
    index = np.column_stack([sizes, frames, rng.integers(1, 65, 4_000)]).astype(np.int32)
    paper = layouts(levels=4, text_lengths=(16, 32, 64), stride=8)
    kinds = kinds_of(index, VIEWS, dict.fromkeys(TASKS, 1.0), paper)
    source = FakeSource(index)
    loader = task_batches(
        source, dict.fromkeys(TASKS, 1.0), paper, most_groups=most_groups, rows=lambda n: max(1, 16_384 // n),
        constants=lambda slots: {}, seed=0, num_threads=0,
    )  # fmt: skip
    lengths = [
        [int(s["name"].split(", ")[1].split()[0]) for s in part["streams"]] for part in loader.get_state()["spec"]
    ]
    tops = [max(part) for part in lengths]
    assert len(tops) == most_groups < len({kind.layout.length for kind in kinds})
    padded = computed = 0
    for step in range(0, 2_000, 40):  # the mixture comes round long before
        part, streams = loader[step]["part"][0], loader[step]["stream"]
        computed += tops[part] * len(streams)
        padded += sum(tops[part] - lengths[part][stream] for stream in streams)
    assert padded / computed < share


def test_rows_that_devices_share_are_of_equal_stretches():
    index = np.array([(5, 16, 16, 106, 30), (1, 16, 16, 0, 30)] * 4, np.int32)
    rates = {"text_to_video": 1.0, "text_to_image": 1.0}
    paper = layouts(levels=4, text_lengths=(16, 32, 64), stride=8)
    loader = task_batches(
        FakeSource(index), rates, paper, most_groups=2, stretches=16, rows=lambda n: 2, constants=lambda slots: {},
        seed=0, num_threads=0,
    )  # fmt: skip
    shapes = {loader[step]["ids"].shape[1] for step in range(8)}
    assert len(shapes) == 2 and all(length % 16 == 0 for length in shapes)
    assert not loader[0]["valid"][:, -1].all()  # the last places of a row hold no token


class FakeSource(TokenSource):
    """Records of nothing but zeros."""

    def __init__(self, index):
        self.index, self.meta, self.files = index, {"keys": list(VIEWS)}, []

    def __len__(self):
        return len(self.index)

    def __getitem__(self, number):
        latents, rows, columns, frames, pieces = self.index[number].tolist()
        codes = {key: np.zeros((1 if key == "last_frame" else latents, rows, columns), np.int32) for key in VIEWS}
        text = {"text_ids": np.ones(64, np.int32), "text_mask": np.arange(64) < pieces}
        return codes | text | ({"audio": np.zeros((frames, 4), np.int32)} if frames else {})


def test_grids_of_records_are_those_of_their_clips():
    (kind,) = kinds_of(INDEX[:1], VIEWS, {"unconditional": 1.0}, layouts())
    assert kind.layout.grid == Grid(17, 32, 16, 16, 1) and kind.layout.grid.latents == tuple(INDEX[0, :3])


def damaged(source, tmp_path, numbers, count=40):
    """The same records, or the first of them, but that some have a code beyond the vocabulary."""
    with TokenWriter(tmp_path / "damaged", source.meta) as writer:
        for number in range(count):
            record = dict(source[number])
            writer.write(record | ({"video": record["video"] + 2**18} if number in numbers else {}))
    return TokenSource(tmp_path / "damaged")


def test_a_damaged_record_is_passed_over_told_and_counted(source, tmp_path, caplog):
    options = {"rates": {"unconditional": 1.0}, "num_threads": 0}
    whole = list(itertools.islice(batches(source, **options), 30))
    wrong = damaged(source, tmp_path, {7})
    loader = batches(wrong, **options)
    found = list(itertools.islice(loader, 30))
    changed = [
        (i, row)
        for i, (a, b) in enumerate(zip(whole, found, strict=True))
        for row in range(len(a["ids"]))
        if not np.array_equal(a["ids"][row], b["ids"][row])
    ]
    assert changed and all((found[i]["ids"][row] < 262_400 + 4096).all() for i, row in changed)
    (told,) = (r.getMessage() for r in caplog.records if "passed over" in r.getMessage())
    assert told.startswith("passed over: record 7: visual codes") and "must lie in 0 … 262143" in told
    resumed = batches(wrong, **options)
    resumed.set_state({**resumed.get_state(), "next_batch": 13})
    assert [digest(b) for b in itertools.islice(resumed, 17)] == [digest(b) for b in found[13:]]


def test_too_many_damaged_records_end_the_run(source, tmp_path):
    loader = batches(damaged(source, tmp_path, {7, 8, 10}), rates={"unconditional": 1.0}, num_threads=0)
    with pytest.raises(ValueError, match="2 of 40 records are damaged, 1% at most are passed over; the last: visual"):
        list(itertools.islice(loader, 60))


@pytest.mark.parametrize("packing", [0, 400])
def test_a_task_that_has_only_damaged_records_of_a_size_ends_the_run(source, tmp_path, packing):
    """One of five is few enough to be passed over, but there is none to take its place."""
    wrong = damaged(source, tmp_path, {3}, count=5)
    loader = batches(wrong, rates={"unconditional": 1.0}, num_threads=0, packing=packing)
    words = "task unconditional, 5×32×16: none of its 1 records is whole; leave the task out, .*; the last: visual"
    with pytest.raises(ValueError, match=words):
        list(itertools.islice(loader, 60))


@pytest.mark.parametrize("rows", [2, None])  # always as many, or by their length
def test_sequences_a_step_are_what_batches_have_on_average(tmp_path, rows):
    source, rates = written(tmp_path / "records"), {"text_to_image": 3.0, "text_to_video": 1.0, "captioning": 1.0}
    kinds = kinds_of(source.index, VIEWS, rates, layouts())
    of_length = lambda length: rows or 2_000 // length // 2 * 2  # noqa: E731
    mean = sequences_a_step(kinds, most_groups=3, packing=0, stretches=1, rows=of_length)
    assert len(mean) == len(kinds)
    steps = list(itertools.islice(batches(source, rates, most_groups=3, rows=rows), 150))
    found = np.mean([np.sum(batch["weights"]) for batch in steps]), np.mean([len(batch["ids"]) for batch in steps])
    tokens = sum(count * (layout.length - layout.prefix_length) for layout, count in mean)
    spare = sum(
        count * layout.text_length for layout, count in mean if layout.task.name == "captioning"
    )  # unused slots
    assert found[1] == pytest.approx(sum(count for _, count in mean), rel=0.15)
    assert 0.85 * (tokens - spare) < found[0] < 1.15 * tokens
    packed = sequences_a_step(kinds, most_groups=3, packing=400, stretches=1, rows=of_length)
    assert len(packed) == len(kinds) and all(count > 0 for _, count in packed)
