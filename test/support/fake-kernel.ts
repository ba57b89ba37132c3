/**
 * A kernel in memory behind the commands the agent runs: it takes the very text, keeps rules and sets, and refuses what the real
 * one refuses, in the real tools' words. The agent's own Linux kernel sits on top, so its reading of outputs and errors is tried too.
 */
import type { CommandRequest, CommandResult, RunCommand } from '../../src/host/command.ts';
import { CommandFailed, stdinText } from '../../src/host/command.ts';
import type { Backend, Family } from '../../src/core/vocabulary.ts';
import type { Kernel } from '../../src/dataplane/iptables/kernel/kernel.ts';
import type { DumpedRules } from '../../src/dataplane/rule-dump.ts';
import { createOneVariantKernel } from './one-variant-kernel.ts';
import type { ObservedFamily, ObservedSet, ObservedState } from '../../src/dataplane/iptables/plan/plan.ts';
import { readSavedRules, readSavedSets } from './read-saved.ts';
import { WIDTH, numberOf, prefixMask } from './address-number.ts';
import { readRule } from './rule-text.ts';

const FAMILIES = [4, 6] as const;
const BUILT_IN = ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'];
const DIMENSIONS: Readonly<Record<string, number>> = {
  'hash:ip': 1,
  'hash:net': 1,
  'hash:ip,port': 2,
  'hash:net,port': 2,
};
const takesPrefixes = (type: string): boolean => type === 'hash:net' || type === 'hash:net,port';
const MAX_CHAIN = 28;
const MAX_SET = 31;

/** The agent was killed in the middle of a command: nothing it does reaches the kernel until `revive()`. */
export class AgentDied extends Error {}

/** What goes wrong, for tests to set; all off at first. */
export interface Faults {
  /** Somebody holds the xtables lock for longer than anybody waits. */
  lockHeld: boolean;
  /** The tool refuses such a line. */
  refuse: ((line: string) => boolean) | undefined;
  /** The kernel refuses such a line at COMMIT, where the legacy variant cannot tell which line it was. */
  refuseAtCommit: ((line: string) => boolean) | undefined;
  /** So many commands from now on cannot be started. */
  unavailableWrites: number;
  unavailableReads: number;
  /** The agent dies when so many more lines were read by the tools; 0: with the next one. */
  diesAfterLines: number | undefined;
}

export interface FakeKernel extends Kernel {
  readonly faults: Faults;
  readonly run: RunCommand;
  /** Programs with their arguments, in order. */
  readonly commands: readonly string[];
  /** Called whenever packets could see something new: after each line of ipset, and after each COMMIT. */
  onLine: ((text: string) => void) | undefined;
  /** Lines the tools have read since the start. */
  readonly linesRead: number;
  /** As the agent would read it, but at once. */
  state(): ObservedState;
  savedRules(family: Family): string;
  /** Packets of 100 bytes each meet the first rule of the chain with this text; throws if there is none. */
  count(family: Family, chain: string, rule: string, packets: number): void;
  /** What rules of those chains have counted, as netlink dumps of nf_tables tell it. */
  dump(family: Family, chains: readonly string[]): DumpedRules;
  savedSets(): string;
  /** Everything that is not ours, to compare before and after. */
  foreign(): string;
  /** Somebody else's hand: lines of iptables-restore between `*mangle` and COMMIT; throws what the tool would print. */
  editRules(family: Family, ...lines: readonly string[]): void;
  /** Somebody else's hand: lines of ipset restore. */
  editSets(...lines: readonly string[]): void;
  /** A new agent process. */
  revive(): void;
}

export interface FakeKernelOptions {
  readonly backend?: Backend;
  readonly families?: readonly Family[];
}

interface FakeSet {
  readonly type: string;
  readonly family: Family;
  readonly maxElements: number;
  readonly hashSize: number;
  readonly members: Map<string, boolean>;
}

type Chains = Map<string, string[]>;

export function createFakeKernel(options: FakeKernelOptions = {}): FakeKernel {
  const backend = options.backend ?? 'iptables-nft';
  const families = options.families ?? FAMILIES;
  const host = new Host();
  const kernel = createOneVariantKernel({ backend, families, run: host.run, lockWaitSeconds: 5 });
  const last: LastRead = {
    rules: { 4: ofLastText(readSavedRules), 6: ofLastText(readSavedRules) },
    sets: ofLastText(readSavedSets),
  };
  return {
    ...kernel,
    faults: host.faults,
    run: host.run,
    commands: host.commands,
    get onLine() {
      return host.onLine;
    },
    set onLine(callback) {
      host.onLine = callback;
    },
    get linesRead() {
      return host.linesRead;
    },
    state: () => stateOf(host, families, last),
    savedRules: (family) => host.saveRules(family),
    count: (family, chain, rule, packets) => host.count(family, chain, rule, packets),
    dump: (family, chains) => host.dump(family, chains),
    savedSets: () => host.saveSets(),
    foreign: () => foreignText(host),
    editRules: (family, ...lines) => host.restoreRules(family, ['*mangle', ...lines, 'COMMIT']),
    editSets: (...lines) => host.restoreSets(lines),
    revive: () => {
      host.faults.diesAfterLines = undefined;
    },
  };
}

function stateOf(host: Host, families: readonly Family[], last: LastRead): ObservedState {
  const observed: Partial<Record<Family, ObservedFamily>> = {};
  for (const family of families) observed[family] = last.rules[family](host.saveRules(family));
  return { families: observed, sets: last.sets(host.saveSets()) };
}

/** Asked for each packet, and changed by few of the lines between them. */
interface LastRead {
  readonly rules: Readonly<Record<Family, (text: string) => ObservedFamily>>;
  readonly sets: (text: string) => ReadonlyMap<string, ObservedSet>;
}

function ofLastText<T>(read: (text: string) => T): (text: string) => T {
  let last: { readonly text: string; readonly value: T } | undefined;
  return (text) => {
    if (last?.text !== text) last = { text, value: read(text) };
    return last.value;
  };
}

function foreignText(host: Host): string {
  const texts = [...FAMILIES.map((family) => host.saveRules(family)), host.saveSets()];
  return texts
    .flatMap((text) => text.split('\n'))
    .filter((line) => !/\bPCL[46]?-/.test(line))
    .join('\n');
}

interface RuleCount {
  readonly handle: number;
  packets: number;
}

/** A rule that stays keeps its counter; one that is new begins at 0. `index`: where the rule of the line stood, -1: nowhere. */
function countersAfter(counts: Map<string, RuleCount[]>, line: string, index: number, handle: number): void {
  const [verb = '', name = '', position = ''] = line.split(' ');
  if (verb.startsWith(':')) counts.set(verb.slice(1), []);
  const chain = counts.get(name) ?? [];
  const rule = { handle, packets: 0 };
  if (verb === '-A') counts.set(name, [...chain, rule]);
  else if (verb === '-I') counts.set(name, chain.toSpliced(Number.parseInt(position, 10) - 1 || 0, 0, rule));
  else if (verb === '-D' && index >= 0) counts.set(name, chain.toSpliced(index, 1));
  else if (verb === '-X') counts.delete(name);
}

/** A line the tool or the kernel refuses; `line` is 1-based, absent if the tool does not say. */
class Refused extends Error {
  readonly line: number | undefined;
  constructor(line: number | undefined, message: string) {
    super(message);
    this.line = line;
  }
}

class Host {
  readonly faults: Faults = {
    lockHeld: false,
    refuse: undefined,
    refuseAtCommit: undefined,
    unavailableWrites: 0,
    unavailableReads: 0,
    diesAfterLines: undefined,
  };
  readonly commands: string[] = [];
  onLine: ((text: string) => void) | undefined;
  linesRead = 0;
  readonly #rules: Record<Family, Chains> = { 4: foreignChains(4), 6: foreignChains(6) };
  /** Packets that each rule has met, beside the rules. */
  readonly #counts: Record<Family, Map<string, RuleCount[]>> = { 4: new Map(), 6: new Map() };
  #handles = 0;
  readonly #sets = foreignSets();

  readonly run: RunCommand = async (request) => {
    this.commands.push(request.argv.join(' '));
    if (this.faults.diesAfterLines !== undefined && this.faults.diesAfterLines < 0) throw new AgentDied('dead');
    const [program, ...args] = request.argv;
    const tool = /^(ip6?tables)-(?:nft|legacy)-(save|restore)$/.exec(program);
    if (tool) return this.#iptables(request, tool[1] === 'iptables' ? 4 : 6, tool[2] === 'save', args);
    if (program === 'ipset') return this.#ipset(request, args);
    throw new CommandFailed(request, 'not-found', null, '');
  };

  #iptables(request: CommandRequest, family: Family, saves: boolean, args: readonly string[]): CommandResult {
    if (saves) {
      this.#checkAvailable(request, 'unavailableReads');
      const isCounted = args[0] === '-c';
      if (args.slice(isCounted ? 1 : 0).join(' ') !== '-t mangle')
        throw new Error(`unexpected arguments ${args.join(' ')}`);
      return result(this.saveRules(family, isCounted));
    }
    this.#checkAvailable(request, 'unavailableWrites');
    if (!/^--noflush -w \d+$/.test(args.join(' '))) throw new Error(`unexpected arguments ${args.join(' ')}`);
    if (this.faults.lockHeld) {
      const text = 'Another app is currently holding the xtables lock. Stopped waiting after 5s.\n';
      throw new CommandFailed(request, 'exit', 4, text);
    }
    const name = `${request.argv[0]} v1.8.9`;
    return this.#reported(request, name, 2, () => this.restoreRules(family, linesOf(request), this.faults));
  }

  #ipset(request: CommandRequest, args: readonly string[]): CommandResult {
    if (args.join(' ') === 'save') {
      this.#checkAvailable(request, 'unavailableReads');
      return result(this.saveSets());
    }
    this.#checkAvailable(request, 'unavailableWrites');
    if (args.join(' ') !== 'restore -exist') throw new Error(`unexpected arguments ${args.join(' ')}`);
    return this.#reported(request, 'ipset v7.17', 1, () => this.restoreSets(linesOf(request), this.faults));
  }

  #checkAvailable(request: CommandRequest, fault: 'unavailableReads' | 'unavailableWrites'): void {
    if (this.faults[fault] === 0) return;
    this.faults[fault]--;
    throw new CommandFailed(request, 'spawn', null, 'spawn: resource temporarily unavailable');
  }

  #reported(request: CommandRequest, name: string, exitCode: number, work: () => void): CommandResult {
    try {
      work();
      return result('');
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const isSet = request.argv[0] === 'ipset';
      const where = error.line === undefined ? '' : isSet ? `Error in line ${error.line}: ` : `line ${error.line}: `;
      throw new CommandFailed(request, 'exit', exitCode, `${name}: ${where}${error.message}\n`);
    }
  }

  #readLine(faults: Faults | undefined): void {
    if (!faults) return;
    this.linesRead++;
    if (faults.diesAfterLines === undefined) return;
    if (faults.diesAfterLines-- <= 0) throw new AgentDied(`died at line ${this.linesRead}`);
  }

  // --- rules ---

  /** Of each commit all of it or nothing. */
  restoreRules(family: Family, lines: readonly string[], faults?: Faults): void {
    for (let start = 0; start < lines.length; ) {
      const end = lines.indexOf('COMMIT', start) + 1 || lines.length;
      this.#commitRules(family, lines.slice(start, end), start, faults);
      start = end;
    }
  }

  /** `before`: how many lines of the input precede these. */
  #commitRules(family: Family, lines: readonly string[], before: number, faults?: Faults): void {
    const chains: Chains = new Map([...this.#rules[family]].map(([name, rules]) => [name, [...rules]]));
    const counts = new Map([...this.#counts[family]].map(([name, rules]) => [name, [...rules]]));
    if (lines[0] !== '*mangle' || lines.at(-1) !== 'COMMIT') throw new Error('not one table mangle');
    for (const [index, line] of lines.entries()) {
      this.#readLine(faults);
      if (index === 0 || index === lines.length - 1) continue;
      if (faults?.refuse?.(line)) throw new Refused(before + index + 1, `refused: ${line}`);
      const at = chains.get(line.split(' ')[1] ?? '')?.indexOf(line.split(' ').slice(2).join(' ')) ?? -1;
      this.#ruleLine(chains, family, line, before + index + 1);
      countersAfter(counts, line, at, ++this.#handles);
    }
    const culprit = lines.findIndex((line) => faults?.refuseAtCommit?.(line));
    if (culprit >= 0) throw new Refused(before + lines.length, 'RULE_APPEND failed (Invalid argument)');
    this.#checkLoops(chains, family);
    this.#rules[family] = chains;
    this.#counts[family] = counts;
    this.onLine?.('COMMIT');
  }

  #ruleLine(chains: Chains, family: Family, line: string, number: number): void {
    const declared = /^:(\S+) (\S+) \[\d+:\d+\]$/.exec(line);
    if (declared) {
      this.#declare(chains, declared[1]!, declared[2]!, number);
      return;
    }
    const found = /^-([AIDX]) (\S+)(?: (.*))?$/.exec(line);
    if (!found) throw new Refused(number, `unknown line ${line}`);
    const [, verb = '', name = '', rest = ''] = found;
    const rules = chains.get(name);
    if (!rules) throw new Refused(number, `Chain '${name}' does not exist`);
    switch (verb) {
      case 'A':
        rules.push(this.#checkedRule(chains, family, rest, number));
        break;
      case 'I': {
        const position = /^(\d+) (.*)$/.exec(rest);
        const rule = this.#checkedRule(chains, family, position?.[2] ?? rest, number);
        const index = Number(position?.[1] ?? 1) - 1;
        if (index > rules.length) throw new Refused(number, 'Index of insertion too big.');
        rules.splice(index, 0, rule);
        break;
      }
      case 'D': {
        const index = rules.indexOf(rest);
        if (index < 0) throw new Refused(number, 'Bad rule (does a matching rule exist in that chain?).');
        rules.splice(index, 1);
        break;
      }
      default:
        this.#deleteChain(chains, family, name, number);
    }
  }

  #declare(chains: Chains, name: string, policy: string, number: number): void {
    const isBuiltIn = BUILT_IN.includes(name);
    if (name.length > MAX_CHAIN) throw new Refused(number, `chain name \`${name}' too long (must be under 29 chars)`);
    if ((policy === '-') === isBuiltIn) throw new Refused(number, `Bad policy ${policy} of chain ${name}`);
    if (!isBuiltIn) chains.set(name, []);
  }

  #checkedRule(chains: Chains, family: Family, text: string, number: number): string {
    let rule: ReturnType<typeof readRule>;
    try {
      rule = readRule(text, family);
    } catch (error) {
      throw new Refused(number, (error as Error).message);
    }
    const { target } = rule;
    if (
      (target.kind === 'jump' || target.kind === 'goto') &&
      (BUILT_IN.includes(target.chain) || !chains.has(target.chain))
    ) {
      throw new Refused(number, `Couldn't load target \`${target.chain}':No such file or directory`);
    }
    for (const match of rule.matches) {
      if (match.kind !== 'set') continue;
      const set = this.#sets.get(match.set);
      if (!set) throw new Refused(number, `Set ${match.set} doesn't exist.`);
      if (set.family !== family) throw new Refused(number, `Set ${match.set} is of the other family`);
      const needed = DIMENSIONS[set.type];
      if (needed !== match.dimensions.length) throw new Refused(number, `Set ${match.set} has ${needed} dimensions`);
    }
    return text;
  }

  #deleteChain(chains: Chains, family: Family, name: string, number: number): void {
    if (BUILT_IN.includes(name)) throw new Refused(number, 'built-in chains cannot be deleted');
    if (chains.get(name)!.length > 0) throw new Refused(number, 'CHAIN_DEL failed (Directory not empty)');
    for (const rules of chains.values()) {
      if (rules.some((rule) => targetOf(rule, family) === name)) {
        throw new Refused(number, `CHAIN_DEL failed (Device or resource busy): chain ${name}`);
      }
    }
    chains.delete(name);
  }

  #checkLoops(chains: Chains, family: Family): void {
    const done = new Set<string>();
    const visit = (name: string, path: readonly string[]): void => {
      if (path.includes(name)) throw new Refused(undefined, `Too many levels of symbolic links: ${name}`);
      if (done.has(name)) return;
      for (const rule of chains.get(name) ?? []) {
        const target = targetOf(rule, family);
        if (target !== undefined) visit(target, [...path, name]);
      }
      done.add(name);
    };
    for (const name of BUILT_IN) visit(name, []);
  }

  count(family: Family, chain: string, rule: string, packets: number): void {
    const index = this.#rules[family].get(chain)?.indexOf(rule) ?? -1;
    if (index < 0) throw new Error(`chain ${chain} has no rule ${rule}`);
    const counts = this.#counts[family].get(chain)!;
    counts[index]!.packets += packets;
  }

  dump(family: Family, asked: readonly string[]): DumpedRules {
    const chains = [...this.#rules[family]].filter(([name, rules]) => rules.length > 0 && asked.includes(name));
    return new Map(
      chains.map(([name, rules]) => {
        const counts = rules.map(
          (_, index) => this.#counts[family].get(name)?.[index] ?? { handle: index, packets: 0 },
        );
        const packets = counts.map((each) => each.packets);
        const handles = counts.map(({ handle }) => handle);
        return [name, { handles, packets, bytes: packets.map((count) => count * 100) }];
      }),
    );
  }

  saveRules(family: Family, isCounted = false): string {
    const chains = [...this.#rules[family]];
    const counter = (name: string, index: number): string => {
      const packets = this.#counts[family].get(name)?.[index]?.packets ?? 0;
      return isCounted ? `[${packets}:${packets * 100}] ` : '';
    };
    return [
      '# Generated by iptables-save v1.8.9 on Thu Jan  1 00:00:00 2026',
      '*mangle',
      ...chains.map(([name]) => `:${name} ${BUILT_IN.includes(name) ? 'ACCEPT' : '-'} [0:0]`),
      ...chains.flatMap(([name, rules]) => rules.map((rule, index) => `${counter(name, index)}-A ${name} ${rule}`)),
      'COMMIT',
      '# Completed on Thu Jan  1 00:00:00 2026',
      '',
    ].join('\n');
  }

  // --- sets ---

  /** Line by line: stops at the first that is refused, and those before it stay done. */
  restoreSets(lines: readonly string[], faults?: Faults): void {
    for (const [index, line] of lines.entries()) {
      this.#readLine(faults);
      if (faults?.refuse?.(line)) throw new Refused(index + 1, `refused: ${line}`);
      try {
        this.#setLine(line);
      } catch (error) {
        throw new Refused(index + 1, (error as Error).message);
      }
      this.onLine?.(line);
    }
  }

  #setLine(line: string): void {
    const [verb = '', name = '', ...rest] = line.split(' ');
    switch (verb) {
      case 'create':
        this.#create(name, rest);
        break;
      case 'add':
        this.#addMember(name, rest);
        break;
      case 'del':
        this.#set(name).members.delete(this.#member(this.#set(name), rest[0] ?? ''));
        break;
      case 'destroy':
        if (this.#isUsed(name)) throw new Error('Set cannot be destroyed: it is in use by a kernel component');
        this.#sets.delete(name);
        break;
      case 'swap':
        this.#swap(name, rest[0] ?? '');
        break;
      default:
        throw new Error(`Unknown argument \`${verb}'`);
    }
  }

  #set(name: string): FakeSet {
    const set = this.#sets.get(name);
    if (!set) throw new Error('The set with the given name does not exist');
    return set;
  }

  #create(name: string, words: readonly string[]): void {
    const [type = '', ...options] = words;
    if (name.length > MAX_SET || name === '') throw new Error('setname is longer than 31 characters');
    if (!(type in DIMENSIONS)) throw new Error(`unknown settype ${type}`);
    const given = new Map<string, string>();
    for (let at = 0; at < options.length; at += 2) given.set(options[at]!, options[at + 1] ?? '');
    for (const key of given.keys()) {
      if (!['family', 'hashsize', 'maxelem'].includes(key)) throw new Error(`Unknown argument: \`${key}'`);
    }
    const family = given.get('family') === 'inet6' ? 6 : 4;
    const maxElements = Number(given.get('maxelem') ?? 65_536);
    const hashSize = Number(given.get('hashsize') ?? 1024);
    const before = this.#sets.get(name);
    if (before && before.type === type && before.family === family && before.maxElements === maxElements) return;
    if (before) throw new Error('Set cannot be created: set with the same name already exists');
    this.#sets.set(name, { type, family, maxElements, hashSize, members: new Map() });
  }

  #addMember(name: string, [text = '', option, ...rest]: readonly string[]): void {
    const set = this.#set(name);
    const member = this.#member(set, text);
    if (rest.length > 0 || (option !== undefined && (option !== 'nomatch' || !takesPrefixes(set.type)))) {
      throw new Error(`Unknown argument: \`${option}'`);
    }
    if (!set.members.has(member) && set.members.size >= set.maxElements) {
      throw new Error('Hash is full, cannot add more elements');
    }
    set.members.set(member, option === undefined);
  }

  /** The entry as the kernel keeps it; throws on a form the set's type does not take. */
  #member(set: FakeSet, text: string): string {
    const found = /^([0-9a-f.:]+)(?:\/(\d+))?(?:,(\d+):(\d+))?$/.exec(text);
    if (!found) throw new Error(`Syntax error: cannot parse ${text}`);
    const [, address = '', length, protocol, port] = found;
    const { family, value } = numberOf(address);
    if (family !== set.family)
      throw new Error(`Syntax error: cannot parse ${text}: resolving to IPv${set.family} failed`);
    if ((protocol !== undefined) !== set.type.endsWith(',port'))
      throw new Error(`Syntax error: ${text} in ${set.type}`);
    if (protocol !== undefined && (!['6', '17', '132'].includes(protocol) || Number(port) > 65535)) {
      throw new Error(`Syntax error: ${text}`);
    }
    const rest = protocol === undefined ? '' : `,${protocol}:${port}`;
    if (length === undefined || Number(length) === WIDTH[family]) return `${address}${rest}`;
    if (!takesPrefixes(set.type)) throw new Error(`Syntax error: ${text} is no address`);
    if (Number(length) < 1 || Number(length) > WIDTH[family]) {
      throw new Error('The value of the CIDR parameter of the IP address is invalid');
    }
    // The real one clears them silently; a text of ours that has any would never compare equal with what is read back.
    if ((value & prefixMask(family, Number(length))) !== value) throw new Error(`${text} has host bits`);
    return text;
  }

  #swap(a: string, b: string): void {
    const [first, second] = [this.#set(a), this.#set(b)];
    if (first.type !== second.type || first.family !== second.family) {
      throw new Error('The sets cannot be swapped: their type does not match');
    }
    this.#sets.set(a, second);
    this.#sets.set(b, first);
  }

  #isUsed(name: string): boolean {
    return FAMILIES.some((family) =>
      [...this.#rules[family].values()].some((rules) =>
        rules.some((rule) =>
          readRule(rule, family).matches.some((match) => match.kind === 'set' && match.set === name),
        ),
      ),
    );
  }

  /** Entries come in the order of the hash, protocols by name. */
  saveSets(): string {
    const lines: string[] = [];
    for (const [name, { type, family, hashSize, maxElements, members }] of this.#sets) {
      const inet = family === 4 ? 'inet' : 'inet6';
      lines.push(`create ${name} ${type} family ${inet} hashsize ${hashSize} maxelem ${maxElements} bucketsize 12`);
      for (const [member, match] of [...members].reverse()) {
        const named = member.replace(',6:', ',tcp:').replace(',17:', ',udp:').replace(',132:', ',sctp:');
        lines.push(`add ${name} ${named}${match ? '' : ' nomatch'}`);
      }
    }
    return `${lines.join('\n')}\n`;
  }
}

function result(stdout: string): CommandResult {
  return { stdout, stderr: '', durationMs: 1 };
}

function linesOf(request: CommandRequest): string[] {
  return stdinText(request)
    .split('\n')
    .filter((line) => line !== '');
}

function targetOf(rule: string, family: Family): string | undefined {
  const { target } = readRule(rule, family);
  return target.kind === 'jump' || target.kind === 'goto' ? target.chain : undefined;
}

/** Rules of other programs, which nobody may touch. */
function foreignChains(family: Family): Chains {
  const outside = family === 4 ? '198.51.100.0/24' : '2001:db8:ffff::/48';
  return new Map<string, string[]>([
    ['PREROUTING', ['-j CNI-MARKS']],
    ['INPUT', ['-i lo -j RETURN']],
    ['FORWARD', [`-s ${outside} -j ACCEPT`, '-p udp -m udp --dport 4789 -j RETURN']],
    ['OUTPUT', []],
    ['POSTROUTING', []],
    ['CNI-MARKS', ['-m comment --comment "of another program" -j CONNMARK --set-xmark 0x80/0x80']],
  ]);
}

function foreignSets(): Map<string, FakeSet> {
  const members = new Map([
    ['198.51.100.7', true],
    ['198.51.100.8', true],
  ]);
  return new Map([['KUBE-LOOP', { type: 'hash:ip', family: 4, maxElements: 65_536, hashSize: 1024, members }]]);
}
