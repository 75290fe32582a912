"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from fsq_audio.files import replacing, replacing_folder


@pytest.mark.parametrize("context", [replacing, replacing_folder])
def test_a_full_disk_is_told_with_the_name(
    tmp_path: Path, context: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    path = tmp_path / "codes"
    with pytest.raises(OSError, match="No space left") as caught, context(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("context", [replacing, replacing_folder])
def test_an_error_that_has_a_name_keeps_it(
    tmp_path: Path, context: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    with pytest.raises(FileNotFoundError) as caught, context(tmp_path / "codes"):
        (tmp_path / "missing").read_text()
    assert caught.value.filename == str(tmp_path / "missing")
