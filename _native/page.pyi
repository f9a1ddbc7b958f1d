"""Records in, sealed pages of the store out, and back; layout: _native/core/page.h."""

from typing_extensions import Buffer

PAGE_HEADER: int
PAGE_OVERHEAD: int
PAGE_SIZES: tuple[int, ...]

class Packer:
    def __init__(
        self,
        page_bytes: int,
        kind: int,
        epoch: bytes,
        sequence: int,
        tail: int,
        samples_before: int,
        boot_ns: int,
        wall_ns: int,
    ) -> None: ...
    @property
    def room(self) -> int: ...
    def add(self, kind: int, seq: int, samples: int, fresh: int, payload: Buffer) -> tuple[int, int]: ...
    def finish(self) -> tuple[bytes, int, int]: ...

def scan(pages: Buffer, page_bytes: int) -> bytes: ...
def pieces(page: Buffer) -> bytes: ...
def join(pages: Buffer, page_bytes: int, at: int, total: int) -> bytes: ...
def crc32c(data: Buffer) -> int: ...
def crc32c_portable(data: Buffer) -> int: ...
