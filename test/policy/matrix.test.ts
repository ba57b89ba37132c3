import assert from 'node:assert/strict';
import type { ClusterSnapshot, Flow, Pod, Policy } from '../../src/policy/model.ts';

import { letsPass } from '../../src/policy/evaluate.ts';
import { FlowMatrix } from '../../src/policy/matrix/matrix.ts';
import { PortClasses, portText } from '../../src/policy/matrix/ports.ts';
import { pod, policy, snapshot as snapshotWith } from '../support/builders.ts';

const snapshot = (pods: readonly Pod[], policies: readonly Policy[]): ClusterSnapshot =>
  snapshotWith({ pods, policies });

const flow = (source: string, destination: string, port = 80): Flow => ({ source, destination, protocol: 6, port });

function passes(matrix: FlowMatrix, asked: Flow): boolean {
  const verdict = matrix.judge(0, asked)!;
  return letsPass(verdict.egress) && letsPass(verdict.ingress);
}

describe('FlowMatrix', () => {
  it('keeps apart what policies of two namespaces mean by their own pods', () => {
    const pods = ['x/a', 'x/b', 'y/a', 'y/b', 'z/a'].map((key, index) =>
      pod(key, { addresses: [`10.0.0.${index + 1}`] }),
    );
    const own = { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] };
    const matrix = new FlowMatrix([snapshot(pods, [policy('x/own', own), policy('y/own', own)])]);
    const table = ['10.0.0.1', '10.0.0.3', '10.0.0.5'].map((from) =>
      ['10.0.0.2', '10.0.0.4'].map((to) => passes(matrix, flow(from, to))),
    );
    assert.deepEqual(table, [
      [true, false],
      [false, true],
      [false, false],
    ]);
  });

  it('takes pods together that no selector tells apart, whatever other labels they have', () => {
    const pods = Array.from({ length: 50 }, (_, index) =>
      pod(`x/p-${index}`, {
        addresses: [`10.0.0.${index + 1}`],
        labels: { app: index < 10 ? 'a' : 'b', index: `${index}` },
      }),
    );
    const spec = { podSelector: { matchLabels: { app: 'a' } }, ingress: [] };
    const { classes } = new FlowMatrix([snapshot(pods, [policy('x/p', spec)])]);
    assert.deepEqual(
      classes.map(({ kind, members }) => [kind, members.length]),
      [
        ['pod', 10],
        ['pod', 40],
        ['outside', 1],
      ],
    );
  });

  it('asks for an address of a block that nobody has, and leaves out a block whose addresses all are pods', () => {
    const pods = ['x/a', 'x/b'].map((key, index) => pod(key, { addresses: [`10.0.0.${index}`] }));
    const blocks = ['10.0.0.0/30', '10.0.0.0/31', '0.0.0.0/0'].map((cidr) => ({ ipBlock: { cidr } }));
    const { classes } = new FlowMatrix([
      snapshot(pods, [policy('x/p', { podSelector: {}, ingress: [{ from: blocks }] })]),
    ]);
    assert.deepEqual(
      classes.flatMap(({ kind, members, values }) => (kind === 'outside' ? [[members[0], values[0]!.address]] : [])),
      [
        ['0.0.0.0/0', '203.0.113.1'],
        ['10.0.0.0/30', '10.0.0.3'],
      ],
    );
  });

  it('parses rules that are kept as text but once', () => {
    let parsed = 0;
    const own = policy('x/p', { podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] });
    const { ingress } = own;
    const lazy = Object.defineProperty({ ...own }, 'ingress', {
      get: () => {
        parsed++;
        return ingress;
      },
    });
    const pods = ['x/a', 'x/b', 'x/c'].map((key, index) => pod(key, { addresses: [`10.0.0.${index + 1}`] }));
    const matrix = new FlowMatrix([snapshot(pods, [lazy])]);
    assert.equal(passes(matrix, flow('10.0.0.1', '10.0.0.2')), true);
    assert.equal(passes(matrix, flow('10.0.0.1', '10.0.0.2', 81)), false);
    assert.equal(parsed, 1);
  });
});

describe('PortClasses', () => {
  const classes = (
    ports: readonly object[],
    namedPorts: Pod['namedPorts'] = [],
    asked: readonly number[] = [],
  ): PortClasses => {
    const world = snapshot([pod('x/a', { namedPorts })], [policy('x/p', { podSelector: {}, ingress: [{ ports }] })]);
    return new PortClasses(
      [world],
      asked.map((port) => ({ protocol: 'TCP', port })),
    );
  };
  const texts = (found: PortClasses): string[] => found.classes.map(portText);

  it('parts ports where something names them, and protocols that something names', () => {
    assert.deepEqual(texts(classes([{ port: 80 }, { protocol: 'UDP', port: 53 }])), [
      ...['80', 'other TCP', '53/UDP', 'other UDP', 'other protocols'],
    ]);
    assert.deepEqual(texts(classes([{ port: 1000, endPort: 2000 }, { port: 1500 }], [], [1999])), [
      ...['1000-1499,1501-1998,2000', '1500', '1999', 'other TCP', 'other protocols'],
    ]);
    assert.deepEqual(texts(classes([{ protocol: 'SCTP' }], [{ name: 'web', protocol: 'TCP', port: 8080 }])), [
      ...['8080', 'other TCP', 'other SCTP', 'other protocols'],
    ]);
    assert.deepEqual(texts(classes([])), ['other protocols']);
  });

  it('finds the class of a port', () => {
    const found = classes([{ port: 1000, endPort: 2000 }, { port: 1500 }, { port: 65535 }]);
    const textOf = (port: number, protocol = 6): string => portText(found.classes[found.indexOf(protocol, port)]!);
    assert.deepEqual(
      [0, 999, 1000, 1499, 1500, 1501, 2000, 2001, 65534, 65535].map((port) => textOf(port)),
      [
        ...['other TCP', 'other TCP', '1000-1499,1501-2000', '1000-1499,1501-2000', '1500'],
        ...['1000-1499,1501-2000', '1000-1499,1501-2000', 'other TCP', 'other TCP', '65535'],
      ],
    );
    assert.equal(textOf(53, 17), 'other protocols');
    assert.equal(textOf(0, 1), 'other protocols');
  });
});
