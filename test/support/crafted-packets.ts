/** Packets that no socket of a well-behaved program sends, and what of them arrives, by the kernel's own count. */
import type { Family } from '../../src/core/vocabulary.ts';
import type { AgentLab } from './agent-lab.ts';
import { numberOf } from './address-number.ts';

/** Sends IPv6 packets as given: source, destination, hop limit, next header, payload in hexadecimal digits. */
const SEND_IPV6 = `
use Socket;
my ($source, $destination, $hops, $next, $payload, $device) = @ARGV;
socket(my $socket, 10, SOCK_RAW, 255) or die $!;
setsockopt($socket, 1, 25, "$device\\0") or die $! if $device;
my $body = pack "H*", $payload;
my ($from, $to) = map { Socket::inet_pton(10, $_) } $source, $destination;
my $packet = pack("NnCC", 6 << 28, length $body, $next, $hops) . $from . $to . $body;
my $scope = 0;
if ($device) { open my $file, "/sys/class/net/$device/ifindex"; chomp($scope = <$file>) }
send($socket, $packet, 0, pack("SnNa16L", 10, 0, 0, $to, $scope)) or die $!;
`;

export interface CraftedIcmp {
  readonly source: string;
  readonly destination: string;
  readonly type: number;
  readonly hopLimit: number;
  /** Behind a hop-by-hop header with a router alert. */
  readonly routerAlert?: boolean;
}

const DATA_BYTES = 120;
/** IPv6 header, ICMPv6 header and data; nothing else of this length is on these links. */
const BARE_LENGTH = 40 + 8 + DATA_BYTES;

/** Sends an ICMPv6 message of `type` that is full of data. */
export async function sendIcmp(t: AgentLab, from: string, message: CraftedIcmp): Promise<void> {
  const { source, destination, type, hopLimit, routerAlert = false } = message;
  const icmp = icmpMessage(source, destination, type);
  const payload = routerAlert ? Buffer.concat([ROUTER_ALERT, icmp]) : icmp;
  await t.inside(from, [
    ...(['perl', '-e', SEND_IPV6, source, destination] as const),
    ...[String(hopLimit), routerAlert ? '0' : '58', payload.toString('hex'), 'eth0'],
  ]);
}

/** Hop-by-hop header: next is ICMPv6, no more than these 8 bytes; router alert for MLD, padding. */
const ROUTER_ALERT = Buffer.from([58, 0, 5, 2, 0, 0, 1, 0]);

/** With its checksum: what conntrack takes for INVALID, kube-proxy's rules drop. */
function icmpMessage(source: string, destination: string, type: number): Buffer {
  const message = Buffer.alloc(8 + DATA_BYTES, 0xda);
  message.fill(0, 0, 8);
  message[0] = type;
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32BE(message.length, 0);
  trailer.writeUInt32BE(58, 4);
  const summed = Buffer.concat([addressBytes(source), addressBytes(destination), trailer, message]);
  let sum = 0;
  for (let at = 0; at < summed.length; at += 2) sum += summed.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  message.writeUInt16BE(~sum & 0xffff, 2);
  return message;
}

function addressBytes(address: string): Buffer {
  return Buffer.from(numberOf(address).value.toString(16).padStart(32, '0'), 'hex');
}

/** Sends one datagram by an interface, wherever to: broadcast, multicast and link-local addresses as well. */
const SEND_UDP = `
use Socket;
my ($destination, $port, $device, $source) = @ARGV;
my $family = $destination =~ /:/ ? 10 : 2;
open my $file, "/sys/class/net/$device/ifindex";
chomp(my $index = <$file>);
sub place {
  my ($address, $number) = @_;
  my $bytes = Socket::inet_pton($family, $address);
  return $family == 2 ? pack_sockaddr_in($number, $bytes) : pack("SnNa16L", 10, $number, 0, $bytes, $index);
}
socket(my $socket, $family, SOCK_DGRAM, 17) or die $!;
setsockopt($socket, SOL_SOCKET, SO_BROADCAST, 1) or die $!;
setsockopt($socket, SOL_SOCKET, 25, "$device\\0") or die $!;
my ($address, $number) = split /@/, $source || "";
bind($socket, place($address, $number || 0)) or die "bind: $!" if $address;
send($socket, "x", 0, place($destination, $port)) or die $!;
`;

export interface CraftedDatagram {
  readonly destination: string;
  readonly port: number;
  /** One of the sender's addresses; the kernel chooses if absent. */
  readonly source?: string;
  readonly sourcePort?: number;
  /** `eth0` if absent. */
  readonly device?: string;
}

export async function sendDatagram(t: AgentLab, from: string, datagram: CraftedDatagram): Promise<void> {
  const { destination, port, source = '', sourcePort = 0, device = 'eth0' } = datagram;
  await t.inside(from, [
    'perl',
    '-e',
    SEND_UDP,
    destination,
    String(port),
    device,
    source && `${source}@${sourcePort}`,
  ]);
}

/** Counts in an endpoint's own namespace what arrives there and `matches`. */
export class Arrivals {
  readonly #t: AgentLab;
  readonly #tool: string;
  readonly #at: string;
  readonly #matches: readonly (readonly string[])[];

  static async at(t: AgentLab, at: string, family: Family, ...matches: readonly string[]): Promise<Arrivals> {
    const tool = family === 4 ? 'iptables-nft' : 'ip6tables-nft';
    const arrivals = new Arrivals(
      t,
      at,
      tool,
      matches.map((match) => match.split(' ')),
    );
    await arrivals.#run('-F');
    for (const match of arrivals.#matches) await arrivals.#run('-A', 'PREROUTING', ...match);
    return arrivals;
  }

  private constructor(t: AgentLab, at: string, tool: string, matches: readonly (readonly string[])[]) {
    this.#t = t;
    this.#at = at;
    this.#tool = tool;
    this.#matches = matches;
  }

  #run(...args: string[]): Promise<string> {
    return this.#t.inside(this.#at, [this.#tool, '-t', 'raw', ...args]);
  }

  /** Packets that arrived so far, one number for each of the matches. */
  async counts(): Promise<readonly number[]> {
    const listing = await this.#run('-vnxL', 'PREROUTING');
    return listing
      .split('\n')
      .slice(2, 2 + this.#matches.length)
      .map((line) => Number(line.trim().split(/\s+/)[0]));
  }
}

/** What counts the messages of `sendIcmp` of this type. */
export function icmpMatch(type: number, routerAlert = false): string {
  return `-p ipv6-icmp --icmpv6-type ${type} -m length --length ${BARE_LENGTH + (routerAlert ? 8 : 0)}`;
}
