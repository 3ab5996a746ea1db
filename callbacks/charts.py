"""The layout of TensorBoard's custom scalars: what one looks at together, in the order in which one looks."""

from dataclasses import dataclass

Charts = dict[str, list]


@dataclass(frozen=True)
class Watched:
    """What a run will log.

    Args:
        metrics: of a validation, the one that picks the weights first.
        callbacks: names of their classes, and of what these derive from.
        gap: whether the data give training rows to look at.
        regularized: whether there are regularizers.
        mixed: whether training has several sources.
        clips: whether a gradient's norm is clipped.
    """

    metrics: list[str]
    callbacks: frozenset[str] = frozenset()
    gap: bool = False
    regularized: bool = False
    mixed: bool = False
    clips: bool = False


def layout(watched: Watched) -> dict[str, Charts]:
    """Category -> title -> chart, without charts that would stay empty."""
    # TensorBoard shows the margin charts of a category behind all others.
    categories = {
        "1 loss on probes and gap": _of_kind(_probes(watched)) | _band(watched),
        "2 verdict": _of_kind(_fit(watched)),
        "3 validation": _of_kind(_validation(watched)),
        "4 training": _of_kind(_training(watched)),
    }
    return {category: charts for category, charts in categories.items() if charts}


def _probes(watched: Watched) -> dict[str, list[str]]:
    return {
        "loss on probes: train, validation A and B": ["^probe/.+/nll$"] if "Probes" in watched.callbacks else [],
        "gap: validation less train probe": ["^gap/nll$"]
        if watched.gap and "Overfitting" not in watched.callbacks
        else [],
    }


def _fit(watched: Watched) -> dict[str, list[str]]:
    judged = "Overfitting" in watched.callbacks
    primary = watched.metrics[0]
    lost = ["^forgetting/(general_nll|kl_base_tuned|kl_tuned_base|feature_drift)$"]
    return {
        "verdict: -1 underfitting, 0 healthy, 1 overfitting": ["^verdict/label$"] if judged else [],
        "evidence: loss given away, growth of the gap": ["^verdict/(given_away|gap_growth)$"] if judged else [],
        "evidence: membership AUC (0.5: no row is known)": ["^verdict/membership_auc$"]
        if judged and watched.gap
        else [],
        f"learning ({primary} less the reference's) and forgetting": [f"^delta/val/{primary}$", *lost]
        if "Forgetting" in watched.callbacks
        else [],
        "calibration": ["^val/ece$", "^calibration/(confidence_minus_accuracy|ece_.+)$"]
        if "ece" in watched.metrics
        else [],
        "memorization: exposure of canaries (1.44 bits by chance)": ["^canary/exposure"]
        if "CanaryExposure" in watched.callbacks
        else [],
        "movement of the weights": ["^movement/.+"] if "Movement" in watched.callbacks else [],
    }


def _band(watched: Watched) -> Charts:
    """A margin chart takes tags as they are."""
    if "Overfitting" not in watched.callbacks or not watched.gap:
        return {}
    return {"gap with its band": ["Margin", ["gap/value", "gap/low", "gap/high"]]}


def _validation(watched: Watched) -> dict[str, list[str]]:
    shown = {
        "accuracy, macro-F1, MCC": ("accuracy", "macro_f1", "mcc"),
        "F1": ("f1", "precision", "recall", "micro_f1"),
        "Brier score": ("brier",),
        "bits per character": ("bits_per_char",),
        "correlation": ("r2", "pearson", "spearman"),
        "BLEU and chrF": ("bleu", "chrf"),
        "ROUGE-L and exact match": ("rouge_l", "exact_match", "normalized_exact_match"),
        "tokens of an answer": ("generation_length",),
        "NLL of its own answers": ("generation_nll",),
    }
    lines = {"NLL per supervised token: train and validation": ["^train/nll$", "^val/nll$"]}
    for title, names in shown.items():
        lines[title] = [f"^val/{name}$" for name in names if name in watched.metrics]
    primary = f"^val/{watched.metrics[0]}$"
    if not any(primary in tags for tags in lines.values()):
        lines = {f"{watched.metrics[0]}, which picks the weights": [primary]} | lines
    lines["difference to the reference"] = (
        ["^delta/val/(?!perplexity$)[^/]+$"] if "Differences" in watched.callbacks else []
    )
    lines["NLL of each set"] = ["^val/.+/nll$"] if watched.mixed else []
    return lines


def _training(watched: Watched) -> dict[str, list[str]]:
    return {
        "gradient norm before clipping, share of clipped steps": ["^grad/norm$", "^grad/clip_share$"]
        if watched.clips
        else [],
        "gradient norm": [] if watched.clips else ["^grad/norm$"],
        "objective: NLL with every term": ["^train/loss$", "^train/nll$"],
        "regularizers, unweighted": ["^reg/.*"] if watched.regularized else [],
        "NLL of each source": ["^train/.+/nll$"] if watched.mixed else [],
        "learning rate": ["^train/lr$"],
        "tokens per second": ["^sys/.*tokens_per_second$"],
        "peak memory (GiB)": ["^sys/peak_memory_gib$"],
    }


def _of_kind(lines: dict[str, list[str]]) -> Charts:
    return {title: ["Multiline", tags] for title, tags in lines.items() if tags}
