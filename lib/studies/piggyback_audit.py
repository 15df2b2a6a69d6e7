"""Notebook 01: the paper's sizes and similarities, counted again from the modules themselves.

Matsumoto and Yanai print model sizes (Table 2, section 5.2) and agreements between masks (Table 3).
The sizes follow from the networks, without a run: float32 weights of convolutions and transposed
convolutions, in MiB; biases, norms and a task's last layer do not count in the paper. What the
agreements say beyond chance follows from Table 3 alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from math import isclose, log2

import pandas as pd
import torch
from torch import nn

from lib.methods.mask_similarity import kappa
from lib.models.classifiers import vgg16
from lib.models.generator import Generator
from lib.models.sizes import count_values, count_weights, mib
from lib.models.unet import UNet

CLASSES = {1: 81, 2: 21, 3: 2, 4: 3, 5: 3}  # output channels of the five tasks
TASKS = len(CLASSES)
# Table 3: share of equal bits. Task 1 is the base: no weight is masked, its mask is all ones.
AGREEMENT = {
    (1, 2): 0.5075,
    (1, 3): 0.5042,
    (1, 4): 0.4326,
    (1, 5): 0.4529,
    (2, 3): 0.5054,
    (2, 4): 0.5034,
    (2, 5): 0.5029,
    (3, 4): 0.5020,
    (3, 5): 0.5025,
    (4, 5): 0.5210,
}


@dataclass(frozen=True)
class Finding:
    """A number of the paper beside ours.

    agrees: within ``slack``, the rounding of the terms that the paper adds up; none for numbers
        that the paper does not give.
    """

    id: str
    statement: str
    paper: float
    ours: float
    unit: str
    explanation: str
    slack: float = 0.0

    @property
    def agrees(self) -> bool:
        """Is our number the paper's?"""
        return abs(self.paper - self.ours) <= self.slack + 1e-9


def audit() -> pd.DataFrame:
    """Every finding: id (index), statement, paper (NaN: not given), ours, unit, agrees, ..."""
    counts = _counts()
    findings = (
        *_weights(counts),
        *_unet_sizes(counts),
        *_block_sizes(counts),
        *_similarities(),
        *_entropies(),
    )
    rows = [asdict(finding) | {"agrees": finding.agrees} for finding in findings]
    columns = ["id", "statement", "paper", "ours", "unit", "agrees", "explanation"]
    table = pd.DataFrame(rows)[columns].set_index("id")
    return table.assign(agrees=table["agrees"].astype("boolean").where(table["paper"].notna()))


def parts(width: int = 64) -> dict[str, nn.Module]:
    """The study's networks in pieces, without memory for their weights (device ``meta``)."""
    with torch.device("meta"):
        unet, generator = UNet(width=width), Generator(width=width)
        heads = {f"last layer, task {task}": unet.new_last(n) for task, n in CLASSES.items()}
        blocks = generator.add_task("any")
    auto_encoder = nn.ModuleList((generator.encoder, generator.decoder))
    return {
        "U-Net encoder": unet.encoder,
        "U-Net decoder": unet.decoder,
        **heads,
        "auto-encoder": auto_encoder,
        "residual blocks of a task": blocks,
    }


def tensors(width: int = 64) -> pd.DataFrame:
    """Which tensors count: stored numbers of each piece by kind, MiB of weights and of all."""
    rows = {name: count_values(part) for name, part in parts(width).items()}
    table = pd.DataFrame.from_dict(rows, orient="index").drop(columns="other")
    return table.assign(
        mib_weights=[mib(values) for values in table["weights"]],
        mib_all=[mib(values) for values in table.sum(axis=1)],
    )


def similarity() -> pd.DataFrame:
    """Table 3 against chance: a, b, agreement, chance, excess, kappa, mutual_information (bits).

    chance: agreement of independent masks with the same shares of ones; kappa: Cohen's,
    (agreement - chance) / (1 - chance). Pairs with task 1 have neither: its mask is constant.
    Over the whole mask, layers that are sparse in both tasks count as agreement too: a kappa within
    layers can be smaller.
    """
    ones = densities()
    rows = []
    for a, b in combinations(sorted(ones), 2):
        agreement = AGREEMENT[a, b]
        chance = ones[a] * ones[b] + (1 - ones[a]) * (1 - ones[b])
        rows.append(
            {
                "a": a,
                "b": b,
                "agreement": agreement,
                "chance": chance,
                "excess": agreement - chance,
                "kappa": kappa(agreement, ones[a], ones[b]),
                "mutual_information": _mutual_information(ones[a], ones[b], agreement),
            }
        )
    return pd.DataFrame(rows)


def densities() -> dict[int, float]:
    """Share of ones in the masks of tasks 2 to 5: their agreement with the base's ones."""
    return {b: value for (a, b), value in AGREEMENT.items() if a == 1}


def entropy(*probabilities: float) -> float:
    """Bits of a draw with these probabilities. Raises ValueError if they are no distribution."""
    if min(probabilities) < 0 or not isclose(sum(probabilities), 1):
        raise ValueError(f"no distribution: {probabilities}")
    return -sum(p * log2(p) for p in probabilities if p)


def _mutual_information(ones_a: float, ones_b: float, agreement: float) -> float:
    both = (agreement + ones_a + ones_b - 1) / 2
    joint = (both, ones_a - both, ones_b - both, agreement - both)
    marginals = entropy(ones_a, 1 - ones_a) + entropy(ones_b, 1 - ones_b)
    return marginals - entropy(*joint)


def _counts() -> dict[str, int]:
    """The counts that all sizes are made of."""
    pieces = parts()
    encoder, decoder = pieces["U-Net encoder"], pieces["U-Net decoder"]
    stored = [part for name, part in pieces.items() if name.startswith(("U-Net", "last layer"))]
    with torch.device("meta"):
        vgg = vgg16(10)
    return {
        "unet": count_weights(encoder, decoder),
        "encoder": count_weights(encoder),
        "decoder": count_weights(decoder),
        "unet and last layers": sum(count_values(*stored).values()),
        "blocks": count_weights(pieces["residual blocks of a task"]),
        "auto-encoder": sum(count_values(pieces["auto-encoder"]).values()),
        "vgg": count_weights(vgg),
    }


def _weights(n: dict[str, int]) -> list[Finding]:
    return [
        Finding(
            "unet-weights",
            "Weights that a U-Net mask covers",
            14_776_000,
            n["unet"],
            "weights",
            "convolutions and transposed convolutions; no bias, norm or last layer",
        ),
        Finding(
            "encoder-weights",
            "Weights of the U-Net's encoder",
            float("nan"),
            n["encoder"],
            "weights",
            "what is left of the paper's count without the decoder",
        ),
        Finding(
            "decoder-weights",
            "Weights of the U-Net's decoder",
            float("nan"),
            n["decoder"],
            "weights",
            "20.5 MiB in the paper",
        ),
        Finding(
            "block-weights",
            "Weights of the 6 residual blocks of a task",
            7_077_888,
            n["blocks"],
            "weights",
            "6 blocks x 2 convolutions x 256 x 256 x 3 x 3",
        ),
        Finding(
            "vgg-weights",
            "Weights of VGG16's 13 convolutions",
            float("nan"),
            n["vgg"],
            "weights",
            "the paper explains its high zero rates by a U-Net with more parameters than VGG16: "
            "the convolutions alone have as many, the three linear layers 124 million besides",
        ),
    ]


def _unet_sizes(n: dict[str, int]) -> list[Finding]:
    unet, decoder, mask = mib(n["unet"]), mib(n["decoder"]), mib(n["unet"], bits=1)
    later = TASKS - 1
    per_task = unet + later * decoder
    piggyback = unet + later * mask
    stored = mib(n["unet and last layers"]) + later * mask
    return [
        Finding(
            "size-unet", "One U-Net", 56.4, unet, "MiB", "float32 weights in units of 2^20", 0.05
        ),
        Finding(
            "size-decoder", "One U-Net decoder", 20.5, decoder, "MiB", "as the whole network", 0.05
        ),
        Finding("size-mask", "One mask", 1.8, mask, "MiB", "1 bit a weight", 0.05),
        Finding(
            "size-scratch",
            "Scratch, 5 tasks",
            282.0,
            TASKS * unet,
            "MiB",
            "5 networks",
            TASKS * 0.05,
        ),
        Finding(
            "size-fine-tune",
            "Fine-tune, 5 tasks",
            282.0,
            unet,
            "MiB",
            "the paper stores 5 networks and shows forgetting: with 5 nothing is forgotten, "
            "and the one network that forgets is the size of one",
            TASKS * 0.05,
        ),
        Finding(
            "size-decoders",
            "Decoder, 5 tasks",
            138.4,
            per_task,
            "MiB",
            "1 network and 4 more decoders",
            0.05 + later * 0.05,
        ),
        Finding(
            "size-piggyback",
            "Piggyback, 5 tasks",
            63.6,
            piggyback,
            "MiB",
            "1 network and 4 masks; the paper adds rounded terms",
            0.05 + later * 0.05,
        ),
        Finding(
            "size-piggyback-all",
            "Piggyback, 5 tasks, with every tensor",
            float("nan"),
            stored,
            "MiB",
            "biases, one set of norms and 5 last layers counted as well",
        ),
        Finding(
            "size-ratio",
            "Piggyback's size as a share of Decoder's",
            0.5,
            piggyback / per_task,
            "ratio",
            "the paper: less than half",
            0.05,
        ),
    ]


def _block_sizes(n: dict[str, int]) -> list[Finding]:
    blocks, mask, auto_encoder = mib(n["blocks"]), mib(n["blocks"], 1), mib(n["auto-encoder"])
    printed = 8.7  # the paper's auto-encoder
    two, masked = printed + 2 * blocks, printed + blocks + mask
    return [
        Finding(
            "size-blocks",
            "Residual blocks of one task",
            135.0,
            blocks,
            "MiB",
            "135.0 is the size for 5 tasks; Table 2 multiplies it by 5 again",
            0.05,
        ),
        Finding(
            "size-resblock",
            "Resblock(6), 5 tasks",
            683.7,
            printed + TASKS * blocks,
            "MiB",
            "8.7 + 27.0 x 5, with the paper's 8.7 for the auto-encoder",
            0.3,
        ),
        Finding(
            "size-auto-encoder",
            "The auto-encoder",
            printed,
            auto_encoder,
            "MiB",
            "CycleGAN's encoder and decoder, biases included; 3 times as much rounds to 8.7, "
            "which weights with Adam's two averages in one file would give: a guess",
            0.05,
        ),
        Finding(
            "size-resblock-cyclegan",
            "Resblock(6), 5 tasks, with CycleGAN's auto-encoder",
            683.7,
            auto_encoder + TASKS * blocks,
            "MiB",
            "the size if figure 11 shows CycleGAN's encoder and decoder",
            0.3,
        ),
        Finding(
            "size-block-mask",
            "One mask on the residual blocks",
            4.2,
            mask,
            "MiB",
            "4.2 is the size of 5 masks",
            0.05,
        ),
        Finding(
            "size-two-tasks",
            "Resblock, 2 tasks",
            287.4,
            two,
            "MiB",
            "8.7 + 27.0 x 2; even 8.7 + 135.0 x 2 is 278.7: 287.4 has the auto-encoder twice",
            0.15,
        ),
        Finding(
            "size-two-tasks-masked",
            "Resblock+Piggyback, 2 tasks",
            147.9,
            masked,
            "MiB",
            "8.7 + 27.0 + 0.84",
            0.15,
        ),
        Finding(
            "size-saving",
            "What the mask saves for 2 tasks",
            139.5,
            two - masked,
            "MiB",
            "27.0 - 0.84; in the paper's own units 135.0 - 4.2 = 130.8",
            0.15,
        ),
    ]


def _similarities() -> list[Finding]:
    return [
        Finding(
            f"kappa-{row.a}-{row.b}",
            f"Similarity of the masks of tasks {row.a} and {row.b} beyond chance",
            float("nan"),
            row.kappa,
            "Cohen's kappa",
            f"{row.agreement:.4f} of the bits agree (Table 3), {row.chance:.4f} in independent "
            "masks with as many ones",
        )
        for row in similarity().itertuples()
    ]


def _entropies() -> list[Finding]:
    findings = [
        Finding(
            f"entropy-{task}",
            f"Least size of the mask of task {task} after compression",
            float("nan"),
            entropy(ones, 1 - ones),
            "bits a weight",
            "entropy of independent bits with the mask's share of ones",
        )
        for task, ones in densities().items()
    ]
    last = similarity().set_index(["a", "b"]).loc[(4, 5), "mutual_information"]
    ones, differing = densities()[5], 1 - AGREEMENT[4, 5]
    alone, difference = entropy(ones, 1 - ones), entropy(differing, 1 - differing)
    saved = Finding(
        "entropy-5-given-4",
        "What knowing the mask of task 4 saves for that of task 5",
        float("nan"),
        last / alone,
        "share",
        "mutual information of a weight's two bits over the entropy of one; to store where the "
        f"masks differ takes {difference:.4f} bits a weight, the mask itself {alone:.4f}",
    )
    return [*findings, saved]
