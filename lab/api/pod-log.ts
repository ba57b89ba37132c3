/** `GET .../pods/NAME/log`: what a container printed, as the kubelet would answer. */
import type { ServerResponse } from 'node:http';
import { badRequest, cause, invalid } from './errors.ts';
import type { PodObject } from './objects.ts';

export interface LogLine {
  /** When it was printed, wall clock in ms. */
  readonly atMs: number;
  readonly text: string;
}

/** The output of one run of a container. */
export interface ContainerLog {
  /** Oldest first. */
  readonly lines: readonly LogLine[];
  /** Hears of each line to come, and of the end; returns a function that stops it. At once, where the run is over. */
  follow(onLine: (line: LogLine) => void, onEnd: () => void): () => void;
}

/** What a container of the pod prints now, or printed before its last start; undefined: it is not there. */
export type ContainerLogs = (
  pod: PodObject,
  container: string,
  run: 'present' | 'previous',
) => ContainerLog | undefined;

interface LogOptions {
  readonly container: string;
  readonly previous: boolean;
  readonly follow: boolean;
  readonly timestamps: boolean;
  readonly tailLines: number | undefined;
  readonly limitBytes: number | undefined;
  readonly sinceMs: number | undefined;
}

/** Answers with the log, and goes on until either end closes where it is to be followed. Throws ApiError. */
export function sendPodLog(
  response: ServerResponse,
  pod: PodObject,
  query: URLSearchParams,
  source: { readonly logs: ContainerLogs; readonly nowMs: () => number },
): void {
  const options = logOptions(pod, query, source.nowMs());
  const log = findLog(source.logs, pod, options);
  let left = options.limitBytes ?? Infinity;
  const write = ({ atMs, text }: LogLine): void => {
    if (left <= 0 || response.destroyed) return;
    const line = Buffer.from(`${options.timestamps ? `${new Date(atMs).toISOString()} ` : ''}${text}\n`);
    response.write(line.subarray(0, Math.min(left, line.length)));
    left -= line.length;
    if (left <= 0) response.end();
  };
  response.writeHead(200, { 'content-type': 'text/plain' });
  const since = log.lines.filter(({ atMs }) => atMs >= (options.sinceMs ?? 0));
  const shown = options.tailLines === undefined ? since : since.slice(Math.max(0, since.length - options.tailLines));
  for (const line of shown) write(line);
  if (!options.follow || left <= 0) {
    response.end();
    return;
  }
  // The client learns that it is connected before the next line is printed.
  response.flushHeaders();
  const stop = log.follow(write, () => response.end());
  response.on('close', stop);
}

function findLog(logs: ContainerLogs, pod: PodObject, { container, previous }: LogOptions): ContainerLog {
  const { name } = pod.metadata;
  const present = logs(pod, container, 'present');
  if (!present) {
    const why = 'the lab runs no containers, its pods only answer on their ports; agents are the exception';
    throw badRequest(`container ${JSON.stringify(container)} in pod ${JSON.stringify(name)} has no log: ${why}`);
  }
  if (!previous) return present;
  const before = logs(pod, container, 'previous');
  const missing = `previous terminated container ${JSON.stringify(container)} in pod ${JSON.stringify(name)} not found`;
  if (!before) throw badRequest(missing);
  return before;
}

function logOptions(pod: PodObject, query: URLSearchParams, nowMs: number): LogOptions {
  const since = count(query, 'sinceSeconds', 1);
  const from = query.get('sinceTime');
  return {
    container: containerOf(pod, query.get('container') ?? ''),
    previous: query.get('previous') === 'true',
    follow: query.get('follow') === 'true',
    timestamps: query.get('timestamps') === 'true',
    tailLines: count(query, 'tailLines', 0),
    limitBytes: count(query, 'limitBytes', 1),
    sinceMs: since === undefined ? (from ? Date.parse(from) : undefined) : nowMs - since * 1000,
  };
}

function count(query: URLSearchParams, field: string, least: number): number | undefined {
  const text = query.get(field);
  if (text === null || text === '') return undefined;
  if (/^\d+$/.test(text) && Number(text) >= least) return Number(text);
  const fault = cause.invalid(field, text, `must be greater than or equal to ${least}`);
  throw invalid({ group: '', plural: '', kind: 'PodLogOptions' }, '', [fault]);
}

function containerOf({ metadata, spec }: PodObject, wanted: string): string {
  const names = [...spec.containers, ...(spec.initContainers ?? [])].map(({ name }) => name);
  if (wanted !== '') {
    if (names.includes(wanted)) return wanted;
    throw badRequest(`container ${wanted} is not valid for pod ${metadata.name}`);
  }
  if (spec.containers.length === 1) return spec.containers[0]!.name;
  const choice = spec.containers.map(({ name }) => name).join(' ');
  throw badRequest(`a container name must be specified for pod ${metadata.name}, choose one of: [${choice}]`);
}
