/** When a program that ended is started again; the program is played. */
import assert from 'node:assert/strict';
import type { ProgramEnd } from '../../src/host/line-program.ts';
import { type Supervised, type SupervisedEnd, Supervisor } from '../../src/host/supervised-program.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

const STARTUP_MS = 300;

interface Run {
  readonly onLine: (line: string) => void;
  readonly ended: (how: ProgramEnd) => void;
  kills: number;
}

function played({ prepare = () => {}, ...more }: { prepare?: () => void } & Pick<Supervised, 'hasBegun'> = {}) {
  const clock = new VirtualClock();
  const runs: Run[] = [];
  const ends: SupervisedEnd[] = [];
  const lines: string[] = [];
  let begun = 0;
  const program = new Supervisor({
    start: (onLine, ended) => {
      prepare();
      const run = { onLine, ended, kills: 0 };
      runs.push(run);
      return { kill: () => void run.kills++, ...more };
    },
    startupMs: STARTUP_MS,
    hasBegun: (complaint) => complaint === 'began',
    onHeard: (line: string) => lines.push(line),
    onBegun: () => begun++,
    onEnd: (end) => ends.push(end),
    clock,
  });
  /** Lets the one that runs live for so long; result: how long nothing runs. */
  const lives = (ms: number, complaint = ''): number => {
    clock.advance(ms);
    const count = runs.length;
    runs.at(-1)!.ended({ isMissing: false, code: 1, complaint });
    const endedMs = clock.now();
    while (runs.length === count) clock.advance(100);
    return clock.now() - endedMs;
  };
  return { clock, runs, ends, lines, begun: () => begun, program, lives };
}

describe('a program that is supervised', () => {
  it('is started again soon where it worked, less and less often where it cannot begin, anew after a long life', () => {
    const rows: readonly [livesMs: number, complaint: string, waitMs: number][] = [
      [400, '', 200],
      [400, '', 400],
      [400, '', 800],
      [400, '', 1_000],
      [100, '', 1_000],
      [100, '', 2_000],
      [100, '', 4_000],
      [100, 'began', 1_000],
      [2_100, '', 200],
      [0, '', 400],
    ];
    const { program, lives, ends } = played();
    program.start();
    assert.deepEqual(
      rows.map(([livesMs, complaint]) => lives(livesMs, complaint)),
      rows.map(([, , waitMs]) => waitMs),
    );
    assert.deepEqual(
      ends.map(({ hasBegun }) => hasBegun),
      rows.map(([livesMs, complaint]) => livesMs >= STARTUP_MS || complaint === 'began'),
    );
    program.stop();
  });

  it('has begun once it lived as long as one that cannot work never does, and is heard before', () => {
    const { clock, runs, program, lines, begun } = played();
    program.start();
    program.start();
    runs[0]!.onLine('early');
    clock.advance(STARTUP_MS - 1);
    assert.deepEqual([runs.length, lines, begun()], [1, ['early'], 0]);
    clock.advance(1);
    assert.equal(begun(), 1);
    program.stop();
  });

  it('which works from the start on has begun at once, and so had one that ends soon', () => {
    const { clock, runs, program, ends, begun } = played({ hasBegun: true });
    program.start();
    assert.equal(begun(), 1);
    runs[0]!.ended({ isMissing: false, code: null, complaint: '' });
    clock.advance(STARTUP_MS + 200);
    assert.deepEqual([ends[0]!.hasBegun, runs.length, begun()], [true, 2, 2]);
    program.stop();
  });

  it('stopped, by its own end as well, it stays so: what the old one says or does is not told', () => {
    const { clock, runs, program, lines, ends, begun } = played();
    program.start();
    program.stop();
    assert.deepEqual([runs[0]!.kills, program.isRunning], [1, false]);
    runs[0]!.onLine('late');
    runs[0]!.ended({ isMissing: false, code: 0, complaint: '' });
    program.start();
    assert.ok(program.isRunning);
    runs[0]!.ended({ isMissing: false, code: 0, complaint: '' });
    runs[1]!.ended({ isMissing: true, code: 127, complaint: '' });
    program.stop();
    clock.advance(60_000);
    assert.deepEqual([runs.length, lines, ends.map(({ isMissing }) => isMissing), begun()], [2, [], [true], 0]);
  });

  it('replaced, another one follows', () => {
    const { clock, runs, program } = played();
    program.replace();
    program.start();
    clock.advance(5_000);
    program.replace();
    assert.equal(runs[0]!.kills, 1);
    runs[0]!.ended({ isMissing: false, code: null, complaint: '' });
    clock.advance(200);
    assert.equal(runs.length, 2);
    program.stop();
  });

  it('fault: nothing can be prepared for a program that is supervised: told as an end, and tried again', () => {
    let isFull = true;
    const prepare = (): void => {
      if (isFull) throw new Error('no space left');
    };
    const { clock, runs, program, ends } = played({ prepare });
    program.start();
    clock.advance(700);
    assert.deepEqual([runs.length, ends.length], [0, 3]);
    assert.deepEqual(ends[0], { isMissing: false, code: null, complaint: 'no space left', hasBegun: false });
    isFull = false;
    clock.advance(1_000);
    assert.deepEqual([runs.length, ends.length], [1, 3]);
    program.stop();
  });
});
