"""DCP's writer on an S3 server: its file system port over boto3, since no ready-made one is installed here."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

import boto3
from torch.distributed.checkpoint.filesystem import FileSystemBase, FileSystemWriter


class _Kept(io.BytesIO):
    """Keeps its content when it is closed, which its writer does."""

    kept = b""

    def close(self) -> None:
        if not self.closed:
            self.kept = self.getvalue()
        super().close()


class S3(FileSystemBase):
    """Objects of one bucket as files."""

    def __init__(self, endpoint: str, bucket: str) -> None:
        self._client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        self._bucket = bucket

    @contextmanager
    def create_stream(self, path: str | os.PathLike, mode: str) -> Iterator[io.IOBase]:
        assert mode == "wb"
        stream = _Kept()
        yield stream
        stream.close()
        self._client.put_object(Bucket=self._bucket, Key=os.fspath(path), Body=stream.kept)

    def concat_path(self, path: str | os.PathLike, suffix: str) -> str:
        return str(PurePosixPath(path) / suffix)

    def rename(self, path: str | os.PathLike, new_path: str | os.PathLike) -> None:
        source = {"Bucket": self._bucket, "Key": os.fspath(path)}
        self._client.copy_object(Bucket=self._bucket, Key=os.fspath(new_path), CopySource=source)
        self.rm_file(path)

    def init_path(self, path: str | os.PathLike) -> str:
        return os.fspath(path)

    def mkdir(self, path: str | os.PathLike) -> None:
        """There are no folders."""

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike) -> bool:
        return True

    def exists(self, path: str | os.PathLike) -> bool:
        return self._client.list_objects_v2(Bucket=self._bucket, Prefix=os.fspath(path), MaxKeys=1)["KeyCount"] > 0

    def rm_file(self, path: str | os.PathLike) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=os.fspath(path))


class S3Writer(FileSystemWriter):
    """Writes checkpoints there."""

    def __init__(self, path: str, files: S3) -> None:
        super().__init__(path, sync_files=False)
        self.fs = files
        self.path = files.init_path(path)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike) -> bool:
        return True
