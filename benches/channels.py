#!/usr/bin/env python3
"""Processor time of redis-server per connect and per push to one user, for three layouts of channels (docs/scaling.md).

Ten nodes with 16,000 users each; needs redis-server, takes a minute, writes nothing. Only the ratios mean anything."""

import os
import random
import socket
import subprocess
import tempfile
import threading
import time

NODES, USERS, PUSHES = 10, 16_000, 20_000
PUBLICATION, ANSWER = b"x" * 420, b"x" * 180  # a head and a frame of 135 bytes; what an answer takes


def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def read_lines(connection, count):
    while count > 0:
        count -= connection.recv(1 << 16).count(b"\r\n")


class Node:
    def __init__(self, port):
        self.hears, self.says = (socket.create_connection(("127.0.0.1", port)) for _ in range(2))
        self.heard = 0

    def subscribe(self, channels, at_once):
        for start in range(0, len(channels), at_once):
            some = channels[start : start + at_once]
            self.hears.sendall(command(b"SUBSCRIBE", *some))
            read_lines(self.hears, 6 * len(some))

    def listen(self):
        try:
            while data := self.hears.recv(1 << 16):
                self.heard += data.count(b"message\r\n")
        except ConnectionResetError:
            pass  # the end, while something was on its way


def user(number):
    return b"rollcall:user:%016x" % (number * 2_654_435_761)


def run(port, server, layout, at_once):
    def processor():
        fields = open(f"/proc/{server.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1e6

    def memory():
        return int(open(f"/proc/{server.pid}/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    nodes = [Node(port) for _ in range(NODES)]
    for number, node in enumerate(nodes):
        node.subscribe([b"all", b"node:%d" % number], 2)
    begun, resident = processor(), memory()
    for number, node in enumerate(nodes):
        if layout == "user":
            node.subscribe([user(number * USERS + one) for one in range(USERS)], at_once)
        elif layout == "shard":
            node.subscribe([b"shard:%d" % shard for shard in range(256)], 256)
    connected, resident = processor(), memory() - resident
    listeners = [threading.Thread(target=node.listen) for node in nodes]
    [listener.start() for listener in listeners]
    for _ in range(PUSHES):
        to = random.randrange(USERS, NODES * USERS)
        channel = {"user": user(to), "shard": b"shard:%d" % (to % 256), "all": b"all"}[layout]
        nodes[0].says.sendall(command(b"PUBLISH", channel, PUBLICATION) + command(b"PUBSUB", b"NUMSUB", b"all"))
        read_lines(nodes[0].says, 5)
        for node in [nodes[to // USERS]] if layout == "user" else nodes[1:]:
            node.says.sendall(command(b"PUBLISH", b"node:0", ANSWER))
            read_lines(node.says, 1)
    pushed = processor()
    [node.hears.shutdown(socket.SHUT_RDWR) for node in nodes]
    [listener.join() for listener in listeners]
    users, heard = NODES * USERS, sum(node.heard for node in nodes)
    print(
        f"{layout:6} {at_once:5} at once: connect {(connected - begun) / users:6.2f} µs, memory {resident / users:4.0f} B a user, "
        f"push {(pushed - connected) / PUSHES:6.1f} µs, {heard / PUSHES:5.2f} messages read"
    )


def main():
    for layout, at_once in [("user", 1), ("user", 20), ("user", 1_000), ("shard", 256), ("all", 1)]:
        port = random.randrange(10_240, 30_240)
        with tempfile.TemporaryDirectory() as folder:
            server = subprocess.Popen(
                ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder],
                stdout=subprocess.DEVNULL,
            )
            try:
                time.sleep(0.5)
                run(port, server, layout, at_once)
            finally:
                server.terminate()
                server.wait()


main()
