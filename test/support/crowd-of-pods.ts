/**
 * Thousands of pods behind one interface of a node, as packets see them: a network namespace that has all addresses, and a program on either
 * side of the node that sends for, and to, the addresses of a window that moves along. Each datagram names its pod.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import type { AgentLab } from './agent-lab.ts';

const execute = promisify(execFile);

const NETWORK = '10.250.0.0/16';
const PORT = 9000;
/** Datagrams a second and side. */
const RATE = 8000;

export const crowdAddress = (n: number): string => `10.250.${n >> 8}.${n & 255}`;

/** Counts what arrives, by pod; sends to or for the pods from `$first` to `$last`, in turn, which standard input moves. */
const PROGRAM = String.raw`
use strict; use Socket; use Time::HiRes qw(sleep); use IO::Select;
my ($as_pods, $peer, $port, $rate) = @ARGV; $| = 1;
my $peer_number = inet_aton($peer);
socket(my $in, AF_INET, SOCK_DGRAM, 17) or die; setsockopt($in, SOL_SOCKET, SO_RCVBUF, 4 << 20); bind($in, sockaddr_in($port, INADDR_ANY)) or die $!;
my $out;
if (!$as_pods) { $out = $in }
else { socket($out, AF_INET, SOCK_RAW, 255) or die $!; setsockopt($out, 0, 3, 1) or die $! }
my ($first, $last, $at, $buffered, %seen) = (0, 0, 0, '');
my $commands = IO::Select->new(\*STDIN); my $arrived = IO::Select->new($in);
while (1) {
    if ($commands->can_read(0)) {
        sysread(STDIN, $buffered, 4096, length $buffered) or last;
        while ($buffered =~ s/^(\w+) ?(\d*) ?(\d*)\n//) {
            if ($1 eq 'window') { ($first, $last) = ($2, $3) }
            else { print join(' ', map { "$_:$seen{$_}" } keys %seen), "\n"; %seen = () }
        }
    }
    while ($arrived->can_read(0)) { recv($in, my $text, 64, 0); $seen{$text}++ }
    for (1 .. $rate / 200) {
        last if $last <= $first;
        $at = $first if ++$at >= $last || $at < $first;
        my $pod = pack 'C4', 10, 250, $at >> 8, $at & 255;
        if (!$as_pods) { send($out, $at, 0, sockaddr_in($port, $pod)); next }
        my $datagram = pack('n4', $port + 1, $port, 8 + length $at, 0) . $at;
        send($out, pack('CCnnnCCn', 0x45, 0, 20 + length $datagram, 0, 0, 64, 17, 0) . $pod . $peer_number . $datagram, 0, sockaddr_in(0, $peer_number));
    }
    sleep 0.004;
}
`;

/** Datagrams by number of the pod. */
export type Seen = ReadonlyMap<number, number>;

class Side {
  readonly #child: ChildProcess;
  readonly #lines: NodeJS.EventEmitter;

  constructor(netns: string, args: readonly string[]) {
    this.#child = spawn('ip', ['netns', 'exec', netns, 'perl', '-e', PROGRAM, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdin!.on('error', () => {});
    this.#lines = createInterface({ input: this.#child.stdout! });
  }

  window(first: number, last: number): void {
    this.#child.stdin!.write(`window ${first} ${last}\n`);
  }

  /** What arrived since it was asked last. */
  async seen(): Promise<Seen> {
    const answer = once(this.#lines, 'line');
    this.#child.stdin!.write('seen\n');
    const [line] = (await answer) as [string];
    const words = line.split(' ').filter((word) => word !== '');
    return new Map(words.map((word) => word.split(':').map(Number) as [number, number]));
  }

  async close(): Promise<void> {
    this.#child.kill('SIGKILL');
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit');
  }
}

export class Crowd {
  readonly #pods: Side;
  readonly #world: Side;

  /** `count` addresses on `node-1`; no pod of the API has them yet. */
  static async create(t: AgentLab, count: number): Promise<Crowd> {
    const host = await t.lab.network.addPod({ namespace: 'crowd', name: 'host', node: 'node-1' });
    await t.inside('crowd/host', ['ip', 'route', 'add', 'local', NETWORK, 'dev', 'lo']);
    // By way of the one address that answers for itself: a host's table of neighbours does not hold thousands.
    const via = `via ${host.addresses[0]!} dev ${host.hostInterface!} onlink`;
    const routes = Array.from({ length: count }, (_, n) => `route add ${crowdAddress(n)}/32 ${via}\n`);
    await t.on('node-1', ['ip', '-batch', '-'], routes.join(''));
    const fabric = `${t.lab.network.prefix}fabric`;
    await execute('ip', ['-n', fabric, 'route', 'add', NETWORK, 'via', t.address('node-1')]);
    const world = t.lab.network.outsideHosts().find(({ name }) => name === 'world')!;
    const args = [t.address('world'), String(PORT), String(RATE)];
    return new Crowd(new Side(host.netns, ['1', ...args]), new Side(world.netns, ['', ...args]));
  }

  private constructor(pods: Side, world: Side) {
    this.#pods = pods;
    this.#world = world;
  }

  /** From now on datagrams go to and from the pods of these numbers. */
  probe(first: number, last: number): void {
    for (const side of [this.#pods, this.#world]) side.window(Math.max(0, first), last);
  }

  /** What arrived since it was asked last: at the pods, and from them at the outside. */
  async seen(): Promise<{ readonly ingress: Seen; readonly egress: Seen }> {
    const [ingress, egress] = await Promise.all([this.#pods.seen(), this.#world.seen()]);
    return { ingress, egress };
  }

  async close(): Promise<void> {
    await Promise.all([this.#pods.close(), this.#world.close()]);
  }
}
