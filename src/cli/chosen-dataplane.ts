/** The data plane in use on this node: the one that --dataplane names, or the one that `auto` takes now (dataplane/dataplane-chooser.ts). */
import type { MonotonicClock } from '../core/clock.ts';
import type { NodeIntent } from '../compile/intent.ts';
import type { SyncOutcome, SyncRequest } from '../dataplane/dataplane.ts';
import type { CountBook } from '../dataplane/count-book.ts';
import type { FreeEpochs } from '../dataplane/free-epochs.ts';
import type { InterfaceWatch } from '../host/interface-watch.ts';
import type { PodInterfaces } from '../host/pod-interfaces.ts';
import type { Condition } from '../telemetry/condition.ts';
import type { ConditionState } from '../telemetry/health.ts';
import type { Logger } from '../telemetry/log.ts';
import type { AgentMetrics } from '../telemetry/metrics.ts';
import type { DataplaneInUse, HostDataplane, NodeDataplane, TellingDataplane, Waiting } from './node-dataplane.ts';

import { sleep } from '../core/clock.ts';
import { messageOf } from '../core/error-text.ts';
import {
  type ChosenDataplane,
  DataplaneChooser,
  type DataplaneName,
  type Objection,
} from '../dataplane/dataplane-chooser.ts';
import { bridgesInUse, bridgesOfPods, unseenPorts } from '../dataplane/nftables/bridged-pods.ts';
import { type OtherDataplane, type TakeOver, takingOver } from './take-over.ts';

/** A node without the tools yet (an init container installs them, say) is asked again, not crash-looped. */
const RETRY_MS = 2_000;

export interface DataplaneOfHost {
  create(): HostDataplane;
  /** What of it stands on this host, whoever wrote it. */
  readonly left: OtherDataplane;
}

export interface ChosenNodeOptions {
  /** What --dataplane says. */
  readonly asked: DataplaneName | 'auto';
  readonly hosts: Readonly<Record<DataplaneName, DataplaneOfHost>>;
  readonly interfaces: Pick<InterfaceWatch, 'look' | 'known' | 'state'>;
  /** New pods are kept out before they are programmed. */
  readonly isClosed: boolean;
  readonly freeEpochs?: Pick<FreeEpochs, 'forget'> | undefined;
  readonly counts?: Pick<CountBook, 'drop'> | undefined;
  readonly metrics: Pick<AgentMetrics, 'backend' | 'dataplaneMove'>;
  readonly log: Logger;
  readonly clock: MonotonicClock;
}

const OTHER = { nftables: 'iptables', iptables: 'nftables' } as const satisfies Record<DataplaneName, DataplaneName>;

interface InUse extends ChosenDataplane {
  readonly host: HostDataplane;
  readonly takeOver: TakeOver;
}

export function createChosenNode(options: ChosenNodeOptions): NodeDataplane {
  return new ChosenNode(options);
}

class ChosenNode implements NodeDataplane {
  readonly #options: ChosenNodeOptions;
  readonly #chooser: DataplaneChooser;
  #current: InUse | undefined;
  #onWork: ((reason: string) => void) | undefined;
  #resync: ((reason: string) => void) | undefined;
  /** Why a move was not made. */
  #refused: string | undefined;
  /** Why nftables does not see ports of bridges here, as tried last. */
  #bridgeProblem: string | undefined;
  #cancelAsking = (): void => {};
  /** A question to nft that is under way. */
  #asking: Promise<void> | undefined;
  readonly dataplane: TellingDataplane;
  readonly conditions: readonly Condition[];

  constructor(options: ChosenNodeOptions) {
    this.#options = options;
    this.#chooser = new DataplaneChooser(() => options.clock.now());
    this.dataplane = {
      sync: (intent, request) => this.#sync(intent, request),
      remove: (request) => this.#used.takeOver.dataplane.remove(request),
      counters: async () => (await this.#current?.host.dataplane.counters()) ?? [],
      trace: (flows, place) => this.#used.host.dataplane.trace(flows, place),
      closeToNewPods: (interfaces) => this.#used.takeOver.dataplane.closeToNewPods(interfaces),
      prepare: (mode) => this.#used.host.dataplane.prepare(mode),
      onWork: (callback) => {
        this.#onWork = callback;
        this.#current?.host.dataplane.onWork(callback);
      },
      denial: (prefix, family) => this.#current?.host.dataplane.denial(prefix, family),
    };
    this.conditions = [
      { name: 'dataplane', state: () => this.#state() },
      ...CONDITIONS.map((name) => ({ name, state: () => this.#stateOf(name) })),
    ];
  }

  backend(): string {
    return this.#used.host.backend();
  }

  inUse(): DataplaneInUse | undefined {
    if (!this.#current) return undefined;
    const { host, name, why } = this.#current;
    return { inUse: name, backend: host.backend(), asked: this.#options.asked, why };
  }

  async open({ onProblem, signal }: Waiting): Promise<boolean> {
    const log = this.#options.log.child('kernel');
    let told = '';
    while (!signal.aborted) {
      const problem = await this.#openOne();
      if (problem === undefined) {
        if (this.#isAuto) log.info(`data plane ${this.#used.name}: ${this.#used.why}`);
        return true;
      }
      if (problem !== told)
        log.error(`${problem}; no rule is changed until then, trying again every ${RETRY_MS / 1000} s`);
      told = problem;
      onProblem(problem);
      await sleep(RETRY_MS, signal);
    }
    return false;
  }

  follow(resync: (reason: string) => void): void {
    this.#resync = resync;
    this.#used.host.follow(resync);
    this.#askLater();
  }

  synced(...told: Parameters<NodeDataplane['synced']>): void {
    this.#used.host.synced(...told);
  }

  async stop(): Promise<void> {
    this.#cancelAsking();
    await this.#current?.takeOver.settled();
    await this.#current?.host.stop();
  }

  get #isAuto(): boolean {
    return this.#options.asked === 'auto';
  }

  get #used(): InUse {
    if (!this.#current) throw new Error('the data plane is not open yet');
    return this.#current;
  }

  /** Undefined: it is open. */
  async #openOne(): Promise<string | undefined> {
    const { asked, interfaces } = this.#options;
    if (asked !== 'auto') return this.#tryTo({ name: asked, why: `--dataplane=${asked}` });
    await interfaces.look();
    const needs = this.#needsNow();
    this.#chooser.found(needs);
    const first = await this.#tryTo(this.#chooser.wanted());
    if (first === undefined) {
      const tried = this.#used;
      if (needs || tried.name !== 'nftables') return undefined;
      // Only the try told whether it sees what pods need.
      this.#current = undefined;
      if (this.#needsNow()) {
        await tried.host.stop();
        return await this.#openOne();
      }
      this.#current = tried;
      return undefined;
    }
    if (!needs) this.#chooser.found({ kind: 'fails', text: first });
    const second = await this.#tryTo(
      needs ? { name: 'nftables', why: `${first}; yet ${needs.text}` } : this.#chooser.wanted(),
    );
    return second === undefined ? undefined : `${first}; ${second}`;
  }

  async #tryTo(wanted: ChosenDataplane): Promise<string | undefined> {
    const host = this.#options.hosts[wanted.name].create();
    const problem = await this.#tryHost(host);
    if (problem !== undefined) {
      await host.stop();
      return problem;
    }
    this.#take(wanted, host, this.#takeOver(wanted, host));
    return undefined;
  }

  async #tryHost(host: HostDataplane): Promise<string | undefined> {
    const problem = await host.tryOpen();
    if (problem === undefined && host.bridgeProblem) this.#bridgeProblem = host.bridgeProblem();
    return problem;
  }

  #takeOver({ name }: ChosenDataplane, host: HostDataplane, before?: () => Promise<void>): TakeOver {
    const { hosts, counts, log, clock } = this.#options;
    const other = OTHER[name];
    return takingOver({
      dataplane: host.dataplane,
      other: hosts[other].left,
      onGone: () => counts?.drop(other),
      log: log.child('kernel'),
      now: () => clock.now(),
      ...(before ? { before } : {}),
    });
  }

  #take(wanted: ChosenDataplane, host: HostDataplane, takeOver: TakeOver): void {
    this.#current = { ...wanted, host, takeOver };
    if (this.#onWork) host.dataplane.onWork(this.#onWork);
    this.#chooser.took(wanted);
    this.#refused = undefined;
    this.#tellBackend();
  }

  #tellBackend(): void {
    const { metrics, asked } = this.#options;
    metrics.backend(this.backend() as Parameters<AgentMetrics['backend']>[0], asked);
  }

  async #sync(intent: NodeIntent, request: SyncRequest): Promise<SyncOutcome> {
    if (!this.#isAuto) return this.#used.takeOver.dataplane.sync(intent, request);
    const needs = this.#needs(request.interfaces);
    if (needs || this.#chooser.objection?.kind === 'needs') this.#chooser.found(needs);
    const wanted = this.#chooser.wanted();
    const isMove = wanted.name !== this.#used.name;
    const moved = isMove ? await this.#move(wanted, intent, request) : undefined;
    if (moved) return moved;
    const resync = request.resync || isMove;
    const outcome = await this.#used.takeOver.dataplane.sync(intent, { ...request, resync });
    this.#learn(outcome);
    return outcome;
  }

  /** What nft refuses as a whole, or does not answer to. */
  #learn({ failures, partial }: SyncOutcome): void {
    if (this.#used.name !== 'nftables' || this.#chooser.objection?.kind === 'needs') return;
    const [failure] = failures;
    const isNothing = failure !== undefined && !partial;
    this.#chooser.found(
      isNothing ? { kind: 'fails', text: `nothing can be written to nftables: ${failure.message}` } : undefined,
    );
  }

  /** The rules of the other one go once these stand. Undefined: the one in use stays. */
  async #move(wanted: ChosenDataplane, intent: NodeIntent, request: SyncRequest): Promise<SyncOutcome | undefined> {
    const { log, freeEpochs, metrics } = this.#options;
    const before = this.#used;
    let stopped: Promise<void> | undefined;
    const stopBefore = (): Promise<void> => (stopped ??= before.host.lastReading().then(() => before.host.stop()));
    const host = this.#options.hosts[wanted.name].create();
    // Where they do not go at once, they count on.
    const { left } = this.#options.hosts[before.name];
    const takeOver = this.#takeOver(wanted, host, () => (stopped ? left.lastReading() : stopBefore()));
    await this.#asking;
    // What it takes out is what is written now.
    await before.takeOver.settled();
    const problem = await this.#tryHost(host).catch(messageOf);
    const outcome =
      problem === undefined ? await takeOver.dataplane.sync(intent, { ...request, resync: true }) : undefined;
    await takeOver.settled();
    freeEpochs?.forget();
    if (!outcome || outcome.failures.length > 0) {
      await this.#leave(host, outcome);
      this.#tellRefused(wanted, problem ?? outcome?.failures[0]?.message ?? '');
      return undefined;
    }
    await stopBefore();
    this.#take(wanted, host, takeOver);
    if (this.#resync) host.follow(this.#resync);
    metrics.dataplaneMove(wanted.name, 'done');
    log.child('kernel').warn(`moved from ${before.name} to ${wanted.name}: ${wanted.why}`);
    this.#askLater();
    return outcome;
  }

  /** Nothing of what did not become whole stays beside the rules in use. */
  async #leave(host: HostDataplane, outcome: SyncOutcome | undefined): Promise<void> {
    if (outcome) {
      const { failures } = await host.dataplane.remove({ resync: true });
      if (failures.length > 0) this.#used.takeOver.again();
      else this.#options.counts?.drop(OTHER[this.#used.name]);
    }
    await host.stop();
  }

  #tellRefused({ name, why }: ChosenDataplane, problem: string): void {
    const { log, metrics } = this.#options;
    this.#tellBackend();
    metrics.dataplaneMove(name, 'refused');
    const words = `${name} should be used (${why}), and cannot be: ${problem}`;
    const seconds = this.#chooser.refused() / 1000;
    if (words !== this.#refused)
      log.child('kernel').error(`${words}; ${this.#used.name} stays in use, trying again in ${seconds} s and later`);
    this.#refused = words;
    this.#askLater();
  }

  /** Ports of bridges with pods, as of a sync, where nftables does not see them. */
  #needs(interfaces: PodInterfaces): Objection | undefined {
    const problem = this.#bridgeProblem;
    if (problem === undefined) return undefined;
    const names = bridgesOfPods(interfaces, this.#options.isClosed);
    if (names.length > 0) return { kind: 'needs', text: unseenPorts(names, problem) };
    return this.#current?.name === 'nftables' ? undefined : this.#mayNeed(interfaces);
  }

  /** Where it is not known yet whose the ports are, it is no time to begin with nftables, or to go there. */
  #mayNeed({ bridges }: PodInterfaces): Objection | undefined {
    const names = bridgesInUse(bridges);
    if (names.length === 0 || (this.#current && this.#options.interfaces.state().isSettled)) return undefined;
    return { kind: 'needs', text: `it is not known yet whether pods are ports of ${names.join(', ')}` };
  }

  #needsNow(): Objection | undefined {
    return this.#needs(this.#options.interfaces.known());
  }

  /** While iptables is in use for now, whether that is still so. */
  #askLater(): void {
    this.#cancelAsking();
    if (!this.#isAuto || this.#used.name !== 'iptables') return;
    this.#cancelAsking = this.#options.clock.after(this.#chooser.askAgainMs, () => {
      this.#asking = this.#ask();
    });
  }

  async #ask(): Promise<void> {
    const objection = this.#needsNow() ?? (await this.#tryNftables());
    if (this.#current?.name !== 'iptables') return;
    this.#chooser.found(objection);
    if (this.#chooser.wanted().name !== 'iptables') this.#resync?.('nftables can be used');
    this.#askLater();
  }

  async #tryNftables(): Promise<Objection | undefined> {
    const host = this.#options.hosts.nftables.create();
    const problem = await this.#tryHost(host).catch(messageOf);
    await host.stop();
    return problem === undefined ? undefined : { kind: 'fails', text: problem };
  }

  #state(): ConditionState {
    if (!this.#current) return { ok: true, reason: 'not chosen yet' };
    const { name, why, takeOver } = this.#current;
    const left = takeOver.left();
    const reasons = [
      this.#isAuto ? `${name}, by --dataplane=auto: ${why}` : `${name}, by --dataplane`,
      ...(this.#refused === undefined ? [] : [this.#refused]),
      ...(left === undefined
        ? []
        : [`rules of the other data plane stand beside these, and deny what they denied: ${left}`]),
      ...(takeOver.isFirstLook() ? ['rules of the other data plane are looked for'] : []),
    ];
    return { ok: left === undefined && !takeOver.isFirstLook(), reason: reasons.join('; ') };
  }

  #stateOf(name: string): ConditionState {
    const found = this.#current?.host.conditions.find((condition) => condition.name === name);
    return found?.state() ?? { ok: true, reason: `not used: ${this.#current?.name ?? 'nothing'} is` };
  }
}

/** Those that one data plane or both answer for themselves. */
const CONDITIONS = ['jumps-present', 'iptables-variant'];
