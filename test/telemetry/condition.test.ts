import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { SILENT_LOGGER } from '../support/silent-logger.ts';
import { watchConditions } from '../../src/telemetry/condition.ts';

/** Each look finds the next of `found`. */
function bench(found: readonly string[]) {
  const lines: string[] = [];
  const tell = (level: string) => (message: string) => void lines.push(`${level} ${message}`);
  const waits: number[] = [];
  let next = (): void => {};
  let looks = 0;
  const watch = watchConditions({
    look: () => Promise.resolve(found[looks++] ?? ''),
    conditions: [
      {
        name: 'fire',
        judge: (text) => ({ ok: text !== 'fire', level: text === 'fire' ? 'error' : 'info', reason: text }),
        usual: 'none',
      },
    ],
    intervalMs: (text) => (text === 'fire' ? 1 : 10),
    log: { ...SILENT_LOGGER, info: tell('info'), error: tell('error') },
    clock: {
      after: (ms, action) => {
        waits.push(ms);
        next = action;
        return () => (next = () => {});
      },
    },
  });
  const [condition] = watch.conditions;
  return {
    lines,
    waits,
    state: () => condition!.state(),
    stop: () => watch.stop(),
    looks: () => looks,
    look: async () => {
      next();
      await turn();
    },
  };
}

describe('watchConditions', () => {
  it('does not hold before the first look, and shows what the last look found', async () => {
    const { state, look } = bench(['none', 'fire']);
    assert.deepEqual(state(), { ok: false, reason: 'not looked at yet' });
    await turn();
    assert.deepEqual(state(), { ok: true, reason: 'none' });
    await look();
    assert.deepEqual(state(), { ok: false, reason: 'fire' });
  });

  it('tells what changed: not what is usual at the start, but when it is so again', async () => {
    const { lines, waits, look } = bench(['none', 'fire', 'fire', 'none']);
    await turn();
    for (let i = 0; i < 3; i++) await look();
    assert.deepEqual(lines, ['error fire', 'info none']);
    assert.deepEqual(waits, [10, 1, 1, 10]);
  });

  it('says nothing once it is stopped, whatever a look under way finds', async () => {
    const { lines, looks, stop, look } = bench(['fire', 'fire']);
    stop();
    await turn();
    await look();
    assert.deepEqual([lines, looks()], [[], 1]);
  });
});
