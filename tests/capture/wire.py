"""Servers that tell their name, and who answers a call.

usage: wire.py who ADDRESS PORT | wire.py serve NAME PORT..
"""
import socket, sys, threading, time


def serve(family, address, port, name):
    """Greets with its name, then echoes."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((address, port))
    listener.listen()

    def one(connection):
        connection.sendall(name.encode() + b"\n")
        while data := connection.recv(100):
            connection.sendall(data)

    def accept():
        while True:
            threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def serve_both(v4, v6, port, name):
    serve(socket.AF_INET, v4, port, name)
    serve(socket.AF_INET6, v6, port, name)


def dial(address, port, source=None):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    client = socket.socket(family, socket.SOCK_STREAM)
    client.settimeout(3)
    if source:
        client.bind((source, 0))
    client.connect((address, port))
    return client


def who(address, port, source=None):
    try:
        with dial(address, port, source) as client:
            return client.recv(100).decode().strip() or "reset"
    except socket.timeout:
        return "silence"
    except OSError as error:
        return error.__class__.__name__


if __name__ == "__main__":
    if sys.argv[1] == "who":
        print(who(sys.argv[2], int(sys.argv[3])))
    else:
        for port in sys.argv[3:]:
            serve_both("0.0.0.0", "::", int(port), sys.argv[2])
        print("ready", flush=True)
        time.sleep(120)
