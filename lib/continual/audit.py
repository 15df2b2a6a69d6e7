"""What follows from the paper alone: its sizes, similarities and sentences, checked again.

``audit.csv`` has a line for each finding: what the paper prints, and a formula of the quantities
that are counted here. Sizes are float32 weights of convolutions and transposed convolutions, in
MiB; biases, norms and a task's last layer do not count in the paper. ``paper_table_2.csv`` and
``paper_table_3.csv`` are what Matsumoto and Yanai print of their own results.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save
from scipy.stats import entropy
from torch import nn

from lib.continual.analysis import TABLE_2, best_answers, chance, over_seeds, pick
from lib.continual.masks import MaskedNetwork, save_task
from lib.continual.networks import LAYERS, Generator, UNet
from lib.continual.trials import KINDS
from lib.ledger.tables import compared_with_print
from lib.networks.classifiers import vgg16
from lib.networks.sizes import count_values, count_weights, mib

CLASSES = {1: 81, 2: 21, 3: 2, 4: 3, 5: 3}  # output channels of the five tasks
ROUNDING = 0.05  # of a printed size
NAMES = {"mIoU": "miou", "MSE": "mse", "SSIM": "ssim", "loss": "total"}  # in the paper and here
FOLDER = Path(__file__).parent
_TABLE_2 = pd.read_csv(FOLDER / "paper_table_2.csv", comment="#").set_index(["reading", "number"])
RESULTS_OF, LEFT_OF = "right after the task", "after a later task"
RESULTS, AFTER = _TABLE_2.loc[RESULTS_OF], _TABLE_2.loc[LEFT_OF]
METHODS = list(RESULTS)
# Share of equal bits. Task 1 is the base: no weight is masked, its mask is all ones.
AGREEMENT = pd.read_csv(FOLDER / "paper_table_3.csv", index_col=["a", "b"])["agreement"]
ONES: dict[int, float] = AGREEMENT.loc[1].to_dict()  # share of ones in the masks of tasks 2 to 5


def beside_paper(rows: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Table 2, printed and measured: one row a number and method.

    rows, answers: of ``analysis.scores`` and ``trivial_table``. learned: "right after the task" or
    "after a later task", which is the next one.
    """
    best, table = best_answers(answers), []
    for learned, printed in {RESULTS_OF: RESULTS, LEFT_OF: AFTER}.items():
        for cell in printed.reset_index().melt("number", var_name="method").itertuples():
            name, task = NAMES[cell.number.split()[0]], int(cell.number[-1])
            method = cell.method.lower()
            fields = {"after": task + 1} if learned == LEFT_OF else TABLE_2.get((method, task), {})
            ours = over_seeds(pick(rows, method, task, name=name, **fields))
            numbers = (cell.value, ours.n, ours.value, ours.low, ours.high)
            trivial = best.get((task, name), np.nan)
            table.append((cell.number, learned, cell.method, *numbers, trivial))
    columns = ["number", "learned", "method", "paper", "n", "ours", "low", "high", "trivial"]
    return pd.DataFrame(table, columns=columns)


def audit() -> pd.DataFrame:
    """Every finding: id (index), statement, paper (NaN: not given), ours, unit, agrees, ...

    agrees: is our number the paper's, within the rounding of the terms that the paper adds up?
    """
    findings = pd.read_csv(FOLDER / "audit.csv", index_col="id")
    known = {**sizes(), **masks_of_table_3(), **sentences()}
    findings["ours"] = [
        float(pd.eval(formula, engine="python", local_dict=known, global_dict={}))
        for formula in findings["formula"]
    ]
    return compared_with_print(findings.assign(slack=findings["terms"] * ROUNDING))


def sizes() -> dict[str, float]:
    """Numbers of weights, and MiB of what is stored, of the networks at the paper's width."""
    from torchvision.models import vgg16 as whole_vgg16  # here: importing it takes a second

    with torch.device("meta"):  # without memory for the weights
        unet, generator = UNet(out_channels=CLASSES[1]), Generator()
        last_layers = [unet.new_last(CLASSES[task]) for task in (2, 3, 4, 5)]
        blocks, convolutions, whole = generator.add_task("any"), vgg16(10), whole_vgg16()
    weights = {
        "unet_weights": count_weights(unet.encoder, unet.decoder),
        "encoder_weights": count_weights(unet.encoder),
        "decoder_weights": count_weights(unet.decoder),
        "block_weights": count_weights(blocks),
        "vgg_weights": count_weights(convolutions),
        "vgg_parameters": sum(count_values(whole).values()),
        "unet_layers": len(LAYERS),
    }
    return weights | {
        "unet": mib(weights["unet_weights"]),
        "decoder": mib(weights["decoder_weights"]),
        "mask": mib(weights["unet_weights"], bits=1),
        "blocks": mib(weights["block_weights"]),
        "block_mask": mib(weights["block_weights"], bits=1),
        "auto_encoder": mib(sum(count_values(generator.encoder, generator.decoder).values())),
        "unet_with_every_tensor": mib(sum(count_values(unet, *last_layers).values())),
    }


def similarity() -> pd.DataFrame:
    """Table 3 against chance: a, b, agreement, chance, excess, kappa, mutual_information (bits).

    chance: agreement of independent masks with the same shares of ones. Pairs with task 1 are left
    out: its mask is constant. Over the whole mask, layers that are sparse in both tasks count as
    agreement too: a kappa within layers can be smaller.
    """
    pairs = AGREEMENT.drop(index=1, level="a").reset_index()
    a, b = (pairs[name].map(ONES) for name in ("a", "b"))
    pairs["chance"] = chance(a, b)
    pairs["excess"] = pairs["agreement"] - pairs["chance"]
    pairs["kappa"] = pairs["excess"] / (1 - pairs["chance"])
    both = (pairs["agreement"] + a + b - 1) / 2  # share of weights that both masks use
    joint = np.array([both, a - both, b - both, pairs["agreement"] - both])
    marginals = entropy([a, 1 - a], base=2) + entropy([b, 1 - b], base=2)
    pairs["mutual_information"] = marginals - entropy(joint, base=2)
    return pairs


def masks_of_table_3() -> dict[str, float]:
    """Share of ones and entropy of each mask, and kappa of each pair."""
    pairs = similarity()
    bits = {f"entropy_{task}": entropy([ones, 1 - ones], base=2) for task, ones in ONES.items()}
    kappas = {f"kappa_{pair.a}_{pair.b}": pair.kappa for pair in pairs.itertuples()}
    shares = {f"ones_{task}": ones for task, ones in ONES.items()}
    of_4_and_5 = pairs["mutual_information"].iloc[-1]
    return {
        "pairs_of_masks": len(pairs),
        "mutual_information": of_4_and_5,
        **shares,
        **bits,
        **kappas,
    }


def sentences() -> dict[str, float]:
    """What the text says about Table 2, counted there."""
    same, other = RESULTS.loc[AFTER.index] == AFTER, RESULTS.loc[AFTER.index] != AFTER
    changed = (other & AFTER.notna()).sum()
    return {
        "numbers_kept": same[METHODS[2:]].to_numpy().sum(),
        "numbers_changed_fine_tune": changed["Fine-tune"],
        "numbers_changed_scratch": changed["Scratch"],
        "methods_with_200_epochs": (_TABLE_2.loc[("epochs", "loss of task 4")] == 200).sum(),
        "kinds_of_tasks": len(set(KINDS.values())),
    }


def piece_files(width: int = 64) -> dict[str, float]:
    """MiB of one file of each piece with every tensor in it: norms, biases, last layers."""
    unet, generator = UNet(3, CLASSES[1], width=width), Generator(width=width)
    pieces = {
        "network": unet,
        "decoder": nn.ModuleDict({"decoder": unet.decoder, "last": unet.last}),
        "auto-encoder": nn.ModuleList((generator.encoder, generator.decoder)),
        "blocks": generator.add_task("any"),
    }
    sizes = {name: len(save(dict(piece.state_dict()))) / 2**20 for name, piece in pieces.items()}
    # masks of half zeros are the hardest to make smaller; and the largest of the last layers
    masked = MaskedNetwork(unet, {"last": unet.new_last(CLASSES[2])}, norm="statistics")
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for mask in masked.masks().values():
            mask.real.copy_(torch.randint(2, mask.real.shape, generator=rng))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "task.safetensors")
        save_task(path, masked.task())
        return sizes | {"mask": path.stat().st_size / 2**20}


def stored_sizes(width: int = 64) -> pd.DataFrame:
    """MiB for five tasks by method: the paper's, from counted weights, and of real files."""
    findings, files = audit(), piece_files(width)
    stored = {  # the finding with its size, and the pieces that are stored for five tasks
        "scratch": ("size-scratch", {"network": 5}),
        "fine-tune": ("size-fine-tune", {"network": 1}),
        "decoder": ("size-decoders", {"network": 1, "decoder": 4}),
        "piggyback": ("size-piggyback", {"network": 1, "mask": 4}),
        "resblock": ("size-resblock-cyclegan", {"auto-encoder": 1, "blocks": 5}),
    }
    rows = [
        (
            method,
            *findings.loc[finding, ["paper", "ours"]],
            sum(n * files[p] for p, n in own.items()),
        )
        for method, (finding, own) in stored.items()
    ]
    return pd.DataFrame(rows, columns=["method", "paper", "counted", "files"])
