"""Deep Image Prior: every number of a fit against numpy, and several fits in one against each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.dip.network import Architecture, EncoderDecoder, Layers
from lib.dip.prior import INPUT_CHANNELS, DipFit, DipSettings, Tracker, fit

ARCHITECTURE = Architecture(2, (0,))
LAYERS = Layers(6, 2, "nearest")
SETTINGS = DipSettings(iterations=12, fixed=8, window=4, patience=20, ema=0.9)


def problems(count: int = 2, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy and clean images of different gratings, float64."""
    y, x = np.mgrid[:size, :size] / size
    clean = [[0.5 + 0.4 * np.sin(5 * (x + k * y)), 0.3 + 0.2 * (k + 1) * x] for k in range(count)]
    clean = torch.tensor(np.array(clean)).clamp(0, 1)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).double()
    return clean + 0.1 * noise, clean


def run(count: int = 2, grouped: bool = True, masks=None, snapshots=(), **changes) -> DipFit:
    targets, clean = problems(count)
    return fit(
        ARCHITECTURE,
        targets,
        clean,
        seeds=range(5, 5 + count),
        layers=LAYERS,
        settings=replace(SETTINGS, **changes),
        masks=masks,
        snapshots=snapshots,
        grouped=grouped,
    )


@pytest.fixture(scope="module")
def watched() -> tuple[DipFit, np.ndarray]:
    """A fit of 24 iterations and all its outputs, (T, B, C, H, W)."""
    fitted = run(iterations=24, snapshots=range(1, 25))
    return fitted, np.stack([fitted.outputs[f"at {t}"].numpy() for t in range(1, 25)])


CUDA = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
)


@pytest.mark.parametrize("reg_noise", [0.0, 0.03])
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_a_fit_is_a_plain_loop_on_the_cpu(device, reg_noise):
    """On a GPU this holds the captured graph, too, against the CPU."""
    targets, clean = (values.to(device) for values in problems())
    settings = replace(SETTINGS, reg_noise=reg_noise)
    fitted = fit(
        ARCHITECTURE, targets, clean, seeds=(5, 6), layers=LAYERS, settings=settings, grouped=True
    )
    for index, seed in enumerate((5, 6)):
        torch.manual_seed(seed)
        net = EncoderDecoder(ARCHITECTURE, INPUT_CHANNELS, 2, LAYERS).double()
        rng = torch.Generator(device).manual_seed(seed)
        shape = (1, INPUT_CHANNELS, 16, 16)
        z = 0.1 * torch.rand(shape, generator=rng, device=device).double()
        inputs = [z] * SETTINGS.iterations
        if reg_noise:
            noise = [torch.randn(shape, generator=rng, device=device).double() for _ in inputs]
            inputs = [z + reg_noise * noise_now for noise_now in noise]
        losses = plain_losses(net, [z.cpu() for z in inputs], targets[index : index + 1].cpu())
        np.testing.assert_allclose(fitted.loss[index], losses, rtol=1e-5)
        assert losses[-1] < 0.9 * losses[0]


def plain_losses(net: EncoderDecoder, inputs: list, target: torch.Tensor) -> list[float]:
    optimiser, losses = torch.optim.Adam(net.parameters(), lr=0.01), []
    for z in inputs:
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss(net(z), target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("masked", "reg_noise"), [(False, 0.0), (True, 0.0), (False, 0.03)])
def test_grouped_equals_one_by_one(masked, reg_noise):
    """In float64: Adam's first steps are nearly signs, which amplify float32 rounding."""
    masks = (torch.rand(3, 1, 16, 16) > 0.5).double() if masked else None
    together, alone = (
        run(3, grouped, masks=masks, iterations=50, fixed=50, reg_noise=reg_noise)
        for grouped in (True, False)
    )
    for name in ("fixed", "last", "best", "stopped", "ema"):
        difference = (together.outputs[name] - alone.outputs[name]).abs().max()
        assert difference < 1e-4, f"{name} differs by {difference}"
    for name in ("loss", "rmse", "stop", "best"):
        pair = getattr(together, name), getattr(alone, name)
        torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-8)
    assert (together.outputs["last"][0] - together.outputs["last"][1]).abs().max() > 0.05


def test_seeds_decide_the_fit():
    targets, clean = problems(1)
    first, same, other = (
        fit(ARCHITECTURE, targets, clean, seeds=[seed], layers=LAYERS, settings=SETTINGS).loss
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, same) and not torch.allclose(first, other)


def test_hidden_pixels_have_no_influence():
    targets, clean = problems()
    masks = (torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1)) > 0.5).double()

    def outcome(seen: torch.Tensor) -> DipFit:
        return fit(
            ARCHITECTURE,
            seen,
            clean,
            seeds=[5, 6],
            layers=LAYERS,
            settings=SETTINGS,
            masks=masks,
            snapshots=[1],
        )

    plain = outcome(targets)
    hidden = outcome(torch.where(masks > 0, targets, 77.0))
    visible = outcome(torch.where(masks > 0, targets + 0.1, targets))
    assert torch.equal(plain.loss, hidden.loss)
    assert torch.equal(plain.outputs["last"], hidden.outputs["last"])
    assert not torch.allclose(plain.outputs["last"], visible.outputs["last"], atol=1e-3)
    first = ((plain.outputs["at 1"] - targets) * masks).square().mean((1, 2, 3))
    torch.testing.assert_close(plain.loss[:, 0], first, rtol=1e-6, atol=0)


def test_curves_are_those_of_the_outputs(watched):
    fitted, outputs = watched
    clean = problems()[1].numpy()
    rmse = np.sqrt(((outputs - clean) ** 2).mean((2, 3, 4))).T
    np.testing.assert_allclose(fitted.rmse, rmse, rtol=1e-10)
    np.testing.assert_array_equal(fitted.best, rmse.argmin(1) + 1)
    for name, steps in (("fixed", [8, 8]), ("last", [24, 24]), ("best", fitted.best.tolist())):
        expected = np.stack([outputs[step - 1, b] for b, step in enumerate(steps)])
        np.testing.assert_array_equal(fitted.outputs[name], expected)


def test_best_is_not_always_last():
    """Fitting mere noise towards a flat image gets worse: the best comes early."""
    clean = torch.full((1, 1, 16, 16), 0.5, dtype=torch.float64)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).double()
    fitted = fit(
        ARCHITECTURE,
        clean + noise,
        clean,
        seeds=[0],
        layers=LAYERS,
        settings=replace(SETTINGS, iterations=40),
        snapshots=range(1, 41),
    )
    best = fitted.best.item()
    assert best == fitted.rmse[0].argmin().item() + 1 < 40
    assert torch.equal(fitted.outputs["best"], fitted.outputs[f"at {best}"])


def test_average_against_numpy(watched):
    fitted, outputs = watched
    average = outputs[0]
    for output in outputs:
        average = 0.9 * average + 0.1 * output
    np.testing.assert_allclose(fitted.outputs["ema"], average, rtol=1e-10)


def plain_stop(curve: list[float], patience: int) -> int:
    """ES-WMV as written in its paper: wait until the variance has not fallen for a while."""
    best, stop, waited = float("inf"), 0, 0
    for iteration, value in enumerate(curve, 1):
        if value < best:
            best, stop, waited = value, iteration, 0
        elif np.isfinite(value):
            waited += 1
            if waited == patience:
                break
    return stop


def test_automatic_stop_against_a_plain_reference():
    early = 0
    for patience in (1, 3, 100):
        fitted = run(2, snapshots=range(1, 41), iterations=40, patience=patience, lr=0.1)
        outputs = np.stack([fitted.outputs[f"at {t}"].numpy() for t in range(1, 41)])
        windows = np.lib.stride_tricks.sliding_window_view(outputs, 4, axis=0)
        variance = windows.var(-1).mean((2, 3, 4))  # of iterations 4 to 40
        for index in range(2):
            curve = [np.inf] * 3 + variance[:, index].tolist()
            stop = plain_stop(curve, patience)
            assert fitted.stop[index] == stop
            np.testing.assert_array_equal(
                fitted.outputs["stopped"][index], outputs[stop - 1, index]
            )
            early += stop != np.argmin(curve) + 1
    assert early > 0, "no case in which patience decides: the test shows nothing"


def tracked(values, *, window=2, patience=9, dtype=torch.float64) -> Tracker:
    """A tracker that has seen flat images of these values; the clean image is black."""
    count = len(values)
    clean = torch.zeros(1, 1, 2, 2, dtype=dtype)
    settings = DipSettings(iterations=count, fixed=count, ema=0.0, window=window, patience=patience)
    tracker = Tracker(clean, settings)
    for value in values:
        tracker.add(torch.full_like(clean, float(value)), clean.new_zeros(1))
    return tracker


@pytest.mark.parametrize(
    ("patience", "stop"),
    [(1, 2), (2, 2), (3, 5), (9, 9)],
)
def test_automatic_stop_on_a_curve_made_by_hand(patience, stop):
    """In a window of two the variance is a quarter of the squared step between them."""
    steps = [0.4, 0.5, 0.8, 0.2, 0.6, 0.7, 0.9, 0.1]
    values = np.cumsum([0.0, *steps])
    tracker = tracked(values.tolist(), patience=patience)
    assert tracker.calmest.step.item() == stop
    assert tracker.calmest.score.item() == pytest.approx(steps[stop - 2] ** 2 / 4)
    assert tracker.calmest.image.unique().item() == pytest.approx(values[stop - 1])


def test_of_equal_outputs_the_first_is_best():
    assert tracked([0.5, 0.25, 0.75, 0.25]).best.step.item() == 2


def test_without_a_clean_image_the_fit_is_the_same():
    targets, _ = problems()
    options = {"layers": LAYERS, "settings": SETTINGS, "seeds": [5, 6]}
    blind, grouped = fit(ARCHITECTURE, targets, None, grouped=False, **options), run()
    for name in ("last", "stopped", "ema", "fixed"):
        assert (blind.outputs[name] - grouped.outputs[name]).abs().max() < 1e-4
    assert torch.equal(blind.stop, grouped.stop)
    assert blind.rmse.isnan().all() and not blind.best.any()


def test_the_curve_of_the_stop_is_the_variance_of_the_last_outputs(watched):
    fitted, outputs = watched
    windows = np.lib.stride_tricks.sliding_window_view(outputs, 4, axis=0)
    expected = windows.var(-1).mean((2, 3, 4)).T
    np.testing.assert_allclose(fitted.variance[:, 3:], expected, rtol=1e-6)
    assert fitted.variance[:, :3].isinf().all()
    assert fitted.stop.tolist() == (expected.argmin(1) + 4).tolist()


def test_windowed_variance_does_not_drift_in_float32():
    """Of 5000 outputs near 0.7 that hardly move: float32 sums would be off by more than it is."""
    rng = np.random.default_rng(0)
    noise = 1e-3 * rng.standard_normal(5000)
    noise[-60:] /= 2  # the calmest window comes late
    values = (0.7 + noise).astype(np.float32)
    calmest = tracked(values, window=50, patience=5000, dtype=torch.float32).calmest
    variance = np.lib.stride_tricks.sliding_window_view(values.astype(float), 50).var(-1)
    assert calmest.step.item() == variance.argmin() + 50 > 4900
    assert calmest.score.item() == pytest.approx(variance.min(), rel=1e-4)


def test_a_loss_that_is_not_finite_names_image_and_iteration():
    with pytest.raises(FloatingPointError, match="image 0 is nan at iteration 2"):
        run(lr=float("inf"))


def changed(name: str) -> dict:
    targets, clean = problems()
    call = {"targets": targets, "clean": clean, "seeds": [0, 1], "masks": None}
    nan = targets.clone()
    nan[1, 0, 3, 3] = torch.nan
    changes = {
        "nan": {"targets": nan},
        "nan clean": {"clean": nan},
        "infinite mask": {"masks": targets[:, :1] / 0},
        "integer": {"targets": (targets * 255).to(torch.uint8)},
        "three axes": {"targets": targets[0]},
        "one seed": {"seeds": [0]},
        "another shape": {"clean": clean[..., 1:]},
        "too small": {"targets": targets[..., :4, :], "clean": clean[..., :4, :]},
    }
    return call | changes[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nan", "targets contain NaN"),
        ("nan clean", "clean images contain NaN"),
        ("infinite mask", "masks contain NaN or infinite"),
        ("integer", r"torch\.uint8 \(2, 2, 16, 16\)"),
        ("three axes", r"\(2, 16, 16\)"),
        ("one seed", r"seeds \(got 1\)"),
        ("another shape", r"got \(2, 2, 16, 15\)"),
        ("too small", r"4 x 16 pixels .*d2-s0.* 4 pixels"),
    ],
)
def test_bad_input_is_refused(name, message):
    call = changed(name)
    with pytest.raises(ValueError, match=message):
        fit(ARCHITECTURE, call.pop("targets"), call.pop("clean"), layers=LAYERS, **call)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fixed": 0}, "fixed .* not 0"),
        ({"fixed": 13}, r"fixed .*1\.\.12, not 13"),
        ({"window": 1}, "window .* not 1"),
        ({"window": 13}, "window .* not 13"),
        ({"ema": 1.0}, r"ema .* not 1\.0"),
        ({"reg_noise": -1.0}, r"reg_noise .*-1\.0"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **options)


def test_snapshots_outside_the_fit_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 13\] are outside 1\.\.12"):
        run(snapshots=[0, 3, 13])


@CUDA.marks[0]
def test_grouped_equals_one_by_one_on_a_gpu():
    targets, clean = (values.cuda() for values in problems(3))
    together, alone = (
        fit(
            ARCHITECTURE,
            targets,
            clean,
            seeds=[1, 2, 3],
            layers=LAYERS,
            settings=SETTINGS,
            grouped=grouped,
        )
        for grouped in (True, False)
    )
    for name, image in together.outputs.items():
        torch.testing.assert_close(image, alone.outputs[name], rtol=0, atol=1e-4)
    assert (together.loss[:, -1] < together.loss[:, 0]).all()
