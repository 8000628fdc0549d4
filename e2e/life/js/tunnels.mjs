/** Tunnels through the official JavaScript client. See `python/tunnels.py`. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { text } from 'node:stream/consumers';
import tls from 'node:tls';
import { raised, run, running } from './harness.mjs';

/** Answers what it is asked over HTTP, and echoes messages of websockets (RFC 6455), short ones. */
const web = `
import base64, hashlib, http.server, struct
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.headers["Upgrade"] == "websocket": return self.websocket()
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def websocket(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        while True:
            kind, length = self.rfile.read(2)
            mask = self.rfile.read(4)
            data = bytes(byte ^ mask[index % 4] for index, byte in enumerate(self.rfile.read(length & 127)))
            self.wfile.write(struct.pack("BB", kind, len(data)) + data)
            if kind & 15 == 8: break
        self.close_connection = True
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
`;
const echo = `
import socket, threading
def serve(connection):
    with connection:
        everything = b""
        while piece := connection.recv(65536): everything += piece
        connection.sendall(b"got " + everything)
server = socket.create_server(("", 9000))
while True: threading.Thread(target=serve, args=[server.accept()[0]]).start()
`;

await run({
  async 'HTTP and a websocket at the URL'() {
    await running({ command: ['python3', '-c', web], encryptedPorts: [8000] }, async (sandbox) => {
      const tunnel = (await sandbox.tunnels())[8000];
      assert.equal(await (await fetch(`${tunnel.url}/a`)).text(), '/a');
      const [host, port] = tunnel.tlsSocket;
      assert.equal(tunnel.url, `https://${host}:${port}`);
      await raised('InvalidError', () => tunnel.tcpSocket);
      const socket = new WebSocket(tunnel.url.replace('https', 'wss'));
      await once(socket, 'open');
      for (const message of ['hello', 'again']) {
        socket.send(message);
        const [{ data }] = await once(socket, 'message');
        assert.equal(data, message);
      }
      socket.close();
      await once(socket, 'close');
    });
  },

  async 'bytes with half-close, with TLS and without'() {
    await running({ command: ['python3', '-c', echo], unencryptedPorts: [9000] }, async (sandbox) => {
      const tunnel = (await sandbox.tunnels())[9000];
      const [host, port] = tunnel.tcpSocket;
      const [tlsHost, tlsPort] = tunnel.tlsSocket;
      for (const client of [
        net.connect({ host, port, allowHalfOpen: true }),
        tls.connect({ host: tlsHost, port: tlsPort, allowHalfOpen: true }),
      ]) {
        client.end('hello');
        assert.equal(await text(client), 'got hello');
      }
    });
  },
});
