/**
 * Follows what anybody commits to nf_tables in one family, iptables-nft included: by a netlink socket, or where there is none through
 * `xtables-monitor` of package iptables. The kernel tells of each rule; a listener that cannot keep up (the program: more than some hundred rules
 * in one commit) loses the rest and ends: that, too, tells that somebody wrote, and costs next to nothing (docs/decisions/noticing-drift.md).
 */
import type { Family } from '../../../core/vocabulary.ts';
import type { MonotonicClock } from '../../../core/clock.ts';
import type { MonitorLoss } from '../../listener.ts';
import { generationQuestion } from '../../commit-messages.ts';
import type { NetfilterChange } from './read-events.ts';

import { type CommitListener, listenToCommits } from '../../../host/commit-listener.ts';
import { type ProgramEnd, startLineProgram } from '../../../host/line-program.ts';
import { type SupervisedEnd, Supervisor } from '../../../host/supervised-program.ts';
import { ChangeReader, filterOf } from './read-events.ts';

/**
 * Until 1.8.10 it buffers what it prints into a pipe, and ends at the first IPv6 rule with a match that IPv4 lacks; hence one for each
 * family.
 */
const argvOf = (family: Family) => ['stdbuf', '-oL', 'xtables-monitor', '--event', `-${family}`] as const;
/** It says nothing when it begins to listen. */
const STARTUP_MS = 300;
/** The kernel answers at once. */
const ANSWER_MS = 1_000;
/** It ended at a rule that it was told of and cannot print, so it did listen. */
const AT_A_RULE = /Parsing nftables rule failed/;

interface NetfilterMonitorOptions {
  readonly family: Family;
  readonly onChange: (change: NetfilterChange) => void;
  /** Events were missed, from the last one told until `onListening`. */
  readonly onLoss: (loss: MonitorLoss, complaint: string) => void;
  readonly onListening: () => void;
  /** The program is not there; it is not looked for again. */
  readonly onMissing: () => void;
  readonly clock: MonotonicClock;
  readonly listen?: typeof listenToCommits;
  readonly start?: typeof startLineProgram;
}

interface Socket {
  readonly listener: CommitListener;
  readonly reader: ChangeReader;
  /** Without one: none will come. */
  onAnswer: (generation?: number) => void;
}

export class NetfilterMonitor {
  readonly #options: NetfilterMonitorOptions;
  readonly #program: Supervisor<NetfilterChange>;
  /** Absent: it is a program that tells. */
  #socket: Socket | undefined;
  #listening = false;
  #isDeaf = false;

  constructor(options: NetfilterMonitorOptions) {
    this.#options = options;
    const { family, onChange, clock, start = startLineProgram } = options;
    this.#program = new Supervisor({
      start: (hear, ended) => {
        const reader = new ChangeReader(family);
        const onLine = (line: string): void => {
          const change = reader.line(line);
          if (change) hear(change);
        };
        this.#socket = this.#open(reader, hear, ended);
        return this.#socket?.listener ?? start({ argv: argvOf(family), guarded: true, onLine, ended });
      },
      startupMs: STARTUP_MS,
      hasBegun: (complaint) => AT_A_RULE.test(complaint),
      onHeard: onChange,
      onBegun: () => this.#begun(),
      onEnd: (end) => this.#ended(end),
      clock,
    });
  }

  /** Whether each commit is told of now. */
  get listening(): boolean {
    return this.#listening;
  }

  /** Whether all that was committed so far was told of, so that nobody need look. The kernel counts commits, and is asked for the number. */
  async isToldOfAll(): Promise<boolean> {
    const socket = this.#socket;
    if (!socket || !this.#listening) return false;
    const answer = Promise.withResolvers<number | undefined>();
    socket.onAnswer = answer.resolve;
    const cancel = this.#options.clock.after(ANSWER_MS, () => answer.resolve(undefined));
    socket.listener.ask(generationQuestion());
    const generation = await answer.promise;
    cancel();
    return generation !== undefined && generation === socket.reader.heard;
  }

  start(): void {
    this.#program.start();
  }

  stop(): void {
    this.#listening = false;
    this.#socket?.onAnswer();
    this.#program.stop();
  }

  /** It missed something that was certainly written: another one may hear it. */
  replace(): void {
    if (!this.#program.isRunning) return;
    this.#isDeaf = true;
    this.#program.replace();
  }

  #open(
    reader: ChangeReader,
    hear: (change: NetfilterChange) => void,
    ended: (how: ProgramEnd) => void,
  ): Socket | undefined {
    const { family, listen = listenToCommits } = this.#options;
    const onMessages = (messages: Uint8Array): void => {
      reader.messages(messages, socket?.listener.port, (generation) => socket?.onAnswer(generation)).forEach(hear);
    };
    const listener = listen({ filter: filterOf(family), onMessages, ended });
    const socket: Socket | undefined = listener && { listener, reader, onAnswer: () => {} };
    // Of what comes from now on all is told.
    listener?.ask(generationQuestion());
    return socket;
  }

  #begun(): void {
    this.#listening = true;
    this.#options.onListening();
  }

  #ended({ isMissing, hasBegun, complaint }: SupervisedEnd): void {
    this.#listening = false;
    this.#socket?.onAnswer();
    if (isMissing) {
      this.stop();
      this.#options.onMissing();
      return;
    }
    const loss = this.#isDeaf ? 'deaf' : complaint.includes('No buffer space') ? 'overrun' : 'ended';
    this.#isDeaf = false;
    this.#options.onLoss(hasBegun || loss !== 'ended' ? loss : 'stillborn', complaint);
  }
}
