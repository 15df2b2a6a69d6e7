"""Deep Image Prior: every number of a fit against numpy, and several fits in one against each."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.dip.network import Architecture, EncoderDecoder
from lib.dip.prior import DipFit, DipSettings, fit
from lib.dip.tracker import Tracker

ARCHITECTURE = Architecture(2, (0,))
NETWORK = {"width": 6, "skip_width": 2, "upsampling": "nearest"}
SETTINGS = {
    "iterations": 12,
    "fixed": 8,
    "window": 4,
    "patience": 20,
    "input_channels": 4,
    "ema": 0.9,
}


def problems(count: int = 2, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy and clean images of different gratings, float64."""
    y, x = np.mgrid[:size, :size] / size
    clean = [[0.5 + 0.4 * np.sin(5 * (x + k * y)), 0.3 + 0.2 * (k + 1) * x] for k in range(count)]
    clean = torch.tensor(np.array(clean)).clamp(0, 1)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).double()
    return clean + 0.1 * noise, clean


def run(count: int = 2, grouped: bool = True, **options) -> DipFit:
    targets, clean = problems(count)
    settings = DipSettings(**SETTINGS | {k: v for k, v in options.items() if k in FIELDS})
    rest = {k: v for k, v in options.items() if k not in FIELDS}
    return fit(
        ARCHITECTURE,
        targets,
        clean,
        seeds=range(5, 5 + count),
        settings=settings,
        grouped=grouped,
        **NETWORK,
        **rest,
    )


FIELDS = DipSettings.__dataclass_fields__


@pytest.fixture(scope="module")
def watched() -> tuple[DipFit, np.ndarray]:
    """A fit of 24 iterations and all its outputs, (T, B, C, H, W)."""
    fitted = run(iterations=24, snapshots=range(1, 25))
    return fitted, np.stack([fitted.outputs[f"at {t}"].numpy() for t in range(1, 25)])


CUDA = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
)


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_a_fit_is_a_plain_loop_on_the_cpu(device):
    """On a GPU this holds the captured graph, too, against the CPU."""
    targets, clean = problems()
    fitted = fit(
        ARCHITECTURE,
        targets.to(device),
        clean.to(device),
        seeds=(5, 6),
        settings=DipSettings(**SETTINGS),
        grouped=True,
        **NETWORK,
    )
    for index, seed in enumerate((5, 6)):
        torch.manual_seed(seed)
        net = EncoderDecoder(ARCHITECTURE, 4, 2, **NETWORK).double()
        rng = torch.Generator(device).manual_seed(seed)
        z = 0.1 * torch.rand(1, 4, 16, 16, generator=rng, device=device).double().cpu()
        losses = plain_losses(net, z, targets[index : index + 1])
        np.testing.assert_allclose(fitted.loss[index], losses, rtol=1e-5)
        assert losses[-1] < 0.9 * losses[0]


def plain_losses(net: EncoderDecoder, z: torch.Tensor, target: torch.Tensor) -> list[float]:
    optimiser, losses = torch.optim.Adam(net.parameters(), lr=0.01), []
    for _ in range(SETTINGS["iterations"]):
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss(net(z), target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("options", [{}, {"reg_noise": 0.05}, {"masks": True}])
def test_grouped_equals_one_by_one(options):
    """In float64: Adam's first steps are nearly signs, which amplify float32 rounding."""
    options = {"iterations": 50, "fixed": 50} | options
    if options.pop("masks", False):
        options["masks"] = (torch.rand(3, 1, 16, 16) > 0.5).double()
    together, alone = (run(3, grouped, **options) for grouped in (True, False))
    for name in ("fixed", "last", "best", "stopped", "ema"):
        difference = (together.outputs[name] - alone.outputs[name]).abs().max()
        assert difference < 1e-4, f"{name} differs by {difference}"
    for name in ("loss", "rmse", "ema_rmse", "variance"):
        torch.testing.assert_close(
            getattr(together, name), getattr(alone, name), rtol=1e-4, atol=1e-8
        )
    assert (together.outputs["last"][0] - together.outputs["last"][1]).abs().max() > 0.05


def test_noise_on_the_input_changes_the_fit():
    assert not torch.allclose(run(reg_noise=0.05).loss, run().loss, rtol=1e-4)


def test_seeds_decide_the_fit():
    targets, clean = problems(1)
    settings = DipSettings(**SETTINGS)
    first, same, other = (
        fit(ARCHITECTURE, targets, clean, seeds=[seed], settings=settings, **NETWORK).loss
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, same) and not torch.allclose(first, other)


def test_hidden_pixels_have_no_influence():
    targets, clean = problems()
    masks = (torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1)) > 0.5).double()
    settings = DipSettings(**SETTINGS)

    def outcome(seen: torch.Tensor) -> DipFit:
        return fit(
            ARCHITECTURE, seen, clean, seeds=[5, 6], settings=settings, masks=masks, **NETWORK
        )

    plain = outcome(targets)
    hidden = outcome(torch.where(masks > 0, targets, 77.0))
    visible = outcome(torch.where(masks > 0, targets + 0.1, targets))
    assert torch.equal(plain.loss, hidden.loss)
    assert torch.equal(plain.outputs["last"], hidden.outputs["last"])
    assert not torch.allclose(plain.outputs["last"], visible.outputs["last"], atol=1e-3)
    first = ((plain_first(settings) - targets) * masks).square().mean((1, 2, 3))
    torch.testing.assert_close(plain.loss[:, 0], first, rtol=1e-6, atol=0)


def plain_first(settings: DipSettings) -> torch.Tensor:
    """The output of iteration 1: no step is taken yet, so no mask matters."""
    targets, clean = problems()
    options = {"seeds": [5, 6], "settings": settings, "snapshots": [1]}
    return fit(ARCHITECTURE, targets, clean, **options, **NETWORK).outputs["at 1"]


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
    settings = DipSettings(**SETTINGS | {"iterations": 40})
    fitted = fit(
        ARCHITECTURE,
        clean + noise,
        clean,
        seeds=[0],
        settings=settings,
        snapshots=range(1, 41),
        **NETWORK,
    )
    best = fitted.best.item()
    assert best == fitted.rmse[0].argmin().item() + 1 < 40
    assert torch.equal(fitted.outputs["best"], fitted.outputs[f"at {best}"])


def test_average_against_numpy(watched):
    fitted, outputs = watched
    clean = problems()[1].numpy()
    average, curve = outputs[0], []
    for output in outputs:
        average = 0.9 * average + 0.1 * output
        curve.append(np.sqrt(((average - clean) ** 2).mean((1, 2, 3))))
    np.testing.assert_allclose(fitted.outputs["ema"], average, rtol=1e-10)
    np.testing.assert_allclose(fitted.ema_rmse, np.array(curve).T, rtol=1e-10)


def test_windowed_variance_against_numpy(watched):
    fitted, outputs = watched
    assert fitted.variance[:, :3].isinf().all()
    expected = [outputs[t - 4 : t].var(0).mean((1, 2, 3)) for t in range(4, 25)]
    np.testing.assert_allclose(fitted.variance[:, 3:], np.array(expected).T, rtol=1e-8)


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
        options = {"iterations": 40, "patience": patience, "lr": 0.1, "reg_noise": 0.1}
        fitted = run(2, snapshots=range(1, 41), **options)
        for index, curve in enumerate(fitted.variance.tolist()):
            stop = plain_stop(curve, patience)
            assert fitted.stop[index] == stop
            assert torch.equal(
                fitted.outputs["stopped"][index], fitted.outputs[f"at {stop}"][index]
            )
            early += stop != np.argmin(curve) + 1
    assert early > 0, "no case in which patience decides: the test shows nothing"


def tracked(values: list[float], **options) -> Tracker:
    """A tracker that has seen flat images of these values; the clean image is black."""
    clean = torch.zeros(1, 1, 2, 2, dtype=options.pop("dtype", torch.float64))
    options = {"iterations": len(values), "ema": 0.0, "window": 2, "patience": 9} | options
    tracker = Tracker(clean, **options)
    for value in values:
        tracker.add(torch.full_like(clean, value), clean.new_zeros(1))
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
    np.testing.assert_allclose(tracker.variance[1:, 0], np.square(steps) / 4, rtol=1e-9)
    assert tracker.calmest.step.item() == stop
    assert tracker.calmest.image.unique().item() == pytest.approx(values[stop - 1])


def test_of_equal_outputs_the_first_is_best():
    assert tracked([0.5, 0.25, 0.75, 0.25]).best.step.item() == 2


def test_windowed_variance_does_not_drift_in_float32():
    """Of 5000 outputs near 0.7 that hardly move: float32 sums would be off by more than it is."""
    rng = np.random.default_rng(0)
    values = (0.7 + 1e-3 * rng.standard_normal(5000)).astype(np.float32)
    variance = tracked(values.tolist(), window=50, dtype=torch.float32).variance[-1].item()
    assert variance == pytest.approx(values[-50:].astype(float).var(), rel=1e-4)


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
        fit(ARCHITECTURE, call.pop("targets"), call.pop("clean"), **call, **NETWORK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fixed": 0}, "fixed .* not 0"),
        ({"fixed": 13}, r"fixed .*1\.\.12, not 13"),
        ({"window": 1}, "window .* not 1"),
        ({"window": 13}, "window .* not 13"),
        ({"reg_noise": -0.1}, r"reg_noise -0\.1"),
        ({"ema": 1.0}, r"ema 1\.0"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DipSettings(**SETTINGS | options)


@CUDA.marks[0]
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_grouped_equals_one_by_one_on_a_gpu(noise):
    targets, clean = (values.cuda() for values in problems(3))
    settings = DipSettings(**SETTINGS | {"reg_noise": noise})
    options = {"seeds": [1, 2, 3], "settings": settings, **NETWORK}
    together = fit(ARCHITECTURE, targets, clean, grouped=True, **options)
    alone = fit(ARCHITECTURE, targets, clean, grouped=False, **options)
    for name, image in together.outputs.items():
        torch.testing.assert_close(image, alone.outputs[name], rtol=0, atol=1e-4)
    assert (together.loss[:, -1] < together.loss[:, 0]).all()
