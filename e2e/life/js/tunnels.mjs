/** Tunnels through the official JavaScript client. See `python/tunnels.py`. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { text } from 'node:stream/consumers';
import tls from 'node:tls';
import { raised, run, running } from './harness.mjs';

const web = readFileSync(new URL('../support/web_server.py', import.meta.url), 'utf8');
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
    const command = ['python3', '-c', web, '127.0.0.1', '8000'];
    await running({ command, encryptedPorts: [8000] }, async (sandbox) => {
      const tunnel = (await sandbox.tunnels())[8000];
      assert.equal((await (await fetch(`${tunnel.url}/a`)).json()).path, '/a');
      const [host, port] = tunnel.tlsSocket;
      assert.equal(tunnel.url, `https://${host}:${port}`);
      await raised('InvalidError', () => tunnel.tcpSocket);
      const socket = new WebSocket(tunnel.url.replace('https', 'wss'));
      await once(socket, 'message'); // its greeting
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
