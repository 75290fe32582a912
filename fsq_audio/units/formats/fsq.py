"""`fsq`: the token files of `fsq-audio tokenize`, one or a folder of them. Only read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fsq_audio.errors import TokenError
from fsq_audio.tokens import AudioTokens
from fsq_audio.units.formats.base import Failure, UnitFormat, UnitSource, register_format
from fsq_audio.units.item import StoreInfo, UnitItem

_SPLIT = "train"
_SUFFIX = ".fsq"


def open_files(path: Path) -> UnitSource:
    """Opens token files; their split is called train, and a file that is damaged costs only itself.

    Channels that were tokenized one by one become items `name_c0`, `name_c1`, ...

    Raises:
        TokenError: There is none that can be read, or two are of different models.
    """
    names = _find(path)
    failures: list[Failure] = []
    info = _first_info(names)

    def read(split: str) -> Iterator[UnitItem]:
        for name, file in names.items():
            try:
                tokens = AudioTokens.load(file)
            except TokenError as error:
                failures.append(Failure(path=file, error=error))
                continue
            found = StoreInfo.from_format(tokens.format, tokens.num_groups)
            if found != info:
                raise TokenError(
                    f"{file}: holds tokens of model {found.fingerprint} with {found.num_groups} "
                    f"groups; others, of {info.fingerprint} with {info.num_groups}: one store is "
                    f"of one model"
                )
            yield from _items(name, tokens)

    return UnitSource(info=info, splits={_SPLIT: None}, read=read, failures=failures)


def _find(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {path.stem: path}
    files = sorted(
        file
        for file in path.rglob(f"*{_SUFFIX}")
        if not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not files:
        missing = "the folder holds no file that ends in .fsq" if path.is_dir() else "no such file"
        raise TokenError(f"{path}: {missing}")
    return {file.relative_to(path).as_posix()[: -len(_SUFFIX)]: file for file in files}


def _first_info(names: dict[str, Path]) -> StoreInfo:
    for file in names.values():
        try:
            tokens = AudioTokens.load(file)
        except TokenError as error:
            first_error = error
            continue
        return StoreInfo.from_format(tokens.format, tokens.num_groups)
    raise TokenError(f"none of {len(names)} token files can be read: {first_error}")


def _items(name: str, tokens: AudioTokens) -> Iterator[UnitItem]:
    is_split = tokens.source is not None and tokens.source.channels == "split" and len(tokens) > 1
    for channel, codes in enumerate(tokens.codes.numpy()):
        yield UnitItem(
            id=f"{name}_c{channel}" if is_split else name,
            codes=codes,
            num_samples=int(tokens.lengths[channel]),
            sampling_rate=tokens.format.sample_rate,
        )


register_format(UnitFormat(name="fsq", open=open_files))
