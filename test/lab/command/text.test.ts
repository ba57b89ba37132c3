import assert from 'node:assert/strict';
import { changeLines, counted, policyList, resultText, stepText } from '../../../lab/command/text.ts';
import type { NetworkPolicyObject } from '../../../lab/api/objects.ts';
import { compareMatrices } from '../../../lab/matrix.ts';
import type { CellVerdict, Measurement } from '../../../lab/measure.ts';
import { plain } from '../../../src/cli/paint.ts';
import { answer, type MatrixShape, matrixOf } from '../matrices.ts';

const OPTIONS = { width: 80, paint: plain };
const LABELS = ['x/a', 'x/b', 'x/c'];

function change(before: MatrixShape, after: MatrixShape) {
  const matrix = matrixOf(LABELS, { ...before, ...after });
  return { matrix, change: compareMatrices(matrixOf(LABELS, before), matrix) };
}

describe('stepText', () => {
  it('says how fast a policy was enforced and what it changed', () => {
    const { matrix, change: found } = change({}, { denied: (from) => from === 'x/a' });
    const report = { policy: 'x/p', change: found, cells: 6, millisecondsToEnforced: 42.4 };
    assert.equal(
      stepText(matrix, report, OPTIONS),
      '  + x/p  enforced after 42 ms, 2 of 6 cells change\n      now denied   x/a -> x/b, x/a -> x/c',
    );
  });

  it('says when nothing changes, and when packets do not follow', () => {
    const none = change({}, {});
    const report = { policy: 'x/p', change: none.change, cells: 6, millisecondsToEnforced: 0 };
    assert.equal(stepText(none.matrix, report, OPTIONS), '  + x/p  changes nothing here');
    const some = change({}, { denied: () => true });
    const late = { policy: 'x/p', change: some.change, cells: 6, millisecondsToEnforced: undefined };
    assert.match(stepText(some.matrix, late, OPTIONS), /^ {2}\+ x\/p {2}packets did not follow in time\n/);
  });
});

describe('changeLines', () => {
  it('names ports and families only where not all change', () => {
    const ports = [
      { protocol: 'TCP', port: 80 },
      { protocol: 'TCP', port: 443 },
    ] as const;
    const shape: MatrixShape = { ports, families: [4, 6] };
    const whole = change(shape, { denied: (from, to) => from === 'x/a' && to === 'x/b' });
    assert.deepEqual(changeLines(whole.matrix, whole.change, OPTIONS), ['      now denied   x/a -> x/b']);
    const part = change(shape, {
      denied: (from, to, { port }, family) => from === 'x/a' && to === 'x/b' && port === 443 && family === 6,
    });
    assert.deepEqual(changeLines(part.matrix, part.change, OPTIONS), ['      now denied   x/a -> x/b (TCP 443, IPv6)']);
  });

  it('lists what fits the line and counts the rest', () => {
    const all = change({ denied: () => true }, { denied: () => false });
    const [line] = changeLines(all.matrix, all.change, { ...OPTIONS, width: 60 });
    assert.equal(line, '      now allowed  x/a -> x/b, x/a -> x/c and 4 more');
    assert.ok(line.length <= 60);
    const [wide] = changeLines(all.matrix, all.change, { ...OPTIONS, width: 200 });
    assert.equal(wide, '      now allowed  x/a -> x/b, x/a -> x/c, x/b -> x/a and 3 more');
  });
});

describe('policyList', () => {
  it('says whom each policy selects', () => {
    const policies = [
      { metadata: { namespace: 'x', name: 'all' }, spec: { podSelector: {}, policyTypes: ['Ingress', 'Egress'] } },
      {
        metadata: { namespace: 'x', name: 'b' },
        spec: {
          podSelector: {
            matchLabels: { a: 'b' },
            matchExpressions: [
              { key: 'c', operator: 'In', values: ['d', 'e'] },
              { key: 'f', operator: 'Exists' },
            ],
          },
          policyTypes: ['Ingress'],
        },
      },
    ] as unknown as NetworkPolicyObject[];
    assert.equal(
      policyList(policies, [], OPTIONS),
      '2 policies in force:\n  x/all  Ingress and Egress of every pod\n  x/b    Ingress of a=b, c In (d, e), f Exists',
    );
    assert.match(policyList([], [], OPTIONS), /^No policy in force/);
    const rails = { metadata: { name: 'rails' }, spec: { tier: 'Admin', priority: 10 } } as never;
    assert.equal(
      policyList([], [rails], OPTIONS),
      '1 policy in force:\n  rails  cluster-wide, tier Admin, priority 10',
    );
  });
});

describe('resultText', () => {
  const matrix = matrixOf(LABELS, { denied: (from) => from === 'x/a' });

  function result(verdicts: readonly CellVerdict[], mode = 'enforce'): string {
    const cells: Measurement['cells'] = verdicts.map((verdict) => ({
      verdict,
      result: verdict === 'differs' ? answer('blocked') : answer('reached', 'by accident'),
    }));
    return resultText(matrix, { cells, agreedAfterMs: 0 }, mode, OPTIONS);
  }

  it('says that all agree, under the tables and their legend', () => {
    const lines = result(Array.from({ length: 6 }, () => 'agrees')).split('\n');
    assert.equal(lines.at(-1), 'Predicted and measured agree in all of 6 cells, asked twice.');
    assert.match(
      lines.at(-2)!,
      /^Rows send, columns receive: .*\. arrives.*X dropped.*- not asked.*! not as predicted$/,
    );
    assert.ok(lines.includes('1 x/a            - X X        - X X'));
  });

  it('lists every cell that is not as predicted: ends, port, family, address, what was expected and what was seen', () => {
    const text = result(['flaps', 'agrees', 'differs', 'agrees', 'agrees', 'agrees']);
    assert.match(text, /^2 of 6 cells are not as predicted:$/m);
    assert.match(
      text,
      /^ {2}x\/a -> x\/b TCP 80 IPv4 \(203\.0\.113\.2\): should be dropped, answers changed, one was reached \(by accident\)$/m,
    );
    assert.match(text, /^ {2}x\/b -> x\/a TCP 80 IPv4 \(203\.0\.113\.1\): should arrive, was blocked$/m);
    assert.equal(text.includes('mode'), false);
  });

  it('explains differences of agents that drop nothing', () => {
    const text = result(['differs', 'agrees', 'agrees', 'agrees', 'agrees', 'agrees'], 'audit');
    assert.match(text, /^1 of 6 cells is not as predicted:$/m);
    assert.match(text, /mode audit, which drops nothing/);
  });

  it('lists at most twenty', () => {
    const labels = ['x/1', 'x/2', 'x/3', 'x/4', 'x/5', 'x/6'];
    const large = matrixOf(labels);
    const cells = large.cells.map(() => ({ verdict: 'differs' as const, result: answer('blocked') }));
    const text = resultText(large, { cells, agreedAfterMs: undefined }, 'enforce', OPTIONS);
    assert.equal(text.match(/should arrive/g)?.length, 20);
    assert.match(text, /and 10 more$/);
  });
});

describe('counted', () => {
  it('agrees in number', () => {
    assert.deepEqual([counted(1, 'pod', 'pods'), counted(0, 'pod', 'pods')], ['1 pod', '0 pods']);
  });
});
