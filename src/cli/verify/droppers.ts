/** Which policies dropped the probes, as the agents tell: at /denials where they show it, else in their logs. */
import type { RawRecord } from '../../policy/raw-values.ts';
import type { AgentPage, AskOptions } from '../ask-nodes.ts';

import { parseJson } from '../../cluster/read-answer.ts';
import { readText } from '../../cluster/api-writes.ts';
import { messageOf } from '../../core/error-text.ts';
import { isRecord } from '../../policy/raw-values.ts';
import { readPages } from '../ask-nodes.ts';
import { podsPath } from './run-probes.ts';

export interface Dropper {
  readonly node: string;
  readonly direction: string;
  /** `namespace/name`. */
  readonly policy: string;
  /** Probes of which it is told. */
  readonly flows: number;
}

export interface Droppers {
  readonly droppers: readonly Dropper[];
  /** Why nodes say nothing. */
  readonly notes: readonly string[];
}

const LOG_SECONDS = 600;
const LOG_LINES = 2_000;

/** Of probes between pods of the namespace. Throws `CannotAsk` where there are no agents. */
export async function readDroppers(options: AskOptions, namespace: string): Promise<Droppers> {
  const notes: string[] = [];
  const pages = await readPages(options, '/denials');
  const found = await Promise.all(
    pages.map(async (page) => {
      try {
        return [page.node, await denialsOf(options, page)] as const;
      } catch (error) {
        if (options.signal.aborted) throw error;
        notes.push(`${page.node} does not tell what dropped: ${messageOf(error)}`);
        return [page.node, []] as const;
      }
    }),
  );
  return { droppers: found.flatMap(([node, denials]) => countedOn(node, denials, namespace)), notes };
}

async function denialsOf(options: AskOptions, { pod, answer }: AgentPage): Promise<readonly RawRecord[]> {
  if ('body' in answer) return denialsIn(answer.body);
  const { connection, namespace, signal, timeoutMs } = options;
  const path = `${podsPath(namespace)}/${pod}/log?sinceSeconds=${LOG_SECONDS}&tailLines=${LOG_LINES}`;
  const log = await readText(connection, path, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]));
  return log.split('\n').flatMap((line) => {
    const value = line.startsWith('{') ? parseJson(Buffer.from(line)) : undefined;
    return isRecord(value) && value.component === 'denials' ? [value] : [];
  });
}

function denialsIn(body: Buffer): readonly RawRecord[] {
  const page = parseJson(body);
  return isRecord(page) && Array.isArray(page.denials) ? page.denials.filter(isRecord) : [];
}

/** The most frequent first. */
export function countedOn(node: string, denials: readonly RawRecord[], namespace: string): readonly Dropper[] {
  const counts = new Map<string, Dropper>();
  for (const { source, destination, direction, policies, verdict } of denials) {
    if (verdict !== 'denied' || !isOf(source, namespace) || !isOf(destination, namespace)) continue;
    for (const entry of Array.isArray(policies) ? policies.filter(isRecord) : []) {
      const policy = String(entry.policy);
      const key = `${String(direction)} ${policy}`;
      counts.set(key, { node, direction: String(direction), policy, flows: (counts.get(key)?.flows ?? 0) + 1 });
    }
  }
  return [...counts.values()].sort((a, b) => b.flows - a.flows);
}

function isOf(end: unknown, namespace: string): boolean {
  return isRecord(end) && typeof end.pod === 'string' && end.pod.startsWith(`${namespace}/`);
}
