/** Denied packets as lines of the log, and as the page of the latest ones. */
import type { MonotonicClock } from '../core/clock.ts';
import type { PacketLogState } from '../host/packet-log.ts';
import type { DenialMetrics } from './denial-metrics.ts';
import type { ConditionState } from './health.ts';
import type { Logger } from './log.ts';

import { runSliced } from '../core/run-sliced.ts';
import {
  type DeniedPacket,
  type DenialRecord,
  denialText,
  type DenialWorld,
  flowKey,
  recordDenial,
} from './denial-record.ts';
import { DeniedFlows, type FlowReport, type LeftOutReason } from './denied-flows.ts';
import { logChanges } from './log-changes.ts';

/** On the page. */
const MAX_RECENT = 200;
/** What was left out is told this often. */
const SUMMARY_MS = 60_000;

/** An entry of /denials. */
export interface RecentDenial extends DenialRecord {
  /** Of the latest packet, ISO 8601. */
  readonly time: string;
  readonly packets: number;
  readonly seconds: number;
}

interface DenialLogOptions {
  readonly world: () => DenialWorld;
  readonly metrics: DenialMetrics;
  readonly log: Logger;
  readonly clock: MonotonicClock;
  /** ISO 8601. */
  readonly timestamp: () => string;
}

interface TimedPacket {
  readonly packet: DeniedPacket;
  readonly time: string;
}

export class DenialLog {
  readonly #options: DenialLogOptions;
  readonly #flows: DeniedFlows<TimedPacket>;
  readonly #leftOut = new Map<LeftOutReason, number>();
  #cancelSummary: (() => void) | undefined;
  #recent: RecentDenial[] = [];
  /** Lines are written in the order of their packets. */
  #last: Promise<void> = Promise.resolve();

  constructor(options: DenialLogOptions) {
    this.#options = options;
    this.#flows = new DeniedFlows({
      onReport: (report) => {
        this.#last = this.#last.then(() => this.#write(report));
      },
      onLeftOut: (reason, packets) => this.leftOut(reason, packets),
      clock: options.clock,
    });
  }

  packet(packet: DeniedPacket): void {
    this.#flows.packet(flowKey(packet), { packet, time: this.#options.timestamp() });
  }

  leftOut(reason: LeftOutReason, packets: number): void {
    const { metrics, clock } = this.#options;
    metrics.denialsLeftOut(reason, packets);
    this.#leftOut.set(reason, (this.#leftOut.get(reason) ?? 0) + packets);
    this.#cancelSummary ??= clock.after(SUMMARY_MS, () => this.#summarise());
  }

  /** The latest first. */
  recent(): readonly RecentDenial[] {
    return this.#recent.toReversed();
  }

  stop(): Promise<void> {
    this.#flows.stop();
    this.#summarise();
    return this.#last;
  }

  async #write({ latest, packets, seconds }: FlowReport<TimedPacket>): Promise<void> {
    const { world, metrics, log } = this.#options;
    const { packet, time } = latest;
    try {
      const now = world();
      // Building it takes some microseconds for each block of a policy: only where it is asked, and in slices.
      const { source, destination } = packet.flow;
      const { directory } = now;
      if ([source, destination].some((each) => directory.ownerOf(each) === undefined))
        await runSliced(directory.blocks.prepare());
      const record = recordDenial(packet, now);
      this.#recent.push({ time, packets, seconds, ...record });
      if (this.#recent.length > MAX_RECENT) this.#recent.shift();
      metrics.denialLogged();
      log.info(textOf(record, packets, seconds), { ...record, packets, seconds });
    } catch (error) {
      // Whatever is wrong with one packet, the next ones are told.
      this.leftOut('lost', packets);
      log.error('a denied packet cannot be explained', { error, flow: packet.flow });
    }
  }

  #summarise(): void {
    this.#cancelSummary?.();
    this.#cancelSummary = undefined;
    if (this.#leftOut.size === 0) return;
    const counts = Object.fromEntries(this.#leftOut);
    this.#leftOut.clear();
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    this.#options.log.info(
      `${total} denied packets are in no line: more flows, or more packets, than are told; portcullis_denied_packets_total counts all`,
      counts,
    );
  }
}

function textOf(record: DenialRecord, packets: number, seconds: number): string {
  const text = denialText(record);
  return seconds === 0 && packets === 1 ? text : `${text} (${packets} packets in ${seconds} s)`;
}

/** Why denied packets are not logged, or that they are; never a reason to be unready. */
export type DropLogState = PacketLogState | { readonly kind: 'off'; readonly flag: string };

const COUNTED = 'denied packets are counted, not told one by one';

export function dropLogReady(state: DropLogState): ConditionState {
  return { ok: true, reason: describeState(state) };
}

function describeState(state: DropLogState): string {
  switch (state.kind) {
    case 'off':
      return `${COUNTED}: ${state.flag}`;
    case 'reading':
      return 'denied flows are told in the log and at /denials';
    case 'starting':
      return 'the reader of denied packets is being started';
    case 'missing':
      return `${COUNTED}: ulogd does not run (${state.complaint}); install packages ulogd2 and ulogd2-json`;
    case 'taken':
      return `${COUNTED}: another program reads the netfilter log group; end it, or choose another with --nflog-group`;
    case 'failing':
      return `${COUNTED}: ulogd ends as soon as it is started: ${state.complaint}`;
  }
}

/** The result is told of each state of the reader. */
export function logDropLogState(log: Logger): (state: PacketLogState) => void {
  const tell = logChanges(log, describeState({ kind: 'reading' }));
  return (state) => {
    if (state.kind === 'starting') return;
    // That it is not installed is how this node was set up.
    tell(state.kind === 'taken' || state.kind === 'failing' ? 'warn' : 'info', describeState(state));
  };
}
