"""The named data sets: their published files, digests and mirrors.

A data set is four IDX files (:data:`STEMS`). Files with the published digests
get the name of that data set, all others ``custom-<digest8>``.
"""

from dataclasses import dataclass
from pathlib import Path

STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""The names of the four files, in the order in which the digest of the data set combines their digests."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published data set.

    Args:
        digests: digest of each file in the order of :data:`STEMS`: ``sha256:…`` of the content, or ``md5:…`` of the
            .gz file where only that is published.
        class_names: one per label, from 0.
        folder: a folder in this package with the four .gz files, if there is one.
        mirrors: base addresses, in the order in which they are tried.
        validation: number of training images that are held out for validation by convention: the first ones. None if
            there is no convention.
    """

    digests: tuple[str, ...]
    class_names: tuple[str, ...]
    folder: Path | None = None
    mirrors: tuple[str, ...] = ()
    validation: int | None = None


# MNIST's digests are of the uncompressed content, because equal content may be compressed differently.
CATALOGUE: dict[str, Published] = {
    "mnist": Published(
        folder=Path(__file__).with_name("mnist"),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        digests=(
            "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        class_names=tuple("0123456789"),
        validation=5_000,
    ),
    "fashion-mnist": Published(
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        digests=(
            "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "md5:25c81989df183df01b3e8a0aad5dffbe",
            "md5:bef4ecab320f06d8554ea6380940ec79",
            "md5:bb300cfdad3c16e7a12a480ee83cd310",
        ),
        class_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        validation=5_000,
    ),
    "kmnist": Published(
        mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        digests=(
            "md5:bdb82020997e1d708af4cf47b453dcf7",
            "md5:e144d726b3acfaa3e44228e80efcd344",
            "md5:5c965bf0a639b31b8f53240b1b52f4d7",
            "md5:7320c461ea6c1c855c0b718fb2a4b134",
        ),
        # Hiragana in Latin letters, because the fonts of figures may lack the originals.
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        validation=5_000,
    ),
    # Not published as IDX files: these are the digests of what prepare.make_digits returns.
    "digits": Published(
        digests=(
            "sha256:8ed2dd476154bd2a0eba8b36269c79e520ddf8a7be5315d61f7433bef8e2769b",
            "sha256:bdf9cf089058a4d34b5c6a6a9d3e2ef4f85e52807037c34e3ac909a46b47b7d5",
            "sha256:cc52d54c22a6c9baa0bbebc3c69edd79ea30754e7af2439f7c06d8d3a0475608",
            "sha256:59707e290f65c6fd269e5021736c1d729732a85f1226372ed44d81ca251b8d7b",
        ),
        class_names=tuple("0123456789"),
    ),
}
