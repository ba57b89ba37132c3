import assert from 'node:assert/strict';
import {
  arrived,
  compareMatrices,
  describeCell,
  differences,
  type MatrixEndpoint,
  predictMatrix,
} from '../../lab/matrix.ts';
import { policy, pod, snapshot } from '../support/builders.ts';
import { answer, endpoint, matrixOf, TCP_80 } from './matrices.ts';

const A = endpoint('x/a', 1, 'node-1');
const B = endpoint('x/b', 2, 'node-2');
const NODE_1 = endpoint('node-1', 11);
const NODE_2 = endpoint('node-2', 12);
const WORLD = endpoint('world', 99);

function cluster(...policies: ReturnType<typeof policy>[]) {
  return snapshot({
    pods: [
      pod('x/a', { addresses: A.addresses, nodeName: 'node-1' }),
      pod('x/b', { addresses: B.addresses, nodeName: 'node-2' }),
    ],
    nodes: [
      { name: 'node-1', addresses: NODE_1.addresses },
      { name: 'node-2', addresses: NODE_2.addresses },
    ],
    policies,
  });
}

function denied(endpoints: readonly MatrixEndpoint[], ...policies: ReturnType<typeof policy>[]): string[] {
  const matrix = predictMatrix(cluster(...policies), endpoints, [TCP_80]);
  return matrix.cells.filter((cell) => !cell.predicted).map((cell) => describeCell(matrix, cell));
}

describe('predictMatrix', () => {
  it('asks every pair with a pod on one end, in each family, never an endpoint itself', () => {
    const { cells, endpoints } = predictMatrix(cluster(), [A, B, NODE_1, WORLD], [TCP_80]);
    const pairs = cells.map(({ from, to, family }) => `${endpoints[from]!.label}>${endpoints[to]!.label}/${family}`);
    assert.equal(cells.length, 2 * (2 * 3 + 2 * 2));
    assert.ok(!pairs.includes('node-1>world/4') && !pairs.includes('x/a>x/a/4'));
    assert.ok(pairs.includes('world>x/a/6') && pairs.includes('x/a>world/4'));
  });

  it('leaves out a family that one end lacks', () => {
    const onlySix = { ...WORLD, addresses: [WORLD.addresses[1]!] };
    const { cells } = predictMatrix(cluster(), [A, onlySix], [TCP_80]);
    assert.deepEqual(
      cells.map(({ family }) => family),
      [6, 6],
    );
  });

  it('takes a host-network pod for its node', () => {
    const host: MatrixEndpoint = { ...NODE_1, key: 'pod/x/host', label: 'x/host', kind: 'pod' };
    const { cells } = predictMatrix(cluster(), [host, NODE_2, A], [TCP_80]);
    assert.equal(cells.filter(({ from, to }) => from < 2 && to < 2).length, 0, 'host to host concerns no pod');
    assert.equal(cells.length, 8);
  });

  it('predicts what the evaluator says, and lets a node reach its own pod', () => {
    const deny = policy('x/deny', { podSelector: { matchLabels: { pod: 'a' } } });
    assert.deepEqual(denied([A, B, NODE_1, NODE_2], deny), [
      'x/b -> x/a TCP 80 IPv4 (203.0.113.1)',
      'x/b -> x/a TCP 80 IPv6 (2001:db8::1)',
      'node-2 -> x/a TCP 80 IPv4 (203.0.113.1)',
      'node-2 -> x/a TCP 80 IPv6 (2001:db8::1)',
    ]);
  });

  it('probes the address, protocol and port of the cell, from its sender', () => {
    const { cells } = predictMatrix(cluster(), [A, B], [{ protocol: 'UDP', port: 53 }]);
    assert.deepEqual(cells[0]!.probe, { from: 'pod/x/a', address: '203.0.113.2', protocol: 'UDP', port: 53 });
  });
});

describe('differences', () => {
  it('take a refusal for an arrival, silence for a drop, and a failed probe for neither', () => {
    assert.equal(arrived(answer('reached')), true);
    assert.equal(arrived(answer('refused')), true);
    assert.equal(arrived(answer('blocked')), false);
    assert.equal(arrived(answer('error')), undefined);
    const matrix = matrixOf(['x/a', 'x/b'], { denied: (from) => from === 'x/b' });
    assert.equal(differences(matrix, [answer('refused'), answer('blocked')]).length, 0);
    assert.equal(differences(matrix, [answer('error'), answer('error')]).length, 2);
    const [only] = differences(matrix, [answer('reached'), answer('reached')]);
    assert.equal(only?.cell, matrix.cells[1]);
  });
});

describe('compareMatrices', () => {
  it('names what is denied and allowed now', () => {
    const before = matrixOf(['x/a', 'x/b', 'x/c'], { denied: (from) => from === 'x/a' });
    const after = matrixOf(['x/a', 'x/b', 'x/c'], { denied: (_, to) => to === 'x/a' });
    const change = compareMatrices(before, after);
    assert.deepEqual(
      change.nowDenied.map((cell) => describeCell(after, cell).split(' TCP')[0]),
      ['x/b -> x/a', 'x/c -> x/a'],
    );
    assert.deepEqual(
      change.nowAllowed.map((cell) => describeCell(after, cell).split(' TCP')[0]),
      ['x/a -> x/b', 'x/a -> x/c'],
    );
  });

  it('follows endpoints that come and go, whose cells are no change', () => {
    const before = matrixOf(['x/gone', 'x/a', 'x/b']);
    const after = matrixOf(['x/a', 'x/b', 'x/new'], { denied: (from) => from === 'x/new' || from === 'x/b' });
    const change = compareMatrices(before, after);
    assert.deepEqual([change.appeared, change.gone], [['x/new'], ['x/gone']]);
    assert.deepEqual(
      change.nowDenied.map((cell) => describeCell(after, cell).split(' TCP')[0]),
      ['x/b -> x/a'],
    );
  });
});
