"""The adapters of finelab's own."""

from finelab.models.adapters import BitFit, Bottleneck, Full, LinearProbe, NormTuning, TopLayers

from .adapter_cases import Case

NO_BIASES = dict.fromkeys(("causal LM", "seq2seq"), "has none")
NO_HEAD = dict.fromkeys(("causal LM", "seq2seq"), "nothing to train")

CASES = [
    Case("Full", lambda task: Full(), "-", decays_to_base=False),
    Case("LinearProbe", lambda task: LinearProbe(), "1610.01644", refused=NO_HEAD, trains_backbone=False),
    Case("TopLayers", lambda task: TopLayers(k=1), "1911.03090", decays_to_base=False),
    Case("BitFit", lambda task: BitFit(), "2106.10199", refused=NO_BIASES),
    Case("NormTuning", lambda task: NormTuning(), "2312.11420"),
    Case("Bottleneck, Houlsby", lambda task: Bottleneck("houlsby", reduction=4, activation="swish"), "1902.00751"),
    Case("Bottleneck, Pfeiffer", lambda task: Bottleneck("pfeiffer", reduction=4), "2005.00247"),
    Case("Bottleneck, parallel", lambda task: Bottleneck("parallel", reduction=2, scale=4.0), "2110.04366"),
]
