"""config.yaml remembers how a run came about, in comments that YAML does not see."""

import yaml

from finelab.contracts.run_config import CONFIG_FILE, RunConfig

MADE = ("finelab", "fit", "-c", "a b.yaml", "--x", "1\nseeds: 2")
RESUME = ("finelab", "fit", "--resume", "runs/a")


def test_a_run_and_its_resumes(tmp_path):
    made = RunConfig.of_new_run(MADE, {"trainer": {"max_epochs": 3}})
    made.write(tmp_path)
    assert RunConfig.read(tmp_path) == made and made.command[:4] == MADE[:4]
    assert made.allowed_since(0) == [] and made.notes() == []

    line = "trainer.max_epochs: 3 -> 5"
    once = RunConfig.read(tmp_path).resumed(7, RESUME, [line], {"trainer": {"max_epochs": 5}})
    once.write(tmp_path)
    twice = RunConfig.read(tmp_path).resumed(12, RESUME, [], once.content)
    twice.write(tmp_path)
    found = RunConfig.read(tmp_path)
    assert found.command[:4] == MADE[:4]
    assert found.head[1:] == (
        "# resumed at step 7: finelab fit --resume runs/a",
        f"# changed at step 7: {line}",
        "# resumed at step 12: finelab fit --resume runs/a",
    )
    assert yaml.safe_load((tmp_path / CONFIG_FILE).read_text()) == {"trainer": {"max_epochs": 5}}
    assert found.notes() == [f"Changed at step 7: {line}."]
    assert found.allowed_since(7) == ["trainer.max_epochs"] and found.allowed_since(8) == []


def test_a_value_cannot_leave_its_comment(tmp_path):
    RunConfig.of_new_run(MADE, {"a": 1}).branched(3, ["a: 1 -> 2\nb: 3\u2028c: 4\x85d: 5"]).write(tmp_path)
    assert yaml.safe_load((tmp_path / CONFIG_FILE).read_text()) == {"a": 1}
