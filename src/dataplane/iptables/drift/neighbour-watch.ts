/** Watches what other programs do to our rules and sets, and tells of it: log, metrics, readiness. */
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { Drift } from './find-drift.ts';
import type { NetfilterChange } from './read-events.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { ConditionState } from '../../../telemetry/health.ts';
import type { AgentMetrics, DriftAuthor } from '../../../telemetry/metrics.ts';
import type { Logger } from '../../../telemetry/log.ts';
import type { Agent, AgentObserver } from '../../../agent/agent.ts';
import type { PassOutcome } from '../sync/reconcile.ts';

import { createLooks } from './looks.ts';
import { type MonitorLoss, NetfilterMonitor } from './netfilter-monitor.ts';
import { watchWrites } from './watched-kernel.ts';
import { DriftWatch } from './drift-watch.ts';
import { Fights } from './fights.ts';
import { after, systemClock } from '../../../core/clock.ts';

/** A change is somebody's if it was told of so shortly before its traces were found. */
const AUTHOR_MS = 5_000;
/** One may have been started without memory, or at a bad moment. */
const MANY_STILLBORN = 3;
const MAX_UNREPAIRED = 1_000;
/** Of objects in one log line. */
const MAX_NAMED = 5;

export class NeighbourWatch {
  /** To be used instead of the one given: what goes through it is known to be ours. */
  readonly kernel: Kernel;
  readonly #kernel: Kernel;
  readonly #metrics: AgentMetrics;
  readonly #log: Logger;
  readonly #looks = createLooks();
  readonly #fights = new Fights(now);
  readonly #monitors: Readonly<Record<Family, NetfilterMonitor>>;
  #drift: DriftWatch | undefined;
  #agent: Agent | undefined;
  #isMonitorMissing = false;
  #isTold = false;
  /** Monitors in a row that ended before they listened. */
  readonly #stillborn: Record<Family, number> = { 4: 0, 6: 0 };
  #lastOther: { readonly change: NetfilterChange; readonly atMs: number } | undefined;
  #unrepaired: readonly Drift[] = [];

  constructor(kernel: Kernel, metrics: AgentMetrics, log: Logger) {
    this.#kernel = kernel;
    this.#metrics = metrics;
    this.#log = log.child('neighbours');
    this.kernel = watchWrites(kernel, {
      began: (step) => this.#drift?.began(step),
      ended: (step, isDone) => this.#drift?.ended(step, isDone),
    });
    this.#monitors = { 4: this.#createMonitor(4), 6: this.#createMonitor(6) };
  }

  #createMonitor(family: Family): NetfilterMonitor {
    return new NetfilterMonitor({
      family,
      onChange: (change) => this.#changed(change),
      onLoss: (loss, complaint) => this.#lost(family, loss, complaint),
      onListening: () => this.#drift?.listening(family),
      onMissing: () => this.#missing(),
      after,
      now,
    });
  }

  /** Begins to look. */
  follow(agent: Agent): void {
    this.#agent = agent;
    this.#drift = new DriftWatch({
      looks: this.#looks,
      clock: systemClock,
      backend: () => this.#kernel.backend,
      standing: () => agent.standing(),
      resync: (reason) => agent.resync(reason),
      isListening: (family) => this.#monitors[family].listening,
      onDeaf: (family) => this.#monitors[family].replace(),
    });
    this.#startMonitors();
  }

  stop(): void {
    this.#drift?.stop();
    for (const family of FAMILIES) this.#monitors[family].stop();
    this.#looks.stop();
  }

  /** Hears of each pass before `observer` does. */
  observing(observer: AgentObserver): AgentObserver {
    return {
      ...observer,
      onPass: (outcome, info) => {
        this.#drift?.passed(outcome, info.readBack);
        this.#report(outcome);
        if (info.readBack) this.#startMonitors();
        observer.onPass(outcome, info);
      },
    };
  }

  readonly jumps = (): ConditionState => {
    const away = this.#drift?.away;
    if (away !== undefined) return { ok: false, reason: `packets may pass unjudged until it is repaired: ${away}` };
    const [fight] = this.#fights.current;
    if (fight !== undefined) return { ok: false, reason: `somebody undoes our rules again and again: ${fight}` };
    if (!this.#agent?.standing()) return { ok: true, reason: 'not looked at: a pass runs, or no rules are wanted' };
    return { ok: true, reason: `our rules are first; ${this.#howSoon()}` };
  };

  #howSoon(): string {
    const { families } = this.#kernel;
    const isTold = families.every((family) => this.#monitors[family].listening);
    return isTold ? 'the kernel tells of changes' : 'looked at every few seconds';
  }

  /** Legacy tables tell nobody anything. The backend may change while the agent runs. */
  #startMonitors(): void {
    const { backend, families } = this.#kernel;
    for (const family of FAMILIES) {
      const isTold = backend === 'iptables-nft' && families.includes(family) && !this.#isMonitorMissing;
      if (isTold) this.#monitors[family].start();
      else this.#monitors[family].stop();
    }
  }

  #changed(change: NetfilterChange): void {
    if (!this.#drift?.changed(change)) return;
    this.#lastOther = { change, atMs: now() };
    this.#log.debug('others wrote to table mangle', { program: change.program });
  }

  #lost(family: Family, loss: MonitorLoss, complaint: string): void {
    this.#metrics.monitorLost(loss);
    this.#drift?.lost(family);
    const fields = { family, loss, ...(complaint === '' ? {} : { complaint }) };
    // It ends at any rule that it cannot print: nobody need know, and the metric counts.
    this.#log.debug('xtables-monitor starts again', fields);
    this.#stillborn[family] = loss === 'stillborn' ? this.#stillborn[family] + 1 : 0;
    if (this.#stillborn[family] < MANY_STILLBORN || this.#isTold) return;
    this.#isTold = true;
    this.#log.warn(
      'xtables-monitor does not run: what others do to our rules is noticed within 5 s instead of 1 s',
      fields,
    );
  }

  #missing(): void {
    if (this.#isMonitorMissing) return;
    this.#isMonitorMissing = true;
    this.#log.warn(
      'xtables-monitor cannot be started: what others do to our rules is noticed within 5 s instead of 1 s; ' +
        'it is part of package iptables, and needs stdbuf of package coreutils',
    );
  }

  #report({ drift, mode, failures }: PassOutcome): void {
    const found = mode === 'dry-run' ? drift : [...this.#unrepaired, ...drift];
    const isRepaired = mode !== 'dry-run' && failures.length === 0;
    this.#unrepaired = isRepaired || mode === 'dry-run' ? [] : found.slice(0, MAX_UNREPAIRED);
    for (const alike of byKind(isRepaired ? found : drift)) {
      if (isRepaired) this.#repaired(alike);
      else
        this.#log.warn(
          `${mode === 'dry-run' ? 'left as it is' : 'not repaired yet'}: ${inWords(alike)}`,
          fieldsOf(alike),
        );
    }
  }

  /** `alike`: of one kind, the first of which is told. */
  #repaired(alike: Alike): void {
    const [drift] = alike;
    const program = this.#authorOf(drift);
    this.#metrics.driftRepaired(drift.kind, authorLabel(program), alike.length);
    const fields = { ...fieldsOf(alike), ...(program === undefined ? {} : { by: program }) };
    const message = `repaired: ${inWords(alike)}`;
    switch (this.#fights.repaired(drift)) {
      case 'single':
        this.#log.warn(message, fields);
        return;
      case 'begins':
        this.#log.error(
          `${message}; somebody undoes our rules again and again, they are put back each time: ` +
            'find that program and let it leave table mangle and our sets alone, for packets are judged wrongly in between. ' +
            'What follows of this is told at level debug',
          fields,
        );
        return;
      case 'goes-on':
        this.#log.debug(message, fields);
    }
  }

  #authorOf({ family }: Drift): string | undefined {
    const last = this.#lastOther;
    if (!last || last.change.family !== family) return undefined;
    return now() - last.atMs < AUTHOR_MS ? last.change.program : undefined;
  }
}

/** At least one. */
type Alike = readonly [Drift, ...Drift[]];

/** A flushed table is one event to people, however many chains it held. Jumps first. */
function byKind(drift: readonly Drift[]): readonly Alike[] {
  const groups = new Map<string, [Drift, ...Drift[]]>();
  for (const one of drift) {
    const key = `${one.kind} ${one.family}`;
    const group = groups.get(key);
    if (group) group.push(one);
    else groups.set(key, [one]);
  }
  return [...groups.values()].sort(([a], [b]) => Number(b.kind === 'jump') - Number(a.kind === 'jump'));
}

function inWords([first, ...others]: Alike): string {
  const more =
    others.length === 0
      ? ''
      : ` (and ${others.length} more: ${others
          .slice(0, MAX_NAMED)
          .map(({ object }) => object)
          .join(', ')}${others.length > MAX_NAMED ? ', ...' : ''})`;
  return `${first.object}, ${first.what}${more}`;
}

function fieldsOf([{ kind, object }]: Alike): Record<string, string> {
  return { kind, object };
}

function now(): number {
  return performance.now();
}

function authorLabel(program: string | undefined): DriftAuthor {
  if (program === undefined) return 'unknown';
  if (/^(ip6?tables|xtables)/.test(program)) return 'iptables';
  return program === 'nft' ? 'nft' : 'other';
}
