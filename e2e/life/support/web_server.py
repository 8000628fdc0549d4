"""A web server for sandboxes: says what it was asked, sends events and bytes, takes uploads, and echoes in websockets. Arguments: address, port."""

import base64
import hashlib
import http.server
import json
import socketserver
import sys
import time
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path)
        if self.headers.get("Upgrade") == "websocket":
            self.websocket()
        elif path.path == "/events":
            self.events()
        elif path.path == "/bytes":
            size = int(path.query)
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            piece = b"x" * 65536
            while size:
                size -= self.wfile.write(piece[:size])
        else:
            headers = [[name, value] for name, value in self.headers.items()]
            self.answer(json.dumps({"method": self.command, "path": self.path, "headers": headers}))

    def do_POST(self):
        left, size = int(self.headers["Content-Length"]), 0
        while left:
            piece = self.rfile.read(min(left, 65536))
            left -= len(piece)
            size += len(piece)
        self.answer(str(size))

    def answer(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def events(self):
        """Each event waits until the client has heard the one before, and says so on another connection to /heard."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.close_connection = True
        for number in range(3):
            self.wfile.write(f"data: {number}\n\n".encode())
            self.wfile.flush()
            while number < 2 and self.server.heard <= number:
                time.sleep(0.01)

    def do_PUT(self):
        self.server.heard += 1
        self.answer("")

    def websocket(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        self.frame(1, self.headers.get("X-Verified-User-Data", "nobody").encode())
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                return
            length = head[1] & 127
            if length == 126:
                length = int.from_bytes(self.rfile.read(2), "big")
            mask = self.rfile.read(4)
            payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length)))
            self.frame(head[0] & 15, payload)
            if head[0] & 15 == 8:
                return

    def frame(self, kind, payload):
        length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
        self.wfile.write(bytes([0x80 | kind]) + length + payload)
        self.wfile.flush()

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    heard = 0


Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
