/**
 * One line as `iptables-save` prints it, without `-A CHAIN` -> the rule we would write as that line. The reverse of `ruleText`: whatever
 * that writes is read as the rule it came from, and anything else is foreign.
 */
import type { Family, Protocol } from '../../../core/vocabulary.ts';
import type { PortRange } from '../../../net/port-range.ts';
import type { ConntrackState, Match, Rule, SetDimensions, Target } from './ruleset.ts';

import { lowBits } from './low-bits.ts';
import { DEFAULT_LIMIT_BURST, DHCP, NEIGHBOUR_DISCOVERY, SAME_ADDRESS, deniedBit } from './write-text.ts';

export type ParsedRule = OwnRule | ForeignRule;

/** A rule of our vocabulary. */
export interface OwnRule {
  readonly kind: 'own';
  readonly line: string;
  readonly rule: Rule;
  /** Of a rule that reads or writes connection marks. */
  readonly mark?: MarkShown;
}

/** The bits a rule's text shows: all mark bits of the layout, or the denied flag alone (`epoch` is absent then). */
export interface MarkShown {
  readonly mask: number;
  readonly epoch?: number;
}

/** A rule this version never writes: of somebody else, or of another version. */
export interface ForeignRule {
  readonly kind: 'foreign';
  readonly line: string;
  /** Names of the sets it mentions. */
  readonly sets: readonly string[];
}

export function parseRule(line: string, family: Family): ParsedRule {
  const reader = new Reader(line, family);
  try {
    const rule = reader.read();
    return reader.mark ? { kind: 'own', line, rule, mark: reader.mark } : { kind: 'own', line, rule };
  } catch (error) {
    if (error !== FOREIGN) throw error;
    return { kind: 'foreign', line, sets: [...line.matchAll(/--match-set (\S+) /g)].map(([, name]) => name!) };
  }
}

/** The chain that a rule of anybody jumps or goes to; undefined: none, or a target with options. */
export function leadsTo(line: string): string | undefined {
  const end = line.lastIndexOf(' ');
  const option = line.slice(Math.max(0, end - 3), end);
  return option.trimStart() === '-j' || option.trimStart() === '-g' ? line.slice(end + 1) : undefined;
}

/** Thrown and caught in this file: no stack is made for each line of others. */
const FOREIGN = new Error('not a rule that we write');

const STATES: Readonly<Record<string, ConntrackState>> = {
  NEW: 'NEW',
  ESTABLISHED: 'ESTABLISHED',
  RELATED: 'RELATED',
  INVALID: 'INVALID',
};
const DIMENSIONS = [
  'src',
  'dst',
  'src,src',
  'src,dst',
  'dst,src',
  'dst,dst',
] as const satisfies readonly SetDimensions[];
const PORT_PROTOCOLS: Readonly<Record<string, Protocol>> = { tcp: 'TCP', udp: 'UDP', sctp: 'SCTP' };

class Reader {
  readonly #family: Family;
  /** A word in quotation marks keeps them. */
  readonly #words: readonly string[];
  #next = 0;
  mark: MarkShown | undefined;

  constructor(line: string, family: Family) {
    this.#family = family;
    this.#words = line.includes('"') ? (line.match(/"[^"\\]*"|\S+/g) ?? []) : line === '' ? [] : line.split(' ');
  }

  read(): Rule {
    const matches: Match[] = [];
    let target: Target = { kind: 'none' };
    while (this.#next < this.#words.length) {
      const word = this.#word();
      if (word === '-j' || word === '-g') target = this.#target(word);
      else matches.push(this.#match(word));
    }
    return { matches, target };
  }

  #word(): string {
    return this.#words[this.#next++] ?? fail();
  }

  /** Takes the words of `phrase`, if they are next. */
  #take(phrase: string): boolean {
    const words = phrase.match(/"[^"]*"|\S+/g)!;
    if (words.some((word, index) => this.#words[this.#next + index] !== word)) return false;
    this.#next += words.length;
    return true;
  }

  #expect(word: string): void {
    if (this.#word() !== word) fail();
  }

  #text(): string {
    const word = this.#word();
    return word.startsWith('"') ? word.slice(1, -1) : word;
  }

  #number(): number {
    const word = this.#word();
    return /^\d+$/.test(word) ? Number(word) : fail();
  }

  #match(word: string): Match {
    switch (word) {
      case '-s':
      case '-d':
        return this.#dhcp() ?? this.#address(word === '-s' ? 'source' : 'destination');
      case '-i':
        return this.#interface('in');
      case '-o':
        return this.#interface('out');
      case '!':
        return this.#interfaceNot();
      case '-p':
        return this.#protocol();
      case '-m':
        return this.#extension();
      default:
        return fail();
    }
  }

  #dhcp(): Match | undefined {
    // Behind the option that has been read.
    const rest = this.#next - 1;
    for (const message of ['request', 'answer'] as const) {
      this.#next = rest;
      if (this.#take(DHCP[this.#family][message])) return { kind: 'dhcp', message };
    }
    this.#next = rest + 1;
    return undefined;
  }

  #address(side: 'source' | 'destination'): Match {
    const cidr = this.#word();
    const slash = cidr.indexOf('/');
    const [address, mask] = [cidr.slice(0, slash), cidr.slice(slash + 1)];
    if (slash < 0) return fail();
    if (mask === (this.#family === 4 ? '32' : '128')) return { kind: side, address };
    if (/^\d+$/.test(mask)) return { kind: `${side}-block`, cidr };
    return { kind: `${side}-bucket`, bits: lowBits(address), mask: lowBits(mask) };
  }

  #interface(side: 'in' | 'out'): Match {
    const name = this.#word();
    return name.endsWith('+')
      ? { kind: `${side}-interface-prefix`, prefix: name.slice(0, -1) }
      : { kind: `${side}-interface`, name };
  }

  #interfaceNot(): Match {
    const option = this.#word();
    const name = this.#word();
    if ((option !== '-i' && option !== '-o') || !name.endsWith('+')) return fail();
    return { kind: `not-${option === '-i' ? 'in' : 'out'}-interface-prefix`, prefix: name.slice(0, -1) };
  }

  #protocol(): Match {
    const name = this.#word();
    if (name === 'ipv6-icmp' && this.#take(`-m bpf --bytecode "${NEIGHBOUR_DISCOVERY}"`))
      return { kind: 'neighbour-discovery' };
    if (name === (this.#family === 4 ? 'icmp' : 'ipv6-icmp')) return { kind: 'icmp' };
    const protocol = PORT_PROTOCOLS[name] ?? fail();
    if (this.#take(`-m ${name}`)) {
      const [kind, range] = [this.#side('port'), this.#range(this.#word())];
      return { kind, protocol, ranges: [range] };
    }
    if (!this.#take('-m multiport')) return { kind: 'ports', protocol, ranges: [] };
    const kind = this.#side('ports');
    const ranges = this.#word()
      .split(',')
      .map((text) => this.#range(text));
    return ranges.length === 1 ? { kind, protocol, ranges, multiport: true } : { kind, protocol, ranges };
  }

  #side(noun: string): 'ports' | 'source-ports' {
    if (this.#take(`--s${noun}`)) return 'source-ports';
    this.#expect(`--d${noun}`);
    return 'ports';
  }

  #range(text: string): PortRange {
    const [first = '', last = first] = text.split(':');
    return /^\d+(:\d+)?$/.test(text) ? { first: Number(first), last: Number(last) } : fail();
  }

  #extension(): Match {
    switch (this.#word()) {
      case 'conntrack':
        return this.#conntrack();
      case 'connmark':
        return this.#connmark();
      case 'set':
        return this.#set();
      case 'bpf':
        return this.#take(`--bytecode "${SAME_ADDRESS[this.#family]}"`) ? { kind: 'same-address' } : fail();
      case 'physdev':
        return this.#bridgePort();
      case 'addrtype':
        return this.#local();
      case 'limit':
        return this.#limit();
      case 'comment':
        this.#expect('--comment');
        return { kind: 'comment', text: this.#text() };
      default:
        return fail();
    }
  }

  #conntrack(): Match {
    if (this.#take('--ctstatus CONFIRMED')) return { kind: 'conntrack-confirmed' };
    const isNot = this.#take('!');
    this.#expect('--ctstate');
    const states = this.#word()
      .split(',')
      .map((name) => STATES[name] ?? fail());
    if (isNot) return { kind: 'conntrack-not', states };
    return this.#take('--ctdir REPLY')
      ? { kind: 'conntrack', states, direction: 'REPLY' }
      : { kind: 'conntrack', states };
  }

  #connmark(): Match {
    const isNot = this.#take('!');
    this.#expect('--mark');
    if (this.#marked() === 'flag') return { kind: 'denied-flag', set: !isNot };
    return isNot ? { kind: 'other-generation' } : fail();
  }

  /** Whether the denied flag alone is meant, or an epoch in all the bits. */
  #marked(): 'flag' | 'epoch' {
    const found = /^0x([0-9a-f]{1,8})\/0x([0-9a-f]{1,8})$/.exec(this.#word()) ?? fail();
    const [value, mask] = [Number.parseInt(found[1]!, 16), Number.parseInt(found[2]!, 16)];
    if (mask === 0) return fail();
    const lowest = deniedBit({ mask });
    if (mask === lowest) {
      this.mark = { mask };
      return value === mask ? 'flag' : fail();
    }
    const epoch = value / (lowest * 2);
    if (!Number.isInteger(epoch) || (value & ~mask) !== 0) return fail();
    this.mark = { mask, epoch };
    return 'epoch';
  }

  #set(): Match {
    const isNot = this.#take('!');
    this.#expect('--match-set');
    const set = this.#word();
    const word = this.#word();
    const dimensions = DIMENSIONS.find((each) => each === word) ?? fail();
    return { kind: isNot ? 'not-in-set' : 'set', set, dimensions };
  }

  #bridgePort(): Match {
    const kind = this.#take('--physdev-in') ? 'in-port' : 'out-port';
    if (kind === 'out-port') this.#expect('--physdev-out');
    const name = this.#word();
    if (kind === 'out-port') this.#expect('--physdev-is-bridged');
    return name.endsWith('+') ? { kind, name: name.slice(0, -1), isPrefix: true } : { kind, name };
  }

  #local(): Match {
    if (this.#take('--src-type LOCAL')) return { kind: 'source-is-local' };
    return this.#take('--dst-type LOCAL') ? { kind: 'destination-is-local' } : fail();
  }

  #limit(): Match {
    this.#expect('--limit');
    const found = /^(\d+)\/sec$/.exec(this.#word()) ?? fail();
    const burst = this.#take('--limit-burst') ? this.#number() : DEFAULT_LIMIT_BURST;
    return { kind: 'limit', perSecond: Number(found[1]), burst };
  }

  #target(option: '-j' | '-g'): Target {
    const name = this.#word();
    const target = option === '-g' ? ({ kind: 'goto', chain: name } as const) : this.#jump(name);
    return this.#next === this.#words.length ? target : fail();
  }

  #jump(name: string): Target {
    switch (name) {
      case 'RETURN':
        return { kind: 'return' };
      case 'DROP':
        return { kind: 'drop' };
      case 'CONNMARK':
        this.#expect('--set-xmark');
        return { kind: this.#marked() === 'flag' ? 'set-denied-flag' : 'stamp-generation' };
      case 'NFLOG': {
        this.#expect('--nflog-prefix');
        const prefix = this.#text();
        return { kind: 'log', group: this.#take('--nflog-group') ? this.#number() : 0, prefix };
      }
      default:
        // A target of iptables, and none of ours.
        return /^[A-Z0-9]+$/.test(name) ? fail() : { kind: 'jump', chain: name };
    }
  }
}

function fail(): never {
  throw FOREIGN;
}
