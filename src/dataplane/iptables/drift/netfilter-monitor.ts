/**
 * Follows what anybody commits to nf_tables in one family, iptables-nft included, through `xtables-monitor` of package iptables. The
 * kernel tells of each rule; a listener that cannot keep up (more than some hundred rules in one commit) loses the rest and ends: that,
 * too, tells that somebody wrote, and costs next to nothing (docs/decisions/noticing-drift.md).
 */
import type { Family } from '../../../core/vocabulary.ts';
import type { MonitorLoss } from '../../listener.ts';
import type { NetfilterChange } from './read-events.ts';

import { ChangeReader } from './read-events.ts';
import { type LineProgram, startLineProgram } from '../../../host/line-program.ts';

/**
 * Until 1.8.10 it buffers what it prints into a pipe, and ends at the first IPv6 rule with a match that IPv4 lacks; hence one for each
 * family.
 */
const argvOf = (family: Family) => ['stdbuf', '-oL', 'xtables-monitor', '--event', `-${family}`] as const;
/** It says nothing when it begins to listen. */
const STARTUP_MS = 300;
const RESTART_FIRST_MS = 200;
/** It ends often: at too much at once, at a rule it cannot print, at one whose set is gone already. */
const RESTART_MAX_MS = 1_000;
/** It ended at a rule that it was told of and cannot print, so it did listen. */
const AT_A_RULE = /Parsing nftables rule failed/;
/** One that lived so long starts the back-off anew. */
const LONG_LIFE_MS = 2_000;
/** One that cannot even begin is tried less often. */
const STILLBORN_MAX_MS = 30_000;

interface NetfilterMonitorOptions {
  readonly family: Family;
  readonly onChange: (change: NetfilterChange) => void;
  /** Events were missed, from the last one told until `onListening`. */
  readonly onLoss: (loss: MonitorLoss, complaint: string) => void;
  readonly onListening: () => void;
  /** The program is not there; it is not looked for again. */
  readonly onMissing: () => void;
  /** Calls back once after `ms`; the returned function cancels. */
  readonly after: (ms: number, callback: () => void) => () => void;
  readonly now: () => number;
  readonly start?: typeof startLineProgram;
}

export class NetfilterMonitor {
  readonly #options: NetfilterMonitorOptions;
  #program: LineProgram | undefined;
  #listening = false;
  #isDeaf = false;
  #restartMs = RESTART_FIRST_MS;
  #cancel = (): void => {};
  #stopped = true;

  constructor(options: NetfilterMonitorOptions) {
    this.#options = options;
  }

  /** Whether each commit is told of now. */
  get listening(): boolean {
    return this.#listening;
  }

  start(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    this.#run();
  }

  stop(): void {
    this.#stopped = true;
    this.#listening = false;
    this.#cancel();
    this.#program?.kill();
    this.#program = undefined;
  }

  /** It missed something that was certainly written: another one may hear it. */
  replace(): void {
    if (!this.#program) return;
    this.#isDeaf = true;
    this.#program.kill();
  }

  #run(): void {
    const { family, onChange, onListening, after, now, start = startLineProgram } = this.#options;
    const reader = new ChangeReader(family);
    const startedAt = now();
    const program = start({
      argv: argvOf(family),
      guarded: true,
      onLine: (line) => {
        const change = reader.line(line);
        if (change && program === this.#program) onChange(change);
      },
      ended: (how) => program === this.#program && this.#ended(how, now() - startedAt),
    });
    this.#program = program;
    this.#cancel = after(STARTUP_MS, () => {
      this.#listening = true;
      onListening();
    });
  }

  #ended({ isMissing, complaint }: { isMissing: boolean; complaint: string }, livedMs: number): void {
    const { onLoss, onMissing, after } = this.#options;
    this.#cancel();
    this.#listening = false;
    this.#program = undefined;
    if (this.#stopped) return;
    if (isMissing) {
      this.#stopped = true;
      onMissing();
      return;
    }
    const hasBegun = livedMs >= STARTUP_MS || AT_A_RULE.test(complaint);
    if (livedMs > LONG_LIFE_MS) this.#restartMs = RESTART_FIRST_MS;
    else if (hasBegun) this.#restartMs = Math.min(RESTART_MAX_MS, this.#restartMs);
    this.#cancel = after(this.#restartMs, () => this.#run());
    this.#restartMs = Math.min(hasBegun ? RESTART_MAX_MS : STILLBORN_MAX_MS, this.#restartMs * 2);
    const loss = this.#isDeaf ? 'deaf' : complaint.includes('No buffer space') ? 'overrun' : 'ended';
    this.#isDeaf = false;
    onLoss(hasBegun || loss !== 'ended' ? loss : 'stillborn', complaint);
  }
}
