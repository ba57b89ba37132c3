import assert from 'node:assert/strict';
import type { Problem } from '../../src/policy/model.ts';
import { createProblemLog } from '../../src/telemetry/problem-log.ts';

const problem = (name: string, message = 'is odd'): Problem => ({
  object: { kind: 'NetworkPolicy', namespace: 'x', name },
  field: 'spec',
  message,
});

function start() {
  const lines: string[] = [];
  const clock = { ms: 0 };
  const write = (line: string): void => void lines.push(line);
  const tell = createProblemLog({ warn: write, info: write }, () => clock.ms);
  return { clock, tell, said: () => lines.splice(0) };
}

describe('problems in the log', () => {
  it('a problem is printed when it comes, not again when another one does', () => {
    const { tell, said } = start();
    tell([problem('a')]);
    assert.deepEqual(said(), ['NetworkPolicy x/a: spec: is odd']);
    tell([problem('a'), problem('b')]);
    assert.deepEqual(said(), ['NetworkPolicy x/b: spec: is odd']);
    tell([problem('b')]);
    assert.deepEqual(said(), ['solved: NetworkPolicy x/a: spec: is odd. Problems with objects left: 1']);
    tell([]);
    assert.deepEqual(said(), ['solved: NetworkPolicy x/b: spec: is odd. No problem with an object is left']);
    tell([problem('a')]);
    assert.deepEqual(said(), ['NetworkPolicy x/a: spec: is odd'], 'what comes back is said again');
  });

  it('many solved at once are one line: some by name, the others counted', () => {
    const { tell, said } = start();
    tell(['a', 'b', 'c', 'd', 'e'].map((name) => problem(name)));
    said();
    tell([]);
    const [a, b, c] = ['a', 'b', 'c'].map((name) => `NetworkPolicy x/${name}: spec: is odd`);
    assert.deepEqual(said(), [`solved: ${a}; ${b}; ${c}; and 2 more. No problem with an object is left`]);
  });

  it('an object without a namespace, and one as a whole', () => {
    const { tell, said } = start();
    tell([{ object: { kind: 'Namespace', name: 'n' }, field: '', message: 'is full' }]);
    assert.deepEqual(said(), ['Namespace n: is full']);
  });

  it('fault: who changes an object again and again does not fill the log', () => {
    const { clock, tell, said } = start();
    for (let n = 0; n < 10_000; n++) {
      clock.ms += 10;
      tell([problem('a', `is ${n}`)]);
    }
    const lines = said().length;
    assert.ok(lines >= 100 && lines < 140, `${lines} lines in 100 s`);
    clock.ms += 600_000;
    tell([problem('b')]);
    assert.ok(said().includes('NetworkPolicy x/b: spec: is odd'));
  });

  it('what there was no room for is printed later, and how much it is at once', () => {
    const { clock, tell, said } = start();
    const many = Array.from({ length: 150 }, (_, n) => problem(`p${n}`));
    tell(many);
    assert.equal(said().length, 100);
    clock.ms += 120_000;
    tell([...many, problem('z')]);
    const lines = said();
    assert.equal(lines.length, 40);
    assert.ok(lines.includes('NetworkPolicy x/p139: spec: is odd'), lines.at(-1));
  });
});
