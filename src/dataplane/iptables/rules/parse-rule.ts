/**
 * One line as `iptables-save` prints it, without `-A CHAIN` -> the rule we would write as that line. The reverse of `ruleText`: whatever
 * that writes is read as the rule it came from, and anything else is foreign.
 */
import type { Family, Protocol } from '../../../core/vocabulary.ts';
import type { PortRange } from '../../../net/port-range.ts';
import type { ConntrackState, Match, Rule, SetDimensions, Target } from './rule.ts';

import { lowBits } from './low-bits.ts';
import { DEFAULT_LIMIT_BURST, DHCP, NEIGHBOUR_DISCOVERY, SAME_ADDRESS } from './write-text.ts';
import { deniedBit } from '../../mark-bits.ts';

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
interface ForeignRule {
  readonly kind: 'foreign';
  readonly line: string;
  /** Names of the sets it mentions. */
  readonly sets: readonly string[];
}

export function parseRule(line: string, family: Family): ParsedRule {
  const matches: Match[] = [];
  const marks: MarkShown[] = [];
  let at = 0;
  const next = <T>(forms: readonly Form<T>[]): T | undefined => {
    for (const { pattern, make } of forms) {
      pattern.lastIndex = at;
      const found = pattern.exec(line);
      const made = found ? make(found, marks) : undefined;
      if (made === undefined) continue;
      at = pattern.lastIndex;
      return made;
    }
    return undefined;
  };
  for (let match = next(MATCHES[family]); match; match = next(MATCHES[family])) matches.push(match);
  const target: Target | undefined = at === line.length ? { kind: 'none' } : next(TARGETS);
  if (!target || at < line.length) return { kind: 'foreign', line, sets: mentionedSets(line) };
  const rule: Rule = { matches, target };
  return { kind: 'own', line, rule, ...(marks[0] ? { mark: marks[0] } : {}) };
}

/** Names of the sets that a rule of anybody asks about. */
export function mentionedSets(line: string): readonly string[] {
  return line.includes('--match-set') ? [...line.matchAll(/--match-set (\S+) /g)].map(([, name]) => name!) : [];
}

/** As `mentionedSets`, of a rule that was read. */
export function setsOf(parsed: ParsedRule): readonly string[] {
  if (parsed.kind === 'foreign') return parsed.sets;
  return parsed.rule.matches.flatMap((match) =>
    match.kind === 'set' || match.kind === 'not-in-set' ? [match.set] : [],
  );
}

/** The chain that a rule of anybody jumps or goes to; undefined: none, or a target with options. */
export function leadsTo(line: string): string | undefined {
  const end = line.lastIndexOf(' ');
  const option = line.slice(Math.max(0, end - 3), end);
  return option.trimStart() === '-j' || option.trimStart() === '-g' ? line.slice(end + 1) : undefined;
}

/** Words of a rule, and what they mean; undefined: nothing that we write. */
interface Form<T> {
  readonly pattern: RegExp;
  readonly make: (found: readonly (string | undefined)[], marks: MarkShown[]) => T | undefined;
}

function form<T>(words: string, make: Form<T>['make']): Form<T> {
  return { pattern: new RegExp(`${words}(?: |$)`, 'y'), make };
}

const ADDRESS_WIDTH: Readonly<Record<Family, number>> = { 4: 32, 6: 128 };
const ICMP: Readonly<Record<Family, string>> = { 4: 'icmp', 6: 'ipv6-icmp' };
const MARK = '0x([0-9a-f]{1,8})/0x([0-9a-f]{1,8})';
const TEXT = '(?:"([^"\\\\]*)"|([^" ]+))';
const PROTOCOL = '-p (tcp|udp|sctp)';
const STATES = '((?:(?:INVALID|NEW|RELATED|ESTABLISHED),?)+)';
const DIMENSIONS = '(src|dst|src,src|src,dst|dst,src|dst,dst)';

const MATCHES: Readonly<Record<Family, readonly Form<Match>[]>> = { 4: matchForms(4), 6: matchForms(6) };

/** Longer forms before those they begin with. */
function matchForms(family: Family): readonly Form<Match>[] {
  const width = ADDRESS_WIDTH[family];
  const { request, answer } = DHCP[family];
  return [
    form(exactly(request), () => ({ kind: 'dhcp', message: 'request' })),
    form(exactly(answer), () => ({ kind: 'dhcp', message: 'answer' })),
    form(`-s ([^ /]+)/${width}`, ([, address]) => ({ kind: 'source', address: address! })),
    form(`-d ([^ /]+)/${width}`, ([, address]) => ({ kind: 'destination', address: address! })),
    form('-s ([^ /]+/[0-9]+)', ([, cidr]) => ({ kind: 'source-block', cidr: cidr! })),
    form('-d ([^ /]+/[0-9]+)', ([, cidr]) => ({ kind: 'destination-block', cidr: cidr! })),
    form('-s ([^ /]+)/([^ /]+)', ([, bits, mask]) => ({ kind: 'source-bucket', ...bucket(bits!, mask!) })),
    form('-d ([^ /]+)/([^ /]+)', ([, bits, mask]) => ({ kind: 'destination-bucket', ...bucket(bits!, mask!) })),
    form('-i ([^ ]+)\\+', ([, prefix]) => ({ kind: 'in-interface-prefix', prefix: prefix! })),
    form('-o ([^ ]+)\\+', ([, prefix]) => ({ kind: 'out-interface-prefix', prefix: prefix! })),
    form('! -i ([^ ]+)\\+', ([, prefix]) => ({ kind: 'not-in-interface-prefix', prefix: prefix! })),
    form('! -o ([^ ]+)\\+', ([, prefix]) => ({ kind: 'not-out-interface-prefix', prefix: prefix! })),
    form('-i ([^ ]+)', ([, name]) => ({ kind: 'in-interface', name: name! })),
    form('-o ([^ ]+)', ([, name]) => ({ kind: 'out-interface', name: name! })),
    form(exactly(`-p ipv6-icmp -m bpf --bytecode "${NEIGHBOUR_DISCOVERY}"`), () => ({ kind: 'neighbour-discovery' })),
    form(`-p ${ICMP[family]}`, () => ({ kind: 'icmp' })),
    form(`${PROTOCOL} -m (?:\\1|(multiport)) --([sd])ports? ([0-9:,]+)`, portsMatch),
    form(PROTOCOL, ([, protocol]) => ({ kind: 'ports', protocol: upper(protocol), ranges: [] })),
    form('-m conntrack --ctstatus CONFIRMED', () => ({ kind: 'conntrack-confirmed' })),
    form(`-m conntrack --ctstate ${STATES} --ctdir REPLY`, ([, states]) => {
      return { kind: 'conntrack', states: statesOf(states!), direction: 'REPLY' };
    }),
    form(`-m conntrack --ctstate ${STATES}`, ([, states]) => ({ kind: 'conntrack', states: statesOf(states!) })),
    form(`-m conntrack ! --ctstate ${STATES}`, ([, states]) => ({ kind: 'conntrack-not', states: statesOf(states!) })),
    form(`-m connmark (! )?--mark ${MARK}`, ([, not, value, mask], marks) => {
      const bits = markBits(value!, mask!, marks);
      if (bits === 'flag') return { kind: 'denied-flag', set: !not };
      if (bits !== 'epoch') return undefined;
      return not ? { kind: 'stale-mark' } : { kind: 'current-mark' };
    }),
    form(`-m set (! )?--match-set ([^ ]+) ${DIMENSIONS}`, ([, not, set, dimensions]) => {
      return { kind: not ? 'not-in-set' : 'set', set: set!, dimensions: dimensions as SetDimensions };
    }),
    form(exactly(`-m bpf --bytecode "${SAME_ADDRESS[family]}"`), () => ({ kind: 'same-address' })),
    form('-m physdev --physdev-in ([^ ]+?)(\\+)?', ([, name, rest]) => portMatch('in-port', name!, rest)),
    form('-m physdev --physdev-out ([^ ]+?)(\\+)? --physdev-is-bridged', ([, name, rest]) =>
      portMatch('out-port', name!, rest),
    ),
    form('-m addrtype --src-type LOCAL', () => ({ kind: 'source-is-local' })),
    form('-m addrtype --dst-type LOCAL', () => ({ kind: 'destination-is-local' })),
    form('-m limit --limit ([0-9]+)/sec(?: --limit-burst ([0-9]+))?', ([, rate, burst = DEFAULT_LIMIT_BURST]) => {
      return { kind: 'limit', perSecond: Number(rate), burst: Number(burst) };
    }),
    form(`-m comment --comment ${TEXT}`, ([, quoted, word]) => ({ kind: 'comment', text: quoted ?? word! })),
  ];
}

const TARGETS: readonly Form<Target>[] = [
  form('-j RETURN', () => ({ kind: 'return' })),
  form('-j DROP', () => ({ kind: 'drop' })),
  form('-g ([^ ]+)', ([, chain]) => ({ kind: 'goto', chain: chain! })),
  form(`-j CONNMARK --set-xmark ${MARK}`, ([, value, mask], marks) => {
    const bits = markBits(value!, mask!, marks);
    return bits && { kind: bits === 'flag' ? 'set-denied-flag' : 'stamp-epoch' };
  }),
  form(`-j NFLOG --nflog-prefix ${TEXT}(?: --nflog-group ([0-9]+))?`, ([, quoted, word, group = 0]) => {
    return { kind: 'log', group: Number(group), prefix: quoted ?? word! };
  }),
  // Capitals alone are a target of iptables, and none of ours.
  form('-j ([^ ]*[^ A-Z0-9][^ ]*)', ([, chain]) => ({ kind: 'jump', chain: chain! })),
];

function exactly(text: string): string {
  return text.replace(/[.+*?^${}()|[\]\\]/g, '\\$&');
}

function bucket(bits: string, mask: string): { readonly bits: number; readonly mask: number } {
  return { bits: lowBits(bits), mask: lowBits(mask) };
}

function upper(protocol: string | undefined): Protocol {
  return protocol!.toUpperCase() as Protocol;
}

function statesOf(states: string): readonly ConntrackState[] {
  return states.split(',') as ConntrackState[];
}

function portsMatch([, protocol, multiport, side, list]: readonly (string | undefined)[]): Match {
  const ranges = list!.split(',').map((text): PortRange => {
    const [first, last = first] = text.split(':').map(Number);
    return { first: first!, last: last! };
  });
  const kind = side === 's' ? 'source-ports' : 'ports';
  const alone = multiport !== undefined && ranges.length === 1;
  return { kind, protocol: upper(protocol), ranges, ...(alone ? { multiport: true } : {}) };
}

function portMatch(kind: 'in-port' | 'out-port', name: string, rest: string | undefined): Match {
  return rest ? { kind, name, isPrefix: true } : { kind, name };
}

/** Whether the denied flag alone is meant, or an epoch in all the bits. */
function markBits(valueText: string, maskText: string, marks: MarkShown[]): 'flag' | 'epoch' | undefined {
  const [value, mask] = [Number.parseInt(valueText, 16), Number.parseInt(maskText, 16)];
  const lowest = deniedBit({ mask });
  const isFlag = mask === lowest;
  const epoch = value / (lowest * 2);
  if (mask === 0 || (value & ~mask) !== 0 || (isFlag ? value !== mask : !Number.isInteger(epoch))) return undefined;
  marks.push(isFlag ? { mask } : { mask, epoch });
  return isFlag ? 'flag' : 'epoch';
}
