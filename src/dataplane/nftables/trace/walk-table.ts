/**
 * A packet walked through our table as the kernel would walk it. Rules are values, or text as nft prints it; one that cannot be read leaves
 * the verdict unknown.
 */
import type { Family } from '../../../core/vocabulary.ts';
import type { ConntrackState, End, MapKey, Match, Rule, Target } from '../table/rule.ts';
import type { Chain, NftSet, Table } from '../table/table.ts';

import { PROTOCOL_NUMBER } from '../../../core/vocabulary.ts';
import { type TableFamily, familyOfName, localName, nameIn } from '../table/families.ts';
import { readRuleText } from '../table/parse-rule.ts';
import { holdsAddress, isElement } from './set-element.ts';

/** As a hook sees it. Addresses are canonical. */
export interface WalkedPacket {
  readonly family: Family;
  readonly hook: 'forward' | 'input';
  readonly source: string;
  readonly destination: string;
  /** IANA number. */
  readonly protocol: number;
  /** The type for ICMP. */
  readonly port: number;
  readonly sourcePort: number;
  readonly state: ConntrackState;
  readonly isReply: boolean;
  /** What conntrack keeps of the connection; rules change it. */
  readonly connection: { mark: number };
  /** Undefined: not known, and none that a rule names. */
  readonly inInterface: string | undefined;
  readonly outInterface: string | undefined;
  /** Of a bridge; absent: the packet came or leaves otherwise, or that is not asked. */
  readonly inPort?: string | undefined;
  readonly outPort?: string | undefined;
  readonly sourceIsLocal: boolean;
  readonly destinationIsLocal: boolean;
  readonly hopLimit: number;
  /** IPv6: something stands between its header and that of the protocol. */
  readonly hasExtension: boolean;
}

/** A rule that matched and did something. */
export interface WalkedRule {
  readonly chain: string;
  /** As nft prints it. */
  readonly line: string;
  readonly rule: Rule;
}

export interface Walk {
  readonly verdict: 'passes' | 'dropped' | { readonly unknown: string };
  readonly path: readonly WalkedRule[];
}

type Sets = ReadonlyMap<string, NftSet>;

/** Yields names of sets whose elements it needs next, and goes on with those that `sets` has by then. */
export function* walkTable(
  chains: Table['chains'],
  sets: Sets,
  packet: WalkedPacket,
): Generator<readonly string[], Walk, void> {
  return yield* new Walker(chains, sets, packet).run();
}

/** Far more rules than a packet can meet without a loop. */
const MAX_STEPS = 200_000;
/** NFT_JUMP_STACK_SIZE */
const MAX_JUMPS = 16;

type Resolved = Exclude<Target, { kind: 'verdict-map' | 'tag-by-interface' }>;

interface Position {
  readonly chain: Chain;
  next: number;
}

class Walker {
  readonly #chains: Table['chains'];
  readonly #sets: Sets;
  readonly #packet: WalkedPacket;
  readonly #path: WalkedRule[] = [];
  readonly #stack: Position[] = [];
  #at: Position | undefined;
  /** Of the packet (table/tags.ts). */
  #tag: string | null = null;

  constructor(chains: Table['chains'], sets: Sets, packet: WalkedPacket) {
    this.#chains = chains;
    this.#sets = sets;
    this.#packet = packet;
  }

  *run(): Generator<readonly string[], Walk, void> {
    const { hook, inPort, outPort } = this.#packet;
    if (inPort !== undefined) {
      for (const family of ['bridge', 'inet'] as const) {
        const verdict = yield* this.#atHook(family, 'prerouting');
        if (verdict !== 'passes') return this.#end(verdict);
      }
      // What is routed gets another priority.
      if (hook === 'forward' && outPort === undefined) this.#tag = null;
    }
    if (inPort !== undefined && outPort !== undefined) {
      const verdict = yield* this.#atHook('bridge', 'forward');
      if (verdict !== 'passes') return this.#end(verdict);
    }
    return this.#end(yield* this.#atHook('inet', hook));
  }

  *#atHook(family: TableFamily, hook: string): Generator<readonly string[], Walk['verdict'], void> {
    const bases = [...this.#chains.values()].filter(
      ({ name, hook: head }) => familyOfName(name) === family && head.includes(` hook ${hook} `),
    );
    if (bases.length > 1) return { unknown: `${bases.length} chains of the table are at hook ${hook}` };
    const [base] = bases;
    if (!base) return 'passes';
    this.#at = { chain: base, next: 0 };
    this.#stack.length = 0;
    let verdict: Walk['verdict'] | undefined;
    for (let steps = 0; verdict === undefined && steps < MAX_STEPS; steps++) verdict = yield* this.#step(this.#at!);
    return verdict ?? { unknown: 'the rules have a loop' };
  }

  #end(verdict: Walk['verdict']): Walk {
    return { verdict, path: this.#path };
  }

  *#step(at: Position): Generator<readonly string[], Walk['verdict'] | undefined, void> {
    const { chain } = at;
    const index = at.next++;
    const line = chain.lines[index];
    if (line === undefined) return this.#back();
    const shown = `${chain.name} ${line}`;
    const isAccept = ACCEPT.test(line);
    const rule = chain.rules?.[index] ?? readRuleText(isAccept ? line.replace(ACCEPT, '$1return') : line);
    if (!rule) return { unknown: `a rule that is none of ours: ${shown}` };
    this.#family = familyOfName(chain.name);
    const wanted = setsOf(rule).map((name) => this.#setName(name));
    const lacking = wanted.filter((name) => !this.#sets.has(name));
    if (lacking.length > 0) yield lacking;
    const lost = wanted.find((name) => !this.#sets.has(name));
    if (lost !== undefined) return { unknown: `set ${lost} is not there, which a rule asks about: ${shown}` };
    if (!rule.matches.every((match) => this.#holds(match))) return undefined;
    const target = this.#resolve(rule.target);
    if (!target) return undefined;
    this.#path.push({ chain: chain.name, line, rule });
    if (isAccept) return 'passes';
    return this.#follow(target, shown);
  }

  #follow(target: Resolved, shown: string): Walk['verdict'] | undefined {
    switch (target.kind) {
      case 'drop':
        return 'dropped';
      case 'return':
        return this.#back();
      case 'jump':
      case 'goto': {
        const chain = this.#chains.get(target.chain);
        if (!chain) return { unknown: `chain ${target.chain} is not there, where a rule leads: ${shown}` };
        if (target.kind === 'jump') this.#stack.push(this.#at!);
        if (this.#stack.length > MAX_JUMPS) return { unknown: `more jumps than the kernel allows: ${shown}` };
        this.#at = { chain, next: 0 };
        return undefined;
      }
      case 'set-mark': {
        const { connection } = this.#packet;
        connection.mark = ((connection.mark & ~target.mask) | target.bits) >>> 0;
        return undefined;
      }
      case 'set-tag':
        this.#tag = target.tag;
        return undefined;
      case 'log':
        return undefined;
    }
  }

  /** To where the last jump came from. */
  #back(): 'passes' | undefined {
    this.#at = this.#stack.pop();
    return this.#at ? undefined : 'passes';
  }

  /** Of the rule. */
  #family: TableFamily = 'inet';

  /** In the table of the rule; text says its name there. */
  #setName(name: string): string {
    return nameIn(this.#family, localName(name));
  }

  #set(name: string): NftSet {
    return this.#sets.get(this.#setName(name))!;
  }

  /** Undefined: the map has no element for the packet. */
  #resolve(target: Target): Resolved | undefined {
    if (target.kind === 'tag-by-interface') {
      const tag = this.#set(target.map).elements.get(`"${this.#interface(target.end)}"`);
      return typeof tag === 'string' ? { kind: 'set-tag', tag } : undefined;
    }
    if (target.kind !== 'verdict-map') return target;
    const key = this.#key(target.key);
    const verdict = key === undefined ? undefined : this.#set(target.map).elements.get(key);
    if (verdict === undefined) return undefined;
    const [kind, chain = ''] = String(verdict).split(' ');
    if (kind === 'drop' || kind === 'return') return { kind };
    return { kind: kind === 'jump' ? 'jump' : 'goto', chain };
  }

  #key(key: MapKey): string | undefined {
    switch (key.kind) {
      case 'interface': {
        const name = this.#interface(key.end);
        return name === undefined ? undefined : `"${name}"`;
      }
      case 'tag':
        return this.#tag ?? undefined;
      case 'address':
        return this.#packet.family === key.family ? this.#address(key.end) : undefined;
    }
  }

  #address(end: End): string {
    return end === 'source' ? this.#packet.source : this.#packet.destination;
  }

  #port(end: End): number {
    return end === 'source' ? this.#packet.sourcePort : this.#packet.port;
  }

  #interface(end: End): string | undefined {
    if (this.#family === 'bridge') return end === 'source' ? this.#packet.inPort : this.#packet.outPort;
    return end === 'source' ? this.#packet.inInterface : this.#packet.outInterface;
  }

  #holds(match: Match): boolean {
    const packet = this.#packet;
    const { state, family, protocol } = packet;
    const { mark } = packet.connection;
    const hasConnection = state !== 'untracked' && state !== 'invalid';
    switch (match.kind) {
      case 'state':
        return match.states.includes(state) !== Boolean(match.not);
      case 'reply':
        return hasConnection && packet.isReply;
      case 'confirmed':
        return hasConnection && state !== 'new';
      case 'family':
      case 'frame':
        return family === match.family;
      case 'tagged':
        return (match.tag === undefined ? this.#tag !== null : this.#tag === match.tag) !== Boolean(match.not);
      case 'on-link':
        return packet.inInterface !== undefined && packet.inInterface === packet.outInterface;
      case 'stale-mark':
        return hasConnection && (mark & match.mask) >>> 0 !== match.bits;
      case 'flag':
        return hasConnection && ((mark & match.bit) !== 0) === match.isSet;
      case 'block':
        return family === match.family && holdsAddress(match.cidr, this.#address(match.end));
      case 'in-set':
        if (family !== match.family) return false;
        return isElement(this.#set(match.set), this.#address(match.end)) !== Boolean(match.not);
      case 'in-port-set':
        // A header shorter than that of ports is read all the same: what it says is compared with protocols that have some.
        if (family !== match.family || !hasPorts(protocol)) return false;
        return isElement(this.#set(match.set), this.#address(match.address), `,${protocol}:${this.#port(match.port)}`);
      case 'pair-in-set':
        if (family !== match.family) return false;
        return this.#set(match.set).elements.has(`${packet.source} . ${packet.destination}`);
      case 'interface-in-set':
        if (family !== match.family) return false;
        return this.#set(match.set).elements.has(`"${this.#interface(match.end)}" . ${this.#address(match.end)}`);
      case 'ports': {
        if (protocol !== PROTOCOL_NUMBER[match.protocol]) return false;
        const port = this.#port(match.end);
        return match.ranges.length === 0 || match.ranges.some(({ first, last }) => first <= port && port <= last);
      }
      case 'icmp':
        return protocol === 1 || protocol === 58;
      case 'neighbour-discovery':
        if (family !== 6 || packet.hasExtension || protocol !== 58) return false;
        return packet.hopLimit === 255 && packet.port >= 133 && packet.port <= 137;
      case 'listener-discovery': {
        if (family !== 6 || protocol !== 58 || packet.hopLimit !== 1) return false;
        const isNear = packet.source === '::' || holdsAddress('fe80::/10', packet.source);
        return isNear && holdsAddress('ff00::/8', packet.destination) && [130, 131, 132, 143].includes(packet.port);
      }
      case 'dhcp':
        return isDhcp(packet, match.family, match.message);
      case 'interface': {
        const name = this.#interface(match.end);
        return name !== undefined && (match.isPrefix ? name.startsWith(match.name) : name === match.name);
      }
      case 'local':
        return match.end === 'source' ? packet.sourceIsLocal : packet.destinationIsLocal;
      case 'limit':
        return true;
    }
  }
}

/** None of our targets, and what somebody puts in our way most often. */
const ACCEPT = /(^| )accept$/;

function setsOf({ matches, target }: Rule): readonly string[] {
  const asked = matches.flatMap((match) => ('set' in match ? [match.set] : []));
  return target.kind === 'verdict-map' || target.kind === 'tag-by-interface' ? [...asked, target.map] : asked;
}

function hasPorts(protocol: number): boolean {
  return protocol === PROTOCOL_NUMBER.TCP || protocol === PROTOCOL_NUMBER.UDP || protocol === PROTOCOL_NUMBER.SCTP;
}

function isDhcp(packet: WalkedPacket, family: Family, message: 'request' | 'answer'): boolean {
  if (packet.family !== family || packet.protocol !== PROTOCOL_NUMBER.UDP) return false;
  const ports = `${packet.sourcePort} ${packet.port}`;
  if (family === 4) {
    if (packet.destination !== '255.255.255.255') return false;
    return message === 'request' ? packet.source === '0.0.0.0' && ports === '68 67' : ports === '67 68';
  }
  if (!holdsAddress('fe80::/10', packet.source)) return false;
  if (message === 'request') return packet.destination === 'ff02::1:2' && ports === '546 547';
  return holdsAddress('fe80::/10', packet.destination) && ports === '547 546';
}
