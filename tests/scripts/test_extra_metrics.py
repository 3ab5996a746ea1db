"""A metric of torchmetrics, from a configuration to the record."""

import pytest
import yaml
from safetensors.torch import load_file

from finelab.contracts.record import read_record
from finelab.scripts.cli import main

AUROC = {"class_path": "torchmetrics.classification.MulticlassAUROC", "init_args": {"num_classes": 2}}
RECALLS = {
    "class_path": "torchmetrics.classification.MulticlassRecall",
    "init_args": {"num_classes": 2, "average": None},
}


def with_metrics(path, metrics, monitor=None):
    """The configuration with these metrics."""
    content = yaml.safe_load(path.read_text())
    callback = {"class_path": "finelab.callbacks.ExtraMetrics", "init_args": {"metrics": metrics}}
    content["trainer"]["callbacks"] = [{"class_path": "finelab.callbacks.EarlyStopping"}, callback]
    path.write_text(yaml.safe_dump(content | ({"monitor": monitor} if monitor else {})))
    return path


def test_a_metric_is_in_the_record_and_picks_the_weights(config, here, capsys):
    path = with_metrics(config(), {"auroc": AUROC, "recalls": RECALLS}, monitor="val/auroc")
    code = main(["fit", "-c", str(path), "--evaluate_test", "true", "--run.name", "it", "--trainer.max_epochs", "2"])
    assert code == 0, capsys.readouterr().err
    record = read_record(here / "runs/it")
    assert record.best is not None and (record.best.monitor, record.best.mode) == ("val/auroc", "max")
    assert record.best.value == max(entry["auroc"] for entry in record.history)
    for split in ("validation", "test"):
        result = record.metrics[split]
        assert 0 <= result.after["auroc"] <= 1 and set(result.before["probe"]) >= {"auroc"}
        assert len(result.tables["recalls"]) == 2
    (weights,) = (here / "runs/it/checkpoints/best").glob("adapter*.safetensors")
    assert all("lora" in name for name in load_file(weights))


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"auroc": AUROC | {"init_args": {"classes": 2}}}, "classes"),
        ({"accuracy": AUROC}, "'accuracy' is a name of finelab's own"),
        ({"auroc": AUROC | {"class_path": "torchmetrics.classification.NoSuchMetric"}}, "NoSuchMetric"),
    ],
    ids=["argument", "own", "class"],
)
def test_what_is_wrong_is_said_in_a_paragraph(config, refused, metrics, said):
    assert said in refused("fit", "-c", with_metrics(config(), metrics))


def test_a_metric_that_does_not_fit_the_target_is_refused_before_the_first_step(config, here, capsys):
    three = {"class_path": "torchmetrics.classification.MulticlassF1Score", "init_args": {"num_classes": 3}}
    code = main(["fit", "-c", str(with_metrics(config(), {"f3": three})), "--run.name", "it"])
    said = " ".join(capsys.readouterr().err.split())
    assert code == 2, said
    assert "the metric f3 (MulticlassF1Score) does not take probabilities [8, 2] with targets [8]" in said


def test_a_metric_without_a_direction_cannot_be_the_monitor(config, here, capsys):
    matrix = {"class_path": "torchmetrics.classification.MulticlassConfusionMatrix", "init_args": {"num_classes": 2}}
    path = with_metrics(config(), {"matrix": matrix, "auroc": AUROC}, monitor="val/matrix")
    assert main(["fit", "-c", str(path), "--run.name", "it"]) == 2
    said = capsys.readouterr().err
    assert "monitor is 'val/matrix'" in said and "val/auroc" in said and "val/matrix," not in said
