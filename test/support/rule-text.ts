/**
 * One rule as `iptables-save` prints it -> a value. Written from the tools' manuals, not from the writer in src/render, and closed:
 * whatever it does not know is an error, so that no rule can pass a test unread.
 */
import type { Family } from '../../src/core/vocabulary.ts';
import { WIDTH, numberOf, prefixMask } from './address-number.ts';

export interface PortSpan {
  readonly first: number;
  readonly last: number;
}

export type ParsedMatch =
  | { readonly kind: 'address'; readonly side: 'source' | 'destination'; readonly value: bigint; readonly mask: bigint }
  | {
      readonly kind: 'interface';
      readonly side: 'in' | 'out';
      readonly name: string;
      readonly isPrefix: boolean;
      readonly invert: boolean;
    }
  | { readonly kind: 'port'; readonly side: 'in' | 'out'; readonly name: string; readonly isPrefix: boolean }
  | { readonly kind: 'protocol'; readonly protocol: number }
  | { readonly kind: 'confirmed' }
  | { readonly kind: 'state'; readonly states: readonly string[]; readonly invert: boolean }
  | { readonly kind: 'conntrack-direction'; readonly direction: 'ORIGINAL' | 'REPLY' }
  | { readonly kind: 'connmark'; readonly value: number; readonly mask: number; readonly invert: boolean }
  | { readonly kind: 'bpf'; readonly program: readonly BpfInstruction[] }
  | { readonly kind: 'ports'; readonly side: 'source' | 'destination'; readonly spans: readonly PortSpan[] }
  | {
      readonly kind: 'set';
      readonly set: string;
      readonly dimensions: readonly ('src' | 'dst')[];
      readonly invert: boolean;
    }
  | { readonly kind: 'is-local'; readonly side: 'source' | 'destination' }
  | { readonly kind: 'limit'; readonly rate: string; readonly burst: number }
  | { readonly kind: 'comment'; readonly text: string };

export type ParsedTarget =
  | { readonly kind: 'none' | 'ACCEPT' | 'DROP' | 'RETURN' }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string }
  | { readonly kind: 'connmark'; readonly value: number; readonly mask: number }
  | { readonly kind: 'nflog'; readonly group: number; readonly prefix: string };

export interface ParsedRule {
  readonly matches: readonly ParsedMatch[];
  readonly target: ParsedTarget;
}

export interface BpfInstruction {
  readonly code: number;
  readonly jumpTrue: number;
  readonly jumpFalse: number;
  readonly value: number;
}

const PROTOCOLS: Readonly<Record<string, number>> = { icmp: 1, tcp: 6, udp: 17, 'ipv6-icmp': 58, sctp: 132 };
const CONNTRACK_STATES = ['INVALID', 'NEW', 'RELATED', 'ESTABLISHED', 'UNTRACKED'];

const known = new Map<string, ParsedRule>();

/** Throws on anything it does not know. `text` has no `-A CHAIN` in front. */
export function readRule(text: string, family: Family): ParsedRule {
  const key = `${family} ${text}`;
  let rule = known.get(key);
  if (!rule) {
    rule = parseRule(text, family);
    known.set(key, rule);
  }
  return rule;
}

function parseRule(text: string, family: Family): ParsedRule {
  return new RuleParser(text, family).parse();
}

/** Words as iptables-restore splits them: blanks part words, `"` quotes, `\` escapes inside quotes. */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  for (const found of text.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)) {
    words.push(found[1] === undefined ? found[2]! : found[1].replace(/\\(.)/g, '$1'));
  }
  return words;
}

/** Bytecode as `-m bpf` takes and prints it. */
export function readProgram(text: string): BpfInstruction[] {
  const [count, ...rest] = text.split(',');
  const program = rest.map((instruction) => {
    const [code, jumpTrue, jumpFalse, value] = instruction.split(' ').map(Number);
    return { code: code!, jumpTrue: jumpTrue!, jumpFalse: jumpFalse!, value: value! };
  });
  if (Number(count) !== program.length) throw new Error(`the count of instructions is wrong: ${text}`);
  return program;
}

class RuleParser {
  readonly #text: string;
  readonly #words: string[];
  readonly #family: Family;
  readonly #matches: ParsedMatch[] = [];
  #target: ParsedTarget = { kind: 'none' };
  #protocol: number | undefined;
  #next = 0;

  constructor(text: string, family: Family) {
    this.#text = text;
    this.#words = splitWords(text);
    this.#family = family;
  }

  parse(): ParsedRule {
    while (this.#next < this.#words.length) this.#matches.push(...this.#option());
    return { matches: this.#matches, target: this.#target };
  }

  #fail(why: string): never {
    throw new Error(`${why} in rule: ${this.#text}`);
  }

  #word(): string {
    return this.#words[this.#next++] ?? this.#fail('word missing');
  }

  /** Takes the next word if it is `expected`. */
  #take(expected: string): boolean {
    if (this.#words[this.#next] !== expected) return false;
    this.#next++;
    return true;
  }

  #expect(expected: string): void {
    if (!this.#take(expected)) this.#fail(`${expected} expected, not ${this.#words[this.#next]}`);
  }

  /** The matches of one option; none if it is the target. */
  #option(): ParsedMatch[] {
    if (this.#target.kind !== 'none') this.#fail('options behind the target');
    const word = this.#word();
    switch (word) {
      case '-s':
        return [this.#address('source')];
      case '-d':
        return [this.#address('destination')];
      case '-i':
        return [this.#interface('in', false)];
      case '-o':
        return [this.#interface('out', false)];
      case '!':
        if (this.#take('-i')) return [this.#interface('in', true)];
        this.#expect('-o');
        return [this.#interface('out', true)];
      case '-p':
        return [this.#protocolOption()];
      case '-m':
        return this.#module(this.#word());
      case '-j':
        this.#target = this.#jump(this.#word());
        return [];
      case '-g':
        this.#target = { kind: 'goto', chain: this.#word() };
        return [];
      default:
        this.#fail(`unknown option ${word}`);
    }
  }

  #address(side: 'source' | 'destination'): ParsedMatch {
    const [address = '', mask] = this.#word().split('/');
    const { family, value } = numberOf(address);
    if (family !== this.#family) this.#fail(`address of the other family`);
    if (mask === undefined) this.#fail('a saved rule shows the mask of every address');
    const bits = /^\d+$/.test(mask) ? this.#prefix(Number(mask)) : numberOf(mask).value;
    if ((value & bits) !== value) this.#fail('address bits outside the mask');
    return { kind: 'address', side, value, mask: bits };
  }

  #prefix(length: number): bigint {
    if (length > WIDTH[this.#family]) this.#fail('prefix too long');
    return prefixMask(this.#family, length);
  }

  #interface(side: 'in' | 'out', invert: boolean): ParsedMatch {
    const name = this.#word();
    if (name.length > 16) this.#fail('interface name too long');
    const isPrefix = name.endsWith('+');
    return { kind: 'interface', side, name: isPrefix ? name.slice(0, -1) : name, isPrefix, invert };
  }

  #protocolOption(): ParsedMatch {
    const name = this.#word();
    const protocol = PROTOCOLS[name] ?? this.#fail(`unknown protocol ${name}`);
    if ((protocol === 1 && this.#family === 6) || (protocol === 58 && this.#family === 4)) this.#fail('wrong ICMP');
    this.#protocol = protocol;
    return { kind: 'protocol', protocol };
  }

  #module(name: string): ParsedMatch[] {
    switch (name) {
      case 'conntrack':
        return this.#conntrack();
      case 'connmark':
        return [this.#connmark()];
      case 'bpf':
        this.#expect('--bytecode');
        return [{ kind: 'bpf', program: readProgram(this.#word()) }];
      case 'tcp':
      case 'udp':
      case 'sctp':
        if (this.#protocol !== PROTOCOLS[name]) this.#fail(`-m ${name} needs -p ${name}`);
        return this.#portsOf();
      case 'physdev':
        return [this.#bridgePort()];
      case 'multiport':
        return [this.#multiport()];
      case 'set':
        return [this.#set()];
      case 'addrtype':
        return [this.#isLocal()];
      case 'limit':
        return [this.#limit()];
      case 'comment':
        this.#expect('--comment');
        return [this.#comment(this.#word())];
      default:
        this.#fail(`unknown match ${name}`);
    }
  }

  #conntrack(): ParsedMatch[] {
    if (this.#take('--ctstatus')) {
      this.#expect('CONFIRMED');
      return [{ kind: 'confirmed' }];
    }
    const invert = this.#take('!');
    this.#expect('--ctstate');
    const states = this.#word().split(',');
    for (const state of states) if (!CONNTRACK_STATES.includes(state)) this.#fail(`unknown state ${state}`);
    const state: ParsedMatch = { kind: 'state', states, invert };
    if (!this.#take('--ctdir')) return [state];
    const direction = this.#word();
    if (direction !== 'ORIGINAL' && direction !== 'REPLY') this.#fail(`unknown direction ${direction}`);
    return [state, { kind: 'conntrack-direction', direction }];
  }

  #connmark(): ParsedMatch {
    const invert = this.#take('!');
    this.#expect('--mark');
    return { kind: 'connmark', ...this.#masked(this.#word()), invert };
  }

  #masked(text: string): { value: number; mask: number } {
    const found = /^0x([0-9a-f]{1,8})\/0x([0-9a-f]{1,8})$/.exec(text) ?? this.#fail(`not a masked number: ${text}`);
    const [value, mask] = [Number.parseInt(found[1]!, 16), Number.parseInt(found[2]!, 16)];
    if ((value & ~mask) !== 0) this.#fail('bits outside the mask');
    return { value, mask };
  }

  #number(least: number, most: number): number {
    const word = this.#word();
    const value = Number(word);
    if (!/^\d+$/.test(word) || value < least || value > most) this.#fail(`${word} is not in ${least}..${most}`);
    return value;
  }

  #span(text: string): PortSpan {
    const found = /^(\d+)(?::(\d+))?$/.exec(text) ?? this.#fail(`not a port: ${text}`);
    const first = Number(found[1]);
    const last = found[2] === undefined ? first : Number(found[2]);
    if (first > last || last > 65535) this.#fail(`not a port range: ${text}`);
    if (first === last && found[2] !== undefined) this.#fail('a range of one port is printed as one port');
    return { first, last };
  }

  /** `--sport` or `--dport`, or the plural. */
  #side(noun: string): 'source' | 'destination' {
    if (this.#take(`--s${noun}`)) return 'source';
    this.#expect(`--d${noun}`);
    return 'destination';
  }

  #isLocal(): ParsedMatch {
    const side = this.#take('--src-type') ? 'source' : 'destination';
    if (side === 'destination') this.#expect('--dst-type');
    this.#expect('LOCAL');
    return { kind: 'is-local', side };
  }

  /** `--sport`, `--dport` or both, in this order. */
  #portsOf(): ParsedMatch[] {
    const side = this.#side('port');
    const first: ParsedMatch = { kind: 'ports', side, spans: [this.#span(this.#word())] };
    if (side === 'destination' || this.#words[this.#next] !== '--dport') return [first];
    return [first, { kind: 'ports', side: this.#side('port'), spans: [this.#span(this.#word())] }];
  }

  /** For FORWARD and INPUT: where a packet leaves is known only if it is bridged. */
  #bridgePort(): ParsedMatch {
    const side = this.#take('--physdev-in') ? 'in' : 'out';
    if (side === 'out') this.#expect('--physdev-out');
    const name = this.#word();
    if (side === 'out') this.#expect('--physdev-is-bridged');
    const isPrefix = name.endsWith('+');
    return { kind: 'port', side, name: isPrefix ? name.slice(0, -1) : name, isPrefix };
  }

  #multiport(): ParsedMatch {
    if (![6, 17, 132].includes(this.#protocol ?? -1)) this.#fail('multiport needs a protocol with ports');
    const side = this.#side('ports');
    const spans = this.#word()
      .split(',')
      .map((part) => this.#span(part));
    const slots = spans.reduce((sum, { first, last }) => sum + (first === last ? 1 : 2), 0);
    if (slots > 15) this.#fail('too many ports specified');
    return { kind: 'ports', side, spans };
  }

  #set(): ParsedMatch {
    const invert = this.#take('!');
    this.#expect('--match-set');
    const set = this.#word();
    const dimensions = this.#word()
      .split(',')
      .map((word) => (word === 'src' || word === 'dst' ? word : this.#fail(`unknown dimension ${word}`)));
    return { kind: 'set', set, dimensions, invert };
  }

  #limit(): ParsedMatch {
    this.#expect('--limit');
    const rate = this.#word();
    if (!/^\d+\/(sec|min|hour|day)$/.test(rate)) this.#fail(`not a rate: ${rate}`);
    const perSecond = Number.parseInt(rate, 10);
    if (rate.endsWith('/sec') && Math.floor(10_000 / Math.floor(10_000 / perSecond)) !== perSecond) {
      this.#fail('a rate that is printed as another');
    }
    const burst = this.#take('--limit-burst') ? this.#number(1, 10_000) : undefined;
    if (burst === 5) this.#fail('the default burst is not printed');
    return { kind: 'limit', rate, burst: burst ?? 5 };
  }

  #comment(text: string): ParsedMatch {
    if (text.length > 255) this.#fail('comment too long');
    return { kind: 'comment', text };
  }

  #jump(name: string): ParsedTarget {
    switch (name) {
      case 'ACCEPT':
      case 'DROP':
      case 'RETURN':
        return { kind: name };
      case 'CONNMARK':
        this.#expect('--set-xmark');
        return { kind: 'connmark', ...this.#masked(this.#word()) };
      case 'NFLOG':
        return this.#nflog();
      default:
        if (/^[A-Z]+$/.test(name)) this.#fail(`unknown target ${name}`);
        return { kind: 'jump', chain: name };
    }
  }

  #nflog(): ParsedTarget {
    this.#expect('--nflog-prefix');
    const prefix = this.#word();
    if (prefix.length > 63) this.#fail('NFLOG prefix too long');
    const group = this.#take('--nflog-group') ? this.#number(1, 65535) : 0;
    return { kind: 'nflog', group, prefix };
  }
}
