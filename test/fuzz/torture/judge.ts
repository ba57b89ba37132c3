/**
 * Looks at answers that are not as predicted, and at silence that nobody could have broken: was it the rules, or a prober that did
 * not run? What proves nothing is asked again, alone and with the kernel's connection tables as witness, a bounded number of times.
 */
import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from '../../../lab/lab.ts';
import type { EndpointKey, ProbeResult, ProberLife, Span } from '../../../lab/network/types.ts';
import type { MeasuredCell } from '../../../lab/measure.ts';
import { type Cell, describeCell } from './cells.ts';
import { keepEvidence, movedCounters, onNode, ruleCounters } from './evidence.ts';
import { type FlowWitness, ranDuring, type Ruling, ruleOn, spanOf, witnessOf } from './ruling.ts';
import { tellStory, type Wrong } from './story.ts';

export interface JudgedStats {
  /** Probes that differ from the evaluator, and were sent, looked for and could be answered. */
  wrong: number;
  /** Probes that proved nothing, because one of their probers did not run. */
  starved: number;
  /** Of those: never answered however often they were asked again. */
  unresolved: number;
}

export interface JudgeOptions {
  readonly lab: Lab;
  readonly stats: JudgedStats;
  /** Evidence goes into directories below. */
  readonly evidenceDir: string;
}

const ASKED_AGAIN = 3;
const PATIENT = { timeoutMs: 2_000, attempts: 1 } as const;
/** How long a prober may take to answer that it runs. */
const LIFE_MS = 1_000;
/** How long a prober that stands still is waited for before it is asked again. */
const REVIVAL_MS = 10_000;
/** A wrong matrix is wrong in many cells: a few of them tell the story. */
const MAX_WITNESSED = 3;

interface Asked {
  readonly cell: Cell;
  readonly result: ProbeResult;
}

interface Examined extends Asked {
  readonly ruling: Ruling;
  readonly again: readonly string[];
}

export class Judge {
  readonly #options: JudgeOptions;
  #directories = 0;
  /** Connection tables remember the ports of the judge before. */
  #nextPort = randomInt(20_000, 30_000);

  constructor(options: JudgeOptions) {
    this.#options = options;
  }

  /** The cells that are wrong; undefined: none. The text names the evidence. */
  async review(when: string, cells: readonly Cell[], results: readonly MeasuredCell[]): Promise<string | undefined> {
    const { stats } = this.#options;
    const asked = cells.map((cell, index): Asked => ({ cell, result: results[index]!.result }));
    const ruled = await this.#rule(asked);
    const wrong = ruled.filter(({ ruling }, index) => isWrong(ruling, results[index]!.verdict));
    const starved = ruled.filter(({ ruling }) => ruling.kind === 'starved');
    const late = await this.#askAgain(starved);
    const all = [...wrong, ...late.filter(({ ruling }) => ruling.kind === 'wrong')];
    if (all.length === 0) return undefined;
    stats.wrong += all.length;
    const told: Examined[] = [];
    for (const [index, one] of all.entries()) {
      const isTold = index < MAX_WITNESSED && one.again.length === 0;
      told.push(isTold ? { ...one, again: [(await this.#askAlone(one.cell)).told] } : one);
    }
    return await this.tell(when, told);
  }

  async #rule(asked: readonly Asked[]): Promise<readonly Examined[]> {
    if (asked.length === 0) return [];
    const ends = asked.flatMap(({ cell: { from, to } }) => [from.key, to.key]);
    const lives = await this.#lives(ends, Math.min(...asked.map(({ result }) => result.atMs ?? 0)));
    return asked.map(({ cell, result }) => {
      const [client, server] = [lives.get(cell.from.key), lives.get(cell.to.key)];
      const ruling = ruleOn({ predicted: cell.predicted, result, client, server, witness: 'unknown' });
      return { cell, result, ruling, again: [] };
    });
  }

  /** All together while any of it proves nothing; what is left then is asked alone, where the kernel's tables can tell. */
  async #askAgain(starved: readonly Examined[]): Promise<readonly Examined[]> {
    const { lab, stats } = this.#options;
    const deadline = performance.now() + REVIVAL_MS;
    const proven: Examined[] = [];
    let left = starved;
    for (let round = 0; round < ASKED_AGAIN && left.length > 0; round++) {
      stats.starved += left.length;
      await this.#revived(left, deadline);
      const results = await lab.measure(left.map(({ cell }) => ({ ...cell.probe, timeoutMs: 1_000 })));
      const ruled = await this.#rule(left.map(({ cell }, index) => ({ cell, result: results[index]! })));
      proven.push(...ruled.filter(({ ruling }) => ruling.kind !== 'starved'));
      left = ruled.filter(({ ruling }) => ruling.kind === 'starved');
    }
    stats.starved += left.length;
    for (const { cell } of left.slice(0, MAX_WITNESSED)) {
      const { ruling, result, told } = await this.#askAlone(cell);
      if (ruling.kind === 'starved') stats.unresolved++;
      proven.push({ cell, result, ruling, again: [told] });
    }
    stats.unresolved += left.slice(MAX_WITNESSED).length;
    return proven;
  }

  /** One packet from a port of its own, so that the connection tables know it from all others. */
  async #askAlone(
    cell: Cell,
  ): Promise<{ readonly ruling: Ruling; readonly result: ProbeResult; readonly told: string }> {
    const { lab } = this.#options;
    this.#nextPort = this.#nextPort >= 29_999 ? 20_000 : this.#nextPort + 1;
    const sourcePort = this.#nextPort;
    const before = await ruleCounters(lab);
    const port = cell.protocol === 'ICMP' ? {} : { sourcePort };
    const [result] = await lab.measure([{ ...cell.probe, ...PATIENT, ...port }]);
    const entries = await this.#connections(cell, sourcePort);
    const after = await ruleCounters(lab);
    const lives = await this.#lives([cell.from.key, cell.to.key], result!.atMs ?? 0);
    const witness: FlowWitness = cell.protocol === 'ICMP' ? 'unknown' : witnessOf(entries);
    const [client, server] = [lives.get(cell.from.key), lives.get(cell.to.key)];
    const ruling = ruleOn({ predicted: cell.predicted, result: result!, client, server, witness });
    const moved = [...after].map(([node, text]) => `${node}:\n${movedCounters(before.get(node) ?? '', text)}`);
    const told = [
      `asked alone from port ${sourcePort}: ${JSON.stringify({ ruling, result, witness, client, server })}`,
      `connections on the sender's and the server's node: ${JSON.stringify(entries)}`,
      `rules that counted meanwhile:\n${moved.join('\n')}`,
    ].join('\n');
    return { ruling, result: result!, told };
  }

  async #connections(cell: Cell, sourcePort: number): Promise<readonly (string | undefined)[]> {
    const { lab } = this.#options;
    if (cell.protocol === 'ICMP') return [];
    const family = cell.family === 4 ? 'ipv4' : 'ipv6';
    const asked = [
      '-p',
      cell.protocol.toLowerCase(),
      '--orig-src',
      cell.flow.source,
      '--orig-port-src',
      `${sourcePort}`,
    ];
    const nodes = [cell.from.node, cell.to.node].map(async (node) =>
      node === undefined ? undefined : await onNode(lab, node, ['conntrack', '-L', '-f', family, ...asked]),
    );
    return await Promise.all(nodes);
  }

  // --------------------------------------------------------------------------------------------------- signs of life

  async #lives(
    keys: readonly EndpointKey[],
    sinceMs: number,
  ): Promise<ReadonlyMap<EndpointKey, ProberLife | undefined>> {
    const { network } = this.#options.lab;
    const asked = [...new Set(keys)].map(async (key) => [key, await this.#life(network, key, sinceMs)] as const);
    return new Map(await Promise.all(asked));
  }

  /** A pod that is gone meanwhile gives none. */
  async #life(network: Lab['network'], key: EndpointKey, sinceMs: number): Promise<ProberLife | undefined> {
    try {
      return await network.signOfLife(key, sinceMs, LIFE_MS);
    } catch {
      return undefined;
    }
  }

  async #revived(waited: readonly Asked[], deadline: number): Promise<void> {
    const keys = waited.flatMap(({ cell: { from, to } }) => [from.key, to.key]);
    while (performance.now() < deadline) {
      const lives = await this.#lives(keys, Date.now());
      if ([...lives.values()].every((life) => life !== undefined)) return;
      await sleep(100);
    }
  }

  /** Which of the spans prove something: both ends ran. The others are counted as starved. */
  async proven(cell: Cell, spans: readonly Span[]): Promise<readonly Span[]> {
    if (spans.length === 0) return [];
    const ends = [cell.from.key, cell.to.key];
    const lives = await this.#lives(ends, Math.min(...spans.map(({ fromMs }) => fromMs)));
    const proven = spans.filter((span) => ends.every((end) => ranDuring(lives.get(end), span)));
    this.#options.stats.starved += spans.length - proven.length;
    return proven;
  }

  // ------------------------------------------------------------------------------------------------------- evidence

  /** The story of what is wrong, kept with all evidence; the text names the directory. */
  async tell(when: string, wrong: readonly Examined[]): Promise<string> {
    const { lab } = this.#options;
    const shown = wrong.map(({ cell, result, ruling }): Wrong => ({ cell, result, what: whyOf(ruling) }));
    return await this.keep(`${when}: ${await tellStory(lab, shown)}`, {
      'probes.txt': wrong.map(probeText).join('\n\n'),
    });
  }

  async keep(story: string, files: Readonly<Record<string, string>> = {}): Promise<string> {
    const { lab, evidenceDir } = this.#options;
    this.#directories++;
    const directory = await keepEvidence(lab, `${evidenceDir}-${this.#directories}`, { 'story.txt': story, ...files });
    return `${story}\n--- evidence: ${directory}`;
  }
}

/** Different answers, although nothing changed, are wrong too, where they prove something. */
function isWrong(ruling: Ruling, verdict: MeasuredCell['verdict']): boolean {
  return ruling.kind === 'wrong' || (ruling.kind === 'agrees' && verdict !== 'agrees');
}

const whyOf = (ruling: Ruling): string =>
  ruling.kind === 'agrees' ? 'different answers, although nothing changed' : `${ruling.kind}: ${ruling.why}`;

function probeText({ cell, result, ruling, again }: Examined): string {
  const { fromMs, toMs } = spanOf(result);
  const times = `${new Date(fromMs).toISOString()} to ${new Date(toMs).toISOString()}`;
  return [`${describeCell(cell)}: ${whyOf(ruling)}`, `${times}: ${JSON.stringify(result)}`, ...again].join('\n');
}
