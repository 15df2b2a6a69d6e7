"""Image quality by scikit-image's definitions, for images in [0, 1]."""

from __future__ import annotations

import numpy as np
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torch import Tensor


def quality(image: Tensor, clean: Tensor) -> dict[str, float]:
    """RMSE, PSNR (dB) and SSIM of one image against another, both (C, H, W) in [0, 1].

    The image is clipped to [0, 1] first, as a file or a screen would. SSIM has the Gaussian
    window of Wang et al. 2004 (sigma 1.5, population covariance).
    """
    a = clean.detach().cpu().numpy().astype(np.float64)
    b = image.detach().cpu().numpy().astype(np.float64).clip(0, 1)
    mse = mean_squared_error(a, b)
    return {
        "rmse": float(np.sqrt(mse)),
        "psnr": float(peak_signal_noise_ratio(a, b, data_range=1)) if mse else float("inf"),
        "ssim": float(
            structural_similarity(
                a,
                b,
                channel_axis=0,
                data_range=1,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        ),
    }
