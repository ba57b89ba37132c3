/**
 * A packet walked through chains of rules as netfilter would walk it: rules of the product as values, or what `iptables-save` and
 * `ipset save` print. Throws on a rule, match or target it does not know: a packet is never judged by a rule that was not understood.
 *
 * Text is read twice, by the product's own parser and from the tools' manuals (rule-text.ts), and both must say the same.
 */
import assert from 'node:assert/strict';
import type { Family } from '../../src/core/vocabulary.ts';
import type { ObservedSet, ObservedState } from '../../src/dataplane/iptables/plan/plan.ts';
import { parseRule } from '../../src/dataplane/iptables/rules/parse-rule.ts';
import type { Hook, Ruleset } from '../../src/dataplane/iptables/rules/ruleset.ts';
import { WIDTH, numberOf, prefixMask } from './address-number.ts';
import { meaningOf } from './rule-meaning.ts';
import { type BpfInstruction, type ParsedMatch, type ParsedRule, readRule } from './rule-text.ts';

export type PacketState = 'NEW' | 'ESTABLISHED' | 'RELATED' | 'INVALID' | 'UNTRACKED';

/** What conntrack keeps of a connection, for packets of one connection to share. */
export interface Connection {
  /** As a rule set it, 0..0xffffffff. */
  mark: number;
}

export interface Packet {
  readonly family: Family;
  /** FORWARD unless said. */
  readonly hook?: Hook;
  readonly source: string;
  readonly destination: string;
  /** IANA number. */
  readonly protocol: number;
  /** Destination port on the wire; the type for ICMP; 0 for protocols without ports. */
  readonly port: number;
  /** Source port on the wire; none of ours unless said. */
  readonly sourcePort?: number;
  /** NEW unless said. */
  readonly state?: PacketState;
  /** ORIGINAL unless said. */
  readonly direction?: 'ORIGINAL' | 'REPLY';
  /** A new connection with mark 0 unless given; CONNMARK rules change it. */
  readonly connection?: Connection;
  /** `eth0` unless said. */
  readonly inInterface?: string;
  /** `eth0` unless said. */
  readonly outInterface?: string;
  /** The bridge port it came in by; none unless said. */
  readonly inPort?: string;
  /** The bridge port it leaves by, if it is bridged. */
  readonly outPort?: string;
  /** The source is an address of this host. */
  readonly sourceIsLocal?: boolean;
  readonly destinationIsLocal?: boolean;
  /** As the hook sees it; 64 unless said. */
  readonly hopLimit?: number;
  /** IPv6: an extension header between the IPv6 header and what `protocol` says; none unless said. */
  readonly extension?: IPv6Extension;
}

export interface IPv6Extension {
  /** IANA number. */
  readonly header: number;
  /** In bytes, a multiple of 8. */
  readonly length: number;
}

export interface Trace {
  readonly verdict: 'passed' | 'dropped';
  /** Prefixes of the NFLOG rules met, as if no limit held them back. */
  readonly logged: readonly string[];
  /** Rules that matched, as `CHAIN rule`. */
  readonly matched: readonly string[];
}

export function trace(state: ObservedState, packet: Packet): 'passed' | 'dropped' {
  return traceRules(state, packet).verdict;
}

export function traceRules({ families, sets }: ObservedState, packet: Packet): Trace {
  const { family } = packet;
  const rules = families[family];
  if (!rules) throw new Error(`no rules of IPv${family}`);
  const linesOf = (chain: string) =>
    chain === 'FORWARD' || chain === 'INPUT' ? rules.hooks[chain] : rules.chains.get(chain);
  // Each line when it is met: rules behind the verdict are not read.
  const ruleAt: RuleAt = (chain, index) => {
    const text = known(linesOf(chain), chain)[index];
    return text === undefined ? undefined : { text, meaning: readLine(text, family) };
  };
  return traceChains(ruleAt, sets, packet);
}

function known<T>(found: T | undefined, chain: string): T {
  if (!found) throw new Error(`chain ${chain} is not known`);
  return found;
}

/** A rule, as it is shown and what it means. */
export interface TracedRule {
  readonly text: string;
  readonly meaning: ParsedRule;
}

/** The rule at that place of a chain, built-in chains included; undefined behind the last one. Throws if there is no such chain. */
export type RuleAt = (chain: string, index: number) => TracedRule | undefined;

export function traceChains(ruleAt: RuleAt, sets: ObservedState['sets'], packet: Packet): Trace {
  return new Walk(ruleAt, sets, packet).run();
}

/** Rules as they are before any text is made of them. `epoch`: the one in force. */
export function traceValues({ families, sets, layout }: Ruleset, epoch: number, packet: Packet): Trace {
  const { hooks, entry, chains } = families[packet.family];
  const mark = layout.marks && { mask: layout.marks.mask, epoch };
  const named = new Map([...Object.values(hooks), ...entry, ...chains.values()].map((chain) => [chain.name, chain]));
  const ruleAt: RuleAt = (chain, index) => {
    const rule = known(named.get(chain), chain).rules[index];
    return rule && { text: JSON.stringify(rule), meaning: meaningOf(rule, packet.family, mark) };
  };
  const members = new Map([...sets].map(([name, set]) => [name, { ...set, maxElements: set.members.size }]));
  return traceChains(ruleAt, members, packet);
}

const readLines: Readonly<Record<Family, Map<string, ParsedRule>>> = { 4: new Map(), 6: new Map() };

function readLine(text: string, family: Family): ParsedRule {
  const known = readLines[family].get(text);
  if (known) return known;
  const parsed = parseRule(text, family);
  const byManual = readRule(text, family);
  if (parsed.kind === 'own') assert.deepEqual(meaningOf(parsed.rule, family, parsed.mark), byManual, text);
  readLines[family].set(text, byManual);
  return byManual;
}

interface Position {
  readonly chain: string;
  next: number;
}

/** Far more rules than a packet can meet without a loop. */
const MAX_STEPS = 100_000;

class Walk {
  readonly #ruleAt: RuleAt;
  readonly #sets: ObservedState['sets'];
  readonly #packet: Packet;
  readonly #connection: Connection;
  readonly #source: bigint;
  readonly #destination: bigint;
  readonly #logged: string[] = [];
  readonly #matched: string[] = [];

  constructor(ruleAt: RuleAt, sets: ObservedState['sets'], packet: Packet) {
    this.#ruleAt = ruleAt;
    this.#sets = sets;
    this.#packet = packet;
    this.#connection = packet.connection ?? { mark: 0 };
    const [source, destination] = [numberOf(packet.source), numberOf(packet.destination)];
    if (source.family !== packet.family || destination.family !== packet.family) throw new Error('mixed families');
    this.#source = source.value;
    this.#destination = destination.value;
  }

  run(): Trace {
    const verdict = this.#walk() === 'DROP' ? 'dropped' : 'passed';
    return { verdict, logged: this.#logged, matched: this.#matched };
  }

  /** A jump remembers where to go on; a goto does not, so a RETURN behind it goes back to the last jump (or to the hook's policy). */
  #walk(): 'ACCEPT' | 'DROP' {
    const hook = this.#packet.hook ?? 'FORWARD';
    const stack: Position[] = [];
    let position: Position = { chain: hook, next: 0 };
    for (let steps = 0; steps < MAX_STEPS; steps++) {
      const met = this.#ruleAt(position.chain, position.next++);
      const rule = met?.meaning;
      if (rule && !this.#applies(rule)) continue;
      if (rule) this.#matched.push(`${position.chain} ${met?.text}`);
      const target = rule ? rule.target : ({ kind: 'RETURN' } as const);
      switch (target.kind) {
        case 'ACCEPT':
        case 'DROP':
          return target.kind;
        case 'RETURN': {
          const back = stack.pop();
          if (!back) return 'ACCEPT';
          position = back;
          break;
        }
        case 'jump':
          stack.push(position);
          position = { chain: target.chain, next: 0 };
          break;
        case 'goto':
          position = { chain: target.chain, next: 0 };
          break;
        case 'connmark':
          this.#connection.mark = ((this.#connection.mark & ~target.mask) ^ target.value) >>> 0;
          break;
        case 'nflog':
          this.#logged.push(target.prefix);
          break;
        case 'none':
          break;
      }
    }
    throw new Error('the rules have a loop');
  }

  #applies(rule: ParsedRule): boolean {
    return rule.matches.every((match) => this.#holds(match));
  }

  #holds(match: ParsedMatch): boolean {
    const packet = this.#packet;
    switch (match.kind) {
      case 'address':
        return ((match.side === 'source' ? this.#source : this.#destination) & match.mask) === match.value;
      case 'interface': {
        const name = (match.side === 'in' ? packet.inInterface : packet.outInterface) ?? 'eth0';
        return (match.isPrefix ? name.startsWith(match.name) : name === match.name) !== match.invert;
      }
      case 'port': {
        const name = match.side === 'in' ? packet.inPort : packet.outPort;
        return name !== undefined && (match.isPrefix ? name.startsWith(match.name) : name === match.name);
      }
      case 'protocol':
        return packet.protocol === match.protocol;
      case 'confirmed':
        return this.#packet.state === 'ESTABLISHED';
      case 'state':
        return match.states.includes(packet.state ?? 'NEW') !== match.invert;
      case 'conntrack-direction':
        return this.#isTracked() && (packet.direction ?? 'ORIGINAL') === match.direction;
      case 'connmark':
        return this.#isTracked() && ((this.#connection.mark & match.mask) >>> 0 === match.value) !== match.invert;
      case 'bpf':
        return runBpf(match.program, this.#header()) !== 0;
      case 'ports': {
        const port = match.side === 'source' ? this.#sourcePort() : packet.port;
        return match.spans.some(({ first, last }) => first <= port && port <= last);
      }
      case 'set':
        return this.#inSet(match.set, match.dimensions) !== match.invert;
      case 'is-local':
        return (match.side === 'source' ? packet.sourceIsLocal : packet.destinationIsLocal) ?? false;
      case 'limit':
      case 'comment':
        return true;
    }
  }

  /** Packets without a connection have neither direction nor mark. */
  #isTracked(): boolean {
    return this.#packet.state !== 'INVALID' && this.#packet.state !== 'UNTRACKED';
  }

  #sourcePort(): number {
    const { sourcePort } = this.#packet;
    if (sourcePort === undefined) throw new Error('a rule asks for a source port that the packet does not say');
    return sourcePort;
  }

  /** The IP header, its extension if any, and the type for ICMP. */
  #header(): Uint8Array {
    const { family, protocol, port, extension, hopLimit = 64 } = this.#packet;
    const length = family === 4 ? 4 : 16;
    const [at, size] = family === 4 ? [12, 20] : [8, 40];
    const header = new Uint8Array(size + (extension?.length ?? 0) + 8);
    const next = extension?.header ?? protocol;
    if (family === 4) header.set([hopLimit, protocol], 8);
    else header.set([next, hopLimit], 6);
    if (extension) header.set([protocol, extension.length / 8 - 1], size);
    if (protocol === 1 || protocol === 58) header[header.length - 8] = port;
    for (const [index, value] of [this.#source, this.#destination].entries()) {
      for (let byte = 0; byte < length; byte++) {
        header[at + index * length + byte] = Number((value >> BigInt(8 * (length - 1 - byte))) & 255n);
      }
    }
    return header;
  }

  #inSet(name: string, dimensions: readonly ('src' | 'dst')[]): boolean {
    const set = this.#sets.get(name);
    if (!set) throw new Error(`set ${name} is not known`);
    // ip_set_test: a set of the other family, or of more dimensions than the rule gives, never matches.
    if (set.family !== this.#packet.family) return false;
    const text = dimensions[0] === 'src' ? this.#packet.source : this.#packet.destination;
    switch (set.type) {
      case 'hash:ip':
        return index(set).get(`${WIDTH[set.family]} ${numberOf(text).value}`) ?? false;
      case 'hash:net':
        return longestPrefix(set, numberOf(text).value, '');
      case 'hash:ip,port':
      case 'hash:net,port': {
        if (dimensions.length < 2) return false;
        // ip_set_get_ip4_port: of other protocols (but ICMP, with type and code) there is no port, and nothing matches.
        if (![6, 17, 132].includes(this.#packet.protocol)) return false;
        const port = `,${this.#packet.protocol}:${dimensions[1] === 'src' ? this.#sourcePort() : this.#packet.port}`;
        if (set.type === 'hash:net,port') return longestPrefix(set, numberOf(text).value, port);
        return set.members.get(`${text}${port}`) ?? false;
      }
      default:
        throw new Error(`set type ${set.type} is not known`);
    }
  }
}

/** Members by `prefix length, first address, port if any`; made once per set, as a set of an observed state never changes. */
const indexes = new WeakMap<ReadonlyMap<string, boolean>, Map<string, boolean>>();

function index(set: ObservedSet): Map<string, boolean> {
  let found = indexes.get(set.members);
  if (!found) {
    found = new Map();
    for (const [member, match] of set.members) {
      const [, address = '', length = WIDTH[set.family], port = ''] = /^([^/,]+)(?:\/(\d+))?(,.*)?$/.exec(member) ?? [];
      found.set(`${length} ${numberOf(address).value}${port}`, match);
    }
    indexes.set(set.members, found);
  }
  return found;
}

/** hash:net, and hash:net,port for each port: the longest prefix that holds the address decides; `nomatch` says no. */
function longestPrefix(set: ObservedSet, value: bigint, port: string): boolean {
  const entries = index(set);
  if (entries.size === 0) return false;
  for (let length = WIDTH[set.family]; length > 0; length--) {
    const match = entries.get(`${length} ${value & prefixMask(set.family, length)}${port}`);
    if (match !== undefined) return match;
  }
  return false;
}

/** Classic BPF, the instructions our programs use; loads count from the IP header, as xt_bpf does. */
function runBpf(program: readonly BpfInstruction[], packet: Uint8Array): number {
  const view = new DataView(packet.buffer);
  let accumulator = 0;
  let register = 0;
  for (let at = 0; at < program.length; at++) {
    const { code, jumpTrue, jumpFalse, value } = program[at]!;
    switch (code) {
      case 0x20: // ld word
        if (value + 4 > packet.length) return 0;
        accumulator = view.getUint32(value);
        break;
      case 0x30: // ld byte
        if (value + 1 > packet.length) return 0;
        accumulator = view.getUint8(value);
        break;
      case 0x54: // and
        accumulator = (accumulator & value) >>> 0;
        break;
      case 0x07: // tax
        register = accumulator;
        break;
      case 0x15: // jeq
        at += accumulator === value ? jumpTrue : jumpFalse;
        break;
      case 0x1d: // jeq x
        at += accumulator === register ? jumpTrue : jumpFalse;
        break;
      case 0x25: // jgt
        at += accumulator > value ? jumpTrue : jumpFalse;
        break;
      case 0x35: // jge
        at += accumulator >= value ? jumpTrue : jumpFalse;
        break;
      case 0x06: // ret
        return value;
      default:
        throw new Error(`BPF instruction ${code} is not known`);
    }
  }
  throw new Error('BPF program runs off its end');
}
