"""World-size invariance on gloo: one process, DDP on two and FSDP2 on two take the same steps to the same weights."""

import functools
import json

import pytest
from safetensors.torch import load_file

from . import sharded_ranks, two_ranks
from .pairing import write_rows
from .sharded_ranks import CASES, STRATEGIES

SHORT = "lora-l2sp-kl"
every = pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case == SHORT else pytest.mark.slow) for case in CASES]
)


class Pair:
    """One pair of processes for some cases, and one process for the same."""

    def __init__(self, folder, cases):
        self.folder, self.cases, files = folder, cases, write_rows(folder)
        (folder / "asked.json").write_text(json.dumps([files, cases]))
        self.ranks = two_ranks.spawned("sharded_ranks", folder)
        self.one = {case: sharded_ranks.train(case, files, folder / f"one-{case}", 4) for case in cases}


@pytest.fixture(scope="module")
def pair_of(tmp_path_factory):
    """The short case in a pair of its own; all others, where they are asked for, in another."""

    @functools.cache
    def pair(short):
        return Pair(tmp_path_factory.mktemp("sharded"), [case for case in CASES if (case == SHORT) == short])

    return lambda case: pair(case == SHORT)


@every
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_ranks_take_the_steps_of_one_process(pair_of, strategy, case):
    pair = pair_of(case)
    alone = pair.one[case]
    for rank in pair.ranks:
        found = rank["runs"][strategy, case]
        assert found["sharded"] == (strategy == "fsdp") and not alone.sharded
        assert found["digest"] == alone.digest
        assert found["weights"].keys() == alone.weights.keys()
        for name, weight in alone.weights.items():
            assert (found["weights"][name] - weight).abs().max() < 1e-5, name
        assert len(found["logged"]) == len(alone.logged) > 3
        for mine, whole in zip(found["logged"], alone.logged, strict=True):
            assert mine == pytest.approx(whole, rel=1e-5, abs=1e-5)


@every
def test_every_method_said_something_and_every_weight_moved(pair_of, case):
    """A gradient that one layer never gets would be alike on both sides."""
    found = pair_of(case).one[case]
    assert [name for name in found.logged[-1] if name.startswith("reg/") and found.logged[-1][name] > 0]
    module = CASES[case][0]()
    module.configure_model()
    start = dict(module.named_parameters())
    assert all((weight - start[name]).abs().max() > 1e-4 for name, weight in found.weights.items())


@every
def test_the_folders_of_best_and_last_hold_whole_tensors(pair_of, case):
    place = pair_of(case).folder
    for name in ("best", "last"):
        expected = place / f"one-{case}" / "checkpoints" / name
        for strategy in STRATEGIES:
            found = place / f"{strategy}-{case}" / "checkpoints" / name
            files = sorted(path.name for path in expected.iterdir())
            assert sorted(path.name for path in found.iterdir()) == files
            for file in (file for file in files if file.endswith(".safetensors")):
                ours, theirs = load_file(found / file), load_file(expected / file)
                assert ours.keys() == theirs.keys()
                assert all((ours[key] - theirs[key]).abs().max() < 1e-5 for key in ours), file


def test_what_cannot_be_sharded_is_refused(pair_of):
    told = pair_of(SHORT).ranks[0]["refusals"]
    assert set(told) == {"tensor parallel", "method", "adapter", "built before"}
    assert "tensor_parallel_size: 1" in told["tensor parallel"]
    assert "model.regularizers: SAM" in told["method"] and "model.adapter: PeftLora" in told["adapter"]
    assert "new module" in told["built before"]
