"""What libsndfile passes over in silence: audio that is cut short, or goes on after its end."""

from __future__ import annotations

import os
import re
from typing import BinaryIO

from fsq_audio.audio.checks import fix_with_ffmpeg
from fsq_audio.errors import AudioError


class Container:
    """The bytes of an open audio file, looked at beside libsndfile, which has the descriptor."""

    def __init__(self, path: str | os.PathLike[str], raw: BinaryIO) -> None:
        self._path, self._raw = path, raw
        self._num_bytes = os.fstat(raw.fileno()).st_size

    def check_stated_size(self, log: str, format: str) -> None:
        """WAV and its kin: libsndfile shortens what the header says, and only its log tells."""
        names = r"data|SSND|Data Size"
        if format in ("W64", "RF64"):
            names += r"|riff|Riff size"
        pattern = rf"^\s*(?:{names})\s*:\s*(\d+) \(should be (\d+)\)"
        for found in re.finditer(pattern, log, re.MULTILINE):
            stated, actual = int(found[1]), int(found[2])
            # Programs that write to a pipe cannot know the size and state about 2**31 or 2**32.
            of_unknown_size = any(abs(stated - limit) <= 2**13 for limit in (2**31, 2**32))
            if stated > actual and not of_unknown_size:
                raise AudioError(
                    f"{self._path}: cut short: its header announces {stated} bytes, {actual} "
                    f"are there ({fix_with_ffmpeg(self._path, 'fixed.wav')} keeps those)"
                )

    def check_ogg_end(self) -> None:
        """The last page must be whole, marked as the end, and of the stream that is read.

        Ogg pages: RFC 3533, section 6. libsndfile ends silently where pages stop, and after the
        first of several streams.
        """
        first = self._at(0, 27)
        tail = self._at(max(0, self._num_bytes - 2 * 65307), 2 * 65307)
        page = tail[max(0, tail.rfind(b"OggS")) :]
        lacing = page[27 : 27 + page[26]] if len(page) > 26 else b""
        is_whole = len(page) > 26 and len(page) >= 27 + page[26] + sum(lacing)
        if not (is_whole and page[5] & 4):
            raise AudioError(
                f"{self._path}: cut short: its last Ogg page is missing "
                f"({fix_with_ffmpeg(self._path, '-c copy fixed.ogg')} keeps what is there)"
            )
        if page[14:18] != first[14:18]:
            raise AudioError(
                f"{self._path}: holds several Ogg streams, of which only the first would be read: "
                f"convert it first, {fix_with_ffmpeg(self._path, 'joined.flac')}"
            )

    def check_mp3_tag(self) -> bool:
        """Compares the size in an MP3's Xing tag; without a tag its length is an estimate."""
        start = self._after_id3(0)
        head = self._at(start, 64)
        tag = max(head.find(b"Xing"), head.find(b"Info"))
        if tag < 0 or len(head) < tag + 16:
            return False
        if not head[tag + 7] & 1:  # flags: 1 = number of frames, 2 = number of bytes
            return False
        stated = int.from_bytes(head[tag + 12 : tag + 16], "big") if head[tag + 7] & 2 else 0
        if stated > self._num_bytes - start:
            raise AudioError(
                f"{self._path}: cut short: its header announces {stated} bytes, "
                f"{self._num_bytes - start} are there "
                f"({fix_with_ffmpeg(self._path, '-c copy fixed.mp3')} keeps those)"
            )
        return True

    def check_mp3_end(self, num_read: int) -> None:
        """Refuses MPEG frames after the stated or estimated length, which libsndfile leaves out."""
        end = self._after_id3(self._raw.tell())
        following = self._at(end, 2)
        if len(following) == 2 and following[0] == 0xFF and following[1] & 0xE0 == 0xE0:
            raise AudioError(
                f"{self._path}: its header is wrong or missing, so only {num_read} samples could "
                f"be read: rewrite it first, {fix_with_ffmpeg(self._path, '-c copy fixed.mp3')}"
            )

    def _after_id3(self, offset: int) -> int:
        """Offset after any ID3v2 tags at `offset` (sizes have 7 bits a byte)."""
        while (head := self._at(offset, 10))[:3] == b"ID3" and len(head) == 10:
            size = sum((byte & 127) << (7 * (3 - i)) for i, byte in enumerate(head[6:10]))
            offset += 10 + size
        return offset

    def _at(self, offset: int, num_bytes: int) -> bytes:
        """Bytes from anywhere, leaving the descriptor where libsndfile has it."""
        here = self._raw.tell()
        try:
            self._raw.seek(offset)
            return self._raw.read(num_bytes)
        finally:
            self._raw.seek(here)
