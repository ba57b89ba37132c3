/** A real download between two pods of the lab: HTTP from one network namespace to another, with the bytes that arrive as time goes on. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface DownloadSample {
  /** Wall clock, ms since the epoch. */
  readonly atMs: number;
  /** Received so far. */
  readonly bytes: number;
}

export interface DownloadRequest {
  /** Network namespaces. */
  readonly server: string;
  readonly client: string;
  /** The server's. */
  readonly address: string;
  readonly port: number;
}

const SAMPLE_MS = 50;
/** About 12 MB/s: enough to see, too little to keep the machine busy. */
const CHUNK_BYTES = 128 * 1024;
const CHUNK_MS = 10;
const START_MS = 10_000;

const SERVER = `
const [port] = process.argv.slice(1);
const chunk = Buffer.alloc(${CHUNK_BYTES}, 'portcullis ');
require('node:http').createServer((request, response) => {
  const timer = setInterval(() => { if (!response.writableNeedDrain) response.write(chunk); }, ${CHUNK_MS});
  response.on('close', () => clearInterval(timer));
}).listen(Number(port), '::', () => console.log('ready'));
`;

const CLIENT = `
const [host, port] = process.argv.slice(1);
let bytes = 0;
require('node:http').get({ host, port }, (response) => {
  response.on('data', (chunk) => { bytes += chunk.length; });
  response.on('error', () => {});
}).on('error', (error) => { console.error(error.message); process.exit(1); });
setInterval(() => console.log(Date.now() + ' ' + bytes), ${SAMPLE_MS});
`;

export class LiveDownload {
  readonly samples: DownloadSample[] = [];
  readonly #children: readonly ChildProcess[];

  /** Resolves when the first bytes have arrived. */
  static async start(request: DownloadRequest): Promise<LiveDownload> {
    const server = inside(request.server, SERVER, String(request.port));
    try {
      await firstLine(server);
      const client = inside(request.client, CLIENT, request.address, String(request.port));
      const download = new LiveDownload(server, client);
      await download.#flowing();
      return download;
    } catch (error) {
      server.kill('SIGKILL');
      throw error;
    }
  }

  private constructor(server: ChildProcess, client: ChildProcess) {
    this.#children = [server, client];
    createInterface({ input: client.stdout! }).on('line', (line) => {
      const [atMs, bytes] = line.split(' ').map(Number);
      this.samples.push({ atMs: atMs!, bytes: bytes! });
    });
  }

  async #flowing(): Promise<void> {
    const deadline = Date.now() + START_MS;
    while ((this.samples.at(-1)?.bytes ?? 0) === 0) {
      if (Date.now() > deadline) {
        this.stop();
        throw new Error(`the download did not begin within ${START_MS / 1_000} s`);
      }
      await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
    }
  }

  /** When the last bytes arrived, as far as is known now. */
  lastArrivalMs(): number {
    return lastArrival(this.samples);
  }

  stop(): void {
    for (const child of this.#children) child.kill('SIGKILL');
  }
}

function inside(netns: string, script: string, ...args: readonly string[]): ChildProcess {
  const argv = ['netns', 'exec', netns, process.execPath, '-e', script, ...args];
  return spawn('ip', argv, { stdio: ['ignore', 'pipe', 'pipe'] });
}

function firstLine(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let complaint = '';
    child.stderr!.on('data', (text) => {
      complaint += String(text);
    });
    createInterface({ input: child.stdout! }).once('line', () => resolve());
    child.once('error', reject);
    child.once('close', () => reject(new Error(`the server of the download ended: ${complaint.trim()}`)));
  });
}

/** Pure. */
export function lastArrival(samples: readonly DownloadSample[]): number {
  for (let index = samples.length - 1; index > 0; index--)
    if (samples[index]!.bytes > samples[index - 1]!.bytes) return samples[index]!.atMs;
  return samples[0]?.atMs ?? 0;
}

/** The longest time between two samples in which nothing arrived, from `fromMs` to `toMs`. Pure. */
export function longestPauseMs(samples: readonly DownloadSample[], fromMs: number, toMs: number): number {
  let longest = 0;
  let arrivedMs = fromMs;
  for (const [index, { atMs, bytes }] of samples.entries()) {
    if (atMs < fromMs || atMs > toMs) continue;
    if (bytes > (samples[index - 1]?.bytes ?? 0)) arrivedMs = atMs;
    longest = Math.max(longest, atMs - arrivedMs);
  }
  return longest;
}

/** Bytes a second over the samples from `fromMs` to `toMs`. Pure. */
export function throughput(samples: readonly DownloadSample[], fromMs: number, toMs: number): number {
  const inside = samples.filter(({ atMs }) => atMs >= fromMs && atMs <= toMs);
  const [first, last] = [inside[0], inside.at(-1)];
  if (!first || !last || last.atMs === first.atMs) return 0;
  return ((last.bytes - first.bytes) * 1_000) / (last.atMs - first.atMs);
}
