import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { keepServing } from '../../src/telemetry/keep-serving.ts';
import { SILENT_LOGGER } from '../support/silent-logger.ts';
import { startStatusServer, type StatusServer } from '../../src/telemetry/health.ts';

const PROVIDERS = {
  ready: () => [],
  metrics: async () => ({ contentType: 'text/plain', body: '' }),
  status: () => assert.fail(),
  plan: () => undefined,
  trace: async () => undefined,
  denials: () => ({}),
  flows: async () => undefined,
  log: () => '',
};

describe('fault: the status address is taken', () => {
  it('is told once, tried again, and served when it is free', async () => {
    const other = createServer();
    const port = await new Promise<number>((resolve) =>
      other.listen(0, '127.0.0.1', () => resolve((other.address() as { port: number }).port)),
    );
    const lines: string[] = [];
    const log = {
      ...SILENT_LOGGER,
      error: (text: string) => lines.push(text),
      info: (text: string) => lines.push(text),
    };
    const timers: [number, () => void][] = [];
    const served: StatusServer[] = [];
    const start = async (): Promise<StatusServer> => {
      const server = await startStatusServer({ host: '127.0.0.1', port, providers: PROVIDERS });
      served.push(server);
      return server;
    };
    const serving = keepServing(start, log, (ms, callback) => {
      timers.push([ms, callback]);
      return () => {};
    });
    const due = async (count: number): Promise<void> => {
      while (timers.length < count) await new Promise((resolve) => setImmediate(resolve));
    };
    for (let tries = 1; tries <= 6; tries++) {
      await due(tries);
      timers[tries - 1]![1]();
    }
    await due(7);
    assert.deepEqual(
      timers.map(([ms]) => ms),
      [1000, 2000, 4000, 8000, 10_000, 10_000, 10_000],
    );
    assert.equal(lines.length, 1);
    assert.match(lines[0]!, /another program already listens there.*--http-address.*Rules are written all the same/);
    await new Promise((resolve) => other.close(resolve));
    timers[6]![1]();
    while (served.length === 0) await new Promise((resolve) => setImmediate(resolve));
    assert.equal((await fetch(`http://127.0.0.1:${port}/healthz`)).status, 200);
    assert.match(lines[1]!, new RegExp(`^serving now on 127\\.0\\.0\\.1:${port}$`));
    await serving.close();
    await assert.rejects(fetch(`http://127.0.0.1:${port}/healthz`));
  });

  it('closed while it waits, it tries no more', async () => {
    let tries = 0;
    const timers: (() => void)[] = [];
    const serving = keepServing(
      () => {
        tries++;
        return Promise.reject(new Error('taken'));
      },
      SILENT_LOGGER,
      (_, callback) => {
        timers.push(callback);
        return () => {};
      },
    );
    while (timers.length === 0) await new Promise((resolve) => setImmediate(resolve));
    await serving.close();
    timers[0]!();
    assert.equal(tries, 1);
  });
});
