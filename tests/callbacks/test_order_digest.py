import hashlib
from types import SimpleNamespace

import lightning as L
import torch

from finelab import callbacks
from finelab.contracts.order_trail import OrderTrail


def by_hand(pairs) -> str:
    total = 0
    for step, sample in pairs:
        total += int.from_bytes(hashlib.blake2b(f"{step}:{sample}".encode(), digest_size=8).digest(), "big")
    return f"{total % 2**64:016x}"


def test_digest_of_steps_and_samples(fit, classifier, data) -> None:
    order = callbacks.OrderDigest()
    fit(classifier(), data(), [order])
    assert order.digest == by_hand([(epoch * 6 + i // 4, i) for epoch in range(2) for i in range(24)])


def test_the_split_into_micro_batches_does_not_matter_and_the_step_does(fit, classifier, data) -> None:
    digests = {}
    for size, parts in ((4, 1), (2, 2), (1, 4), (2, 1)):
        order = callbacks.OrderDigest()
        fit(classifier(), data(batch_size=size), [order], accumulate_grad_batches=parts)
        digests[size, parts] = order.digest
    assert digests[4, 1] == digests[2, 2] == digests[1, 4] != digests[2, 1]


def test_it_goes_on_from_its_state(fit, classifier, data) -> None:
    states = []

    class Snapshot(L.Callback):
        def on_train_epoch_end(self, trainer, pl_module) -> None:
            states.append(order.state_dict())

    order = callbacks.OrderDigest()
    fit(classifier(), data(), [order, Snapshot()])
    first = OrderTrail.of(states[0])
    assert first.digest == by_hand([(i // 4, i) for i in range(24)]) and len(first.sums) == 6
    resumed = callbacks.OrderDigest()
    resumed.load_state_dict(states[0])
    for step in range(6, 12):
        trainer = SimpleNamespace(global_step=step)
        resumed.on_train_batch_start(trainer, None, {"sample_id": torch.arange(4) + 4 * (step - 6)}, step - 6)
    assert resumed.state_dict() == order.state_dict() == order.trail.as_dict()
