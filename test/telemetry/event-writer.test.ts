import assert from 'node:assert/strict';
import type { Connection } from '../../src/cluster/connection.ts';
import type { ClusterSnapshot, Problem } from '../../src/policy/model.ts';
import { type ApiServer, startApiServer } from '../../lab/api/api-server.ts';
import type { EventObject } from '../../lab/api/objects.ts';
import { PAUSE_MS, ROUND_MS, writeEvents } from '../../src/telemetry/event-writer.ts';
import { AGAIN_MS, REPEAT_MS, STAND_IN_MS, rankOf } from '../../src/telemetry/object-events.ts';
import { plainConnection } from '../cluster/plain-connection.ts';
import { parsedPolicy, pod, policyObject, snapshot } from '../support/builders.ts';
import { until, VirtualClock } from '../support/virtual-clock.ts';

const PROBLEM: Problem = {
  object: { kind: 'NetworkPolicy', namespace: 'x', name: 'p' },
  field: 'metadata.annotations[portcullis.dev/mode]',
  message: 'is "aduit", not one of enforce, audit: the policy is enforced',
};
/** On one node. */
const ALONE = new Map([['x/a', pod('x/a')]]);
const NODES = ['node-1', 'node-2', 'node-3', 'node-4'];

describe('Events on objects, written to an API server', () => {
  let server: ApiServer;
  let clock: VirtualClock;
  let stop: AbortController;
  let cluster: ClusterSnapshot;
  const connections: Connection[] = [];
  const running: Promise<void>[] = [];

  beforeEach(async () => {
    const tokens = [{ token: 'agent' }, { token: 'reader', user: 'reader', deny: [{ resource: 'events', verb: '*' }] }];
    server = await startApiServer({ tokens, tls: false });
    server.store.create('namespaces', { metadata: { name: 'x' } });
    clock = new VirtualClock(Date.parse('2026-11-01T00:00:00Z'));
    stop = new AbortController();
    cluster = snapshot({
      pods: NODES.map((nodeName, index) => pod(`x/${index}`, { nodeName })),
      policies: [parsedPolicy(policyObject('x/p', { podSelector: {} }, { uid: 'uid-of-p' }))],
    });
  });

  afterEach(async () => {
    stop.abort();
    await Promise.all(running.splice(0));
    for (const connection of connections.splice(0)) connection.close();
    await server.close();
  });

  interface Told {
    readonly results: string[];
    readonly warned: string[];
    readonly informed: string[];
    problems: readonly Problem[];
    signal: AbortController;
  }

  function start(nodeName: string, token = 'agent'): Told {
    const told: Told = { results: [], warned: [], informed: [], problems: [PROBLEM], signal: new AbortController() };
    stop.signal.addEventListener('abort', () => told.signal.abort());
    const transport = plainConnection(server.url, token);
    connections.push(transport);
    const options = {
      transport,
      nodeName,
      look: () => ({ problems: told.problems, cluster }),
      clock,
      metrics: { objectEvent: (result: string) => void told.results.push(result) },
      log: {
        debug() {},
        info: (line: string) => void told.informed.push(line),
        warn: (line: string) => void told.warned.push(line),
      },
    };
    running.push(writeEvents(options, told.signal.signal));
    return told;
  }

  /** Rounds go on while an answer is waited for, in real time. */
  async function pass(ms: number, hangs = false): Promise<void> {
    const endMs = clock.now() + ms;
    while (clock.now() < endMs) {
      await clock.pass(Math.min(ROUND_MS, endMs - clock.now()));
      // What hangs is ended by a timer, so by the time that passes.
      if (!hangs) await until(() => clock.timers === 0, 'all answers');
    }
  }

  const events = (): readonly EventObject[] => server.store.list('events', { namespace: 'x' });
  const writes = (): number => server.requests.count('create', 'events') + server.requests.count('patch', 'events');

  /** In the order in which they write. */
  function ranked(): readonly string[] {
    const [event] = events();
    const ranks = new Map(NODES.map((node) => [rankOf(node, event!.metadata.name, new Set(NODES)), node]));
    return [0, 1, 2].map((rank) => ranks.get(rank)!);
  }

  it('four agents, one Event; it is told again while the problem lasts, by one of them', async () => {
    const agents = new Map(NODES.map((node) => [node, start(node)]));
    await pass(ROUND_MS);
    const [event] = events();
    assert.deepEqual(
      {
        involved: event?.involvedObject,
        said: [event?.type, event?.reason, event?.message],
        times: [event?.count, event?.firstTimestamp, event?.lastTimestamp],
      },
      {
        involved: {
          apiVersion: 'networking.k8s.io/v1',
          kind: 'NetworkPolicy',
          namespace: 'x',
          name: 'p',
          uid: 'uid-of-p',
        },
        said: ['Warning', 'InvalidMode', `${PROBLEM.field}: ${PROBLEM.message}`],
        times: [1, '2026-11-01T00:00:05Z', '2026-11-01T00:00:05Z'],
      },
    );
    assert.equal(writes(), 1, 'nobody else has tried');
    await pass(2 * STAND_IN_MS + ROUND_MS);
    assert.equal(writes(), 3, 'those who stand in were told that it is there');
    await pass(REPEAT_MS);
    assert.equal(events().length, 1);
    assert.deepEqual([events()[0]!.count, events()[0]!.firstTimestamp], [2, '2026-11-01T00:00:05Z']);
    const [first] = ranked();
    for (const [node, { results, warned }] of agents)
      assert.deepEqual([results, warned], [node === first ? ['created', 'repeated'] : [], []], node);
  });

  it('fault: the first is not there: another writes it, half a minute later', async () => {
    const probe = NODES.map((node) => start(node));
    await pass(ROUND_MS);
    const [first, second, third] = ranked();
    for (const { signal } of probe) signal.abort();
    server.store.delete('events', { namespace: 'x', name: events()[0]!.metadata.name });
    const others = NODES.filter((node) => node !== first).map((node) => [node, start(node)] as const);
    await pass(STAND_IN_MS);
    assert.equal(events().length, 0);
    await pass(STAND_IN_MS + 2 * ROUND_MS);
    assert.deepEqual(
      others.filter(([, { results }]) => results.length > 0).map(([node]) => node),
      [second],
    );
    assert.notEqual(second, third);
  });

  it('fault: 409: an agent started anew goes on with the Event of the one before, and its count', async () => {
    cluster = { ...cluster, pods: ALONE };
    const before = start('node-1');
    await pass(ROUND_MS + REPEAT_MS);
    before.signal.abort();
    const now = start('node-1');
    await pass(ROUND_MS);
    assert.deepEqual([now.results, events()[0]!.count], [['repeated'], 2]);
    await pass(REPEAT_MS);
    assert.deepEqual([events().length, events()[0]!.count], [1, 3]);
  });

  it('an Event that the API server has forgotten is created again', async () => {
    cluster = { ...cluster, pods: ALONE };
    const told = start('node-1');
    await pass(ROUND_MS);
    server.store.delete('events', { namespace: 'x', name: events()[0]!.metadata.name });
    await pass(REPEAT_MS);
    assert.deepEqual([told.results, events()[0]?.count], [['created', 'created'], 1]);
  });

  it('fault: 403: said once with what to do, counted, and no more often than every five minutes', async () => {
    cluster = { ...cluster, pods: ALONE };
    const told = start('node-1', 'reader');
    await pass(2 * AGAIN_MS + 2 * ROUND_MS);
    assert.deepEqual(told.results, ['failed', 'failed', 'failed']);
    assert.equal(told.warned.length, 1);
    assert.match(told.warned[0]!, /cannot create resource "events".*rbac\.yaml.*--events=false/);
    assert.equal(events().length, 0);
  });

  it('fault: the namespace is gone: said, and nothing else suffers', async () => {
    cluster = { ...cluster, pods: ALONE };
    server.store.delete('namespaces', { name: 'x' });
    const told = start('node-1');
    await pass(ROUND_MS);
    assert.deepEqual(told.results, ['failed']);
    assert.match(told.warned[0]!, /namespaces "x" not found/);
  });

  const outages = [
    ['no answer', { kind: 'hang' }],
    ['a reset', { kind: 'reset' }],
    ['503', { kind: 'status', code: 503 }],
    ['429', { kind: 'status', code: 429 }],
  ] as const;
  for (const [title, action] of outages)
    it(`fault: ${title}: one try a minute, however much there is to tell; then said again`, async () => {
      cluster = { ...cluster, pods: ALONE };
      const mended = server.faults.add({ resource: 'events', action });
      const told = start('node-1');
      told.problems = [1, 2, 3].map((index) => ({ ...PROBLEM, field: `spec.ingress[${index}]` }));
      await pass(PAUSE_MS, action.kind === 'hang');
      assert.deepEqual([told.results, told.warned.length], [['failed'], 1]);
      mended();
      await pass(PAUSE_MS + AGAIN_MS);
      assert.deepEqual(told.results, ['failed', 'created', 'created', 'created']);
      assert.deepEqual(told.informed, ['Events on objects are written again']);
      assert.equal(events().length, 3);
    });

  it('ends with its signal, also in the middle of a question', async () => {
    server.faults.add({ resource: 'events', action: { kind: 'hang' } });
    cluster = { ...cluster, pods: ALONE };
    const told = start('node-1');
    await clock.pass(ROUND_MS);
    await until(() => writes() === 1, 'the question');
    told.signal.abort();
    await running[0];
    assert.deepEqual([told.results, told.warned], [[], []]);
  });
});
