/**
 * A packet walked through a table of nftables as the kernel would walk it: rules as values, of the renderer or of a kernel in memory.
 * Throws on what it does not know.
 */
import type { Family } from '../../src/core/vocabulary.ts';
import { PROTOCOL_NUMBER } from '../../src/core/vocabulary.ts';
import type { End, MapKey, Match, Rule, Target } from '../../src/dataplane/nftables/table/rule.ts';
import type { Chain, NftSet, Table } from '../../src/dataplane/nftables/table/table.ts';
import { WIDTH, numberOf, prefixMask } from './address-number.ts';
import type { Connection, Packet, Trace } from './tracer.ts';

/** Far more rules than a packet can meet without a loop. */
const MAX_STEPS = 100_000;

export function traceTable(table: Pick<Table, 'chains' | 'sets'>, packet: Packet): Trace {
  return new Walk(table, packet).run();
}

class Walk {
  readonly #table: Pick<Table, 'chains' | 'sets'>;
  readonly #packet: Packet;
  readonly #connection: Connection;
  readonly #matched: string[] = [];
  readonly #logged: string[] = [];

  constructor(table: Pick<Table, 'chains' | 'sets'>, packet: Packet) {
    this.#table = table;
    this.#packet = packet;
    this.#connection = packet.connection ?? { mark: 0 };
  }

  run(): Trace {
    const hook = (this.#packet.hook ?? 'FORWARD').toLowerCase();
    const bases = [...this.#table.chains.values()].filter(({ hook: head }) => head.includes(` hook ${hook} `));
    if (bases.length !== 1) throw new Error(`${bases.length} chains at hook ${hook}`);
    const verdict = this.#walk(bases[0]!) === 'drop' ? 'dropped' : 'passed';
    return { verdict, logged: this.#logged, matched: this.#matched };
  }

  #walk(base: Chain): 'drop' | 'end' {
    const stack: { chain: Chain; next: number }[] = [{ chain: base, next: 0 }];
    for (let steps = 0; steps < MAX_STEPS; steps++) {
      const place = stack.at(-1);
      if (!place) return 'end';
      const rule = this.#rulesOf(place.chain)[place.next++];
      if (!rule) {
        stack.pop();
        continue;
      }
      if (!rule.matches.every((match) => this.#matches(match))) continue;
      const target = this.#resolve(rule.target);
      if (!target) continue;
      this.#matched.push(`${place.chain.name} ${JSON.stringify(rule)}`);
      switch (target.kind) {
        case 'drop':
          return 'drop';
        case 'return':
          stack.pop();
          break;
        case 'jump':
          if (stack.length >= 16) throw new Error('more jumps than the kernel allows');
          stack.push({ chain: this.#chain(target.chain), next: 0 });
          break;
        case 'goto':
          stack.pop();
          stack.push({ chain: this.#chain(target.chain), next: 0 });
          break;
        case 'set-mark':
          this.#connection.mark = ((this.#connection.mark & ~target.mask) | target.bits) >>> 0;
          break;
        case 'log':
          this.#logged.push(target.prefix);
      }
    }
    throw new Error('a loop');
  }

  #rulesOf({ name, rules }: Chain): readonly Rule[] {
    if (!rules) throw new Error(`the rules of chain ${name} are not known`);
    return rules;
  }

  #chain(name: string): Chain {
    const found = this.#table.chains.get(name);
    if (!found) throw new Error(`there is no chain ${name}`);
    return found;
  }

  #set(name: string): NftSet {
    const found = this.#table.sets.get(name);
    if (!found) throw new Error(`there is no set ${name}`);
    return found;
  }

  /** Undefined: the map has no element for the packet. */
  #resolve(target: Target): Exclude<Target, { kind: 'verdict-map' }> | undefined {
    if (target.kind !== 'verdict-map') return target;
    const key = this.#key(target.key);
    const set = this.#set(target.map);
    if (!set.isMap) throw new Error(`${set.name} is no map`);
    const verdict = key === undefined ? undefined : set.elements.get(key);
    if (verdict === undefined) return undefined;
    const [kind, chain] = String(verdict).split(' ');
    if (kind !== 'goto' && kind !== 'jump') throw new Error(`verdict ${verdict} is not known`);
    return { kind, chain: chain! };
  }

  #key(key: MapKey): string | undefined {
    switch (key.kind) {
      case 'family':
        return `ipv${this.#packet.family}`;
      case 'interface':
        return `"${this.#interface(key.end)}"`;
      case 'address':
        return this.#packet.family === key.family ? this.#address(key.end) : undefined;
    }
  }

  #address(end: End): string {
    return end === 'source' ? this.#packet.source : this.#packet.destination;
  }

  #port(end: End): number {
    return end === 'source' ? (this.#packet.sourcePort ?? 40_001) : this.#packet.port;
  }

  #interface(end: End): string {
    if (end === 'source') return this.#packet.inInterface ?? 'eth0';
    return this.#packet.hook === 'INPUT' ? '' : (this.#packet.outInterface ?? 'eth0');
  }

  get #hasPorts(): boolean {
    return [6, 17, 132].includes(this.#packet.protocol);
  }

  #matches(match: Match): boolean {
    const packet = this.#packet;
    const state = (packet.state ?? 'NEW').toLowerCase();
    const hasConnection = state !== 'untracked' && state !== 'invalid';
    switch (match.kind) {
      case 'state':
        return match.states.some((each) => each === state) !== Boolean(match.not);
      case 'reply':
        return hasConnection && packet.direction === 'REPLY';
      case 'confirmed':
        return hasConnection && state !== 'new';
      case 'family':
        return packet.family === match.family;
      case 'stale-mark': {
        const bits = `0x${((this.#connection.mark & match.mask) >>> 0).toString(16).padStart(8, '0')}`;
        return hasConnection && !this.#set(match.set).elements.has(bits);
      }
      case 'flag':
        return hasConnection && ((this.#connection.mark & match.bit) !== 0) === match.isSet;
      case 'block':
        return packet.family === match.family && holds(match.cidr, this.#address(match.end), match.family);
      case 'in-set': {
        if (packet.family !== match.family) return false;
        return inSet(this.#set(match.set), this.#address(match.end), '', match.family) !== Boolean(match.not);
      }
      case 'in-port-set': {
        const port = `,${packet.protocol}:${this.#port(match.port)}`;
        // A header shorter than that of ports is read all the same: what it says is compared with protocols that have some.
        if (packet.family !== match.family || !this.#hasPorts) return false;
        return inSet(this.#set(match.set), this.#address(match.address), port, match.family);
      }
      case 'pair-in-set':
        if (packet.family !== match.family) return false;
        return this.#set(match.set).elements.has(`${packet.source} . ${packet.destination}`);
      case 'interface-in-set': {
        if (packet.family !== match.family) return false;
        return this.#set(match.set).elements.has(`"${this.#interface(match.end)}" . ${this.#address(match.end)}`);
      }
      case 'ports': {
        if (packet.protocol !== PROTOCOL_NUMBER[match.protocol]) return false;
        const port = this.#port(match.end);
        return match.ranges.length === 0 || match.ranges.some(({ first, last }) => first <= port && port <= last);
      }
      case 'icmp':
        return packet.protocol === 1 || packet.protocol === 58;
      case 'neighbour-discovery':
        if (packet.family !== 6 || packet.extension || packet.protocol !== 58) return false;
        return (packet.hopLimit ?? 64) === 255 && packet.port >= 133 && packet.port <= 137;
      case 'listener-discovery': {
        if (packet.family !== 6 || packet.protocol !== 58 || (packet.hopLimit ?? 64) !== 1) return false;
        const isNear = packet.source === '::' || holds('fe80::/10', packet.source, 6);
        return isNear && holds('ff00::/8', packet.destination, 6) && [130, 131, 132, 143].includes(packet.port);
      }
      case 'dhcp':
        return isDhcp(packet, match.family, match.message, this.#port('source'));
      case 'interface': {
        const name = this.#interface(match.end);
        return match.isPrefix ? name.startsWith(match.name) : name === match.name;
      }
      case 'local':
        return (match.end === 'source' ? packet.sourceIsLocal : packet.destinationIsLocal) ?? false;
      case 'limit':
        return true;
    }
  }
}

function isDhcp(packet: Packet, family: Family, message: 'request' | 'answer', sourcePort: number): boolean {
  if (packet.family !== family || packet.protocol !== 17) return false;
  const ports = `${sourcePort} ${packet.port}`;
  if (family === 4) {
    if (packet.destination !== '255.255.255.255') return false;
    return message === 'request' ? packet.source === '0.0.0.0' && ports === '68 67' : ports === '67 68';
  }
  if (!holds('fe80::/10', packet.source, 6)) return false;
  if (message === 'request') return packet.destination === 'ff02::1:2' && ports === '546 547';
  return holds('fe80::/10', packet.destination, 6) && ports === '547 546';
}

function holds(cidr: string, address: string, family: Family): boolean {
  const [first = '', length = WIDTH[family]] = cidr.split('/');
  const mask = prefixMask(family, Number(length));
  return (numberOf(address).value & mask) === (numberOf(first).value & mask);
}

/** Of an interval set, which ranges hold the address; a range that overlaps another is refused by the kernel. */
function inSet(set: NftSet, address: string, rest: string, family: Family): boolean {
  if (!set.isInterval) return set.elements.has(`${address}${rest}`);
  const value = numberOf(address).value;
  const found = rangesOf(set, family).filter(
    (range) => range.rest === rest && range.first <= value && value <= range.last,
  );
  if (found.length > 1) throw new Error(`set ${set.name}: ${address} is in more than one range`);
  return found.length === 1;
}

interface Range {
  readonly first: bigint;
  readonly last: bigint;
  readonly rest: string;
}

const ranges = new WeakMap<NftSet['elements'], readonly Range[]>();

function rangesOf({ elements }: NftSet, family: Family): readonly Range[] {
  const known = ranges.get(elements);
  if (known) return known;
  const found = [...elements.keys()].map((element): Range => {
    const [range = '', ...others] = element.split(',');
    const rest = others.length > 0 ? `,${others.join(',')}` : '';
    const [from = '', to] = range.split('-');
    if (to !== undefined) return { first: numberOf(from).value, last: numberOf(to).value, rest };
    const [address = '', length = WIDTH[family]] = from.split('/');
    const first = numberOf(address).value;
    return { first, last: first | (~prefixMask(family, Number(length)) & prefixMask(family, WIDTH[family])), rest };
  });
  ranges.set(elements, found);
  return found;
}
