"""Ports: free ones, taken ones."""

import socket

import pytest

from braing3n.service.ports import answers, free_port, is_taken


def test_a_free_port_is_not_taken_and_does_not_answer():
    port = free_port()
    assert not is_taken(port)
    assert not is_taken(port, "127.0.0.1")
    assert not answers(port)


def test_a_port_that_something_listens_on_is_taken_and_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_taken(port)
        assert is_taken(port, "127.0.0.1")
        assert answers(port)


def test_a_port_that_something_listens_on_by_ipv6_alone_is_taken():
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        assert is_taken(server.getsockname()[1])
        assert not is_taken(server.getsockname()[1], "127.0.0.1")


def test_a_connection_that_was_closed_does_not_take_its_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # first: this side keeps TIME_WAIT
        client.close()
    assert not is_taken(port)


def test_an_address_of_another_machine_cannot_be_listened_on():
    assert is_taken(free_port(), "192.0.2.1")
