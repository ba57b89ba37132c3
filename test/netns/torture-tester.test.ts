/** The tester itself: what it calls starved, what it calls wrong, and what it keeps of it. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from '../../lab/lab.ts';
import { createTestLab } from '../support/test-lab.ts';
import { measureMatrix } from '../../lab/measure.ts';
import { type EndpointKey, podKey, type ProbeProtocol } from '../../lab/network/types.ts';
import { type Cell, cellsOf } from '../fuzz/torture/cells.ts';
import { onNode } from '../fuzz/torture/evidence.ts';
import { Judge } from '../fuzz/torture/judge.ts';
import { podObject } from '../support/api-objects.ts';
import { policyObject } from '../support/builders.ts';
import { skipUnlessRoot } from '../support/agent-lab.ts';

const A = podKey({ namespace: 'x', name: 'a' });
const B = podKey({ namespace: 'x', name: 'b' });

describe('fault: the tester of the torture tells a starved prober from rules that are wrong', function () {
  this.timeout(60_000);
  let lab: Lab;
  let directory: string;
  const stopped = new Set<number>();

  before(async function () {
    skipUnlessRoot.call(this);
    directory = mkdtempSync(join(tmpdir(), 'portcullis-tester-'));
    ({ lab } = await createTestLab({ families: [4] }));
    lab.store.create('namespaces', { metadata: { name: 'x' } });
    for (const name of ['a', 'b']) {
      const containers = [{ name: 'c', image: 'i', ports: [80, 81].map(udp) }];
      lab.store.create('pods', podObject(`x/${name}`, { labels: { app: name }, spec: { containers } }));
    }
    const ingress = [{ ports: [{ protocol: 'UDP', port: 80 }] }];
    lab.store.create(
      'networkpolicies',
      policyObject('x/only-80', { podSelector: { matchLabels: { app: 'b' } }, ingress }),
    );
    await lab.settle();
    await lab.agents.ready(20_000);
  });
  afterEach(() => {
    for (const pid of stopped) process.kill(pid, 'SIGCONT');
    stopped.clear();
  });
  after(async () => {
    await lab?.close();
    if (directory) rmSync(directory, { recursive: true });
  });

  const udp = (containerPort: number): object => ({ containerPort, protocol: 'UDP' });

  function cell(port: number, protocol: ProbeProtocol = 'UDP'): Cell {
    const cells = cellsOf(lab.snapshot(), lab.endpoints(), [{ protocol, port }]);
    return cells.find(({ from, to }) => from.key === A && to.key === B)!;
  }

  function signal(key: EndpointKey, name: 'SIGSTOP' | 'SIGCONT'): void {
    const pid = lab.network.proberPid(key)!;
    process.kill(pid, name);
    if (name === 'SIGSTOP') stopped.add(pid);
    else stopped.delete(pid);
  }

  /** Measures, with `meanwhile` beside it, and judges. */
  async function judged(cells: readonly Cell[], meanwhile: () => Promise<void>) {
    const stats = { wrong: 0, starved: 0, unresolved: 0 };
    const judge = new Judge({ lab, stats, evidenceDir: join(directory, 'found') });
    const options = { probe: lab.measure.bind(lab), followMs: 0, now: () => performance.now(), sleep };
    const [{ cells: results }] = await Promise.all([measureMatrix({ cells }, options), meanwhile()]);
    const story = await judge.review('in a test', cells, results);
    return { stats, story, results };
  }

  it('calls nothing wrong or starved when all is well', async () => {
    const { stats, story } = await judged([cell(80), cell(81)], async () => {});
    assert.deepEqual([stats, story], [{ wrong: 0, starved: 0, unresolved: 0 }, undefined]);
  });

  for (const [who, key] of [
    ['server', B],
    ['sender', A],
  ] as const) {
    it(`a ${who} that is stopped in the middle is starved, not wrong, and asked again`, async () => {
      signal(key, 'SIGSTOP');
      const { stats, story } = await judged([cell(80), cell(81)], async () => {
        // Long enough for every round of the measurement.
        await sleep(who === 'server' ? 4_000 : 2_000);
        signal(key, 'SIGCONT');
      });
      assert.equal(story, undefined);
      assert.equal(stats.wrong, 0);
      if (who === 'server') assert.ok(stats.starved >= 1, 'the silence of a denied packet proved nothing either');
      assert.equal(stats.unresolved, 0);
    });
  }

  it('rules that were flushed are wrong, with evidence', async () => {
    lab.agents.killSync();
    await onNode(lab, 'node-1', ['iptables-nft', '-w', '5', '-t', 'mangle', '-F', 'FORWARD']);
    const { stats, story } = await judged([cell(80), cell(81)], async () => {});
    assert.equal(stats.wrong, 1);
    assert.match(story ?? '', /x\/a .*-> x\/b .*UDP 81 IPv4/);
    const kept = /evidence: (\S+)$/.exec(story ?? '')?.[1] ?? '';
    const files = readdirSync(kept);
    for (const file of ['story.txt', 'probes.txt', 'objects.json', 'node-1.rules.txt', 'node-1.sets.txt']) {
      assert.ok(files.includes(file), file);
    }
    for (const file of ['node-1.connections.txt', 'node-1.agent.log']) assert.ok(files.includes(file), file);
    assert.match(readFileSync(join(kept, 'node-1.rules.txt'), 'utf8'), /\[\d+:\d+\] -A PCL-/);
    assert.match(readFileSync(join(kept, 'node-1.connections.txt'), 'utf8'), /udp .*dport=81/);
    assert.match(readFileSync(join(kept, 'node-1.agent.log'), 'utf8'), /"level":"info"/);
    const probes = readFileSync(join(kept, 'probes.txt'), 'utf8');
    assert.match(probes, /asked alone from port \d+: \{"ruling":\{"kind":"wrong"/);
    assert.match(probes, /"witness":"answered"/);
  });

  it('a packet that somebody drops is wrong, though the server sleeps: the connection tables say so', async () => {
    await onNode(lab, 'node-1', [
      'iptables-nft',
      '-w',
      '5',
      '-I',
      'FORWARD',
      '-p',
      'udp',
      '--dport',
      '80',
      '-j',
      'DROP',
    ]);
    signal(B, 'SIGSTOP');
    const { stats, story } = await judged([cell(80)], async () => {});
    assert.equal(stats.wrong, 1, JSON.stringify(stats));
    assert.match(story ?? '', /a node on its way has no connection/);
  });
});
