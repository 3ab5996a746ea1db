"""The injected tuners of PEFT 0.21.2: every registered type, and the variants of LoRA. Sizes fit the tiny models."""

import functools
import tempfile

import torch
from peft import (
    AdaLoraConfig,
    AdamssConfig,
    ArrowConfig,
    BdLoraConfig,
    BeftConfig,
    BOFTConfig,
    C3AConfig,
    DeftConfig,
    DeloraConfig,
    FourierFTConfig,
    FrodConfig,
    GloraConfig,
    GraloraConfig,
    HiraConfig,
    HRAConfig,
    IA3Config,
    KasaConfig,
    LilyConfig,
    LNTuningConfig,
    LoftQConfig,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    MissConfig,
    MontecloraConfig,
    OFTConfig,
    OSFConfig,
    PeanutConfig,
    PeftConfig,
    PolyConfig,
    PsoftConfig,
    PveraConfig,
    RandLoraConfig,
    RoadConfig,
    ShadowConfig,
    ShiraConfig,
    SupertuningConfig,
    TinyLoraConfig,
    TrainableTokensConfig,
    UniLoraConfig,
    VBLoRAConfig,
    VeloraConfig,
    VeraConfig,
    WaveFTConfig,
    XLoraConfig,
    get_peft_model,
)

from .adapter_cases import SPECIAL, TASKS, Case, Task


def everywhere(refused: str) -> dict[str, str]:
    return dict.fromkeys(TASKS, refused)


def besides_causal(refused: str) -> dict[str, str]:
    return {task: refused for task in TASKS if task != "causal LM"}


def lora(name: str, paper: str = "2106.09685", case: dict | None = None, **options) -> Case:
    """LoRA of rank 4 on all linear layers, with options that may depend on the task."""

    def config(task: Task) -> PeftConfig:
        own = {key: value(task) if callable(value) else value for key, value in options.items()}
        return LoraConfig(**{"r": 4, "target_modules": "all-linear"} | own)

    return Case(name, config, paper, **(case or {}))


def tuner(make: type[PeftConfig], paper: str, case: dict | None = None, name: str = "", **options) -> Case:
    """Another method, on two attention layers and one of the feed-forward."""

    def config(task: Task) -> PeftConfig:
        own = {key: value(task) if callable(value) else value for key, value in options.items()}
        return make(**{"target_modules": task.linear} | own)

    return Case(name or make.__name__.removesuffix("Config"), config, paper, **(case or {}))


@functools.cache
def expert(base: str, seed: int) -> str:
    """A folder with a LoRA adapter whose update is not zero, as X-LoRA wants them."""
    task = next(task for task in TASKS.values() if task.base == base)
    folder = tempfile.mkdtemp()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = get_peft_model(task.backbone(), LoraConfig(r=2, target_modules=task.attention, init_lora_weights=False))
    model.save_pretrained(folder)
    return folder


def xlora(task: Task) -> PeftConfig:
    experts = {str(seed): expert(task.base, seed) for seed in range(2)}
    return XLoraConfig(hidden_size=32, adapters=experts, xlora_dropout_p=0.0)


LAST = "nothing reads the last block's update of the shadow"
ELSEWHERE = {"starts_as_base": False}
NO_BIAS = {"unmerged": dict.fromkeys(("causal LM", "seq2seq"), "cannot be merged")}

CASES = [
    lora("LoRA"),
    lora("LoRA, rsLoRA", "2312.03732", use_rslora=True),
    lora("LoRA, DoRA", "2402.09353", use_dora=True),
    lora("LoRA, gaussian init", init_lora_weights="gaussian"),
    lora("LoRA, init_lora_weights=False", case=ELSEWHERE, init_lora_weights=False),
    lora("LoRA, PiSSA", "2404.02948", init_lora_weights="pissa"),
    lora("LoRA, PiSSA by 4 iterations", "2404.02948", init_lora_weights="pissa_niter_4"),
    lora("LoRA, OLoRA", "2406.01775", init_lora_weights="olora"),
    lora("LoRA, orthogonal init", init_lora_weights="orthogonal"),
    lora("LoRA, MiCA", "2604.01694", init_lora_weights="mica"),
    lora(
        "LoRA, LoftQ",
        "2310.08659",
        {"refused": everywhere("bitsandbytes")},
        init_lora_weights="loftq",
        loftq_config=LoftQConfig(),
    ),
    lora("LoRA, KaSA", "2412.06071", ELSEWHERE, kasa_config=KasaConfig()),
    lora("LoRA, MonteCLoRA", "2411.04358", monteclora_config=MontecloraConfig(num_samples=2, buffer_size=2)),
    lora("LoRA, VeLoRA", "2405.17991", velora_config=VeloraConfig(num_groups=4)),
    lora("LoRA, BD-LoRA", use_bdlora=lambda task: BdLoraConfig(task.attention[:1], [task.down], 2, match_strict=False)),
    lora(
        "LoRA, aLoRA",
        "2504.12397",
        {"refused": dict.fromkeys(("classification", "seq2seq"), "alora")},
        alora_invocation_tokens=SPECIAL[:1],
    ),
    lora("LoRA, QALoRA", "2309.14717", use_qalora=True, qalora_group_size=8),
    lora(
        "LoRA, layer_replication",
        "",
        ELSEWHERE | {"refused": {"seq2seq": "Llama, Bert or Falcon"}},
        layer_replication=[(0, 2), (0, 2)],
    ),
    lora("LoRA, lora_bias", case=NO_BIAS, lora_bias=True),
    lora("LoRA, bias=all", bias="all"),
    lora("LoRA, trainable_token_indices", "", trainable_token_indices=SPECIAL),
    lora("LoRA, modules_to_save", "", modules_to_save=lambda task: [*task.norms, task.down]),
    lora(
        "LoRA, target_parameters",
        "",
        target_modules=[],
        target_parameters=lambda task: [f"{name}.weight" for name in task.attention],
    ),
    lora(
        "LoRA, embedding",
        case={"unmerged": {"seq2seq": "is used in several places"}},
        target_modules=["model.embed_tokens", "word_embeddings", "encoder.embed_tokens"],
    ),
    lora("LoRA, Arrow", "2405.11157", {"refused": everywhere("trains nothing")}, arrow_config=ArrowConfig()),
    tuner(AdaLoraConfig, "2303.10512", init_r=6, target_r=2, total_step=2),
    tuner(AdamssConfig, "https://openreview.net/forum?id=8ZdWmpYxT0", r=8, num_subspaces=2),
    tuner(
        AdamssConfig,
        "https://openreview.net/forum?id=8ZdWmpYxT0",
        name="Adamss, use_asa",
        r=8,
        num_subspaces=2,
        use_asa=True,
        init_warmup=1,
        final_warmup=2,
        mask_interval=2,
    ),
    tuner(BeftConfig, "2509.15974", NO_BIAS),
    tuner(BOFTConfig, "2311.06243"),
    tuner(C3AConfig, "2407.19342", ELSEWHERE, block_size=8),
    tuner(DeftConfig, "NeurIPS 2025", r=4),
    tuner(DeloraConfig, "2503.18225", r=4),
    tuner(FourierFTConfig, "2405.03003", ELSEWHERE, n_frequency=50, scaling=10.0),
    tuner(FrodConfig, "https://doi.org/10.1609/aaai.v40i31.39813", progressbar=False),
    tuner(
        GloraConfig,
        "2306.07967",
        {"without_gradient": {"glora_D": "it scales the bias, which is zero in the random model"}},
        r=4,
    ),
    tuner(GraloraConfig, "2505.20355", r=4, alpha=8),
    tuner(HiraConfig, "https://openreview.net/forum?id=TwJrTz9cRS", r=4),
    tuner(HRAConfig, "2405.17484", r=4),
    tuner(IA3Config, "2205.05638", feedforward_modules=lambda task: task.feedforward),
    tuner(LilyConfig, "2407.09946", r=4),
    tuner(LNTuningConfig, "2312.11420", target_modules=lambda task: task.norms),
    tuner(LoHaConfig, "2108.06098", r=4),
    tuner(LoKrConfig, "2309.14859", r=4),
    tuner(MissConfig, "2409.15371", r=8),
    tuner(MissConfig, "2409.15371", name="Miss, bat", r=8, init_weights="bat"),
    tuner(MissConfig, "2409.15371", name="Miss, mini", r=8, mini_r=4, init_weights="mini"),
    tuner(OFTConfig, "2306.07280", oft_block_size=8),
    tuner(OSFConfig, "2504.07097", effective_rank=8),
    tuner(PeanutConfig, "2410.01870", r=4),
    tuner(PolyConfig, "2202.13914", {"forward": {"task_ids": torch.zeros(4, dtype=torch.long)}}, r=4),
    tuner(PsoftConfig, "2505.11235", r=4),
    tuner(PveraConfig, "2512.07703", r=8),
    tuner(RandLoraConfig, "2502.00987", r=4),
    tuner(RoadConfig, "2409.00119", group_size=8),
    tuner(
        ShadowConfig,
        "",
        {
            "refused": {"seq2seq": "decoder layers"},
            "without_gradient": {
                "layers.1.shadow_update": LAST,
                "layer.1.shadow_update": LAST,
                "default.embeddings.word_embeddings": "the shadow reads the base's",
                "default.pooler": "nothing reads it",
            },
        },
        r=4,
        target_modules=lambda task: r".*encoder\.layer\.\d+" if task.name == "classification" else None,
    ),
    tuner(ShiraConfig, "2406.13175", r=4),
    tuner(SupertuningConfig, "2607.09287"),
    tuner(TinyLoraConfig, "2602.04118"),
    tuner(TrainableTokensConfig, "", token_indices=SPECIAL, target_modules=None),
    tuner(UniLoraConfig, "2506.00799", ELSEWHERE),
    tuner(VBLoRAConfig, "2405.15179", ELSEWHERE, vector_length=8, num_vectors=16),
    tuner(VeraConfig, "2310.11454", r=8),
    tuner(WaveFTConfig, "2505.12532", n_frequency=50),
    Case(
        "XLora",
        xlora,
        "2402.07148",
        besides_causal("causal language model"),
        starts_as_base=False,
        decays_to_base=False,
    ),
]
