/**
 * Asks the kernel for each feature the rules use, by name: rules that use it go into a chain nobody jumps to, which is taken away
 * at once. Nothing less asks the kernel itself: `--test` stops before it.
 */
import type { Family } from '../../../core/vocabulary.ts';
import type { Feature, MissingFeatures } from '../rules/kernel-features.ts';
import { type IpSet, type Match, type Rule, SET_TYPES, isSetType } from '../rules/rule.ts';
import type { CommandRequest, RunCommand } from '../../../host/command.ts';

import { versionedMap } from '../../../core/versioned-map.ts';
import { FEATURES } from '../rules/kernel-features.ts';
import { PREFIX } from '../../chain-names.ts';
import { type TextContext, createSetText, destroySetText, ruleText } from '../rules/write-text.ts';
import { CommandFailed } from '../../../host/command.ts';

const TIMEOUT_MS = 20_000;
const CHAIN = `${PREFIX}-PROBE`;
type SetType = IpSet['type'];

/** The kernel was short of something, or another program in the way: says nothing of the feature. */
const SAYS_NOTHING = /Cannot allocate memory|temporarily unavailable|xtables lock|Interrupted|Too many open files/;

interface FeatureProbe {
  readonly run: RunCommand;
  /** `iptables-nft-restore` or its like. */
  readonly restore: string;
  readonly family: Family;
  readonly lockWaitSeconds: number;
}

/** Which of `asked` the kernel lacks, each with what it said. Rejects with CommandFailed if that cannot be found out now. */
export async function probeFeatures(
  probe: FeatureProbe,
  asked: readonly Feature[] = FEATURES,
): Promise<ReadonlyMap<Feature, string>> {
  const missing = new Map<Feature, string>();
  const sets = SET_TYPES.filter((type) => asked.includes(type) || asked.includes('set'));
  const made: SetType[] = [];
  try {
    if (sets.length > 0 && (await attempt(() => createSets(probe, sets))) === undefined) made.push(...sets);
    else {
      for (const type of sets) {
        const refused = await attempt(() => createSets(probe, [type]));
        if (refused === undefined) made.push(type);
        else if (asked.includes(type)) missing.set(type, refused);
      }
    }
    const rules = asked.filter((feature) => !isSetType(feature) && (feature !== 'set' || made.length > 0));
    for (const [feature, refused] of await probeRules(probe, rules, made[0])) missing.set(feature, refused);
  } finally {
    if (made.length > 0) await destroySets(probe, made);
  }
  return missing;
}

async function probeRules(
  probe: FeatureProbe,
  asked: readonly Feature[],
  setType: SetType | undefined,
): Promise<ReadonlyMap<Feature, string>> {
  const missing = new Map<Feature, string>();
  const linesOf = (feature: Feature): string[] => sampleText(feature, probe.family, setType);
  const lines = asked.flatMap(linesOf);
  if (lines.length === 0 || (await attempt(() => tryRules(probe, lines))) === undefined) return missing;
  // Whoever refuses an empty chain says nothing about features.
  await tryRules(probe, []);
  for (const feature of asked) {
    const refused = await attempt(() => tryRules(probe, linesOf(feature)));
    // Asked twice: what follows from it is not for a passing trouble.
    if (refused !== undefined && (await attempt(() => tryRules(probe, linesOf(feature)))) !== undefined)
      missing.set(feature, refused);
  }
  return missing;
}

/** What was said against it; undefined if it worked. Rejects if that says nothing about a feature. */
async function attempt(work: () => Promise<void>): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (!(error instanceof CommandFailed) || error.reason !== 'exit' || SAYS_NOTHING.test(error.stderr)) throw error;
    return error.stderr.trim();
  }
}

const TAKE_AWAY = commit([`:${CHAIN} - [0:0]`, `-X ${CHAIN}`]);

/** In two commits: legacy asks the kernel for what a table holds at the end of one. */
async function tryRules(probe: FeatureProbe, rules: readonly string[]): Promise<void> {
  try {
    await restore(probe, commit([`:${CHAIN} - [0:0]`, ...rules.map((rule) => `-A ${CHAIN} ${rule}`)]) + TAKE_AWAY);
  } catch (error) {
    await restore(probe, TAKE_AWAY);
    throw error;
  }
}

function commit(lines: readonly string[]): string {
  return `${['*mangle', ...lines, 'COMMIT'].join('\n')}\n`;
}

async function restore({ run, restore: tool, lockWaitSeconds }: FeatureProbe, stdin: string): Promise<void> {
  const argv: CommandRequest['argv'] = [tool, '--noflush', '-w', String(lockWaitSeconds)];
  const timeoutMs = TIMEOUT_MS + lockWaitSeconds * 1000;
  await run({ argv, stdin, timeoutMs });
}

async function createSets(probe: FeatureProbe, types: readonly SetType[]): Promise<void> {
  const { family } = probe;
  const lines = types.map((type) => {
    const name = setOf(family, type);
    return createSetText({ name, family, type, members: versionedMap(), meaning: name });
  });
  await ipset(probe, lines);
}

/** Also those behind one that the kernel does not let go of, which is told. */
async function destroySets(probe: FeatureProbe, types: readonly SetType[]): Promise<void> {
  const lines = types.map((type) => destroySetText(setOf(probe.family, type)));
  try {
    await ipset(probe, lines);
  } catch (error) {
    for (const line of lines) await ipset(probe, [line]).catch(() => {});
    throw error;
  }
}

/** Not the command that waits for the next change of sets. */
async function ipset({ run }: FeatureProbe, lines: readonly string[]): Promise<void> {
  await run({ argv: ['ipset', 'restore', '-exist'], stdin: `${lines.join('\n')}\n`, timeoutMs: TIMEOUT_MS });
}

function setOf(family: Family, type: SetType): string {
  return `${PREFIX}${family}-probe-${type.replace(/\W/g, '-')}`;
}

/** Rules that use the feature in the ways the layout does; none if it does not in that family. */
function sampleText(feature: Feature, family: Family, setType: SetType | undefined): string[] {
  const context: TextContext = { family, epoch: 1, marks: { mask: 0xff000000 } };
  return samples(feature, family, setType).map((rule) => ruleText(rule, context));
}

function samples(feature: Feature, family: Family, setType: SetType | undefined): Rule[] {
  const pass = { kind: 'return' } as const;
  const matching = (...matches: readonly Match[]): Rule[] =>
    matches.map((match) => ({ matches: [match], target: pass }));
  const one = [{ first: 80, last: 80 }];
  switch (feature) {
    case 'conntrack':
      return matching(
        { kind: 'conntrack-not', states: ['ESTABLISHED', 'RELATED'] },
        { kind: 'conntrack', states: ['ESTABLISHED', 'RELATED'], direction: 'REPLY' },
        { kind: 'conntrack-confirmed' },
      );
    case 'set':
      return setType ? matching({ kind: 'set', set: setOf(family, setType), dimensions: 'src' }) : [];
    case 'hash:ip':
    case 'hash:net':
    case 'hash:ip,port':
    case 'hash:net,port':
      return [];
    case 'tcp':
      return matching({ kind: 'ports', protocol: 'TCP', ranges: one });
    case 'udp':
      return matching({ kind: 'ports', protocol: 'UDP', ranges: one });
    case 'sctp':
      return matching({ kind: 'ports', protocol: 'SCTP', ranges: one });
    case 'multiport':
      return matching({ kind: 'ports', protocol: 'TCP', ranges: [...one, { first: 443, last: 444 }] });
    case 'connmark':
      return [
        ...matching({ kind: 'stale-mark' }, { kind: 'denied-flag', set: false }),
        { matches: [], target: { kind: 'stamp-epoch' } },
      ];
    case 'bpf':
      return [
        ...matching({ kind: 'same-address' }),
        ...(family === 6 ? matching({ kind: 'neighbour-discovery' }) : []),
      ];
    case 'limit':
      return matching({ kind: 'limit', perSecond: 10, burst: 20 });
    case 'NFLOG':
      return [{ matches: [], target: { kind: 'log', group: 1, prefix: CHAIN } }];
    case 'comment':
      return [{ matches: [{ kind: 'comment', text: 'is a legend possible' }], target: { kind: 'none' } }];
    case 'addrtype':
      return matching({ kind: 'source-is-local' }, { kind: 'destination-is-local' });
  }
}

/** `known`: ask nothing that was answered; `missing`: ask again for what was missing; `all`: ask again for everything. */
export type FeatureQuestion = 'known' | 'missing' | 'all';

interface FeatureWatchOptions {
  readonly run: RunCommand;
  readonly lockWaitSeconds: number;
  /** It could not be found out; what was known before goes on to count, and it is asked again. */
  readonly onUnknown: (error: CommandFailed) => void;
}

/** Where rules would be written now. */
interface FeatureTarget {
  readonly families: readonly Family[];
  readonly restoreOf: (family: Family) => string;
}

/** What the kernel lacks, remembered per program. */
export class FeatureWatch {
  readonly #options: FeatureWatchOptions;
  /** By program; absent: never answered. */
  readonly #missing = new Map<string, readonly Feature[]>();

  constructor(options: FeatureWatchOptions) {
    this.#options = options;
  }

  /** Never rejects for what the kernel or a tool does. What was never answered counts as there: a refusal will tell. */
  async missing({ families, restoreOf }: FeatureTarget, question: FeatureQuestion): Promise<MissingFeatures> {
    const found = families.map(
      async (family) => [family, await this.#ask(family, restoreOf(family), question)] as const,
    );
    return Object.fromEntries((await Promise.all(found)).filter(([, missing]) => missing.length > 0));
  }

  async #ask(family: Family, restore: string, question: FeatureQuestion): Promise<readonly Feature[]> {
    const before = this.#missing.get(restore);
    if (before && (question === 'known' || (question === 'missing' && before.length === 0))) return before;
    const asked = before && question === 'missing' ? before : FEATURES;
    const { run, lockWaitSeconds, onUnknown } = this.#options;
    try {
      const found = await probeFeatures({ run, restore, family, lockWaitSeconds }, asked);
      const missing = FEATURES.filter((feature) => found.has(feature));
      this.#missing.set(restore, missing);
      return missing;
    } catch (error) {
      if (!(error instanceof CommandFailed)) throw error;
      onUnknown(error);
      return before ?? [];
    }
  }
}
