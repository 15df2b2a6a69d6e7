"""Image sets by name, as one uint8 tensor of equal squares; how near one image is to another.

``photos`` are the real photographs inside the scikit-image wheel and need no network; any other
name is a folder of images below the data root.
"""

import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.fft import dctn
from scipy.spatial.distance import cdist
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torch.nn.functional import interpolate

from lib.data.catalogue import DATASETS, locate
from lib.engine.files import is_rubbish, naming

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
# pictures too, but not read: which of their frames is meant, or another library is needed
OTHER_SUFFIXES = {
    *(".jfif", ".jpe", ".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".tga"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw", ".exr", ".hdr", ".psd", ".pbm", ".pnm"),
}
ORIENTATION = 274  # EXIF's tag; its values 5 to 8 swap width and height
TURNS = dict(enumerate((0, 3, 1, 5, 4, 6, 2), start=2))  # orientation -> Image.Transpose
QUALITIES = ("rmse", "psnr", "ssim")
# of perceptual hashes: pixels that an image is reduced to, lowest frequencies that are looked at
SIDE, FREQUENCIES = 32, 8


@cache  # a sweep asks for the same set in every trial
def load_images(
    name: str, *, size: int, channels: int, root: str | Path | None = None
) -> tuple[list[str], Tensor]:
    """File names and (N, C, size, size) uint8: centre squares, reduced with anti-aliasing.

    A set is read once a process: do not write into it.
    name: a data set of ``python -m lib.data``, or ``photos:astronaut,camera`` for some of one.
    channels: 3 (grey is repeated) or 1 (luma).
    Raises FileNotFoundError for a missing set or an empty folder, ValueError for a file that is
    no readable image or a picture smaller than ``size``, which the catalogue does not let be
    enlarged; each names the path.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, not {channels!r}")
    dataset, _, chosen = name.partition(":")
    paths = list_images(dataset, root)
    if chosen:
        stems, wanted = [path.stem for path in paths], chosen.split(",")
        if wrong := sorted(stem for stem in wanted if stems.count(stem) != 1):
            count = "no image" if wrong[0] not in stems else "several images"
            raise ValueError(f"{dataset} has {count} {wrong[0]!r}; it has {stems}")
        paths = [paths[stems.index(stem)] for stem in wanted]
    enlarge = dataset in DATASETS and DATASETS[dataset].enlarged
    squares = [read_square(path, size, channels, enlarge=enlarge) for path in paths]
    return [path.name for path in paths], torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


def list_images(dataset: str, root: str | Path | None = None) -> list[Path]:
    """The image files of a named set, or of a folder below the data root, sorted by name.

    What systems leave there is no image; images in a format that is not read are warned of.
    """
    folder = locate(dataset, root)
    files = DATASETS[dataset].files if dataset in DATASETS else ()
    if files:
        return [folder / file for file in files]
    if not (paths := pictures_in(folder)):
        raise FileNotFoundError(f"no image ({', '.join(sorted(SUFFIXES))}) in folder {folder}")
    return paths


def pictures_in(folder: Path) -> list[Path]:
    """The image files of a folder, sorted by name; a warning for those that are not read."""
    there = [path for path in sorted(folder.iterdir()) if not is_rubbish(path.name)]
    others = [path.name for path in there if path.suffix.lower() in OTHER_SUFFIXES]
    if others:
        more = ", ..." if others[3:] else ""
        told = f"{len(others)} images in {folder} are not read: {', '.join(others[:3])}{more}"
        warnings.warn(f"{told}; {', '.join(sorted(SUFFIXES))} are", stacklevel=2)
    return [path for path in there if path.suffix.lower() in SUFFIXES]


def by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Stem -> file; ValueError for two files of one stem."""
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise ValueError(f"{found[path.stem]} and {path} have the same name")
        found[path.stem] = path
    return found


def results_of(paths: Iterable[Path], into: str | Path, beside: Iterable[Path] = ()) -> list[Path]:
    """The PNG in a folder for each picture, by its stem. beside: what must stay as well.

    Raises ValueError for two pictures of one stem and for a picture that would be written over,
    FileExistsError where the folder is a file.
    """
    pictures, folder = by_stem(paths), Path(into).expanduser().resolve()
    made = [folder / f"{stem}.png" for stem in pictures]
    if lost := set(made) & {path.resolve() for path in (*pictures.values(), *beside)}:
        raise ValueError(f"{lost.pop()} would be written over: give another folder than {into}")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{into} is no folder")
    return made


def pairs_in(folder: Path) -> list[tuple[str, Path, Path]]:
    """Stem, picture in ``inputs/`` and its partner in ``targets/``, sorted by stem.

    Raises FileNotFoundError for a folder without pictures, ValueError for one without partner.
    """
    whole = folder.expanduser().resolve()
    inputs, targets = (by_stem(list_images(str(whole / side))) for side in ("inputs", "targets"))
    if alone := sorted(set(inputs) ^ set(targets)):
        raise ValueError(f"{folder}: no pair for {', '.join(alone[:5])}")
    return [(stem, inputs[stem], targets[stem]) for stem in sorted(inputs)]


def read_square(path: Path, size: int, channels: int, *, enlarge: bool = False) -> np.ndarray:
    """Centre square of a picture, reduced to (size, size, channels) uint8, on white if transparent.

    enlarge: a smaller picture is enlarged instead of refused.
    """
    picture = open_picture(path, "L" if channels == 1 else "RGB")
    if min(picture.size) < size and not enlarge:
        raise ValueError(f"{path} is {picture.width} x {picture.height}: smaller than {size} px")
    square = centre_square(picture)
    square = square.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(square).reshape(size, size, channels)


def centre_square(picture: Image.Image) -> Image.Image:
    """The largest square in the middle of a picture."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def open_picture(path: Path, mode: str = "RGB") -> Image.Image:
    """A picture as viewers show it: upright, 8 bits a channel, on white where transparent.

    mode: "RGB", or "L" for luma. Raises FileNotFoundError, and ValueError, naming the path, for
    what is no picture or not a whole one.
    """
    with naming(path, "image"), Image.open(path) as file:
        file.load()
        if file.format in ("JPEG", "MPO"):  # MPO: behind the photograph others that belong to it
            _refuse_cut(path.read_bytes())
        elif (frames := getattr(file, "n_frames", 1)) > 1:
            warnings.warn(f"of the {frames} frames of {path} the first is read", stacklevel=2)
        return _to_eight_bits(upright(file)).convert(mode)


def upright(picture: Image.Image) -> Image.Image:
    """A picture as its EXIF says that it is held."""
    turn = TURNS.get(_orientation(picture))
    return picture if turn is None else picture.transpose(Image.Transpose(turn))


def picture_shape(path: Path) -> tuple[int, int]:
    """(height, width) of a picture as ``open_picture`` gives it, from its head."""
    with naming(path, "image"), Image.open(path) as picture:
        return picture.size if _orientation(picture) >= 5 else picture.size[::-1]


def _orientation(picture: Image.Image) -> int:
    """1 to 8: how the picture lies; 1, upright, where EXIF says nothing that can be read."""
    try:
        value = picture.getexif().get(ORIENTATION)
        return value if value in TURNS else 1
    except Exception:  # viewers show such pictures as they are stored
        return 1


def _refuse_cut(data: bytes) -> None:
    """ValueError for a JPEG without its end; libjpeg makes grey pixels of what is missing.

    A scan begins with FF DA and an image ends with FF D9. What stands before the scan, such as a
    small preview, has its own end, and behind the end anything may follow.
    """
    if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise ValueError("its end is missing: the file was cut")


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture).astype(np.float64)
        top = 65535 if picture.mode.startswith("I") else 1
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > top:
            raise ValueError(f"values outside 0 to {top} in mode {picture.mode}")
        return Image.fromarray((values / top * 255).round().astype(np.uint8))
    if "A" in picture.mode or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture


def quality(image: Tensor, clean: Tensor) -> dict[str, float]:
    """RMSE, PSNR (dB) and SSIM of one image against another, both (C, H, W) in [0, 1].

    The image is clipped to [0, 1] first, as a file or a screen would. SSIM has the Gaussian
    window of Wang et al. 2004 (sigma 1.5, population covariance). All by scikit-image.
    """
    a = clean.detach().cpu().numpy().astype(np.float64)
    b = image.detach().cpu().numpy().astype(np.float64).clip(0, 1)
    mse = mean_squared_error(a, b)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = structural_similarity(a, b, channel_axis=0, data_range=1, **wang)
    psnr = peak_signal_noise_ratio(a, b, data_range=1) if mse else np.inf
    return {"rmse": float(np.sqrt(mse)), "psnr": float(psnr), "ssim": float(ssim)}


def perceptual_hashes(images: Tensor) -> np.ndarray:
    """(N, 63) bool of (N, 3, S, S) uint8: which low frequencies are above their median.

    Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, section
    3.2: the DCT of the grey image reduced to 32 x 32, its 8 x 8 lowest frequencies. Images of
    another size, contrast or compression keep nearly all bits; unrelated ones share half.
    """
    red, green, blue = images.float().unbind(1)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    small = interpolate(grey[:, None], size=(SIDE, SIDE), mode="area")[:, 0].numpy()
    low = dctn(small, axes=(1, 2), norm="ortho")[:, :FREQUENCIES, :FREQUENCIES]
    low = low.reshape(len(images), -1)[:, 1:]  # the mean says nothing of what is seen
    return low > np.median(low, axis=1, keepdims=True)


def near_duplicates(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(K, 2): the places of hashes of two sets that differ in at most 6 of their 63 bits.

    By chance two hashes differ in 32; in 6 or fewer with a probability below 1e-11.
    """
    return np.argwhere(cdist(first, second, "hamming") < 6.5 / 63)
