import itertools
import json
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.trainer.states import TrainerState

from finelab.contracts.errors import UserError
from finelab.data import Classification, Documents, StreamingTextDataModule, TextDataModule, streaming
from finelab.data.duplicates import Duplicates
from finelab.data.loader_options import LoaderOptions
from finelab.data.streaming import PARTS

CHUNK, BUFFER = 100, 50
ROWS = 2 * CHUNK + 31


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(streaming, "CHUNK", CHUNK)


@pytest.fixture
def source(write, rows):
    files = {"train": rows(ROWS), "validation": rows(40, ROWS), "test": rows(40, ROWS + 40)}
    return {split: str(write(f"{split}.jsonl", own)) for split, own in files.items()}


@pytest.fixture
def module(source, tokens):
    def make(template=None, **changes):
        settings = {"base": "tiny://bert", "context": 32, "batch_size": 8, "cache_dir": tokens, "buffer": BUFFER}
        template = template or Classification(names=["no", "yes"])
        return StreamingTextDataModule(source, template, **settings | changes)

    return make


def documents(**loader):
    return {"template": Documents(), "base": "tiny://llama", "loader": LoaderOptions(**loader)}


def ids_of(loader):
    return [batch["sample_id"].tolist() for batch in loader]


def on_rank(data, rank, world_size):
    data.trainer = SimpleNamespace(state=TrainerState(), global_rank=rank, world_size=world_size, max_steps=10)
    return data


def test_an_epoch_is_every_row_once_with_the_tokens_of_the_cached_path(module, source, tokens):
    streamed = {}
    for batch in module().train_dataloader():
        for ids, mask, label, own in zip(
            batch["input_ids"], batch["attention_mask"], batch["labels"], batch["sample_id"], strict=True
        ):
            streamed[int(own) // PARTS] = ids[mask == 1].tolist(), int(label)
    cached = TextDataModule(source, Classification(), "tiny://bert", 32, cache_dir=tokens).samples("train")
    expected = {index: (cached[index]["input_ids"].tolist(), cached[index]["labels"]) for index in range(ROWS)}
    assert streamed == expected


def test_probed_rows_are_of_the_first_chunk_whatever_was_read(module):
    data = on_rank(module(), 0, 1)
    probed = ids_of(data.probe_loader(20))
    assert len(set(itertools.chain(*probed))) == 20
    next(iter(data.train_dataloader()))
    assert ids_of(data.probe_loader(20)) == probed
    shared = [ids_of(on_rank(module(), rank, 2).probe_loader(20)) for rank in (0, 1)]
    assert sorted(itertools.chain(*shared[0], *shared[1])) == sorted(itertools.chain(*probed))
    texts = on_rank(module(**documents()), 0, 1)
    windows = np.concatenate(ids_of(texts.probe_loader(50)))
    assert set(texts.document_of("train", windows)) == {window // PARTS * PARTS for window in windows}


def test_the_order_is_shuffled_over_the_buffer_and_other_in_each_epoch(module):
    loader = module().train_dataloader()
    first = list(itertools.chain(*ids_of(loader)))
    loader.set_epoch(1)
    second = list(itertools.chain(*ids_of(loader)))
    assert first != second and sorted(first) == sorted(second)
    # Drawn from the buffer and then inside a chunk, a row comes at most so much earlier than in the file.
    positions = {own // PARTS: place for place, own in enumerate(first)}
    assert all(place >= row - BUFFER - CHUNK for row, place in positions.items())
    assert first != list(itertools.chain(*ids_of(module(seed=2).train_dataloader())))


@pytest.mark.parametrize("loader", [{}, {"bucketing": False}, {"packing": True}, {"padding_free": True}], ids=str)
def test_global_steps_do_not_depend_on_ranks_or_a_worker(module, loader):
    def steps(world_size, workers=0):
        settings = documents(num_workers=workers, **loader) | {"batch_size": 8 // world_size}
        ranks = [ids_of(on_rank(module(**settings), rank, world_size).train_dataloader()) for rank in range(world_size)]
        return [set(itertools.chain(*parts)) for parts in zip(*ranks, strict=True)]

    reference = steps(1)
    assert steps(2) == reference == steps(1, workers=1)
    assert len(reference) > 20


def test_nothing_is_drawn_from_the_global_generator(module):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    ids_of(module(loader=LoaderOptions(num_workers=1)).train_dataloader())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("loader", [{}, {"packing": True}], ids=str)
@pytest.mark.parametrize("done", [1, 13, 14, 20])
def test_a_resumed_stream_goes_on_where_it_stood(module, monkeypatch, loader, done):
    """The state is a few numbers; chunks before it are not tokenized again."""
    settings = documents(**loader)
    whole = ids_of(module(**settings).train_dataloader())
    stopped = module(**settings).train_dataloader()
    for batch in itertools.islice(stopped, done):
        stopped.take(batch)
    state = json.loads(json.dumps(stopped.state_dict()))
    assert len(str(state)) < 250
    resumed = module(**settings).train_dataloader()
    resumed.load_state_dict(state)
    tokenized = []
    encode = Documents.encode
    monkeypatch.setattr(Documents, "encode", lambda self, rows, *rest: tokenized.append(1) or encode(self, rows, *rest))
    resumed.set_epoch(0)
    assert ids_of(resumed) == whole[done:]
    assert len(tokenized) == -(-ROWS // CHUNK) - state["cursor"]["chunk"]


def test_a_state_of_another_order_is_refused(module):
    state = module().train_dataloader().state_dict()
    with pytest.raises(UserError, match=r"data.init_args.buffer was 50, and is 600"):
        module(buffer=600).train_dataloader().load_state_dict(state)


def test_rows_of_like_length_meet(module):
    def pads(bucketing):
        loader = module(loader=LoaderOptions(bucketing=bucketing), context=128).train_dataloader()
        masks = [batch["attention_mask"] for batch in loader]
        return 1 - sum(mask.sum().item() for mask in masks) / sum(mask.numel() for mask in masks)

    assert pads(True) < pads(False) / 2


def test_a_bad_row_is_named_when_it_is_reached(module, source, write, rows):
    good = rows(30)
    source["train"] = str(write("bad.jsonl", [*good[:20], {"text": "", "label": 0}, *good[20:]]))
    with pytest.raises(UserError, match=r"bad\.jsonl:21: the text in column 'text' is empty"):
        list(module().train_dataloader())
    with pytest.warns(UserWarning, match=r"Training rows are left out; the first one is .*bad\.jsonl:21"):
        found = list(itertools.chain(*ids_of(module(on_bad_row="skip").train_dataloader())))
    assert len(found) == 30


def test_a_label_that_is_not_among_the_names_is_a_bad_row(module, source, write, rows):
    source["train"] = str(write("bad.jsonl", [*rows(3), {"text": "x", "label": "maybe"}]))
    with pytest.raises(UserError, match=r"bad\.jsonl:4.*maybe"):
        list(module().train_dataloader())


def test_evaluation_is_prepared_as_usual_and_the_training_rows_are_not_counted(module):
    data = module()
    assert sorted(itertools.chain(*ids_of(data.val_dataloader()))) == list(range(40))
    assert set(data.report["splits"]) == {"validation", "test"}
    assert "streamed through a buffer of 50 rows" in data.render_report()
    assert data.evaluation_loader("train") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template": Classification()}, r"the classes must be given.*names"),
        ({"buffer": 0}, "buffer is 0"),
        ({"loader": LoaderOptions(num_workers=2)}, "a stream is read by one process"),
        ({"duplicates": Duplicates(action="drop")}, "action is drop, and a stream does not look for repeats"),
        ({"loader": LoaderOptions(packing=True)}, "packing is true, and the targets of Classification"),
    ],
    ids=["classes", "buffer", "workers", "drop", "packing"],
)
def test_what_cannot_be_streamed_is_refused(module, change, message):
    with pytest.raises(UserError, match=message):
        module(**change).train_dataloader()


def test_the_number_of_steps_is_needed(module):
    data = module()
    data.trainer = SimpleNamespace(global_rank=0, world_size=1, max_steps=-1)
    with pytest.raises(UserError, match=r"set trainer\.max_steps"):
        data.train_dataloader()


def test_a_source_without_held_out_rows_is_refused(module, source):
    del source["validation"], source["test"]
    with pytest.raises(UserError, match="streaming needs train and a validation"):
        module().train_dataloader()


MEASURE = """
    import itertools, resource, sys
    from finelab.data import Documents, StreamingTextDataModule
    data = StreamingTextDataModule(
        {"train": sys.argv[1], "validation": sys.argv[2]}, Documents(), "tiny://llama", 128, cache_dir=sys.argv[3]
    )
    data.prepare_data()
    batches = iter(data.train_dataloader())
    seen = 0
    for batch in batches:
        seen += len(batch["sample_id"])
        if seen <= 10_000:
            early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert seen == 100_000
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - early)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path, write, rows, tokens):
    """Of a file of 150 MB, most of it in a column that nothing reads, four fifths are read between the measurements."""
    file = tmp_path / "large.jsonl"
    with file.open("w") as stream:
        for number in range(100_000):
            stream.write(json.dumps({"text": f"story {number}", "notes": "told again and again " * 72}) + "\n")
    assert file.stat().st_size > 145e6
    held_out = write("held.jsonl", [{"text": "a story"}, {"text": "another story"}])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), str(file), str(held_out), tokens],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    scale = 1 if sys.platform == "darwin" else 1024
    print(done.stdout)
    assert int(done.stdout) * scale < 15e6
