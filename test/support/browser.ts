/** A page in a real browser without a window, through the DevTools protocol over a pipe: no port is opened. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { testTool } from './test-tools.ts';

const NAME = 'chromium-headless-shell';
const FOLDER = fileURLToPath(new URL('../../node_modules/.cache/tools/usr/lib/', import.meta.url));
const ANSWER_MS = 20_000;

interface Launch {
  readonly program: string;
  readonly libraries: readonly string[];
}

/** As scripts/test-tools brings it: with the libraries that the host has not. */
function launchOf(): Launch | undefined {
  const brought = `${FOLDER}chromium/${NAME}`;
  if (existsSync(brought)) {
    const triplet = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
    return { program: brought, libraries: [`${FOLDER}${triplet}`, `${FOLDER}${triplet}/pulseaudio`] };
  }
  const program = testTool(NAME) ?? testTool('chromium') ?? testTool('google-chrome');
  return program === undefined ? undefined : { program, libraries: [] };
}

/** Skips the test where there is no browser; with CI=true it fails instead. */
export function needBrowser(context: Mocha.Context): void {
  if (launchOf()) return;
  const advice = `no ${NAME}: scripts/test-tools brings it`;
  if (process.env.CI === 'true') throw new Error(advice);
  console.log(`      skipped: ${advice}`);
  context.skip();
}

type Params = Readonly<Record<string, unknown>>;

interface Message {
  readonly id?: number;
  readonly sessionId?: string;
  readonly method?: string;
  readonly params?: Params;
  readonly result?: Params;
  readonly error?: { readonly message: string };
}

export class Browser {
  readonly #child: ChildProcess;
  readonly #home: string;
  readonly #waiting = new Map<number, PromiseWithResolvers<Params>>();
  readonly #listeners: ((message: Message) => void)[] = [];
  #next = 0;

  private constructor(child: ChildProcess, home: string) {
    this.#child = child;
    this.#home = home;
    let held = '';
    (child.stdio[4] as Readable).setEncoding('utf8').on('data', (text: string) => {
      const parts = `${held}${text}`.split('\0');
      held = parts.pop()!;
      for (const part of parts) this.#take(JSON.parse(part) as Message);
    });
    child.on('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the browser has ended'));
    });
  }

  static start(): Browser {
    const launch = launchOf();
    if (!launch) throw new Error(`no ${NAME}`);
    const home = mkdtempSync(join(tmpdir(), 'portcullis-browser-'));
    const argv = ['--headless', '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe', `--user-data-dir=${home}`];
    const env = { ...process.env, HOME: home, LD_LIBRARY_PATH: launch.libraries.join(':') };
    const child = spawn(launch.program, argv, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], env });
    return new Browser(child, home);
  }

  /** An empty page of that size. */
  async open(width: number, height: number): Promise<Page> {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page(this, sessionId as string);
    await page.prepare(width, height);
    return page;
  }

  send(method: string, params: Params = {}, sessionId?: string): Promise<Params> {
    const id = ++this.#next;
    const waits = Promise.withResolvers<Params>();
    this.#waiting.set(id, waits);
    const timer = setTimeout(() => waits.reject(new Error(`${method}: no answer`)), ANSWER_MS);
    (this.#child.stdio[3] as Writable).write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return waits.promise.finally(() => {
      clearTimeout(timer);
      this.#waiting.delete(id);
    });
  }

  listen(listener: (message: Message) => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
    rmSync(this.#home, { recursive: true, force: true, maxRetries: 5 });
  }

  #take(message: Message): void {
    if (message.id === undefined) {
      for (const listener of this.#listeners) listener(message);
      return;
    }
    const waits = this.#waiting.get(message.id);
    if (message.error) waits?.reject(new Error(message.error.message));
    else waits?.resolve(message.result ?? {});
  }
}

export class Page {
  /** What scripts said as errors or warnings, and what they threw. */
  readonly complaints: string[] = [];
  /** Addresses of all that was asked for. */
  readonly requests: string[] = [];
  readonly #browser: Browser;
  readonly #session: string;

  constructor(browser: Browser, session: string) {
    this.#browser = browser;
    this.#session = session;
    browser.listen(({ sessionId, method, params }) => {
      if (sessionId === session) this.#hear(method, params ?? {});
    });
  }

  #hear(method: string | undefined, params: Params): void {
    if (method === 'Runtime.exceptionThrown') this.complaints.push(JSON.stringify(params.exceptionDetails));
    if (method === 'Runtime.consoleAPICalled' && ['error', 'warning', 'assert'].includes(params.type as string))
      this.complaints.push(JSON.stringify(params.args));
    if (method === 'Log.entryAdded') this.complaints.push(JSON.stringify(params.entry));
    if (method === 'Network.requestWillBeSent') this.requests.push((params.request as { url: string }).url);
  }

  async prepare(width: number, height: number): Promise<void> {
    for (const domain of ['Page', 'Runtime', 'Log', 'Network', 'Accessibility']) await this.#send(`${domain}.enable`);
    await this.#send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
  }

  #send(method: string, params: Params = {}): Promise<Params> {
    return this.#browser.send(method, params, this.#session);
  }

  async go(url: string): Promise<void> {
    await this.#send('Page.navigate', { url });
    for (;;) {
      const ready = await this.ask<boolean>(
        `location.href === ${JSON.stringify(url)} && document.readyState === 'complete'`,
      );
      if (ready) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** The value of an expression in the page; promises are waited for. Rejects with what it throws. */
  async ask<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.#send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    });
    if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
    return (result as { value: T }).value;
  }

  /** As a keyboard gives it: `a`, `ArrowDown`, `Tab`, `Enter`; `modifiers`: 2 is Ctrl. */
  async press(key: string, modifiers = 0): Promise<void> {
    const text = key === 'Enter' ? '\r' : key.length === 1 ? key : undefined;
    const event = { key, code: key, modifiers, windowsVirtualKeyCode: KEY_CODES[key] ?? 0, ...(text ? { text } : {}) };
    await this.#send('Input.dispatchKeyEvent', { type: 'keyDown', ...event });
    await this.#send('Input.dispatchKeyEvent', { type: 'keyUp', ...event });
  }

  async prefer(scheme: 'light' | 'dark'): Promise<void> {
    await this.#send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  }

  /** PNG. */
  async picture(): Promise<Buffer> {
    await this.ask('new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))');
    const { data } = await this.#send('Page.captureScreenshot', { format: 'png' });
    return Buffer.from(data as string, 'base64');
  }
}

const KEY_CODES: Readonly<Record<string, number>> = {
  Tab: 9,
  Enter: 13,
  PageUp: 33,
  PageDown: 34,
  End: 35,
  Home: 36,
  ArrowLeft: 37,
  ArrowUp: 38,
  ArrowRight: 39,
  ArrowDown: 40,
};
