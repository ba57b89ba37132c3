/**
 * Packets that rules sent to a netfilter log group, as `ulogd` of packages ulogd2 and ulogd2-json prints them: a JSON object a line
 * (docs/decisions/reading-the-drop-log.md). It runs beside the agent, and is started again when it ends.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MonotonicClock } from '../core/clock.ts';

import { formatAddress, parseAddress } from '../net/ip.ts';
import { startLineProgram } from './line-program.ts';
import { type SupervisedEnd, Supervisor } from './supervised-program.ts';

export interface LoggedPacket {
  readonly prefix: string;
  /** Canonical text. */
  readonly source: string;
  readonly destination: string;
  /** IANA number. */
  readonly protocol: number;
  /** Absent for protocols without ports. */
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly icmpType?: number;
  /** Empty: none, as in the hook INPUT. */
  readonly inInterface: string;
  readonly outInterface: string;
}

export type PacketLogState =
  | { readonly kind: 'reading' }
  | { readonly kind: 'starting' }
  /** The program, or its part that prints JSON, is not installed. */
  | { readonly kind: 'missing'; readonly complaint: string }
  /** Another program reads the group. */
  | { readonly kind: 'taken' }
  /** It ends again and again: the kernel has no NFLOG, say. */
  | { readonly kind: 'failing'; readonly complaint: string };

interface PacketLogOptions {
  readonly group: number;
  readonly onPacket: (packet: LoggedPacket) => void;
  /** Packets that the kernel could not hand over, or of which the lines were not read, because too many came at once. */
  readonly onLost: (count: number) => void;
  readonly onState: (state: PacketLogState) => void;
  readonly clock: MonotonicClock;
  readonly start?: typeof startLineProgram;
}

/** It says that it listens before; one that ends sooner never did. */
const STARTUP_MS = 500;
/**
 * A line costs 10 us: a percent of a core at most. What comes beyond says nothing new, as lines of the log are for flows, of which a hundred
 * are told a minute.
 */
const MAX_LINES_PER_SECOND = 1_000;

export class PacketLog {
  readonly #options: PacketLogOptions;
  readonly #program: Supervisor;
  /** For the program that is being started. */
  #folder: string | undefined;
  #state: PacketLogState = { kind: 'starting' };
  #second = Number.NEGATIVE_INFINITY;
  #lines = 0;
  /** Of the packet before. */
  #sequence: number | undefined;

  constructor(options: PacketLogOptions) {
    this.#options = options;
    const { clock, start = startLineProgram } = options;
    this.#program = new Supervisor({
      start: (onLine, ended) => start({ argv: this.#prepare(), guarded: true, onLine, ended }),
      startupMs: STARTUP_MS,
      onHeard: (line) => this.#line(line),
      onBegun: () => this.#become({ kind: 'reading' }),
      onEnd: (end) => this.#ended(end),
      clock,
    });
  }

  get state(): PacketLogState {
    return this.#state;
  }

  start(): void {
    this.#program.start();
  }

  stop(): void {
    this.#program.stop();
    this.#removeFolder();
  }

  /** Nearly always the shell has done that; not where a program is missing that it needs, or it was ended before. */
  #removeFolder(): void {
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
    this.#folder = undefined;
  }

  #prepare(): readonly [string, ...string[]] {
    this.#sequence = undefined;
    this.#folder = folderWith(configText(this.#options.group));
    return ['sh', '-c', RUN, 'sh', this.#folder];
  }

  #line(line: string): void {
    const { onPacket, onLost, clock } = this.#options;
    const second = Math.floor(clock.now() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#lines = 0;
    }
    // The gap that the next line shows holds those that were not read.
    if (++this.#lines > MAX_LINES_PER_SECOND) return;
    const fields = fieldsOf(line);
    if (!fields) return;
    const lost = this.#gap(numberIn(fields['oob.seq.local']));
    if (lost > 0) onLost(lost);
    const packet = packetOf(fields);
    if (packet) onPacket(packet);
  }

  /** How many packets there were between this one and the one before. */
  #gap(sequence: number | undefined): number {
    const before = this.#sequence;
    this.#sequence = sequence;
    if (sequence === undefined || before === undefined) return 0;
    return Math.max(0, sequence - before - 1);
  }

  #ended({ hasBegun, isMissing, complaint }: SupervisedEnd): void {
    this.#removeFolder();
    this.#become(hasBegun ? { kind: 'starting' } : stateOf(isMissing, complaint));
  }

  #become(state: PacketLogState): void {
    const isSame = JSON.stringify(state) === JSON.stringify(this.#state);
    this.#state = state;
    if (!isSame) this.#options.onState(state);
  }
}

function stateOf(isMissing: boolean, complaint: string): PacketLogState {
  const [last = ''] = complaint.split('\n').filter((line) => WHY.test(line));
  const why = last.replace(STAMP, '') || complaint.trim().split('\n').at(-1) || 'it ended at once';
  if (isMissing || /can't find requested plugin|ulogd: not found/.test(complaint))
    return { kind: 'missing', complaint: why };
  if (complaint.includes('unable to bind to log group')) return { kind: 'taken' };
  return { kind: 'failing', complaint: why };
}

/** What says more than that there was an error. */
const WHY = /unable|can't|cannot|not found|No such|denied|permitted/;
const STAMP = /^.*<\d> \S+:\d+ /;

/**
 * ulogd opens its configuration several times and its output by name, which a socket (what a child of Node.js has for standard output) does
 * not allow: hence a pipe with a name, and `cat`. Both files lose their names before it runs, so nothing is left behind.
 */
const RUN =
  'exec 4<"$1/conf" && mkfifo "$1/lines" && { cat "$1/lines" & } && exec >"$1/lines" && rm -r "$1" && ' +
  'exec ulogd -v -c /proc/self/fd/4';

/** Everything of ulogd that is installed is loaded: where its parts are depends on the system. */
function configText(group: number): string {
  return [
    '[global]',
    'logfile="/dev/null"',
    'loglevel=5',
    'stack=log1:NFLOG,base1:BASE,ifi1:IFINDEX,ip2str1:IP2STR,json1:JSON',
    '[log1]',
    `group=${group}`,
    'seq_local=1',
    // Hands over each packet at once.
    'netlink_qthreshold=1',
    '[json1]',
    'sync=1',
    'file="/dev/stdout"',
    '',
  ].join('\n');
}

/** In memory where possible: a container's own files may be read-only. Throws if it can be made nowhere. */
function folderWith(config: string): string {
  let folder: string;
  try {
    folder = mkdtempSync('/dev/shm/portcullis-');
  } catch {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-'));
  }
  writeFileSync(join(folder, 'conf'), config);
  return folder;
}

type Fields = Readonly<Record<string, unknown>>;

/** Undefined: a line that lost its end, say. */
function fieldsOf(line: string): Fields | undefined {
  try {
    return JSON.parse(line) as Fields;
  } catch {
    return undefined;
  }
}

/** Undefined: not of an IP packet. */
function packetOf(fields: Fields): LoggedPacket | undefined {
  const source = addressOf(fields.src_ip);
  const destination = addressOf(fields.dest_ip);
  const protocol = fields['ip.protocol'];
  if (source === undefined || destination === undefined || typeof protocol !== 'number') return undefined;
  const icmpType = numberIn(fields['icmp.type']) ?? numberIn(fields['icmpv6.type']);
  const sourcePort = numberIn(fields.src_port);
  const destinationPort = numberIn(fields.dest_port);
  return {
    prefix: textIn(fields['oob.prefix']),
    source,
    destination,
    protocol,
    ...(sourcePort === undefined ? {} : { sourcePort }),
    ...(destinationPort === undefined ? {} : { destinationPort }),
    ...(icmpType === undefined ? {} : { icmpType }),
    inInterface: textIn(fields['oob.in']),
    outInterface: textIn(fields['oob.out']),
  };
}

function addressOf(value: unknown): string | undefined {
  const address = typeof value === 'string' ? parseAddress(value) : undefined;
  return address && formatAddress(address);
}

function numberIn(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

function textIn(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
