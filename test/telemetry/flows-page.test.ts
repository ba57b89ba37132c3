/** What /flows tells of connections that are alive, and how much of conntrack is read for it. */
import assert from 'node:assert/strict';
import { runSync } from '../../src/core/sliced.ts';
import type { CommandRequest } from '../../src/host/command.ts';
import { listConntrack } from '../../src/host/live-flows.ts';
import { flowsPage } from '../../src/telemetry/flows-page.ts';
import { pod } from '../support/builders.ts';

const HERE = '10.0.0.1';
const ALSO_HERE = '10.0.0.2';
const ELSEWHERE = '10.0.1.1';
const PODS = [
  pod('x/here', { addresses: [HERE] }),
  pod('x/also', { addresses: [ALSO_HERE] }),
  pod('x/elsewhere', { addresses: [ELSEWHERE], nodeName: 'node-2' }),
];

const line = (from: string, to: string, backend = to, state = 'ESTABLISHED', sport = 40_000): string =>
  `tcp      6 431999 ${state} src=${from} dst=${to} sport=${sport} dport=80 ` +
  `src=${backend} dst=${from} sport=8080 dport=${sport} [ASSURED] mark=0 use=1`;

const pageOf = (lines: readonly string[], isCut = false) =>
  runSync(flowsPage([{ lines, isCut }], { nodeName: 'node-1', pods: PODS }));

describe('the page of live connections', () => {
  it('tells those of pods of the node, once, at the backend of a Service', () => {
    const page = pageOf([
      line(HERE, '10.96.0.9', ELSEWHERE),
      line(HERE, '10.96.0.9', ELSEWHERE, 'ESTABLISHED', 40_001),
      line('203.0.113.9', HERE),
    ]);
    assert.deepEqual(page, {
      version: 1,
      node: 'node-1',
      connections: 3,
      flows: [
        { source: HERE, destination: ELSEWHERE, protocol: 6, port: 8080, count: 2 },
        { source: '203.0.113.9', destination: HERE, protocol: 6, port: 8080, count: 1 },
      ],
      leftOut: 0,
      truncated: false,
    });
  });

  it('leaves to another node what a pod there began, and out what is not of pods, or was not answered', () => {
    const lines = [
      line(ELSEWHERE, HERE),
      line('172.18.0.2', '203.0.113.9'),
      line('203.0.113.9', ELSEWHERE),
      `tcp      6 117 SYN_SENT src=${HERE} dst=203.0.113.9 sport=1 dport=2 [UNREPLIED] src=203.0.113.9 dst=${HERE} sport=2 dport=1 mark=0 use=1`,
      'no line of conntrack, src=x',
    ];
    assert.deepEqual([pageOf(lines).flows, pageOf(lines).connections], [[], 0]);
    assert.equal(pageOf([line(ALSO_HERE, HERE)]).connections, 1, 'both ends are here');
  });

  it('is of bounded length: of 6,000 different ones those with most connections', () => {
    const many = Array.from({ length: 6_000 }, (_, index) => line(`203.0.${index >> 8}.${index & 255}`, HERE));
    const page = pageOf([...many, line('203.0.10.9', HERE, HERE, 'ESTABLISHED', 1)], true);
    assert.deepEqual([page.flows.length, page.connections, page.leftOut, page.truncated], [5_000, 6_001, 1_000, true]);
    assert.equal(page.flows[0]!.source, '203.0.10.9');
  });

  it('gives others a turn while it reads', () => {
    const work = flowsPage([{ lines: Array.from({ length: 1_000 }, () => line(HERE, ELSEWHERE)), isCut: false }], {
      nodeName: 'node-1',
      pods: PODS,
    });
    let turns = 0;
    while (!work.next().done) turns++;
    assert.equal(turns, 10);
  });

  it('reads the table in the background, and the beginning of a long one', async () => {
    const asked: CommandRequest[] = [];
    const run = (stdout: string) => (request: CommandRequest) => {
      asked.push(request);
      return Promise.resolve({ stdout, stderr: '', durationMs: 1 });
    };
    const whole = await listConntrack(run(`${line(HERE, ELSEWHERE)}\n\n`), 6);
    assert.deepEqual([whole.lines.length, whole.isCut], [1, false]);
    const [{ argv, background, stopAfterBytes = 0 }] = asked as [CommandRequest];
    assert.deepEqual([argv, background], [['conntrack', '-L', '-f', 'ipv6'], true]);
    const one = `${line(HERE, ELSEWHERE)}\n`;
    const long = await listConntrack(run(one.repeat(stopAfterBytes / one.length) + one.repeat(2).slice(0, -20)), 4);
    assert.equal(long.isCut, true);
    assert.ok(
      long.lines.every((each) => each.endsWith('use=1')),
      'half a line is none',
    );
  });
});
