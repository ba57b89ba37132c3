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
  ProberLife,
  ProbeRequest,
  ProbeResult,
  RepeatRequest,
  RepeatStatus,
} from './types.ts';

const PROBER_SCRIPT = fileURLToPath(new URL('./prober.pl', import.meta.url));

export const DEFAULT_TIMEOUT_MS = 250;
const DEFAULT_ATTEMPTS = 2;
/** As in prober.pl: timeouts until a connection that stands counts as not greeted. */
const GREETING_WAIT = 11;
/** A prober that says nothing for so long after the last timeout does not run. */
const STARVED_MS = 5_000;
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
    const atMs = Date.now();
    const timeouts = batch.map(({ timeoutMs = DEFAULT_TIMEOUT_MS }) => timeoutMs);
    const patienceMs = Math.max(...timeouts) * GREETING_WAIT + STARVED_MS;
    const answers = this.#process.requests(batch.map((probe) => ['probe', ...probeFields(probe)]));
    const results = answers.then((lines) => lines.map(parseProbeAnswer));
    return await orElse(results, patienceMs, () => batch.map(() => ({ ...UNHEARD, rttUs: 1000 * patienceMs, atMs })));
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
      timesOf: async (outcome) => (await this.#process.request('repeat-times', id, outcome)).fields.map(Number),
      stop: async () => parseRepeatAnswer((await this.#process.request('repeat-stop', id)).fields),
    };
  }

  /** When it did not run since then, though it should have; undefined if it gives no sign of life within `patienceMs`. */
  async life(sinceMs: number, patienceMs: number): Promise<ProberLife | undefined> {
    const asked = this.#process.request('life', String(sinceMs));
    return await orElse<ProberLife | undefined>(
      asked.then(({ fields }) => parseLifeAnswer(fields)),
      patienceMs,
      () => undefined,
    );
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }

  kill(): void {
    this.#process.kill();
  }
}

/** The answer to a probe whose prober was not heard of any more. */
const UNHEARD = { outcome: 'error', sent: 0, detail: 'the prober gives no sign of life' } as const;

async function orElse<T>(answer: Promise<T>, patienceMs: number, late: () => T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<T>((resolve) => {
    timer = setTimeout(() => resolve(late()), patienceMs);
  });
  return await Promise.race([answer, patience]).finally(() => clearTimeout(timer));
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
  const [outcome, rttUs, server, seenAddress, seenPort, sent, atMs, ...detail] = fields;
  if (!isOutcome(outcome)) throw new Error(`prober: not an outcome: ${fields.join(' ')}`);
  const text = detail.join(' ');
  return {
    outcome,
    rttUs: Number(rttUs ?? 0),
    sent: Number(sent ?? 0),
    atMs: Number(atMs ?? 0),
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

export function parseLifeAnswer(fields: readonly string[]): ProberLife {
  const [nowMs, ...stalls] = fields;
  return {
    nowMs: Number(nowMs),
    stalls: stalls.map((stall) => {
      const [fromMs, toMs] = stall.split(':');
      return { fromMs: Number(fromMs), toMs: Number(toMs) };
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
