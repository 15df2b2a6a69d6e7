"""Make a MobileNetV2 in torchvision's names, as safetensors, from a quantised TensorFlow Lite file.

    python data/scripts/convert_weights.py tf2_mobilenet_v2_1.0_224_ptq.tflite \
        weights/mobilenet_v2-imagenet.safetensors --photographs caltech101/101_ObjectCategories
    python data/scripts/convert_weights.py mobilenet_v2_1.0_224_inat_bird_quant.tflite \
        weights/mobilenet_v2-inat_birds.safetensors --photographs caltech101/101_ObjectCategories

The files are those of github.com/google-coral/test_data. They are read with the package tflite.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import click
import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from lib.data.images import SUFFIXES, read_square
from lib.engine.files import write_atomically
from lib.networks.sources import SourceNetwork, source_network

SIZE, BATCH = 224, 32  # pixels of the photographs, and how many at a time
Layer = tuple[np.ndarray, np.ndarray]


def read_layers(path: Path) -> list[Layer]:
    """Weights (outputs, inputs, height, width) and biases, float32, of all layers in their order.

    A convolution by channel has one input, a fully connected layer height and width 1.
    Raises ValueError, naming the file, for one without such layers.
    """
    import tflite

    # weights: outputs, height, width, inputs; by channel: 1, height, width, outputs
    axes = {
        tflite.BuiltinOperator.CONV_2D: (0, 3, 1, 2),
        tflite.BuiltinOperator.DEPTHWISE_CONV_2D: (3, 0, 1, 2),
        tflite.BuiltinOperator.FULLY_CONNECTED: (0, 1),
    }
    model = tflite.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    layers = []
    for place in range(graph.OperatorsLength()):
        operator = graph.Operators(place)
        code = model.OperatorCodes(operator.OpcodeIndex()).DeprecatedBuiltinCode()
        if code in axes:
            weight, bias = (_values(model, graph.Tensors(operator.Inputs(i))) for i in (1, 2))
            weight = weight.transpose(axes[code])
            layers.append((weight.reshape(*weight.shape[:2], *(weight.shape[2:] or (1, 1))), bias))
    if not layers:
        raise ValueError(f"{path} has no layers with weights")
    return layers


def _values(model, tensor) -> np.ndarray:
    """What the whole numbers of a tensor stand for."""
    import tflite

    kinds = {tflite.TensorType.UINT8: "u1", tflite.TensorType.INT8: "i1"}
    kinds[tflite.TensorType.INT32] = "<i4"
    content = model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
    numbers = np.frombuffer(content, kinds[tensor.Type()]).reshape(tensor.ShapeAsNumpy())
    marks = tensor.Quantization()
    shape = np.ones(numbers.ndim, int)  # one scale for all, or one for each place of an axis
    shape[marks.QuantizedDimension()] = marks.ScaleLength()
    scale, zero = marks.ScaleAsNumpy().reshape(shape), marks.ZeroPointAsNumpy().reshape(shape)
    return ((numbers - zero) * scale.astype(np.float64)).astype(np.float32)


def build(layers: list[Layer], *, classes: int) -> SourceNetwork:
    """A MobileNetV2 whose batch normalisations only add the biases.

    classes: the last ones of the outputs; TensorFlow's networks on ImageNet have background first.
    """
    network = source_network("mobilenet_v2", classes, width=0, seed=0)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    normalisations = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if len(layers) != len(convolutions) + 1:
        raise ValueError(f"{len(layers)} layers where MobileNetV2 has {len(convolutions) + 1}")
    for convolution, normalisation, (weight, bias) in zip(
        convolutions, normalisations, layers[:-1], strict=True
    ):
        convolution.weight.data.copy_(_same_shape(weight, convolution.weight))
        normalisation.weight.data.fill_((1 + normalisation.eps) ** 0.5)  # divides by that
        normalisation.bias.data.copy_(torch.from_numpy(bias))
    weight, bias = layers[-1]
    (linear,) = (module for module in network.modules() if isinstance(module, nn.Linear))
    linear.weight.data.copy_(_same_shape(weight[-classes:, :, 0, 0], linear.weight))
    linear.bias.data.copy_(torch.from_numpy(bias[-classes:]))
    return network.eval()


def _same_shape(weight: np.ndarray, own: Tensor) -> Tensor:
    """The values, which must be as many; ``copy_`` would repeat them."""
    if weight.shape != tuple(own.shape):
        raise ValueError(f"weights of {weight.shape} where MobileNetV2 has {tuple(own.shape)}")
    return torch.from_numpy(weight)


@torch.no_grad()
def calibrate(network: SourceNetwork, batches: Iterable[Tensor]) -> None:
    """Give the batch normalisations the means and variances of photographs, in place.

    Scale and offset undo them: in evaluation the network stays what it was, but it can be trained
    on. batches: (N, 3, H, W) in [0, 1].
    """
    sums: dict[nn.Module, Tensor] = {}

    def count(module: nn.Module, inputs: tuple[Tensor]) -> None:
        values = inputs[0].transpose(0, 1).flatten(1).double()
        moments = torch.stack([torch.ones(len(values)), values.mean(1), values.square().mean(1)])
        sums[module] = sums.get(module, 0) + len(inputs[0]) * moments

    normalisations = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [module.register_forward_pre_hook(count) for module in normalisations]
    for batch in batches:
        network(batch)
    for hook in hooks:
        hook.remove()
    for module in normalisations:
        images, mean, square = sums[module]
        mean, square = mean / images, square / images
        variance = (square - mean.square()).clamp(min=0).float()
        module.bias.data += mean
        module.weight.data.copy_((variance + module.eps).sqrt())
        module.load_state_dict({"running_mean": mean, "running_var": variance}, strict=False)


def torchvision_state(network: SourceNetwork) -> dict[str, Tensor]:
    """The state in the names of torchvision's mobilenet_v2: weights as float16."""
    state = {}
    for name, values in network.state_dict().items():
        if name in ("layers.0.mean", "layers.0.std"):  # of the input, which torchvision lacks
            continue
        # the first layer normalises the input, the last of the head is the classifier
        name = re.sub(r"^layers\.(\d+)", lambda match: f"features.{int(match[1]) - 1}", name)
        name = re.sub(r"^head\.\d+", "classifier.1", name)
        half = values.dtype == torch.float32 and "running" not in name
        state[name] = values.half() if half else values.clone()
    return state


def photographs(folder: Path, count: int) -> list[Path]:
    """``count`` files of a folder and its folders, spread evenly over the sorted list.

    Raises ValueError, naming the folder, where there are fewer.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(paths) < count:
        raise ValueError(f"{folder} has {len(paths):,} photographs, not {count:,}")
    return [paths[place * len(paths) // count] for place in range(count)]


def in_batches(paths: list[Path]) -> Iterable[Tensor]:
    """Batches of centre squares in [0, 1], (N, 3, 224, 224)."""
    for start in range(0, len(paths), BATCH):
        squares = [
            read_square(path, SIZE, 3, enlarge=True) for path in paths[start : start + BATCH]
        ]
        yield torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255


@click.command(help=__doc__)
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--photographs", "folder", required=True, type=click.Path(path_type=Path))
@click.option("--count", default=512, show_default=True, help="Photographs for the statistics.")
def main(source: Path, target: Path, folder: Path, count: int) -> None:
    """Convert one file."""
    layers = read_layers(source)
    outputs = len(layers[-1][1])
    classes = 1000 if outputs == 1001 else outputs
    network = build(layers, classes=classes)
    calibrate(network, in_batches(photographs(folder, count)))
    write_atomically(target, save(torchvision_state(network)))
    click.echo(f"{target}: {len(layers)} layers, {classes:,} classes")


if __name__ == "__main__":
    main()
