/** `portcullis lab`: brings a cluster in a box up, shows predicted beside measured, and takes it down again. */
import type { Labels } from '../api/objects.ts';
import type { AuditCount } from '../audit-counts.ts';
import type { Matrix, MatrixPort } from '../matrix.ts';
import type { Measurement, MeasureOptions } from '../measure.ts';
import type { Manifests } from '../../src/cluster/read-manifests.ts';
import type { CheckedManifests, CheckedPolicy } from '../apply-manifests.ts';
import { completeOptions, engineOf, type LabCommandOptions, type LabRunOptions } from './options.ts';
import type { StepReport, TextOptions } from './text.ts';

import { type AdaptedDump, adaptDump, dumpShape } from '../adapt-dump.ts';
import { MODE_KEY } from '../../src/core/vocabulary.ts';
import { applyObject, checkManifests, noteText } from '../apply-manifests.ts';
import { Lab, NotSettled } from '../lab.ts';
import { compareMatrices } from '../matrix.ts';
import { closeLabNetworksSync } from '../network/lab-network.ts';
import { sweep } from '../network/lab-state.ts';
import { outsideHostsFor } from '../outside-hosts.ts';
import { labReport } from '../report.ts';
import { EXIT_FAILURE, EXIT_OK } from '../../src/cli/exit-codes.ts';
import { runDemo } from './demo.ts';
import { type Shown, followChanges } from './follow.ts';
import { AGENT_PROGRAM } from './agent-program.ts';
import { readGiven } from './read-files.ts';
import { Screen } from './screen.ts';
import { auditText, counted, policyList, resultText, stepText } from './text.ts';

const AGENTS_TIMEOUT_MS = 60_000;
const PODS_TIMEOUT_MS = 60_000;
const MAX_DEFAULT_PORTS = 6;
/** About ten seconds of probes. */
const MANY_CELLS = 50_000;
/** Agents that drop nothing never will: how long the packets of such a lab are waited for. */
const NO_ENFORCEMENT_MS = 300;

export async function runLab(given: LabCommandOptions, context: { readonly signal: AbortSignal }): Promise<number> {
  const screen = new Screen({
    output: given.output,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
  });
  const read = await readGiven(given);
  const options = completeOptions(given, dumpShape(read.objects));
  const manifests = readyManifests(read, options, screen);
  if (!manifests) return EXIT_FAILURE;
  const problem = unusableHost();
  if (problem) {
    process.stderr.write(`portcullis lab: ${problem}\n`);
    return EXIT_FAILURE;
  }
  const signal = orNobodyLooks(context.signal);
  if (options.demo) return (await runDemo(options, screen, signal)) ? EXIT_OK : EXIT_FAILURE;
  return runSession(new LabSession(options, manifests, screen, signal));
}

/** A terminal that is closed, or `| head`, must not leave the lab behind. */
function orNobodyLooks(signal: AbortSignal): AbortSignal {
  const gone = new AbortController();
  process.once('SIGHUP', () => gone.abort());
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => gone.abort());
  return AbortSignal.any([signal, gone.signal]);
}

async function runSession(session: LabSession): Promise<number> {
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

/** Undefined if something in them cannot be used; that was said then. */
function readyManifests(
  { objects, problems, warnings }: Manifests,
  options: LabRunOptions,
  screen: Screen,
): ReadyManifests | undefined {
  for (const { object, message } of [...problems, ...warnings]) {
    const place = `(${object.name}:`;
    const at = message.lastIndexOf(place);
    const line = at < 0 ? '' : `:${message.slice(at + place.length, -1)}`;
    screen.complain(`${object.name}${line}: ${at < 0 ? message : message.slice(0, at - 1)}`);
  }
  const dump = adaptDump(objects, { nodes: nodeNames(options), families: options.families, wiring: options.wiring });
  const checked = checkManifests(dump.objects, options.families, options.policyChannel);
  for (const error of checked.errors) screen.complain(noteText(error));
  for (const note of checked.skipped) screen.complain(`${noteText(note)}, skipped`);
  return problems.length + checked.errors.length > 0 ? undefined : { ...checked, dump };
}

interface ReadyManifests extends CheckedManifests {
  readonly dump: Pick<AdaptedDump, 'notes' | 'addresses'>;
}

function nodeNames({ nodes }: LabRunOptions): readonly string[] {
  return Array.from({ length: nodes }, (_, index) => `node-${index + 1}`);
}

export class LabSession {
  readonly #options: LabRunOptions;
  readonly #manifests: ReadyManifests;
  readonly #screen: Screen;
  readonly #signal: AbortSignal;
  readonly #steps: (StepReport & { readonly matrix: Matrix })[] = [];
  readonly #agentComplaints = new Set<string>();
  #policiesShown = '';
  #lab: Lab | undefined;

  constructor(options: LabRunOptions, manifests: ReadyManifests, screen: Screen, signal: AbortSignal) {
    this.#options = options;
    this.#manifests = manifests;
    this.#screen = screen;
    this.#signal = signal;
  }

  /** The exit code. */
  async run(): Promise<number> {
    const swept = sweep();
    if (swept.length > 0) this.#screen.note(`Removed what a lab that was killed left behind: ${swept.join(', ')}`);
    try {
      return (await this.#run()) ? EXIT_OK : EXIT_FAILURE;
    } catch (error) {
      // Whatever fails while everything is being taken down fails because of that.
      if (this.#signal.aborted) return this.#interrupted() ? EXIT_OK : EXIT_FAILURE;
      if (!(error instanceof NotSettled)) throw error;
      for (const what of error.what) this.#screen.complain(what);
      return EXIT_FAILURE;
    }
  }

  async #run(): Promise<boolean> {
    const lab = await this.#bringUp();
    if (this.#signal.aborted) return this.#interrupted();
    // A lab that is still being waited for must come down when the user says so.
    this.#signal.addEventListener('abort', () => void this.close().catch(() => {}), { once: true });
    for (const from of this.#manifests.others) applyObject(lab.store, from);
    await this.#waitForPods(lab);
    await this.#applyPolicies(lab);
    let shown = await this.#show(lab);
    if (this.#options.keep) {
      this.#explainKeep(lab);
      shown = await followChanges(lab, shown, {
        screen: this.#screen,
        signal: this.#signal,
        text: () => this.#textOptions(),
        predict: () => lab.predict(this.#ports(lab)),
        show: () => this.#show(lab),
        quietly: (matrix) => this.#measure(lab, matrix),
        timeoutMs: this.#options.timeoutMs,
      });
    }
    return shown.ok;
  }

  async #bringUp(): Promise<Lab> {
    const { nodes, wiring, families, dataplane, backend, mode } = this.#options;
    const engine = engineOf(this.#options);
    const what = `${counted(nodes, 'node', 'nodes')}, ${wiring}, IPv${families.join(' and IPv')}, ${engine}, mode ${mode}`;
    const { addresses, notes } = this.#manifests.dump;
    this.#screen.say(this.#screen.paint('bold', `Portcullis lab: ${what}`));
    for (const note of notes) this.#screen.note(this.#screen.paint('dim', `  ${note}`));
    this.#screen.waiting('for an API server and network namespaces');
    this.#lab = await Lab.create({
      nodes: nodeNames(this.#options),
      wiring,
      families,
      dataplane,
      backend,
      mode,
      ...(this.#manifests.policyChannel ? { policyChannel: this.#manifests.policyChannel } : {}),
      outside: outsideHostsFor(
        this.#manifests.policies.map(({ stored }) => stored.object),
        families,
        addresses,
      ),
      podAddresses: addresses,
      program: AGENT_PROGRAM,
      onComplaint: (node, message) => this.#agentComplains(node, message),
      onProblem: (message) => {
        if (!this.#signal.aborted) this.#screen.complain(message);
      },
    });
    return this.#lab;
  }

  /** What all agents say is said once. */
  #agentComplains(node: string, message: string): void {
    if (this.#signal.aborted || this.#agentComplaints.has(message)) return;
    this.#agentComplaints.add(message);
    this.#screen.complain(`agent on ${node}: ${message}`);
  }

  async #waitForPods(lab: Lab): Promise<void> {
    const { length } = lab.store.list('pods');
    this.#screen.waiting(`for ${counted(length, 'pod', 'pods')} and the agents`);
    await lab.settle(PODS_TIMEOUT_MS, (what) => this.#screen.waiting(`for ${what.join(', ')}`));
    await lab.agents.ready(AGENTS_TIMEOUT_MS, (node, why) => this.#screen.waiting(`for the agent on ${node}: ${why}`));
    const pods = counted(lab.network.pods().length, 'pod runs', 'pods run');
    const chosen =
      this.#options.dataplane === 'auto' ? `, and enforce with ${(await lab.agents.backends()).join(', ')}` : '';
    this.#screen.say(`${pods}, the agents are ready${chosen} ${this.#clock()}`);
    for (const { name, addresses } of lab.network.outsideHosts().slice(1))
      this.#screen.say(this.#screen.paint('dim', `  outside host ${name}: ${addresses.join(', ')}`));
  }

  /** One policy at a time, so that each one's effect can be seen and timed. */
  async #applyPolicies(lab: Lab): Promise<void> {
    const { policies } = this.#manifests;
    if (!this.#options.steps || this.#options.mode !== 'enforce') {
      for (const from of policies) applyObject(lab.store, from);
      return;
    }
    if (policies.length > 0) this.#screen.say('\nPolicies, one after the other:');
    for (const policy of policies) {
      if (this.#signal.aborted) return;
      await this.#step(lab, policy);
    }
  }

  async #step(lab: Lab, policy: CheckedPolicy): Promise<void> {
    const ports = this.#ports(lab);
    const before = lab.predict(ports);
    const matrix = lab.predict(ports, [policy.stored]);
    const change = compareMatrices(before, matrix);
    let name = '';
    this.#screen.waiting('for packets to follow the policy');
    const millisecondsToEnforced = await lab.timeToEnforced({
      matrix,
      changed: [...change.nowDenied, ...change.nowAllowed],
      apply: () => {
        ({ name } = applyObject(lab.store, policy));
      },
      timeoutMs: this.#options.timeoutMs,
      signal: this.#signal,
    });
    const report = { policy: name, change, cells: matrix.cells.length, millisecondsToEnforced, matrix };
    this.#steps.push(report);
    this.#screen.say(stepText(matrix, report, this.#textOptions()));
  }

  #ports(lab: Lab): readonly MatrixPort[] {
    if (this.#options.ports.length > 0) return this.#options.ports;
    const declared = lab.ports();
    if (declared.length > MAX_DEFAULT_PORTS) {
      const count = `${MAX_DEFAULT_PORTS} of ${declared.length} ports that containers declare`;
      this.#screen.complain(`probing only ${count}; choose with --ports`);
    }
    return declared.slice(0, MAX_DEFAULT_PORTS);
  }

  async #show(lab: Lab): Promise<Shown> {
    const matrix = lab.predict(this.#ports(lab));
    if (matrix.cells.length > MANY_CELLS)
      this.#screen.complain(
        `${matrix.cells.length} probes take a while: ask for fewer with --ports, or for some namespaces (kubectl get -n)`,
      );
    const audits = auditsSomething(this.#options.mode, lab);
    // No packet tells whether rules that drop nothing are in.
    if (audits) await lab.agents.followed(newestVersions(lab), this.#options.timeoutMs);
    const measurement = await this.#measure(lab, matrix);
    const auditDenied = audits ? await lab.agents.auditCounts() : undefined;
    if (this.#options.output === 'json') this.#printJson(lab, matrix, measurement, auditDenied);
    else this.#printText(lab, matrix, measurement, auditDenied);
    return { matrix, measurement, ok: isRight(measurement) };
  }

  #measure(lab: Lab, matrix: Matrix): Promise<Measurement> {
    const { mode, timeoutMs } = this.#options;
    this.#screen.waiting(`for ${counted(matrix.cells.length, 'probe', 'probes')}`);
    return lab.compare(matrix, {
      followMs: mode === 'enforce' ? timeoutMs : NO_ENFORCEMENT_MS,
      onWait: (why, cells) => this.#screen.waiting(WAITS[why](cells)),
      signal: this.#signal,
    });
  }

  #printText(lab: Lab, matrix: Matrix, measurement: Measurement, auditDenied: AuditDenied): void {
    const options = this.#textOptions();
    const { store } = lab;
    const policies = policyList(store.list('networkpolicies'), store.list('clusternetworkpolicies'), options);
    if (policies !== this.#policiesShown) this.#screen.say(`\n${policies}`);
    this.#policiesShown = policies;
    this.#screen.say(`${resultText(matrix, measurement, this.#options.mode, options)} ${this.#clock()}`);
    if (auditDenied) this.#screen.say(`\n${auditText(auditDenied, options)}`);
  }

  #printJson(lab: Lab, matrix: Matrix, measurement: Measurement, auditDenied: AuditDenied): void {
    const { wiring, families, dataplane, backend, mode, keep } = this.#options;
    const report = labReport({
      lab: {
        nodes: lab.network.nodes().map(({ name }) => name),
        wiring,
        families,
        dataplane,
        backend,
        mode,
        ...(keep ? { kubeconfig: lab.kubeconfig } : {}),
      },
      skipped: this.#manifests.skipped,
      policies: lab.store.list('networkpolicies'),
      clusterPolicies: lab.store.list('clusternetworkpolicies'),
      steps: this.#steps,
      matrix,
      measurement,
      auditDenied,
      seconds: this.#screen.seconds,
    });
    // One line each, if there may be several.
    this.#screen.result(JSON.stringify(report, null, keep ? 0 : 2));
  }

  #explainKeep(lab: Lab): void {
    const { paint } = this.#screen;
    this.#screen.note(
      `\nThe lab stays up and follows what you change. In another terminal, as root:\n\n` +
        `  ${paint('bold', `export KUBECONFIG=${lab.kubeconfig}`)}\n  kubectl get pods -A\n\n` +
        `Pages of the agents (/readyz?verbose, /status, /plan, /metrics):\n\n` +
        `  curl --unix-socket ${lab.agents.pagesSocket('node-1')} http://node-1/readyz?verbose\n\n` +
        `Agent logs: ${lab.dir}/<node>.log. Ctrl-C takes everything down.`,
    );
  }

  /** Not a success: what was asked for was not seen. */
  #interrupted(): boolean {
    this.#screen.note('Interrupted: everything is taken down.');
    return false;
  }

  async close(): Promise<void> {
    this.#screen.clear();
    await this.#lab?.close();
  }

  closeSync(): void {
    this.#lab?.closeSync();
    closeLabNetworksSync();
  }

  #textOptions(): TextOptions {
    return { width: this.#screen.width, paint: this.#screen.paint };
  }

  #clock(): string {
    return this.#screen.paint('dim', `(${this.#screen.seconds.toFixed(1)} s)`);
  }
}

function newestVersions({ store }: Lab): Readonly<Record<string, number>> {
  const newest = (kind: 'networkpolicies' | 'namespaces'): number =>
    Math.max(0, ...store.list(kind).map(({ metadata }) => Number(metadata.resourceVersion)));
  return { networkpolicies: newest('networkpolicies'), namespaces: newest('namespaces') };
}

/** Undefined: no agent counts. */
type AuditDenied = readonly AuditCount[] | undefined;

/** All agents, or some of them, or some policies. */
function auditsSomething(mode: string, lab: Lab): boolean {
  const kinds = ['nodes', 'namespaces', 'networkpolicies'] as const;
  const marked = kinds.flatMap((kind) => lab.store.list(kind)).map(({ metadata }) => metadata);
  const audits = (of: Labels | undefined): boolean => of?.[MODE_KEY] === 'audit';
  return mode === 'audit' || marked.some(({ annotations, labels }) => audits(annotations) || audits(labels));
}

const WAITS: Readonly<Record<Parameters<NonNullable<MeasureOptions['onWait']>>[0], (cells: number) => string>> = {
  following: (cells) => `for packets to follow in ${counted(cells, 'cell', 'cells')}`,
  'slow-answers': (cells) => `once more, with patience, for ${counted(cells, 'cell', 'cells')} not as predicted`,
  again: (cells) => `for ${counted(cells, 'probe', 'probes')} once more: answers must not change`,
};

function isRight({ cells }: Measurement): boolean {
  return cells.every(({ verdict }) => verdict === 'agrees');
}
