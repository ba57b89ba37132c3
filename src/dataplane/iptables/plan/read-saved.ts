/** The text of iptables-save and ipset save -> ObservedState. Ours only: everything is recognised by prefix, with no memory. */
import type { Family } from '../../../core/vocabulary.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { Hook } from '../rules/ruleset.ts';
import type { ObservedFamily, ObservedSet } from './plan.ts';

import { isOurChain } from '../../chain-names.ts';
import { isOurSet } from '../rules/names.ts';
import { HOOKS } from '../rules/ruleset.ts';
import { isHookLine } from './hooks.ts';

const LINES_PER_STEP = 500;

/** Reads `iptables-save -t mangle` of one family. Lines that are not ours, or not understood, are left out. */
export function* savedRules(text: string, table = 'mangle'): Sliced<ObservedFamily> {
  const chains = new Map<string, string[]>();
  const hooks: Record<Hook, string[]> = { FORWARD: [], INPUT: [] };
  const elsewhere: { chain: string; line: string }[] = [];
  let inTable = false;
  let count = 0;
  for (const line of linesOf(text)) {
    if (++count % LINES_PER_STEP === 0) yield;
    if (line.startsWith('*')) inTable = line.trim() === `*${table}`;
    else if (!inTable) continue;
    else if (line.startsWith(':')) declare(chains, line);
    else if (line.startsWith('-A ')) append(chains, hooks, elsewhere, line);
  }
  return { chains, hooks, ...(elsewhere.length > 0 ? { elsewhere } : {}) };
}

function declare(chains: Map<string, string[]>, line: string): void {
  const name = line.slice(1).split(' ', 1)[0]!;
  if (isOurChain(name)) chains.set(name, []);
}

/** Built-in chains that this layout leaves alone. */
const OTHER_BUILT_IN = ['PREROUTING', 'OUTPUT', 'POSTROUTING'];

function append(
  chains: Map<string, string[]>,
  hooks: Record<Hook, string[]>,
  elsewhere: { chain: string; line: string }[],
  line: string,
): void {
  const end = line.indexOf(' ', 3);
  const name = end < 0 ? line.slice(3) : line.slice(3, end);
  const body = end < 0 ? '' : line.slice(end + 1).trimEnd();
  const hook = HOOKS.find((candidate) => candidate === name);
  if (hook) hooks[hook].push(body);
  else if (isOurChain(name)) {
    const rules = chains.get(name);
    if (rules) rules.push(body);
    else chains.set(name, [body]);
  } else if (OTHER_BUILT_IN.includes(name) && isHookLine(body)) elsewhere.push({ chain: name, line: body });
}

const PROTOCOL_NAMES: Readonly<Record<string, string>> = { tcp: '6', udp: '17', sctp: '132' };

/** Reads `ipset save`. */
export function* savedSets(text: string): Sliced<Map<string, ObservedSet>> {
  const sets = new Map<string, ObservedSet & { members: Map<string, boolean> }>();
  let count = 0;
  for (const line of linesOf(text)) {
    if (++count % LINES_PER_STEP === 0) yield;
    const words = line.trimEnd().split(' ');
    const name = words[1] ?? '';
    if (!isOurSet(name)) continue;
    if (words[0] === 'create') sets.set(name, readCreate(name, words));
    else if (words[0] === 'add') {
      sets.get(name)?.members.set(canonicalMember(words[2] ?? ''), !words.includes('nomatch', 3));
    }
  }
  return sets;
}

function* linesOf(text: string): Iterable<string> {
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf('\n', start);
    const end = newline < 0 ? text.length : newline;
    yield text.slice(start, end);
    start = end + 1;
  }
}

function readCreate(name: string, words: readonly string[]): ObservedSet & { members: Map<string, boolean> } {
  const option = (key: string): string | undefined => words[words.indexOf(key, 3) + 1];
  const family: Family = words.includes('inet6', 3) ? 6 : 4;
  const maxElements = words.includes('maxelem', 3) ? Number(option('maxelem')) : 0;
  return { name, family, type: words[2] ?? '', maxElements, members: new Map() };
}

/** `10.0.0.1,tcp:80` is written `10.0.0.1,6:80`: numbers load three times faster, so they are our canonical form. */
function canonicalMember(member: string): string {
  const comma = member.indexOf(',');
  if (comma < 0) return member;
  const colon = member.indexOf(':', comma);
  const protocol = member.slice(comma + 1, colon);
  return `${member.slice(0, comma)},${PROTOCOL_NAMES[protocol] ?? protocol}${member.slice(colon)}`;
}
