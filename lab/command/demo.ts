/** `portcullis lab --demo live-download`: a download goes on untouched while a policy does not concern it, and ends with one that does. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LabRunOptions } from './options.ts';
import type { Screen } from './screen.ts';

import { AGENT_PROGRAM } from './agent-program.ts';
import { engineOf } from './options.ts';
import { Lab } from '../lab.ts';
import { LiveDownload, longestPauseMs, throughput } from '../live-download.ts';

const NAMESPACE = 'shop';
/** Not one that the lab's own servers answer on. */
const PORT = 9080;
const READY_MS = 60_000;
const LINE_MS = 500;
const UNTOUCHED_MS = 2_500;
/** Silence for so long is the end of a download of 12 MB/s. */
const CUT_MS = 700;
/** A download that pauses for longer while nothing concerns it was touched. The machine itself may stand still for a moment. */
const MAX_PAUSE_MS = 1_000;

const policy = (name: string, app: string): object => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace: NAMESPACE, name },
  spec: { podSelector: { matchLabels: { app } }, policyTypes: ['Ingress'] },
});

/** The exit code's truth: untouched by the first policy, cut in time by the second. */
export async function runDemo(options: LabRunOptions, screen: Screen, signal: AbortSignal): Promise<boolean> {
  const { wiring, families, dataplane, backend, mode } = options;
  screen.say(screen.paint('bold', `Portcullis lab: a live download, ${wiring}, ${engineOf(options)}, mode ${mode}`));
  screen.waiting('for an API server, two nodes, three pods and the agents');
  const lab = await Lab.create({
    nodes: ['node-1', 'node-2'],
    wiring,
    families,
    dataplane,
    backend,
    mode,
    program: AGENT_PROGRAM,
    onProblem: (message) => {
      if (!signal.aborted) screen.complain(message);
    },
  });
  const lastResort = (): void => lab.closeSync();
  process.once('exit', lastResort);
  const stop = (): void => void lab.close().catch(() => {});
  signal.addEventListener('abort', stop, { once: true });
  try {
    return await new Demo(lab, options, screen, signal).run();
  } catch (error) {
    // Whatever fails while everything is being taken down fails because of that.
    if (!signal.aborted) throw error;
    screen.note('Interrupted: everything is taken down.');
    return false;
  } finally {
    await lab.close();
    process.off('exit', lastResort);
  }
}

class Demo {
  readonly #lab: Lab;
  readonly #options: LabRunOptions;
  readonly #screen: Screen;
  readonly #signal: AbortSignal;
  readonly #lines: { readonly second: number; readonly bytesPerSecond: number }[] = [];
  #startedMs = 0;

  constructor(lab: Lab, options: LabRunOptions, screen: Screen, signal: AbortSignal) {
    this.#lab = lab;
    this.#options = options;
    this.#screen = screen;
    this.#signal = signal;
  }

  async run(): Promise<boolean> {
    const download = await this.#begin();
    try {
      await this.#show(download, 1_500);
      const untouchedFromMs = Date.now();
      this.#event(`+ ${NAMESPACE}/deny-backup: denies all to the pod backup, which is no end of this download`);
      this.#lab.store.create('networkpolicies', policy('deny-backup', 'backup'));
      await this.#show(download, UNTOUCHED_MS);
      const pauseMs = longestPauseMs(download.samples, untouchedFromMs, Date.now());
      this.#event(`+ ${NAMESPACE}/deny-files: denies all to the pod files, which the download comes from`);
      const appliedMs = Date.now();
      this.#lab.store.create('networkpolicies', policy('deny-files', 'files'));
      await this.#untilCut(download, appliedMs);
      const isCut = Date.now() - download.lastArrivalMs() >= CUT_MS;
      return this.#tell(pauseMs, isCut ? Math.max(0, download.lastArrivalMs() - appliedMs) : undefined);
    } finally {
      download.stop();
    }
  }

  async #begin(): Promise<LiveDownload> {
    const { store, network } = this.#lab;
    store.create('namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } });
    for (const [name, node] of [
      ['files', 'node-1'],
      ['client', 'node-2'],
      ['backup', 'node-1'],
    ] as const) {
      const metadata = { namespace: NAMESPACE, name, labels: { app: name } };
      const spec = { nodeName: node, containers: [{ name: 'main', image: 'lab' }] };
      store.create('pods', { apiVersion: 'v1', kind: 'Pod', metadata, spec });
    }
    await this.#lab.settle(READY_MS);
    await this.#lab.agents.ready(READY_MS);
    const podOf = (name: string) => network.pods().find((pod) => pod.name === name)!;
    const [files, client] = [podOf('files'), podOf('client')];
    const address = files.addresses[0]!;
    this.#screen.say(`Pod client on node-2 downloads from pod files on node-1, ${address} port ${PORT}:\n`);
    const download = await LiveDownload.start({ server: files.netns, client: client.netns, address, port: PORT });
    this.#startedMs = Date.now();
    return download;
  }

  #seconds(): number {
    return (Date.now() - this.#startedMs) / 1_000;
  }

  #event(text: string): void {
    this.#screen.say(`${this.#seconds().toFixed(1).padStart(5)} s  ${this.#screen.paint('bold', text)}`);
  }

  #printLine(download: LiveDownload): void {
    const now = Date.now();
    const bytesPerSecond = throughput(download.samples, now - LINE_MS, now);
    const second = this.#seconds();
    this.#lines.push({ second, bytesPerSecond });
    const megabytes = bytesPerSecond / 1e6;
    const text = `${second.toFixed(1).padStart(5)} s  ${megabytes.toFixed(1).padStart(5)} MB/s`;
    this.#screen.say(`${text}  ${'#'.repeat(Math.min(60, Math.round(megabytes * 3)))}`);
  }

  async #show(download: LiveDownload, ms: number): Promise<void> {
    for (const until = Date.now() + ms; Date.now() < until && !this.#signal.aborted; ) {
      await sleep(LINE_MS);
      this.#printLine(download);
    }
  }

  /** Until nothing arrives any more, or it is clear that it goes on. */
  async #untilCut(download: LiveDownload, appliedMs: number): Promise<void> {
    const limitMs = this.#options.timeoutMs + CUT_MS;
    while (!this.#signal.aborted) {
      await sleep(LINE_MS);
      this.#printLine(download);
      const now = Date.now();
      if (now - download.lastArrivalMs() >= CUT_MS && now - appliedMs >= CUT_MS) return;
      if (now - appliedMs > limitMs) return;
    }
  }

  #tell(pauseMs: number, cutAfterMs: number | undefined): boolean {
    const { timeoutMs, output } = this.#options;
    const untouched = pauseMs <= MAX_PAUSE_MS;
    const cut = cutAfterMs !== undefined && cutAfterMs <= timeoutMs;
    const ok = untouched && cut && !this.#signal.aborted;
    if (output === 'json') {
      const report = { ok, longestPauseMs: pauseMs, cutAfterMs: cutAfterMs ?? null, throughput: this.#lines };
      this.#screen.result(JSON.stringify(report, null, 2));
      return ok;
    }
    const paint = (good: boolean, text: string): string => this.#screen.paint(good ? 'bold' : 'red', text);
    this.#screen.say(
      `\nThe policy that does not concern it: ${paint(untouched, untouched ? 'untouched' : 'disturbed')}, longest pause ${pauseMs} ms.`,
    );
    const when = cutAfterMs === undefined ? 'not cut' : `cut ${cutAfterMs} ms after it was written`;
    this.#screen.say(`The policy that does: ${paint(cut, when)} (limit ${timeoutMs} ms).`);
    return ok;
  }
}
