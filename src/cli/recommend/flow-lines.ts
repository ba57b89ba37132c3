/**
 * What tells of flows, as text -> flows as they were written: `conntrack -L` and `-E`, the agent's log, its pages /denials and /flows, a bundle, and lines of
 * JSON of a simple form. The agents' counters are taken from where they stand among it.
 */
import { PROTOCOL_NUMBER, PROTOCOLS } from '../../core/vocabulary.ts';
import { readConntrackLine } from '../../host/conntrack-line.ts';
import { canonicalAddress } from '../../net/ip.ts';
import { isRecord, type RawRecord } from '../../policy/raw-values.ts';

/** At least one of both. */
export interface WrittenEnd {
  readonly address?: string;
  /** `namespace/name`. */
  readonly pod?: string;
}

export interface WrittenFlow {
  readonly source: WrittenEnd;
  readonly destination: WrittenEnd;
  /** IANA protocol number. */
  readonly protocol: number;
  readonly port: number;
  readonly count: number;
  readonly firstMs?: number;
  readonly lastMs?: number;
  readonly from: string;
  /** It was not let through. */
  readonly isDenied: boolean;
}

export interface FlowText {
  readonly flows: WrittenFlow[];
  /** Pages of metrics. */
  readonly counters: string[];
  /** Connections that nobody answered: they are no flows that must pass. */
  unanswered: number;
  /** Lines that are none of what can be read, as `file:line`. */
  readonly unread: string[];
}

export function nothingRead(): FlowText {
  return { flows: [], counters: [], unanswered: 0, unread: [] };
}

/** `name`: of the file, for evidence. */
export function readFlowText(text: string, name: string, into: FlowText): void {
  const whole = text.startsWith('{') ? parsed(text) : undefined;
  if (isRecord(whole) && Array.isArray(whole.denials)) readDenials(whole.denials, name, into);
  else if (isRecord(whole) && Array.isArray(whole.flows)) readLive(whole.flows, name, into);
  else if (isRecord(whole) && isRecord(whole.pages)) readBundle(whole.pages, name, into);
  else if (text.startsWith('# HELP')) into.counters.push(text);
  else for (const [index, line] of text.split('\n').entries()) readLine(line, `${name}:${index + 1}`, into);
}

/** The agent's page /flows. */
function readLive(flows: readonly unknown[], name: string, into: FlowText): void {
  for (const [index, entry] of flows.entries()) {
    const from = `${name} flows[${index}]`;
    if (isRecord(entry)) readSimple(entry, from, into);
    else into.unread.push(from);
  }
}

function readBundle(pages: RawRecord, name: string, into: FlowText): void {
  for (const path of ['/denials', '/metrics', '/log']) {
    const page = pages[path];
    if (isRecord(page) && typeof page.found === 'string') readFlowText(page.found, `${name} ${path}`, into);
  }
}

function readLine(line: string, from: string, into: FlowText): void {
  if (/^\s*(?:#|$)|^conntrack v\S+ /.test(line)) return;
  if (line.includes('src=')) readConntrack(line, from, into);
  else readJson(line, from, into);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

// ----------------------------------------------------------------------------------------------------------- conntrack

function readConntrack(line: string, from: string, into: FlowText): void {
  const listed = readConntrackLine(line);
  if (!listed) into.unread.push(from);
  else if (listed.isUnanswered) into.unanswered++;
  else {
    const { source, destination, protocol, port } = listed;
    const ends = { source: { address: source }, destination: { address: destination } };
    into.flows.push({ ...ends, protocol, port, count: 1, from, isDenied: false });
  }
}

// ---------------------------------------------------------------------------------------------------------------- JSON

function readJson(line: string, from: string, into: FlowText): void {
  // Collectors put a time or a name before it.
  const start = line.indexOf('{');
  const value = start < 0 ? undefined : parsed(line.slice(start));
  if (!isRecord(value)) into.unread.push(from);
  else if ('verdict' in value) readDenial(value, from, into);
  else if ('source' in value && 'destination' in value) readSimple(value, from, into);
  // Else another line of the agent's log.
  else if (!('level' in value)) into.unread.push(from);
}

function readDenials(denials: readonly unknown[], name: string, into: FlowText): void {
  for (const [index, entry] of denials.entries())
    if (isRecord(entry)) readDenial(entry, `${name} denials[${index}]`, into);
}

/** A line of the agent's log, or an entry of its page. */
function readDenial(entry: RawRecord, from: string, into: FlowText): void {
  const { verdict, source, destination, protocol, port, packets, seconds, time } = entry;
  const [one, other] = [endOf(source), endOf(destination)];
  const number = protocolNumber(protocol);
  if (!one || !other || number === undefined) {
    into.unread.push(from);
    return;
  }
  const lastMs = timeOf(time);
  into.flows.push({
    source: one,
    destination: other,
    protocol: number,
    port: typeof port === 'number' ? port : 0,
    count: typeof packets === 'number' ? packets : 1,
    ...(lastMs === undefined ? {} : { firstMs: lastMs - 1000 * (typeof seconds === 'number' ? seconds : 0), lastMs }),
    from,
    isDenied: verdict !== 'would-deny',
  });
}

/** `{"source": "shop/web-0", "destination": "10.0.0.7", "protocol": "TCP", "port": 80, "count": 3, "first": "2026-...", "last": "2026-..."}` */
function readSimple(entry: RawRecord, from: string, into: FlowText): void {
  const { source, destination, protocol = 'TCP', port = 0, count = 1, first, last } = entry;
  const [one, other] = [namedEnd(source), namedEnd(destination)];
  const number = protocolNumber(protocol);
  const isPort = Number.isInteger(port) && Number(port) >= 0 && Number(port) <= 65_535;
  if (!one || !other || number === undefined || !isPort || !(Number(count) > 0)) {
    into.unread.push(from);
    return;
  }
  const [firstMs, lastMs] = [timeOf(first ?? last), timeOf(last ?? first)];
  const span = firstMs === undefined || lastMs === undefined ? {} : { firstMs, lastMs };
  const rest = { protocol: number, port: Number(port), count: Number(count), ...span, from, isDenied: false };
  into.flows.push({ source: one, destination: other, ...rest });
}

function namedEnd(value: unknown): WrittenEnd | undefined {
  if (typeof value !== 'string') return undefined;
  const address = canonicalAddress(value);
  if (address !== undefined) return { address };
  return /^[^/\s]+\/[^/\s]+$/.test(value) ? { pod: value } : undefined;
}

function endOf(value: unknown): WrittenEnd | undefined {
  if (!isRecord(value)) return undefined;
  const address = typeof value.address === 'string' ? canonicalAddress(value.address) : undefined;
  const pod = typeof value.pod === 'string' && !value.pod.includes(' ') ? { pod: value.pod } : {};
  return address === undefined ? undefined : { address, ...pod };
}

const NUMBERS: Readonly<Record<string, number>> = PROTOCOL_NUMBER;

function protocolNumber(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isInteger(value) && value >= 0 && value <= 255 ? value : undefined;
  if (typeof value !== 'string') return undefined;
  const known = PROTOCOLS.find((each) => each === value.toUpperCase()) ?? value;
  if (Object.hasOwn(NUMBERS, known)) return NUMBERS[known];
  const number = /^(?:protocol )?(\d{1,3})$/.exec(value)?.[1];
  return number === undefined ? undefined : protocolNumber(Number(number));
}

function timeOf(value: unknown): number | undefined {
  const time = typeof value === 'string' ? Date.parse(value) : typeof value === 'number' ? value : Number.NaN;
  return Number.isFinite(time) ? time : undefined;
}
