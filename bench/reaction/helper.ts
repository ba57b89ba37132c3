/**
 * A small process in a network namespace: a bare watcher, which says when each change arrives, and a bare hand, which runs commands and
 * says how long they took. This file is both the handle and that process.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { get } from 'node:https';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { NftSession } from '../../src/dataplane/nftables/kernel/nft-session.ts';
import { runCommand } from '../../src/host/command.ts';
import type { ApiProcess } from '../api-process.ts';
import { endWithUs } from '../children.ts';
import { wallMs } from '../stalls.ts';

type Argv = readonly [string, ...string[]];

interface Command {
  readonly argv: Argv;
  readonly stdin: string;
}

type Wanted = { readonly command: Command } | { readonly transaction: string } | { readonly page: string };
type Question = { readonly id: number } & Wanted;
interface Answer {
  readonly id: number;
  /** Milliseconds of a command or transaction, the text of a page, or what went wrong. */
  readonly result: number | string | { readonly error: string };
}
/** A watch line: wall clock of its arrival, and the object's name. */
interface Arrival {
  readonly name: string;
  readonly atMs: number;
}

const PATHS = ['/api/v1/pods', '/apis/networking.k8s.io/v1/networkpolicies'];
const QUERY = 'watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan';
const TIMEOUT_MS = 30_000;

export class Helper {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #answers = new Map<number, PromiseWithResolvers<number | string>>();
  readonly #arrivals = new Map<string, (atMs: number) => void>();
  #lastId = 0;

  /** With `api` it watches pods and policies; `inside` puts it into a namespace. */
  constructor(inside: (argv: Argv) => Argv, api?: ApiProcess) {
    const watched = api ? [String(api.port), api.serviceAccountDir] : [];
    const [program, ...args] = inside([process.execPath, import.meta.filename, ...watched]);
    this.#child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    endWithUs(this.#child);
    this.pid = this.#child.pid ?? 0;
    this.#child.on('message', (message) => this.#take(message as Answer | Arrival));
    this.#child.once('exit', (code) => {
      for (const { reject } of this.#answers.values()) reject(new Error(`bare watcher: ended with ${code}`));
    });
  }

  /** Wall clock at which the next change of this object arrives. */
  arrival(name: string): Promise<number> {
    return new Promise((resolve) => this.#arrivals.set(name, resolve));
  }

  /** Milliseconds from the start of the process to its end. Rejects if it fails. */
  run(argv: Argv, stdin: string): Promise<number> {
    return this.#ask({ command: { argv, stdin } }) as Promise<number>;
  }

  /** Milliseconds of a line of commands that an `nft -i` is given, which stays for the next. Rejects if it fails. */
  transact(transaction: string): Promise<number> {
    return this.#ask({ transaction }) as Promise<number>;
  }

  /** The text of a page over HTTP. */
  page(url: string): Promise<string> {
    return this.#ask({ page: url }) as Promise<string>;
  }

  stop(): void {
    if (this.#child.connected) this.#child.disconnect();
  }

  #ask(what: Wanted): Promise<number | string> {
    const id = ++this.#lastId;
    const answer = Promise.withResolvers<number | string>();
    this.#answers.set(id, answer);
    this.#child.send({ id, ...what } satisfies Question);
    return answer.promise;
  }

  #take(message: Answer | Arrival): void {
    if ('name' in message) {
      this.#arrivals.get(message.name)?.(message.atMs);
      this.#arrivals.delete(message.name);
      return;
    }
    const answer = this.#answers.get(message.id);
    this.#answers.delete(message.id);
    if (typeof message.result === 'object') answer?.reject(new Error(message.result.error));
    else answer?.resolve(message.result);
  }
}

function serve(port: string | undefined, folder: string | undefined): void {
  process.on('disconnect', () => {
    nft.stop();
    process.exit();
  });
  process.on('message', (message) => {
    const question = message as Question;
    void answerTo(question)
      .catch((error: unknown) => ({ error: String(error) }))
      .then((result) => process.send!({ id: question.id, result } satisfies Answer));
  });
  if (port !== undefined && folder !== undefined) for (const path of PATHS) void watch(port, folder, path);
}

/** Started with the first transaction. */
const nft = new NftSession();

async function answerTo(question: Question): Promise<number | string> {
  if ('page' in question) return await (await fetch(question.page)).text();
  const began = performance.now();
  if ('transaction' in question) {
    const outcome = await nft.transact(question.transaction);
    if (outcome.kind !== 'done') throw new Error(`${outcome.kind}: ${outcome.complaint}`);
    return performance.now() - began;
  }
  await runCommand({ ...question.command, timeoutMs: TIMEOUT_MS });
  return performance.now() - began;
}

async function watch(port: string, folder: string, path: string): Promise<void> {
  const ca = readFileSync(join(folder, 'ca.crt'));
  const authorization = `Bearer ${readFileSync(join(folder, 'token'), 'utf8')}`;
  const stream = await new Promise<Readable>((resolve, reject) =>
    get(`https://127.0.0.1:${port}${path}?${QUERY}`, { ca, headers: { authorization } }, resolve).on('error', reject),
  );
  for await (const line of createInterface({ input: stream })) {
    const atMs = wallMs();
    const { object } = JSON.parse(line) as { object: { metadata: { name?: string } } };
    process.send!({ name: object.metadata.name ?? '', atMs } satisfies Arrival);
  }
}

if (process.argv[1] === import.meta.filename) serve(process.argv[2], process.argv[3]);
