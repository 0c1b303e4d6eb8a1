"""The application of a pod, and whoever calls it again and again. Python's own library only.

serve NAME     plain servers on every address of both families; each HTTP answer says what arrived
load N SECONDS URL [INTERVAL]
               N clients with kept connections; prints a JSON object: how many answers there were by status, which pods gave
               them, and what went wrong
"""

import http.client
import http.server
import json
import socket
import socketserver
import sys
import threading
import time
import urllib.parse


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length).decode()
        if self.path.startswith("/public/slow"):
            time.sleep(0.3)
        answer = json.dumps({
            "app": self.server.name, "path": self.path, "method": self.command, "body": body,
            "peer": self.client_address[0], "headers": dict(self.headers.items()),
        }).encode()
        self.send_response(200)
        self.send_header("server", "app")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, *args):
        pass


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        if self.server.greeting:
            self.request.sendall(self.server.greeting)
        while data := self.request.recv(4096):
            self.request.sendall(data)


class Http(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 128


class Tcp(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


def serve(name):
    def start(server):
        server.name = name
        threading.Thread(target=server.serve_forever, daemon=True).start()

    # Dual stack: Python clears IPV6_V6ONLY for these servers itself.
    for port in (8080, 8084, 8085, 8088, 8099):
        start(Http(("::", port), App))
    for port, greeting in ((9000, b""), (3306, f"greetings from {name}\n".encode())):
        server = Tcp(("::", port), Echo)
        server.greeting = greeting
        start(server)
    Http.address_family = socket.AF_INET
    start(Http(("127.0.0.1", 8090), App))
    print("ready", flush=True)
    threading.Event().wait()


def load(clients, seconds, url, interval):
    target = urllib.parse.urlsplit(url)
    end = time.monotonic() + seconds
    seen, apps, wrong, lock = {}, {}, [], threading.Lock()

    def client():
        connection = None
        while time.monotonic() < end:
            try:
                connection = connection or http.client.HTTPConnection(target.hostname, target.port or 80, timeout=10)
                connection.request("GET", target.path)
                response = connection.getresponse()
                text = response.read().decode()
                status, app = response.status, response.status == 200 and json.loads(text)["app"]
                if response.will_close:
                    connection.close()
                    connection = None
            except Exception as error:
                connection, status, app, text = None, 0, None, repr(error)
            with lock:
                seen[status] = seen.get(status, 0) + 1
                apps[app] = apps.get(app, 0) + 1
                if status != 200:
                    wrong.append([round(seconds - (end - time.monotonic()), 2), status, text[:200]])
            time.sleep(interval)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(json.dumps({"statuses": {str(k): v for k, v in seen.items()}, "apps": {str(k): v for k, v in apps.items()}, "wrong": wrong}))


if sys.argv[1] == "serve":
    serve(sys.argv[2])
else:
    load(int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], float(sys.argv[5]) if len(sys.argv) > 5 else 0.01)
