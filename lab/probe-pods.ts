/** Pods of `portcullis verify` that send probes: the lab runs no containers, so it does for them what their script would, and keeps the log. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ApiStore } from './api/api-store.ts';
import type { ContainerLog } from './api/pod-log.ts';
import type { PodObject } from './api/objects.ts';
import type { LabNetworkDoor, ProbeOutcome } from './network/types.ts';

import { isRecord } from '../src/policy/raw-values.ts';
import { PROBE_CONTAINER, TARGETS_VARIABLE } from '../src/cli/verify/probe-pods.ts';
import { parseHostPort } from '../src/net/host-port.ts';
import { AgentLog } from './agent-log.ts';
import { podKey } from './network/types.ts';

const ROUND_MS = 100;
const PROBE_MS = 150;

interface Running {
  readonly log: AgentLog;
  stopped: boolean;
}

export class ProbePods {
  readonly #network: Pick<LabNetworkDoor, 'probeMatrix' | 'pods'>;
  readonly #running = new Map<string, Running>();
  readonly #unsubscribe: () => void;

  constructor(store: ApiStore, network: Pick<LabNetworkDoor, 'probeMatrix' | 'pods'>) {
    this.#network = network;
    this.#unsubscribe = store.storage.subscribe((resource, { type, object }) => {
      if (resource === 'pods') this.#follow(object as PodObject, type === 'DELETED');
    });
  }

  stop(): void {
    this.#unsubscribe();
    for (const running of this.#running.values()) running.stopped = true;
  }

  /** Undefined: the container sends no probes. */
  log(pod: PodObject, container: string): ContainerLog | undefined {
    return container === PROBE_CONTAINER ? this.#running.get(pod.metadata.uid)?.log : undefined;
  }

  #follow(pod: PodObject, isGone: boolean): void {
    const { uid } = pod.metadata;
    const targets = isGone || pod.status?.phase !== 'Running' ? undefined : targetsOf(pod);
    const running = this.#running.get(uid);
    if (targets && !running) this.#start(pod, targets);
    if (targets || !running) return;
    running.stopped = true;
    running.log.end();
    this.#running.delete(uid);
  }

  #start(pod: PodObject, targets: readonly string[]): void {
    const running: Running = { log: new AgentLog(), stopped: false };
    this.#running.set(pod.metadata.uid, running);
    void this.#probe(pod, targets, running);
  }

  async #probe({ metadata }: PodObject, targets: readonly string[], running: Running): Promise<void> {
    const from = podKey({ namespace: metadata.namespace ?? 'default', name: metadata.name });
    for (let round = 1; !running.stopped; round++) {
      const say = (text: string): void => running.log.add({ atMs: Date.now(), text: `${round} ${text}` });
      try {
        const probes = targets.map((target) => ({
          from,
          protocol: 'TCP' as const,
          ...placeOf(target),
          timeoutMs: PROBE_MS,
        }));
        const found = await this.#network.probeMatrix(probes);
        for (const [index, target] of targets.entries()) say(`${target} ${SAID[found[index]!.outcome]}`);
        say('done');
      } catch (error) {
        // Its namespace may be gone before its object is.
        if (this.#network.pods().some(({ key }) => key === from)) say(`failed: ${String(error)}`);
      }
      await sleep(ROUND_MS);
    }
  }
}

const SAID = { reached: 'reached', blocked: 'blocked', refused: 'refused', error: 'failed' } as const satisfies Record<
  ProbeOutcome,
  string
>;

function targetsOf({ spec }: PodObject): readonly string[] | undefined {
  const container = spec.containers.find(({ name }) => name === PROBE_CONTAINER);
  const env = isRecord(container) && Array.isArray(container.env) ? container.env : [];
  const found = env.find((each) => isRecord(each) && each.name === TARGETS_VARIABLE) as { value?: string } | undefined;
  return found?.value?.split(' ').filter((target) => target !== '');
}

function placeOf(target: string): { readonly address: string; readonly port: number } {
  const place = parseHostPort(target);
  if ('problem' in place) throw new Error(place.problem);
  return { address: place.host, port: place.port };
}
