import assert from 'node:assert/strict';
import { type MeasureOptions, measureMatrix } from '../../lab/measure.ts';
import type { MatrixProbe, ProbeOutcome } from '../../lab/network/types.ts';
import { answer, matrixOf } from './matrices.ts';

/** Two cells: a -> b is allowed, b -> a is not. */
const MATRIX = matrixOf(['x/a', 'x/b'], { denied: (from) => from === 'x/b' });

interface Asked {
  readonly probe: MatrixProbe;
  readonly atMs: number;
  /** How often this cell was asked before. */
  readonly times: number;
}

/** A network whose answers a function gives; each round takes 10 ms, one that waits for silence its timeout. */
function network(behave: (from: string, asked: Asked) => ProbeOutcome) {
  let nowMs = 0;
  const asked: MatrixProbe[][] = [];
  const waits: string[] = [];
  const times = new Map<string, number>();
  const options: MeasureOptions = {
    followMs: 1000,
    now: () => nowMs,
    sleep: async (ms) => {
      nowMs += ms;
    },
    onWait: (why) => waits.push(why),
    probe: async (probes) => {
      asked.push([...probes]);
      const results = probes.map((probe) => {
        const count = times.get(probe.from) ?? 0;
        times.set(probe.from, count + 1);
        return answer(behave(probe.from, { probe, atMs: nowMs, times: count }));
      });
      const silent = results.some(({ outcome }) => outcome === 'blocked');
      nowMs += silent ? (probes[0]!.timeoutMs ?? 250) : 10;
      return results;
    },
  };
  return { options, asked, waits };
}

const rightAnswer = (from: string): ProbeOutcome => (from === 'pod/x/a' ? 'reached' : 'blocked');

const verdictsOf = ({ cells }: Awaited<ReturnType<typeof measureMatrix>>): string[] =>
  cells.map(({ verdict, result }) => `${verdict} ${result.outcome}`);

describe('measureMatrix', () => {
  it('asks twice when all is right at once', async () => {
    const { options, asked, waits } = network(rightAnswer);
    const found = await measureMatrix(MATRIX, options);
    assert.deepEqual(verdictsOf(found), ['agrees reached', 'agrees blocked']);
    assert.equal(found.agreedAfterMs, 0);
    assert.deepEqual(
      asked.map((probes) => probes.length),
      [2, 2],
    );
    assert.deepEqual(waits, ['again']);
  });

  it('waits for packets to follow a change, asking only cells that do not yet', async () => {
    const { options, asked } = network((from, { atMs }) => (atMs < 400 ? 'reached' : rightAnswer(from)));
    const found = await measureMatrix(MATRIX, options);
    assert.deepEqual(verdictsOf(found), ['agrees reached', 'agrees blocked']);
    assert.ok(found.agreedAfterMs! >= 400 && found.agreedAfterMs! < 450, `${found.agreedAfterMs}`);
    assert.ok(asked.slice(1, -1).every((probes) => probes.length === 1 && probes[0]!.from === 'pod/x/b'));
  });

  it('calls a cell different that stays wrong, and not before the time is over', async () => {
    const { options, waits } = network(() => 'reached');
    const found = await measureMatrix(MATRIX, options);
    assert.deepEqual(verdictsOf(found), ['agrees reached', 'differs reached']);
    assert.equal(found.agreedAfterMs, undefined);
    assert.ok(waits.filter((why) => why === 'following').length > 10);
    assert.equal(waits.at(-2), 'slow-answers');
  });

  it('does not mistake a starved machine for a policy: what answers late is asked with more patience', async () => {
    const { options } = network((from, { probe }) =>
      (probe.timeoutMs ?? 250) < 1000 && from === 'pod/x/a' ? 'blocked' : rightAnswer(from),
    );
    const found = await measureMatrix(MATRIX, { ...options, followMs: 0 });
    assert.deepEqual(verdictsOf(found), ['agrees reached', 'agrees blocked']);
    assert.notEqual(found.agreedAfterMs, undefined);
  });

  it('takes a single silence in the last round for a busy machine if every later packet is answered', async () => {
    const { options, asked } = network((from, { times }) =>
      from === 'pod/x/a' && times === 1 ? 'blocked' : rightAnswer(from),
    );
    const found = await measureMatrix(MATRIX, options);
    assert.deepEqual(verdictsOf(found), ['agrees reached', 'agrees blocked']);
    const suspects = asked.slice(2);
    assert.ok(suspects.length >= 3 && suspects.every((probes) => probes[0]!.attempts === 1));
  });

  it('reports an allowed cell that comes and goes', async () => {
    const { options } = network((from, { times }) =>
      from === 'pod/x/a' && (times === 1 || times === 3) ? 'blocked' : rightAnswer(from),
    );
    assert.deepEqual(verdictsOf(await measureMatrix(MATRIX, options)), ['flaps blocked', 'agrees blocked']);
  });

  it('reports a denied cell through which one packet came, at once', async () => {
    const { options } = network((from, { times }) =>
      from === 'pod/x/b' && times === 1 ? 'reached' : rightAnswer(from),
    );
    assert.deepEqual(verdictsOf(await measureMatrix(MATRIX, options)), ['agrees reached', 'flaps reached']);
  });

  it('reports a wrong cell that becomes right for no reason', async () => {
    const { options } = network((from, { times }) => (from === 'pod/x/b' && times < 2 ? 'reached' : rightAnswer(from)));
    const found = await measureMatrix(MATRIX, { ...options, followMs: 0 });
    assert.deepEqual(verdictsOf(found), ['agrees reached', 'flaps reached']);
  });

  it('calls a probe that fails different, whatever was predicted', async () => {
    const { options } = network(() => 'error');
    const { cells } = await measureMatrix(MATRIX, { ...options, followMs: 0 });
    assert.deepEqual(
      cells.map(({ verdict }) => verdict),
      ['differs', 'differs'],
    );
  });

  it('stops waiting when told to', async () => {
    const { options, asked } = network(() => 'reached');
    await measureMatrix(MATRIX, { ...options, signal: AbortSignal.abort() });
    assert.equal(asked.length, 3, 'once, once with patience, once again');
  });
});
