/** One `prober.pl` in one network namespace: answers probes there, and sends them from there. */
import { fileURLToPath } from 'node:url';
import { LineProcess } from './line-process.ts';
import type {
  EndpointKey,
  FlowRequest,
  FlowStatus,
  LabFlow,
  LabRepeat,
  Listener,
  ProbeOutcome,
  ProbeRequest,
  ProbeResult,
  RepeatRequest,
  RepeatStatus,
} from './types.ts';

const PROBER_SCRIPT = fileURLToPath(new URL('./prober.pl', import.meta.url));

export const DEFAULT_TIMEOUT_MS = 250;
const DEFAULT_ATTEMPTS = 2;
const OUTCOMES: readonly ProbeOutcome[] = ['reached', 'blocked', 'refused', 'error'];

export class Prober {
  readonly #process: LineProcess;

  /** Starts it; the first answer shows that it runs. `key` is what it calls itself when it answers. */
  constructor(key: EndpointKey, netns: string) {
    this.#process = new LineProcess(`prober ${key}`, ['ip', 'netns', 'exec', netns, 'perl', PROBER_SCRIPT, key]);
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Answers on these ports of these addresses from now on, and on no others. */
  async serve(addresses: readonly string[], listeners: readonly Listener[]): Promise<void> {
    const ports = listeners.map(({ protocol, port }) => `${protocol.toLowerCase()}/${port}`);
    await this.#process.request('serve', addresses.join(',') || '-', ports.join(',') || '-');
  }

  /** All at once; result i belongs to probe i. Rejects when the prober ends. */
  async probe(batch: readonly ProbeRequest[]): Promise<readonly ProbeResult[]> {
    const answers = await this.#process.requests(batch.map((probe) => ['probe', ...probeFields(probe)]));
    return answers.map(parseProbeAnswer);
  }

  /** Resolves when the flow is open; rejects when nobody answers within 2 s or the answer is no. */
  async openFlow(request: FlowRequest): Promise<LabFlow> {
    const { protocol, address, port, sourcePort, mode, intervalMs } = request;
    const fields = [protocol.toLowerCase(), address, String(port), optional(sourcePort), mode, String(intervalMs)];
    const { id } = await this.#process.request('flow-open', ...fields);
    return {
      status: async () => parseFlowAnswer((await this.#process.request('flow-stat', id)).fields),
      close: async () => void (await this.#process.request('flow-close', id)),
    };
  }

  async repeat(request: RepeatRequest): Promise<LabRepeat> {
    const { id } = await this.#process.request('repeat-open', ...probeFields(request), String(request.intervalMs));
    return {
      status: async () => parseRepeatAnswer((await this.#process.request('repeat-stat', id)).fields),
      stop: async () => parseRepeatAnswer((await this.#process.request('repeat-stop', id)).fields),
    };
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }

  kill(): void {
    this.#process.kill();
  }
}

/** The fields of `probe` and `repeat-open`, in the order of prober.pl's head comment. */
export function probeFields(probe: ProbeRequest): string[] {
  return [
    probe.protocol.toLowerCase(),
    probe.address,
    String(probe.port),
    optional(probe.sourceAddress),
    optional(probe.sourcePort),
    String(probe.timeoutMs ?? DEFAULT_TIMEOUT_MS),
    String(probe.attempts ?? DEFAULT_ATTEMPTS),
  ];
}

export function parseProbeAnswer(fields: readonly string[]): ProbeResult {
  const [outcome, rttUs, server, seenAddress, seenPort, ...detail] = fields;
  if (!isOutcome(outcome)) throw new Error(`prober: not an outcome: ${fields.join(' ')}`);
  const text = detail.join(' ');
  return {
    outcome,
    rttUs: Number(rttUs ?? 0),
    ...(given(server) ? { server: server as EndpointKey } : {}),
    ...(given(seenAddress) ? { seenAddress } : {}),
    ...(given(seenPort) ? { seenPort: Number(seenPort) } : {}),
    ...(given(text) ? { detail: text } : {}),
  };
}

export function parseFlowAnswer(fields: readonly string[]): FlowStatus {
  const [state, server, sent, delivered, received, silentMs, longestSilenceMs, ...detail] = fields;
  const text = detail.join(' ');
  return {
    state: state as FlowStatus['state'],
    ...(given(server) ? { server: server as EndpointKey } : {}),
    sent: Number(sent),
    delivered: Number(delivered),
    received: Number(received),
    silentMs: Number(silentMs),
    longestSilenceMs: Number(longestSilenceMs),
    ...(given(text) ? { detail: text } : {}),
  };
}

export function parseRepeatAnswer(fields: readonly string[]): RepeatStatus {
  const [reached, blocked, refused, error, ...changes] = fields;
  return {
    counts: { reached: Number(reached), blocked: Number(blocked), refused: Number(refused), error: Number(error) },
    changes: changes.map((change) => {
      const [atMs, outcome] = change.split(':');
      return { atMs: Number(atMs), outcome: outcome as ProbeOutcome };
    }),
  };
}

function isOutcome(word: string | undefined): word is ProbeOutcome {
  return OUTCOMES.includes(word as ProbeOutcome);
}

function given(field: string | undefined): field is string {
  return field !== undefined && field !== '' && field !== '-';
}

function optional(value: string | number | undefined): string {
  return value === undefined ? '-' : String(value);
}
