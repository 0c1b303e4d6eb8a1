#!/usr/bin/env python3
"""A pod and its neighbour, as two network namespaces: which connections the rules of `hopgate capture` redirect, and to where.

usage: unshare -n lab.py HOPGATE nft|iptables DIRECTORY

Run as root, in a network namespace of its own, which is the pod's. Prints one JSON object: what each case came to.
"""
import json, os, subprocess, sys, time

import wire
from wire import dial, serve_both, who

hopgate, tool, directory = sys.argv[1:4]
results = {}


def sh(command):
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)


def capture(*arguments, **options):
    verb, *rest = arguments
    done = subprocess.run([hopgate, "capture", verb, "--with", tool, *rest], capture_output=True, text=True, **options)
    return done.returncode, done.stderr


def check():
    """As a user without any capability."""
    done = subprocess.run([hopgate, "capture", "check"], user=65532, group=65532, extra_groups=[], capture_output=True, text=True)
    return [done.returncode, done.stderr]


def as_user(uid, address, port, source=None):
    """Who answers a process of this user."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        os.write(writing, who(address, port, source).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        return answer.read()


def from_neighbour(address, port):
    run = ["nsenter", "-t", str(neighbour.pid), "-n", "python3", wire.__file__, "who", address, str(port)]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()


neighbour = subprocess.Popen(["unshare", "-n", "sleep", "120"])
own = os.readlink("/proc/self/ns/net")
while os.readlink(f"/proc/{neighbour.pid}/ns/net") == own:
    time.sleep(0.01)
try:
    sh("ip link set lo up; ip link add eth0 type veth peer name far; ip link set eth0 up")
    sh("ip addr add 10.77.0.1/24 dev eth0; ip addr add fd77::1/64 dev eth0 nodad")
    sh(f"ip link set far netns {neighbour.pid}")
    there = f"nsenter -t {neighbour.pid} -n"
    sh(f"{there} ip link set lo up; {there} ip link set far up")
    for address in ["10.77.0.2/24", "10.77.0.3/24", "fd77::2/64", "fd77::3/64"]:
        sh(f"{there} ip addr add {address} dev far {'nodad' if ':' in address else ''}")
    sh("ip route add default via 10.77.0.2; ip -6 route add default via fd77::2")
    serving = ["python3", wire.__file__, "serve", "neighbour", "7000", "7001"]
    server = subprocess.Popen(there.split() + serving, stdout=subprocess.PIPE)
    server.stdout.readline()
    for port in (8080, 8081):
        serve_both("0.0.0.0", "::", port, "app")
    serve_both("0.0.0.0", "::", 15020, "sidecar")

    results["without rules"] = [as_user(1000, "10.77.0.2", 7000), from_neighbour("10.77.0.1", 8080)]
    code, said = capture("up", user=1000, group=1000)
    results["up without NET_ADMIN"] = [code, "NET_ADMIN" in said]
    results["check without rules"] = check()
    code, said = capture("up")
    results["check with rules"] = check()
    results["up"] = [code, said]
    serve_both("0.0.0.0", "::", 15006, "inbound")
    serve_both("127.0.0.1", "::1", 15001, "outbound")
    code, said = capture("up")
    results["up beside a proxy that serves"] = [code, said]
    for family, far, near, escape in [("v4", "10.77.0.2", "10.77.0.1", "127.0.0.6"), ("v6", "fd77::2", "fd77::1", "::6")]:
        loopback = "::1" if family == "v6" else "127.0.0.1"
        results[family] = {
            "app calls out": as_user(1000, far, 7000),
            "root calls out": as_user(0, far, 7000),
            "envoy calls out": as_user(1337, far, 7000),
            "sidecar calls out": as_user(1338, far, 7000),
            "app calls loopback": as_user(1000, loopback, 8080),
            "app calls its own address": as_user(1000, near, 8080),
            "envoy calls the pod's address": as_user(1337, near, 8080),
            "envoy calls from the escape address": as_user(1337, near, 8080, escape),
            "sidecar probes the pod's address": as_user(1338, near, 8080),
            "neighbour calls the app": from_neighbour(near, 8080),
            "neighbour calls a port that nobody serves": from_neighbour(near, 8089),
            "neighbour calls the sidecar": from_neighbour(near, 15020),
        }
    kept = dial("10.77.0.2", 7000)
    kept.recv(100)
    exclusions = ["--exclude-inbound-ports", "8081", "--exclude-outbound-ports", "7001", "--exclude-uids", "1001",
                  "--exclude-outbound-cidrs", "10.77.0.3/32,fd77::3/128"]
    results["up with exclusions"] = [capture("up", *exclusions)[0]]
    kept.sendall(b"still here\n")
    results["a connection from before"] = kept.recv(100).decode().strip()
    for family, far, free, near in [("v4", "10.77.0.2", "10.77.0.3", "10.77.0.1"), ("v6", "fd77::2", "fd77::3", "fd77::1")]:
        results[family + " with exclusions"] = {
            "port": as_user(1000, far, 7001),
            "network": as_user(1000, free, 7000),
            "user": as_user(1001, far, 7000),
            "anything else": as_user(1000, far, 7000),
            "inbound port": from_neighbour(near, 8081),
            "another inbound port": from_neighbour(near, 8080),
        }
    capture("up")
    results["exclusions are gone"] = [as_user(1000, "10.77.0.3", 7000), from_neighbour("10.77.0.1", 8081)]
    results["down"] = [capture("down")[0], capture("down")[0]]
    results["after down"] = [as_user(1000, "10.77.0.2", 7000), as_user(1000, "fd77::2", 7000), from_neighbour("fd77::1", 8080)]
    addresses = subprocess.run(["ip", "-6", "addr", "show", "dev", "lo"], capture_output=True, text=True).stdout
    results["the address is gone"] = "::6/128" not in addresses
    server.kill()
finally:
    neighbour.kill()

# Somebody else's rules come first: ours are in the kernel, and not in force.
subprocess.run(["unshare", "-n", "sh", "-euc", f"""
ip link set lo up; ip link add eth0 type veth peer name far; ip link set eth0 up; ip link set far up
ip addr add 10.77.0.1/24 dev eth0; ip route add default via 10.77.0.2
nft add table ip other
nft 'add chain ip other out {{ type nat hook output priority -150; }}'
nft add rule ip other out meta l4proto tcp redirect to :9
{hopgate} capture up --with {tool} 2>said && echo 0 >code || echo $? >code
"""], check=True, cwd=directory)
results["behind foreign rules"] = [int(open(directory + "/code").read()), open(directory + "/said").read()]
print(json.dumps(results))
