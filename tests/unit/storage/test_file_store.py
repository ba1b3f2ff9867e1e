"""file://: the stores' contract, and what death leaves behind."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from storage_contract import StoreContract
from storage_fakes import MemoryStore
from trainingjob_storage.errors import NotFound, Refused, Unreachable
from trainingjob_storage.files import FileStore
from trainingjob_storage.store import open_store, probe


@pytest.fixture
def store(tmp_path):
    return open_store(f"file://{tmp_path}/jobs/digits/", None, None, {})


class TestFileStore(StoreContract):
    pass


class TestMemoryStore(StoreContract):
    """The fake behaves as the real ones do."""

    @pytest.fixture
    def store(self):
        return MemoryStore()


def test_what_a_dead_writer_left_is_no_object(store, tmp_path):
    store.put("log/00000000.json", b"x")
    (tmp_path / "jobs/digits/log/.tmp-abc").write_bytes(b"half")
    assert store.list("log/") == ["log/00000000.json"]
    assert store.uri == f"file://{tmp_path}/jobs/digits"


WRITER = """
import sys
from pathlib import Path
from trainingjob_storage.files import FileStore
store, size = FileStore("file:///x", Path(sys.argv[1])), 1 << 20
print("ready", flush=True)
for turn in range(100000):
    store.create(f"log/{turn:08d}.json", bytes([turn % 256]) * size)
    store.put("saves/one", bytes([turn % 256]) * size)
"""


@pytest.mark.parametrize("milliseconds", [1, 7, 23, 40])
def test_a_killed_writer_leaves_only_whole_objects(tmp_path, milliseconds):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    store = FileStore(f"file://{tmp_path}", tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        writer.wait(milliseconds / 1000)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()
    for number, key in enumerate(store.list("log/")):
        assert key == f"log/{number:08d}.json"
        assert store.get(key) == bytes([number % 256]) * (1 << 20)
    try:
        data = store.get("saves/one")
    except NotFound:
        return
    assert data == data[:1] * (1 << 20)


def test_create_and_put_flush_the_file_before_its_name_and_the_folder_after(store, monkeypatch):
    calls = []
    for name in ("fsync", "link", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, original=original, **kw: calls.append(name) or original(*args, **kw))
    store.put("log/x", b"")
    calls.clear()
    store.create("log/00000000.json", b"entry")
    assert calls == ["fsync", "link", "fsync"]


@pytest.mark.parametrize("uri", ["file://relative/folder", "ftp://host/x", "s3://", "/data", "s3://key:secret@bucket/x", "az://account"])
def test_a_uri_that_cannot_work_names_its_field(uri):
    with pytest.raises(Refused, match=r"spec\.checkpoint\.storage"):
        open_store(uri, None, None, {})


def test_a_file_in_the_way_is_refused_naming_the_field(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(Refused, match=r"spec\.checkpoint\.storage\.uri"):
        open_store(f"file://{tmp_path}/file", None, None, {}).put("log/x", b"")


def test_a_file_system_that_takes_no_folders_is_refused_naming_the_field():
    store = open_store("file:///proc/nosuch/folder", None, None, {})
    for write in (store.create, store.put):
        with pytest.raises(Refused, match=r"spec\.checkpoint\.storage\.uri: /proc/nosuch cannot be made"):
            write("log/x", b"")


def test_a_store_that_ignores_the_condition_is_refused_by_the_probe():
    class Careless(MemoryStore):
        def create(self, key, data):
            self.put(key, data)

    store = Careless()
    with pytest.raises(Refused, match="If-None-Match"):
        probe(store, "x")
    assert store.objects == {}


def test_an_object_for_which_there_is_no_room_leaves_nothing_not_even_its_folder(store, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store.put("saves/a/00000.safetensors", b"x")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for key in ("saves/a/00001.safetensors", "saves/b/00000.safetensors"):
            with pytest.raises(Unreachable, match="No space left on device"):
                store.put(key, b"x")
    saves = tmp_path / "jobs" / "digits" / "saves"
    assert sorted(str(path.relative_to(saves)) for path in saves.rglob("*")) == ["a", "a/00000.safetensors"]
