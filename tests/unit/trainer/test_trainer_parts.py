"""The parts of a step by themselves: buffers, randomness, sockets, the store."""

from __future__ import annotations

import base64
import os
import socket
from datetime import timedelta

import pytest
import torch
from torch import nn

from trainingjob_api.contract.messages import StoreReply, StoreRequest
from trainingjob_trainer.learning.buffers import Keep, buffer_policies
from trainingjob_trainer.randomness import derive, permutation, seed_lane
from trainingjob_trainer.strategy.module_buffers import ModuleBuffers
from trainingjob_trainer.transport import sockets
from trainingjob_trainer.transport.store import ChannelStore, StoreError


def test_changed_buffers_are_averaged_by_weight_and_constant_ones_keep_their_bits():
    model = nn.BatchNorm1d(2)
    model.register_buffer("constant", torch.full((3,), 0.1))
    model.register_buffer("scratch", torch.zeros(1), persistent=False)
    buffers = ModuleBuffers(model, buffer_policies(model, {"scratch": Keep}))
    buffers.keep(attempt=1)
    total = torch.zeros(buffers.width, dtype=torch.float64)
    change = torch.zeros_like(total)
    for weight, inputs in ((3.0, torch.tensor([[1.0, 2], [3, 4], [5, 6]])), (1.0, torch.tensor([[9.0, 9], [7, 7]]))):
        model(inputs)
        model.scratch += 1
        buffers.end_lane(weight, change, leads=weight == 3)
        total += change
    buffers.apply(total, 4.0)
    assert torch.allclose(model.running_mean, 0.1 * (0.75 * torch.tensor([3.0, 4]) + 0.25 * torch.tensor([8.0, 8])))
    assert model.num_batches_tracked == 1
    assert torch.equal(model.constant, torch.full((3,), 0.1))
    assert model.scratch == 0


def test_randomness_depends_on_what_is_computed_alone():
    seed_lane(7, 3, 1)
    first = torch.rand(4)
    seed_lane(7, 3, 2)
    assert not torch.equal(first, torch.rand(4))
    seed_lane(7, 3, 1)
    assert torch.equal(first, torch.rand(4))
    assert len({derive(seed, word) for seed in range(9) for word in ("model", "lane")}) == 18
    assert not torch.equal(permutation(7, 0, 50), permutation(7, 1, 50))


def test_only_established_connections_are_cut_and_only_those_meant():
    with socket.create_server(("127.0.0.1", 0)) as server:
        before = sockets.established()
        with socket.create_connection(server.getsockname()) as meant, server.accept()[0] as peer:
            new = sockets.established() - before
            with socket.create_connection(server.getsockname()) as other, server.accept()[0] as other_peer:
                assert sockets.cut(new) == 2
                assert meant.recv(1) == b""
                assert peer.recv(1) == b""
                other.sendall(b"x")
                assert other_peer.recv(1) == b"x"
        assert sockets.cut(new) == 0, "closed: the descriptor means something else now, or nothing"
        with socket.create_connection(server.getsockname()) as again:
            assert again.fileno() >= 0


def test_a_descriptor_that_means_another_socket_by_now_is_left_alone():
    with socket.create_server(("127.0.0.1", 0)) as server:
        first = socket.create_connection(server.getsockname())
        stream = next(each for each in sockets.established() if each.descriptor == first.fileno())
        second = socket.create_connection(server.getsockname())
        server.accept()[0].close()
        peer = server.accept()[0]
        os.dup2(second.fileno(), first.fileno())
        assert sockets.cut([stream]) == 0
        first.sendall(b"x")
        assert peer.recv(1) == b"x"
        for each in (first, second, peer):
            each.close()


class Words:
    """A rendezvous' answers."""

    def __init__(self) -> None:
        self.asked: list[StoreRequest] = []
        self.reply = StoreReply(id=0, value="")

    def __call__(self, request: StoreRequest) -> StoreReply:
        self.asked.append(request)
        return self.reply


def test_the_store_asks_under_its_generations_label():
    words = Words()
    store = ChannelStore(words, "a1e1n2", timedelta(seconds=3))
    store.set("key", b"\x00\xff")
    assert words.asked[0].prefix == "a1e1n2"
    assert base64.b64decode(words.asked[0].value) == b"\x00\xff"
    words.reply = StoreReply(id=0, value=base64.b64encode(b"12").decode())
    assert store.get("key") == b"12"
    words.reply = StoreReply(id=0, value="12")
    assert store.add("counter", 5) == 12
    assert words.asked[-1].value == "5"
    store.wait(["a", "b"], timedelta(seconds=1))
    assert words.asked[-1].keys == ("a", "b")
    assert words.asked[-1].timeout_seconds == 1
    words.reply = StoreReply(id=0, error="over")
    with pytest.raises(StoreError, match="over"):
        store.get("key")
