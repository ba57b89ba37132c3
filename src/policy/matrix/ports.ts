/** The destination ports that policies and pods name, and all others: within one class of ports no verdict differs. */
import type { Protocol } from '../../core/vocabulary.ts';
import type { ClusterSnapshot, PortMatch } from '../model.ts';

import { PROTOCOL_NUMBER, PROTOCOLS } from '../../core/vocabulary.ts';
import { type PolicyRules, portMatchesOf, rulesOf } from './rules.ts';

const MAX_PORT = 65_535;

export interface PortClass {
  /** `other`: of protocols that nothing names, ICMP among them. */
  readonly protocol: Protocol | 'other';
  /** Ascending, inclusive; none of `other`. */
  readonly ranges: readonly PortRange[];
  /** Nothing names these ports by number. */
  readonly isRest: boolean;
  /** One flow's protocol number and port, which stand for all. */
  readonly number: number;
  readonly port: number;
}

type PortRange = readonly [first: number, last: number];

/** A port somebody asks about, besides those that objects name. */
export interface AskedPort {
  readonly protocol: Protocol;
  readonly port: number;
}

export class PortClasses {
  readonly classes: readonly PortClass[];
  /** By protocol number: where its ranges begin, and whose they are. */
  readonly #starts = new Map<number, { readonly starts: readonly number[]; readonly classes: readonly number[] }>();

  constructor(worlds: readonly (PolicyRules & Pick<ClusterSnapshot, 'pods'>)[], asked: readonly AskedPort[] = []) {
    const matches = worlds.flatMap((world) => portMatchesOf(rulesOf(world)));
    const single: readonly AskedPort[] = [
      ...asked,
      ...worlds.flatMap(({ pods }) => [...pods.values()].flatMap(({ namedPorts }) => namedPorts)),
    ];
    const classes: PortClass[] = [];
    for (const protocol of PROTOCOLS) {
      const ours = matches.filter((match) => match.protocol === protocol);
      const ports = new Set(single.flatMap((each) => (each.protocol === protocol ? [each.port] : [])));
      if (ours.length === 0 && ports.size === 0) continue;
      const found = classesOf(protocol, rangesOf(ours), ports);
      this.#index(PROTOCOL_NUMBER[protocol], found, classes.length);
      classes.push(...found);
    }
    classes.push({ protocol: 'other', ranges: [], isRest: true, number: PROTOCOL_NUMBER.ICMP, port: 0 });
    this.classes = classes;
  }

  #index(number: number, found: readonly PortClass[], from: number): void {
    const entries = found
      .flatMap(({ ranges }, index) => ranges.map(([first]) => ({ first, index: from + index })))
      .sort((a, b) => a.first - b.first);
    this.#starts.set(number, {
      starts: entries.map(({ first }) => first),
      classes: entries.map(({ index }) => index),
    });
  }

  /** Of a flow: an index into `classes`. */
  indexOf(protocolNumber: number, port: number): number {
    const found = this.#starts.get(protocolNumber);
    if (!found) return this.classes.length - 1;
    let low = 0;
    for (let high = found.starts.length; high - low > 1; ) {
      const middle = (low + high) >>> 1;
      if (found.starts[middle]! <= port) low = middle;
      else high = middle;
    }
    return found.classes[low]!;
  }
}

/** Each once, without those of a whole protocol, which tell no port from another. */
function rangesOf(matches: readonly PortMatch[]): PortRange[] {
  const found = new Map<string, PortRange>();
  for (const match of matches) {
    if (match.kind === 'named' || (match.first === 0 && match.last === MAX_PORT)) continue;
    found.set(`${match.first}-${match.last}`, [match.first, match.last]);
  }
  return [...found.values()];
}

/** Parts the ports wherever one of `ranges` begins or ends; what lies in the same of them is one class, and each of `single` is its own. */
function classesOf(protocol: Protocol, ranges: readonly PortRange[], single: ReadonlySet<number>): PortClass[] {
  const edges = [...ranges.flatMap(([first, last]) => [first, last + 1]), ...[...single].flatMap((at) => [at, at + 1])];
  const starts = [...new Set([0, ...edges])].filter((at) => at <= MAX_PORT).sort((a, b) => a - b);
  const byMeaning = new Map<string, PortRange[]>();
  for (const [index, first] of starts.entries()) {
    const last = (starts[index + 1] ?? MAX_PORT + 1) - 1;
    const within = ranges.flatMap(([from, to], each) => (from <= first && last <= to ? [each] : []));
    const meaning = `${single.has(first) ? first : ''} ${within.join(' ')}`;
    const before = byMeaning.get(meaning);
    if (before) before.push([first, last]);
    else byMeaning.set(meaning, [[first, last]]);
  }
  const rest = byMeaning.get(' ');
  byMeaning.delete(' ');
  const named = [...byMeaning.values()].map((found) => portClass(protocol, found, false));
  return rest ? [...named, portClass(protocol, rest, true)] : named;
}

function portClass(protocol: Protocol, ranges: readonly PortRange[], isRest: boolean): PortClass {
  return { protocol, ranges, isRest, number: PROTOCOL_NUMBER[protocol], port: ranges[0]![0] };
}

/** `80`, `53/UDP`, `8000-8010/TCP`, `any other TCP`: TCP is said only where it would be missed. */
export function portText({ protocol, ranges, isRest }: PortClass): string {
  if (protocol === 'other') return 'other protocols';
  if (isRest) return `other ${protocol}`;
  const text = ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
  return protocol === 'TCP' ? text : `${text}/${protocol}`;
}
