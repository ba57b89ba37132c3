/** `portcullis lab`: brings a cluster in a box up, shows predicted beside measured, and takes it down again. */
import { styleText } from 'node:util';
import type { ProbeResult } from '../lab/network/types.ts';
import type { Matrix, MatrixDifference, MatrixPort } from '../lab/matrix.ts';
import type { ManifestObject } from '../cluster/read-manifests.ts';
import type { LabCommandOptions } from './lab-options.ts';

import { readManifests } from '../cluster/read-manifests.ts';
import { ApiError } from '../lab/api/errors.ts';
import { type ApplyOutcome, applyObject, orderForApply } from '../lab/apply-manifests.ts';
import { Lab } from '../lab/lab.ts';
import { describeCell, differences, matrixText } from '../lab/matrix.ts';
import { closeLabNetworksSync } from '../lab/network/lab-network.ts';
import { sweep } from '../lab/network/lab-state.ts';
import { EXIT_FAILURE, EXIT_OK, EXIT_USAGE } from './help.ts';
import { LAB_HELP, parseLabArguments } from './lab-options.ts';

const AGENTS_TIMEOUT_MS = 60_000;
const MAX_DEFAULT_PORTS = 6;
/** Shown of a long list of differences. */
const MAX_LISTED = 20;
/** How long the lab left up waits after a change before it looks again. */
const FOLLOW_DELAY_MS = 200;

export async function runLab(argv: readonly string[], { signal }: { signal: AbortSignal }): Promise<number> {
  const parsed = parseLabArguments(argv);
  if (parsed.kind === 'help') {
    process.stdout.write(LAB_HELP);
    return EXIT_OK;
  }
  if (parsed.kind === 'error') {
    process.stderr.write(`portcullis lab: ${parsed.message}\nTry: portcullis lab --help\n`);
    return EXIT_USAGE;
  }
  const problem = unusableHost();
  if (problem) {
    process.stderr.write(`portcullis lab: ${problem}\n`);
    return EXIT_FAILURE;
  }
  const session = new LabSession(parsed.options, signal);
  const lastResort = (): void => session.closeSync();
  process.once('exit', lastResort);
  try {
    return await session.run();
  } finally {
    await session.close();
    process.off('exit', lastResort);
  }
}

function unusableHost(): string | undefined {
  if (process.platform !== 'linux') return `network namespaces need Linux; this is ${process.platform}`;
  if (process.getuid?.() !== 0) return 'network namespaces need root; try again with sudo';
  return undefined;
}

/** One step of bringing policies up: what changed for whom, and how fast. */
interface StepReport {
  readonly name: string;
  readonly millisecondsToEnforced: number | undefined;
  readonly nowDenied: readonly string[];
  readonly nowAllowed: readonly string[];
}

class LabSession {
  readonly #options: LabCommandOptions;
  readonly #signal: AbortSignal;
  readonly #steps: StepReport[] = [];
  readonly #started = performance.now();
  #lab: Lab | undefined;

  constructor(options: LabCommandOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  async run(): Promise<number> {
    const { files, keep } = this.#options;
    const manifests = files.length === 0 ? { objects: [], problems: [] } : await readManifests(files);
    if (manifests.problems.length > 0) {
      for (const { object, field, message } of manifests.problems)
        this.#complain(`${object.name} ${field}: ${message}`);
      return EXIT_FAILURE;
    }
    const swept = sweep();
    if (swept.length > 0) this.#say(`removed what a lab that crashed left behind: ${swept.join(', ')}`);
    const lab = await this.#bringUp();
    this.#stopOnSignal();
    const { policies, others } = orderForApply(manifests.objects);
    if (!this.#applyAll(lab, others)) return EXIT_FAILURE;
    this.#progress('waiting for pods and agents');
    await Promise.all([lab.settle(), lab.agents.ready(AGENTS_TIMEOUT_MS)]);
    this.#say(
      `${lab.network.pods().length} pods on ${this.#options.nodes} nodes run, agents are ready${this.#clock()}`,
    );
    const applied = await this.#applyPolicies(lab, policies);
    const ok = (await this.#showMatrix(lab)) && applied;
    if (keep && !this.#signal.aborted) await this.#follow(lab);
    return ok ? EXIT_OK : EXIT_FAILURE;
  }

  async #bringUp(): Promise<Lab> {
    const { nodes, wiring, families, backend, mode } = this.#options;
    this.#progress(`building ${nodes} nodes, ${wiring}, IPv${families.join(' and IPv')}, ${backend}`);
    this.#lab = await Lab.create({
      nodes: Array.from({ length: nodes }, (_, index) => `node-${index + 1}`),
      wiring,
      families,
      backend,
      mode,
      program: [process.execPath, ...process.execArgv, process.argv[1]!],
      onComplaint: (node, message) => this.#complain(`agent on ${node}: ${message}`),
      onProblem: (message) => this.#complain(message),
    });
    this.#say(`the lab is up: API server, ${nodes} nodes, a host outside${this.#clock()}`);
    return this.#lab;
  }

  /** A lab that is still being waited for must come down when the user says so. */
  #stopOnSignal(): void {
    this.#signal.addEventListener('abort', () => void this.close(), { once: true });
  }

  #applyAll(lab: Lab, objects: readonly ManifestObject[]): boolean {
    return objects.map((object) => this.#apply(lab, object)).every((outcome) => outcome !== undefined);
  }

  #apply(lab: Lab, from: ManifestObject): ApplyOutcome | undefined {
    try {
      return applyObject(lab.store, from);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#complain(`${from.file}:${from.line}: ${error.message}`);
      return undefined;
    }
  }

  /** One policy at a time while there are few, so that each one's effect can be seen and timed. */
  async #applyPolicies(lab: Lab, policies: readonly ManifestObject[]): Promise<boolean> {
    if (!this.#options.steps || this.#options.mode !== 'enforce') return this.#applyAll(lab, policies);
    let ok = true;
    for (const policy of policies) {
      if (this.#signal.aborted) return false;
      const before = lab.predict(this.#ports(lab));
      const started = performance.now();
      const outcome = this.#apply(lab, policy);
      if (!outcome) {
        ok = false;
        continue;
      }
      ok = (await this.#step(lab, outcome.name, before, started)) && ok;
    }
    return ok;
  }

  async #step(lab: Lab, name: string, before: Matrix, started: number): Promise<boolean> {
    const after = lab.predict(this.#ports(lab));
    const changed = after.cells.filter((cell, index) => cell.predicted !== before.cells[index]?.predicted);
    const ms = await timeToEnforced(lab, changed, started, this.#options.timeoutMs);
    const names = (predicted: boolean): string[] => [
      ...new Set(changed.filter((cell) => cell.predicted === predicted).map((cell) => pairOf(after, cell))),
    ];
    const report = { name, millisecondsToEnforced: ms, nowDenied: names(false), nowAllowed: names(true) };
    this.#steps.push(report);
    this.#say(stepText(report, changed.length, after.cells.length));
    return ms !== undefined || changed.length === 0;
  }

  #ports(lab: Lab): readonly MatrixPort[] {
    return this.#options.ports.length > 0 ? this.#options.ports : lab.ports(MAX_DEFAULT_PORTS);
  }

  /** Measures until it equals the prediction, then once more: an answer that flaps is no answer. */
  async #showMatrix(lab: Lab): Promise<boolean> {
    this.#progress('measuring');
    const matrix = lab.predict(this.#ports(lab));
    const { results } = await lab.converge(matrix, this.#options.timeoutMs);
    const again = await lab.measure(matrix.cells.map((cell) => cell.probe));
    const different = [...differences(matrix, results), ...differences(matrix, again)];
    if (this.#options.output === 'json') this.#printJson(lab, matrix, again, different);
    else
      this.#printText(
        lab,
        matrix,
        different.length > 0 && differences(matrix, again).length === 0 ? results : again,
        different,
      );
    return different.length === 0;
  }

  #printText(lab: Lab, matrix: Matrix, results: readonly ProbeResult[], different: readonly MatrixDifference[]): void {
    process.stdout.write(`\n${policyList(lab)}`);
    process.stdout.write(matrixText(matrix, results));
    const cells = `${matrix.cells.length} cells`;
    if (different.length === 0) {
      process.stdout.write(
        `\n${styleText('green', `predicted and measured agree in all of ${cells}, probed twice`)}${this.#clock()}\n`,
      );
      return;
    }
    process.stdout.write(`\n${styleText('red', `${different.length} of ${cells} differ:`)}\n`);
    for (const { cell, result } of different.slice(0, MAX_LISTED)) {
      const detail = result.detail === undefined ? '' : ` (${result.detail})`;
      const expected = cell.predicted ? 'should arrive' : 'should be dropped';
      process.stdout.write(`  ${describeCell(matrix, cell)}: ${expected}, was ${result.outcome}${detail}\n`);
    }
    if (different.length > MAX_LISTED) process.stdout.write(`  and ${different.length - MAX_LISTED} more\n`);
    if (this.#options.mode !== 'enforce')
      process.stdout.write(`The agents run in mode ${this.#options.mode}: nothing is dropped.\n`);
  }

  #printJson(lab: Lab, matrix: Matrix, results: readonly ProbeResult[], different: readonly MatrixDifference[]): void {
    const label = (index: number): string => matrix.endpoints[index]!.label;
    const report = {
      ok: different.length === 0,
      policies: lab.store.list('networkpolicies').map(({ metadata }) => `${metadata.namespace}/${metadata.name}`),
      steps: this.#steps,
      endpoints: matrix.endpoints,
      cells: matrix.cells.map((cell, index) => ({
        from: label(cell.from),
        to: label(cell.to),
        family: cell.family,
        ...cell.port,
        address: cell.probe.address,
        predicted: cell.predicted ? 'allowed' : 'denied',
        measured: results[index]!.outcome,
      })),
    };
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  }

  /** Leaves the lab up and shows the matrix again after each change, until interrupted. */
  async #follow(lab: Lab): Promise<void> {
    this.#note(
      `\nThe lab stays up. In another terminal:\n\n  export KUBECONFIG=${lab.kubeconfig}\n  kubectl get pods -A\n`,
    );
    this.#note(`Agent logs: ${lab.dir}/<node>.log. Press Ctrl-C to take everything down.`);
    let changed: (() => void) | undefined;
    let dirty = false;
    const unsubscribe = lab.store.storage.subscribe((resource) => {
      if (resource === 'events' || resource === 'endpointslices') return;
      dirty = true;
      changed?.();
    });
    while (!this.#signal.aborted) {
      if (!dirty) {
        await new Promise<void>((resolve) => {
          changed = resolve;
          this.#signal.addEventListener('abort', () => resolve(), { once: true });
        });
      }
      if (this.#signal.aborted) break;
      await new Promise((resolve) => setTimeout(resolve, FOLLOW_DELAY_MS));
      dirty = false;
      await this.#showAgain(lab);
    }
    unsubscribe();
  }

  async #showAgain(lab: Lab): Promise<void> {
    try {
      await lab.settle();
      await this.#showMatrix(lab);
    } catch (error) {
      if (!this.#signal.aborted) this.#complain(error instanceof Error ? error.message : String(error));
    }
  }

  async close(): Promise<void> {
    await this.#lab?.close();
  }

  closeSync(): void {
    this.#lab?.closeSync();
    closeLabNetworksSync();
  }

  #clock(): string {
    return styleText('dim', ` (${((performance.now() - this.#started) / 1000).toFixed(1)} s)`);
  }

  #progress(text: string): void {
    if (process.stderr.isTTY) process.stderr.write(styleText('dim', `... ${text}\n`));
  }

  /** Progress of a text run; a JSON run keeps stdout for the report. */
  #say(text: string): void {
    if (this.#options.output === 'text') process.stdout.write(`${text}\n`);
  }

  #note(text: string): void {
    (this.#options.output === 'text' ? process.stdout : process.stderr).write(`${text}\n`);
  }

  #complain(text: string): void {
    if (!this.#signal.aborted) process.stderr.write(`${styleText('yellow', '!')} ${text}\n`);
  }
}

/**
 * Milliseconds from `started` until every changed cell's packets follow; undefined if they do not within `timeoutMs`;
 * 0 if nothing changed. A cell newly denied counts from when its first lost packet was sent.
 */
async function timeToEnforced(
  lab: Lab,
  changed: Matrix['cells'],
  started: number,
  timeoutMs: number,
): Promise<number | undefined> {
  if (changed.length === 0) return 0;
  // Short probes: inside of one machine an answer takes microseconds, so 40 ms of silence is a drop.
  const probes = changed.map(({ probe }) => ({ ...probe, timeoutMs: 40, attempts: 1 }));
  for (;;) {
    const sent = performance.now();
    const results = await lab.measure(probes);
    const done = results.every((result, index) => (result.outcome !== 'blocked') === changed[index]!.predicted);
    if (done) return sent - started;
    if (sent - started > timeoutMs) return undefined;
  }
}

function pairOf(matrix: Matrix, cell: Matrix['cells'][number]): string {
  return `${matrix.endpoints[cell.from]!.label} -> ${matrix.endpoints[cell.to]!.label}`;
}

const MAX_PAIRS = 3;

function stepText(report: StepReport, changed: number, total: number): string {
  const { name, millisecondsToEnforced, nowDenied, nowAllowed } = report;
  const list = (verb: string, color: 'red' | 'green', pairs: readonly string[]): string[] => {
    if (pairs.length === 0) return [];
    const more = pairs.length > MAX_PAIRS ? ` and ${pairs.length - MAX_PAIRS} more` : '';
    return [`    ${styleText(color, verb)} ${pairs.slice(0, MAX_PAIRS).join(', ')}${more}`];
  };
  const time =
    millisecondsToEnforced === undefined
      ? styleText('red', 'packets did not follow in time')
      : changed === 0
        ? 'changes nothing here'
        : `enforced ${styleText('bold', `${Math.round(millisecondsToEnforced)} ms`)} after it was created`;
  return [
    `  ${styleText('bold', `+ ${name}`)}: ${time}, ${changed} of ${total} cells changed`,
    ...list('now denied ', 'red', nowDenied),
    ...list('now allowed', 'green', nowAllowed),
  ].join('\n');
}

function policyList(lab: Lab): string {
  const policies = lab.store.list('networkpolicies');
  const lines = policies.map(({ metadata, spec }) => {
    const types = spec?.policyTypes?.join('+') ?? '';
    return `  ${metadata.namespace}/${metadata.name}  ${styleText('dim', types)}`;
  });
  return `${policies.length} policies in force\n${lines.join('\n')}${lines.length > 0 ? '\n' : ''}`;
}
