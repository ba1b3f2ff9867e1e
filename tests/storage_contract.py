"""What every store must do, whatever is behind it. Run for file:// in unit, and for S3 in e2e/s3.

A test class inherits from StoreContract and gives a fixture `store`, empty for each test.
"""

import threading

import pytest

from trainingjob_storage.errors import AlreadyExists, NotFound, StorageError
from trainingjob_storage.store import Store, probe


class StoreContract:
    def test_an_object_reads_back_as_it_was_put(self, store: Store):
        store.put("saves/a/00000.safetensors", b"\0weights\xff")
        assert store.get("saves/a/00000.safetensors") == b"\0weights\xff"

    def test_an_empty_object_is_an_object(self, store: Store):
        store.put("saves/a/00000.safetensors", b"")
        store.put("runs/empty.log", b"")
        assert store.get("saves/a/00000.safetensors") == b""
        assert store.get("runs/empty.log") == b""

    def test_a_view_of_writable_memory_is_stored_whole(self, store: Store):
        memory = bytearray(range(256)) * 4096
        store.put("saves/a/00001.safetensors", memoryview(memory)[1:-1])
        memory[:] = bytes(len(memory))
        assert store.get("saves/a/00001.safetensors") == (bytes(range(256)) * 4096)[1:-1]

    def test_put_replaces(self, store: Store):
        store.put("runs/0/0/0.0.log", b"one")
        store.put("runs/0/0/0.0.log", b"two")
        assert store.get("runs/0/0/0.0.log") == b"two"

    def test_create_writes_only_what_is_absent(self, store: Store):
        store.create("log/00000000.json", b"first")
        with pytest.raises(AlreadyExists):
            store.create("log/00000000.json", b"second")
        assert store.get("log/00000000.json") == b"first"

    def test_create_does_not_replace_what_was_put(self, store: Store):
        store.put("log/00000001.json", b"put")
        with pytest.raises(AlreadyExists):
            store.create("log/00000001.json", b"created")

    def test_what_is_absent_is_not_found(self, store: Store):
        with pytest.raises(NotFound):
            store.get("log/00000007.json")
        with pytest.raises(NotFound):
            store.get("saves/b/00000.safetensors")

    def test_a_range_is_read_without_the_rest_and_ends_with_the_object(self, store: Store):
        store.put("saves/a/00000.safetensors", b"front and weights")
        ranges = [(0, 5), (6, 9), (10, 99), (17, 20), (40, 50)]
        assert [store.get_range("saves/a/00000.safetensors", *each) for each in ranges] == [b"front", b"and", b"weights", b"", b""]
        store.put("saves/a/empty.json", b"")
        assert store.get_range("saves/a/empty.json", 0, 8) == b""
        with pytest.raises(NotFound):
            store.get_range("saves/b/00000.safetensors", 0, 8)
        with pytest.raises(NotFound):
            store.get_range("saves/a", 0, 8)

    def test_a_folder_is_no_object(self, store: Store):
        store.put("saves/a/x.json", b"x")
        with pytest.raises(NotFound):
            store.get("saves/a")

    def test_a_listing_is_sorted_and_holds_the_folder_alone(self, store: Store):
        keys = ["log/00000010.json", "log/00000002.json", "logs/x", "saves/1/m.json", "saves/1/0.safetensors"]
        for key in keys:
            store.put(key, b"x")
        assert store.list("log/") == ["log/00000002.json", "log/00000010.json"]
        assert store.list("saves/") == ["saves/1/0.safetensors", "saves/1/m.json"]
        assert store.list("") == sorted(keys)
        assert store.list("export/") == []

    def test_deleting_twice_is_no_error(self, store: Store):
        store.put("saves/1/a", b"x")
        store.put("saves/1/b", b"x")
        store.delete(["saves/1/a", "saves/1/never"])
        store.delete(["saves/1/a"])
        assert store.list("") == ["saves/1/b"]

    def test_a_deleted_name_can_be_created_again(self, store: Store):
        store.create("probe/x", b"1")
        store.delete(["probe/x"])
        store.create("probe/x", b"2")
        assert store.get("probe/x") == b"2"

    def test_of_eight_racing_creations_one_wins(self, store: Store):
        for turn in range(10):
            key, winners, errors = f"log/{turn:08d}.json", [], []
            start = threading.Barrier(8)

            def race(name: bytes, key=key, start=start, winners=winners, errors=errors) -> None:
                start.wait()
                try:
                    store.create(key, name)
                    winners.append(name)
                except AlreadyExists:
                    pass
                except StorageError as error:
                    errors.append(error)

            threads = [threading.Thread(target=race, args=(f"writer {number}".encode(),)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert errors == []
            assert len(winners) == 1
            assert store.get(key) == winners[0]

    def test_the_probe_passes_and_leaves_nothing(self, store: Store):
        probe(store, "nonce")
        assert store.list("") == []
