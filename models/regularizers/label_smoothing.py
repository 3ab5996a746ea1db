"""Label smoothing (Szegedy et al., CVPR 2016, arXiv:1512.00567; Müller et al., NeurIPS 2019, arXiv:1906.02629)."""

from ...contracts.errors import UserError
from .regularizer import Regularizer, Step, Term


class LabelSmoothing(Regularizer):
    """Objective: (1 - epsilon) nll + epsilon * (mean nll over all labels), per supervised position.

    The target becomes q = (1 - epsilon) onehot + epsilon / V, and the gradient in the logits p - q. This is the
    convention of PyTorch and Hugging Face; fairseq spreads epsilon over the V - 1 wrong labels. Each label of a
    multi-label target is a case of V = 2. Labels that a row has not (the padded choices of a multiple choice) get none
    of epsilon. A target that is a number has no uniform distribution over its labels: refused at the first step.

    The loss cannot reach zero: its floor is the entropy of q, .1985 nats for V = 2, .2911 for V = 3, 1.3624 for
    V = 32000 at 0.1, where the right logit leads by log((1 - epsilon + epsilon/V) / (epsilon/V)). ``train/nll`` stays
    the plain one; the perplexity of a smoothed loss means nothing. ``reg/LabelSmoothing`` is the mean nll over all
    labels less the nll of the right one, in nats.

    It acts on the step's first forward. Beside R-Drop, which averages the nll of two forwards, the sum is
    1/2 (nll_1 + nll_2) + epsilon (uniform_1 - nll_1): the second forward is trained on hard labels.

    Extra cost: no forward; one more pass over the logits in each direction. Memory: chunks, and one more gradient of
    the logits' shape. Hurts where the confidence itself is read (calibration, later distillation), and with a large
    vocabulary, where most labels are plainly wrong.

    Args:
        epsilon: in [0, 1); 0.1 in the papers and in Hugging Face's LabelSmoother. 0 turns the method off.

    Raises:
        UserError: epsilon is out of its range.
    """

    shards = True

    def __init__(self, epsilon: float = 0.1) -> None:
        if not 0 <= epsilon < 1:
            raise UserError(
                f"LabelSmoothing(epsilon={epsilon}): epsilon is the part of the target's probability that is spread "
                "over all labels and lies in [0, 1); set model.regularizers' epsilon to e.g. 0.1."
            )
        self.epsilon = epsilon

    def token_term(self, step: Step) -> Term | None:
        return self.smoothed(step) if self.epsilon else None

    def smoothed(self, step: Step) -> Term:
        excess = (step.likelihood.uniform_nll(step.logits) - step.nll).sum()
        return Term(self.epsilon * excess, excess)
