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


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_to_a_folder_stays_and_is_followed(tmp_path: Path, is_there: bool) -> None:
    target, link = tmp_path / "disk" / "codes", tmp_path / "here" / "codes"
    link.parent.mkdir()
    link.symlink_to("../disk/codes", target_is_directory=True)
    if is_there:
        target.mkdir(parents=True)
        (target / "before").touch()
    with replacing_folder(link) as folder:
        assert folder.parent == target.parent
        (folder / "after").touch()
    assert link.is_symlink()
    assert [path.name for path in target.iterdir()] == ["after"]
    assert [*link.parent.iterdir(), *target.parent.iterdir()] == [link, target]


def test_a_link_to_a_file_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    target, link = tmp_path / "cache", tmp_path / "codes"
    target.write_text("before")
    link.symlink_to(target)
    with replacing(link) as path:
        path.write_text("after")
    assert not link.is_symlink()
    assert (link.read_text(), target.read_text()) == ("after", "before")
