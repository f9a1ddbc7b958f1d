"""Paths and bytes in, bytes on the medium out: the store's one seam to the file system, so that tests can break it."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Protocol

ZEROS = bytes(1 << 20)  # written at a time when a file is filled for the first time


class FileSystem(Protocol):
    """What the store needs of a file system. Every method raises OSError; a file is a small integer."""

    def make_directory(self, path: str) -> None:
        """Make the directory and its parents; fine when it is there."""

    def open(self, path: str) -> int:
        """Open for reading and writing, made when missing. BlockingIOError: another process has it open."""

    def is_at(self, file: int, path: str) -> bool:
        """Whether `path` still leads to this very file; False when it was deleted, or another took its place."""

    def size(self, file: int) -> int:
        """Bytes in the file."""

    def allocate(self, file: int, size: int) -> None:
        """Make the file exactly `size` bytes, new ones zero and really on the medium."""

    def read(self, file: int, count: int, offset: int) -> bytes:
        """Up to `count` bytes; fewer at the end of the file."""

    def write(self, file: int, data: bytes, offset: int) -> None:
        """Write all of `data`."""

    def sync(self, file: int) -> None:
        """Return when everything written is on the medium."""

    def close(self, file: int) -> None:
        """Give the file back."""

    def rename(self, old: str, new: str) -> None:
        """Rename, replacing `new`, durably."""


class RealFileSystem:
    """The one of the operating system."""

    def make_directory(self, path: str) -> None:
        """Make the directory and its parents."""
        Path(path).mkdir(parents=True, exist_ok=True)

    def open(self, path: str) -> int:
        """Open and lock."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            why = "in use by another agent; give each a [store] path of its own"
            raise BlockingIOError(errno.EAGAIN, why, path) from None
        except OSError:
            os.close(file)
            raise
        return file

    def is_at(self, file: int, path: str) -> bool:
        """Compare device and inode."""
        mine = os.fstat(file)
        try:
            there = Path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def size(self, file: int) -> int:
        """Bytes in the file."""
        return os.fstat(file).st_size

    def allocate(self, file: int, size: int) -> None:
        """Allocated and zero-filled: overwriting in place later changes no metadata and cannot meet a full disk."""
        old = self.size(file)
        if old > size:
            os.ftruncate(file, size)
        elif old < size:
            os.posix_fallocate(file, 0, size)
            for offset in range(old, size, len(ZEROS)):
                self.write(file, ZEROS[: size - offset], offset)
        os.fsync(file)

    def read(self, file: int, count: int, offset: int) -> bytes:
        """Up to `count` bytes."""
        return os.pread(file, count, offset)

    def write(self, file: int, data: bytes, offset: int) -> None:
        """One system call, unless the kernel takes less."""
        done = 0
        while done < len(data):
            written = os.pwrite(file, memoryview(data)[done:], offset + done)
            if not written:
                raise OSError(errno.EIO, "nothing was written")
            done += written

    def sync(self, file: int) -> None:
        """Flush the data; the file's size and blocks never change."""
        os.fdatasync(file)

    def close(self, file: int) -> None:
        """Close and unlock."""
        os.close(file)

    def rename(self, old: str, new: str) -> None:
        """Rename and flush the directory."""
        Path(old).rename(new)
        directory = os.open(Path(new).parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


class ReadOnlyFileSystem(RealFileSystem):
    """For looking into a store, also one that an agent has open: nothing is locked, nothing can be changed."""

    def open(self, path: str) -> int:
        """Open for reading."""
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def allocate(self, file: int, size: int) -> None:
        """Refused."""
        raise OSError(errno.EROFS, f"file {file} was opened to look at, not to make it {size} bytes")

    def write(self, file: int, data: bytes, offset: int) -> None:
        """Refused."""
        raise OSError(errno.EROFS, f"file {file} was opened to look at, not to write {len(data)} bytes at {offset}")
