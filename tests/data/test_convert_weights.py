"""The converter of MobileNetV2: numbers by hand out of a small file, the same network after it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models import mobilenet_v2

from lib.engine.files import REPOSITORY

tflite = pytest.importorskip("tflite")
flatbuffers = pytest.importorskip("flatbuffers")
PATH = REPOSITORY / "data" / "scripts" / "convert_weights.py"
SPEC = importlib.util.spec_from_file_location("convert_weights", PATH)
script = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(script)


def write_tflite(path: Path, layers: list[tuple]) -> None:
    """A model of layers (operator, weights, scales, zero points, axis of these, biases, scale)."""
    builder = flatbuffers.Builder(0)

    def offsets(items: list[int]) -> int:
        builder.StartVector(4, len(items), 4)
        for item in reversed(items):
            builder.PrependUOffsetTRelative(item)
        return builder.EndVector()

    buffers, tensors, operators, codes = [], [], [], []

    def add_tensor(values: np.ndarray, scales: list[float], zeros: list[int], axis: int) -> None:
        content = builder.CreateNumpyVector(values.ravel().view(np.uint8))
        tflite.BufferStart(builder)
        tflite.BufferAddData(builder, content)
        buffers.append(tflite.BufferEnd(builder))
        scale = builder.CreateNumpyVector(np.array(scales, np.float32))
        zero = builder.CreateNumpyVector(np.array(zeros, np.int64))
        tflite.QuantizationParametersStart(builder)
        tflite.QuantizationParametersAddScale(builder, scale)
        tflite.QuantizationParametersAddZeroPoint(builder, zero)
        tflite.QuantizationParametersAddQuantizedDimension(builder, axis)
        marks = tflite.QuantizationParametersEnd(builder)
        shape = builder.CreateNumpyVector(np.array(values.shape, np.int32))
        kinds = {"uint8": "UINT8", "int8": "INT8", "int32": "INT32"}
        tflite.TensorStart(builder)
        tflite.TensorAddShape(builder, shape)
        tflite.TensorAddType(builder, getattr(tflite.TensorType, kinds[values.dtype.name]))
        tflite.TensorAddBuffer(builder, len(buffers) - 1)
        tflite.TensorAddQuantization(builder, marks)
        tensors.append(tflite.TensorEnd(builder))

    for operator, weights, scales, zeros, axis, biases, scale in layers:
        add_tensor(weights, scales, zeros, axis)
        add_tensor(biases, [scale], [0], 0)
        places = np.array([0, len(tensors) - 2, len(tensors) - 1], np.int32)  # the input is unread
        inputs = builder.CreateNumpyVector(places)
        tflite.OperatorCodeStart(builder)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, operator)
        codes.append(tflite.OperatorCodeEnd(builder))
        tflite.OperatorStart(builder)
        tflite.OperatorAddOpcodeIndex(builder, len(codes) - 1)
        tflite.OperatorAddInputs(builder, inputs)
        operators.append(tflite.OperatorEnd(builder))
    tensors, operators = offsets(tensors), offsets(operators)
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, tensors)
    tflite.SubGraphAddOperators(builder, operators)
    graphs = offsets([tflite.SubGraphEnd(builder)])
    codes, buffers = offsets(codes), offsets(buffers)
    tflite.ModelStart(builder)
    tflite.ModelAddOperatorCodes(builder, codes)
    tflite.ModelAddSubgraphs(builder, graphs)
    tflite.ModelAddBuffers(builder, buffers)
    builder.Finish(tflite.ModelEnd(builder))
    path.write_bytes(bytes(builder.Output()))


def test_layers_are_read_with_their_scales_and_axes(tmp_path):
    operators = tflite.BuiltinOperator
    plain = np.array([[[[10, 12, 3]]], [[[7, 0, 255]]]], np.uint8)  # 2 outputs, 1 x 1, 3 inputs
    by_channel = np.array([[[[4, -8], [1, 2]]]], np.int8)  # 1, height 1, width 2, 2 channels
    full = np.array([[1, 2], [3, 4], [5, 6]], np.int8)  # 3 outputs, 2 inputs
    layers = [
        (operators.CONV_2D, plain, [0.5], [10], 0, np.array([4, -6], np.int32), 0.25),
        (operators.SOFTMAX, plain, [0.5], [10], 0, np.array([4, -6], np.int32), 0.25),
        (operators.DEPTHWISE_CONV_2D, by_channel, [2, 0.5], [0, 0], 3, np.zeros(2, np.int32), 1),
        (operators.FULLY_CONNECTED, full, [1, 10, 100], [0] * 3, 0, np.arange(3, dtype="i4"), 2),
    ]
    write_tflite(tmp_path / "small.tflite", layers)
    first, second, third = script.read_layers(tmp_path / "small.tflite")
    assert first[0].shape == (2, 3, 1, 1)
    assert first[0].ravel().tolist() == [0, 1, -3.5, -1.5, -5, 122.5]
    assert first[1].tolist() == [1, -1.5]
    assert second[0].tolist() == [[[[8, 2]]], [[[-4, 1]]]] and second[1].tolist() == [0, 0]
    assert third[0][:, :, 0, 0].tolist() == [[1, 2], [30, 40], [500, 600]]
    assert third[1].tolist() == [0, 2, 4]
    write_tflite(tmp_path / "none.tflite", layers[1:2])
    with pytest.raises(ValueError, match=r"none\.tflite has no layers"):
        script.read_layers(tmp_path / "none.tflite")


def original(classes: int) -> nn.Module:
    """torchvision's network with TensorFlow's padding, and statistics that noise gave it."""
    torch.manual_seed(0)
    network = padded(mobilenet_v2(num_classes=classes)).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2), nn.init.normal_(module.bias, 0, 0.3)
            module.momentum = 1.0
    network(torch.randn(8, 3, 64, 64))
    return network.eval()


def padded(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.padding = 0
            module.register_forward_pre_hook(lambda _, inputs: F.pad(inputs[0], (0, 1, 0, 1)))
    return network.eval()


def folded(network: nn.Module, before: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Convolutions with their batch normalisation in them; ``before``: outputs to be left out."""
    modules = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    layers = []
    for conv, norm in zip(modules[::2], modules[1::2], strict=True):
        moments = norm.running_mean, norm.running_var, norm.eps
        fused = fuse_conv_bn_weights(conv.weight, None, *moments, norm.weight, norm.bias)
        layers.append(tuple(part.detach().numpy() for part in fused))
    weight, bias = (part.detach() for part in network.classifier[1].parameters())
    ahead = torch.full((before, 1280), 9.0), torch.full((before,), 9.0)
    weight, bias = torch.cat([ahead[0], weight]), torch.cat([ahead[1], bias])
    return [*layers, (weight[:, :, None, None].numpy(), bias.numpy())]


@torch.no_grad()
def test_a_converted_network_says_what_the_original_says():
    """In evaluation; after the rounding to 16 bits nearly so, in torchvision's names."""
    before, after = original(7), padded(mobilenet_v2(num_classes=7))
    network = script.build(folded(before, before=1), classes=7)
    images = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    script.calibrate(network, [images[:4], images[4:]])
    state = script.torchvision_state(network)
    assert list(state) == list(after.state_dict())
    kinds = {name: values.dtype for name, values in state.items()}
    assert kinds["features.0.0.weight"] == kinds["features.0.1.bias"] == torch.float16
    assert kinds["features.0.1.running_var"] == torch.float32
    after.load_state_dict(state)
    inputs = 2 * images - 1
    expected, found = before(inputs), after(inputs)
    assert expected.std(0).min() > 0.01, "other images, other outputs"
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)
    assert (found - expected).abs().max() < 0.15 * expected.std()


@torch.no_grad()
def test_statistics_are_those_of_the_photographs():
    network = script.build(folded(original(7), before=0), classes=7)
    images = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    script.calibrate(network, [images[:4], images[4:]])
    convolution, normalisation = network.layers[1][0], network.layers[1][1]
    seen = F.conv2d(F.pad(2 * images - 1, (0, 1, 0, 1)), convolution.weight, stride=2)
    torch.testing.assert_close(normalisation.running_mean, seen.mean((0, 2, 3)))
    variance = seen.var((0, 2, 3), correction=0)
    torch.testing.assert_close(normalisation.running_var, variance, rtol=1e-3, atol=1e-5)


def test_another_network_is_refused():
    layers = folded(original(7), before=0)
    with pytest.raises(ValueError, match="52 layers where MobileNetV2 has 53"):
        script.build(layers[1:], classes=7)
    layers[0] = layers[0][0][:, :1], layers[0][1]
    with pytest.raises(ValueError, match=r"weights of \(32, 1, 3, 3\) where .* \(32, 3, 3, 3\)"):
        script.build(layers, classes=7)


def test_too_few_photographs_are_named(tmp_path):
    with pytest.raises(ValueError, match="has 0 photographs, not 3"):
        script.photographs(tmp_path, 3)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["mobilenet_v2-imagenet", "mobilenet_v2-inat_birds"])
def test_the_weights_in_use_are_those_of_the_published_file(name):
    """Bit by bit, where the published file lies beside them."""
    from lib.data.catalogue import locate

    files = {"mobilenet_v2-imagenet": "tf2_mobilenet_v2_1.0_224_ptq.tflite"}
    files["mobilenet_v2-inat_birds"] = "mobilenet_v2_1.0_224_inat_bird_quant.tflite"
    try:
        folder = locate(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    if not (folder / files[name]).is_file():
        pytest.skip(f"no {folder / files[name]}")
    state = load_file(folder / f"{name}.safetensors")
    classes = len(state["classifier.1.bias"])
    network = script.build(script.read_layers(folder / files[name]), classes=classes)
    found = script.torchvision_state(network)
    same = [key for key, values in state.items() if values.ndim > 1 or "classifier" in key]
    assert len(same) == 54 and all(torch.equal(state[key], found[key]) for key in same)
