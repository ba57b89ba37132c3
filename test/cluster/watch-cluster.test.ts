import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Connection, loadConnection } from '../../src/cluster/connection.ts';
import { type ClusterChange, type ClusterWatch, createClusterWatch } from '../../src/cluster/watch-cluster.ts';
import { type ApiServer, startApiServer } from '../../lab/api/api-server.ts';
import type { ApiObject } from '../../lab/api/objects.ts';
import { settle, until, VirtualClock } from '../support/virtual-clock.ts';
import { apiPod, apiPolicy, namespaceObject, nodeObject, podObject, rulesOf } from '../support/api-objects.ts';
import type { ObjectKind } from '../../src/core/vocabulary.ts';

/** All that are watched whatever the policies say. */
type Always = Exclude<ObjectKind, 'clusternodes'>;
const KINDS = [
  'pods',
  'namespaces',
  'networkpolicies',
  'nodes',
  'clusternetworkpolicies',
] as const satisfies readonly Always[];

type Objects = Readonly<Partial<Record<ObjectKind, readonly object[]>>>;

const denyAll = apiPolicy('deny', { spec: { podSelector: {} } });
const namespace = namespaceObject('x', { uid: 'n' });
const node = (mode?: string): object =>
  nodeObject('node-1', ['203.0.113.250'], {
    uid: 'n1',
    ...(mode ? { annotations: { 'portcullis.dev/mode': mode } } : {}),
  });

describe('cluster watch', () => {
  let directory: string;
  let server: ApiServer;
  let tokens: { token: string }[];
  let connection: Connection;
  let watch: ClusterWatch;
  let stop: AbortController;
  let clock: VirtualClock;
  let random: () => number;
  const told: string[] = [];
  const restarts: string[] = [];
  const changes: ClusterChange[] = [];

  beforeEach(async () => {
    tokens = [{ token: 'first' }, { token: 'second' }];
    server = await startApiServer({ tokens, bootstrap: false });
    directory = await mkdtemp(join(tmpdir(), 'watch-'));
    await writeFile(join(directory, 'token'), 'first');
    await writeFile(join(directory, 'ca.crt'), server.caPem);
    clock = new VirtualClock();
    connection = await loadConnection({
      serviceAccountDir: directory,
      env: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: `${server.port}` },
      clock,
    });
    stop = new AbortController();
    told.splice(0);
    restarts.splice(0);
    changes.splice(0);
    random = () => 0;
    watch = createClusterWatch({
      connection,
      nodeName: 'node-1',
      clock,
      random: () => random(),
      observer: {
        onListenerFailed: (kind) => void told.push(`failed ${kind}`),
        onRestart: (kind, reason) => void restarts.push(`${kind} ${reason}`),
        onHeard: () => {
          throw new Error('a metric that throws');
        },
      },
    });
    watch.onChange((change) => changes.push(change));
  });

  afterEach(async () => {
    stop.abort();
    connection.close();
    await server.close();
    await rm(directory, { recursive: true });
  });

  /** Past the API's checks: some are objects that it would not take. */
  const put = (kind: Always, ...objects: readonly object[]): void => {
    for (const object of objects) server.store.storage.put(kind, object as ApiObject);
  };
  const remove = (kind: Always, ...objects: readonly object[]): void => {
    for (const object of objects) server.store.storage.remove(kind, (object as ApiObject).metadata);
  };
  /** Starts the watch of a cluster with these objects, and waits for the first list of each kind. */
  const listAll = async (objects: Objects = {}): Promise<void> => {
    for (const kind of KINDS) put(kind, ...(objects[kind] ?? []));
    watch.start(stop.signal);
    await until(() => watch.inSync, 'sync');
  };
  const asked = (kind: ObjectKind) => server.requests.recent().filter(({ resource }) => resource === kind);
  const lists = (kind: ObjectKind): number => asked(kind).filter(({ query }) => query.has('sendInitialEvents')).length;

  for (const selects of [true, false])
    it(`keeps pods of this node that wait for an address, and no others (S-77); the server selects: ${selects}`, async () => {
      const open = connection.open.bind(connection);
      const withoutSelection = (path: string): string => path.replace(/fieldSelector=[^&]*&?/, '');
      if (!selects) connection.open = (request) => open({ ...request, path: withoutSelection(request.path) });
      const waiting = (name: string, nodeName: string, spec: object = {}, phase = 'Pending'): object => ({
        ...podObject(`x/${name}`, { metadata: { uid: name }, spec: { nodeName, ...spec } }),
        status: { phase },
      });
      const far = waiting('far', 'node-2');
      const host = waiting('host', 'node-1', { hostNetwork: true });
      const done = waiting('done', 'node-1', {}, 'Succeeded');
      await listAll({
        pods: [waiting('new', 'node-1'), far, host, done],
        nodes: [node(), nodeObject('another')],
      });
      assert.deepEqual([...watch.snapshot().pods.keys()], ['x/new']);
      assert.deepEqual([...watch.snapshot().nodes.keys()], ['node-1']);
      for (const kind of ['pods', 'nodes'] as const)
        assert.equal(asked(kind)[0]?.query.has('fieldSelector'), selects, kind);
    });

  it('is in sync once every kind is listed, and tells so once', async () => {
    let synced = 0;
    watch.onSync(() => synced++);
    put('pods', apiPod('a'));
    const away = server.faults.add({ resource: 'pods', action: { kind: 'status', code: 503 } });
    watch.start(stop.signal);
    await until(() => watch.status().filter(({ presence }) => presence === 'listed').length === 3, 'three kinds');
    assert.equal(watch.inSync, false);
    assert.equal(synced, 0);
    away();
    await clock.passSleep();
    await until(() => watch.inSync, 'sync');
    assert.equal(synced, 1);
    watch.onSync(() => synced++);
    assert.equal(synced, 2, 'who comes late is told at once');
    server.faults.failWatches(410, 'too old resource version', 'pods');
    remove('pods', apiPod('a'));
    await clock.passSleep();
    await until(() => watch.snapshot().pods.size === 0, 'the relist');
    assert.equal(watch.inSync, true);
    assert.equal(synced, 2);
  });

  it('fault: a policy over the limit of its namespace allows nothing, and is listed again once there is room', async () => {
    const policies = [1, 2, 3, 4, 5].map((created) =>
      apiPolicy(`p${created}`, { created, spec: { ingress: rulesOf(900_000, created) } }),
    );
    await listAll({ networkpolicies: policies });
    const rules = (name: string): number | undefined => watch.snapshot().policies.get(`x/${name}`)?.ingress.length;
    assert.deepEqual([rules('p4'), rules('p5')], [1, 0]);
    assert.equal(watch.snapshot().policies.get('x/p5')?.isolates.ingress, true);
    assert.deepEqual(
      watch.snapshot().problems.map(({ object }) => object.name),
      ['p5'],
    );

    remove('networkpolicies', policies[0]!);
    await until(() => watch.snapshot().policies.size === 4, 'the deletion');
    assert.equal(rules('p5'), 0, 'what was dropped is not there');
    clock.advance(60_000);
    put('networkpolicies', policies[1]!);
    await clock.passSleep();
    await until(() => lists('networkpolicies') === 2, 'the second list');
    await until(() => rules('p5') === 1, 'the rules');
    assert.deepEqual(watch.snapshot().problems, []);
  });

  it('shows one snapshot of all kinds, live, with the problems of all', async () => {
    await listAll({
      pods: [apiPod('a', { ip: 'nonsense' })],
      namespaces: [namespace],
      networkpolicies: [denyAll],
      nodes: [node('audit')],
    });
    const snapshot = watch.snapshot();
    assert.deepEqual([...snapshot.pods.keys()], ['x/a']);
    assert.equal(snapshot.namespaces.get('x')?.labels['kubernetes.io/metadata.name'], 'x');
    assert.equal(snapshot.policies.get('x/deny')?.isolates.ingress, true);
    assert.deepEqual(
      [...snapshot.nodes.values()],
      [{ name: 'node-1', addresses: ['203.0.113.250'], modeAnnotation: 'audit' }],
    );
    assert.deepEqual(
      snapshot.problems.map(({ object }) => object.kind),
      ['Pod'],
    );
    assert.equal(watch.snapshot().problems, snapshot.problems, 'nothing is copied as long as nothing changes');
    assert.deepEqual(
      KINDS.map((kind) => asked(kind)[0]?.query.get('fieldSelector')),
      ['status.phase!=Succeeded,status.phase!=Failed,spec.hostNetwork=false', null, null, 'metadata.name=node-1', null],
    );
    changes.splice(0);
    put('nodes', node('enforce'));
    await until(() => changes.length === 1, 'the node');
    const [change] = changes;
    assert.deepEqual([change?.kind, change?.key, change?.type], ['nodes', 'node-1', 'changed']);
    assert.equal(snapshot.nodes.get('node-1')?.modeAnnotation, 'enforce');
    assert.equal(change?.arrivedAtMs, clock.now());
    assert.deepEqual(
      watch
        .status()
        .map(({ kind, presence, connected, objects, restarts, problem }) => [
          kind,
          presence,
          connected,
          objects,
          restarts,
          problem,
        ]),
      [
        ['pods', 'listed', true, 1, 0, undefined],
        ['namespaces', 'listed', true, 1, 0, undefined],
        ['networkpolicies', 'listed', true, 1, 0, undefined],
        ['nodes', 'listed', true, 1, 0, undefined],
        ['clusternetworkpolicies', 'listed', true, 0, 0, undefined],
      ],
    );
    assert.equal(watch.status()[0]?.lastHeardMs, clock.wallTime());
  });

  it('fault: a server that does not stream lists is listed in pages, and watched from there', async () => {
    server.faults.streamingLists = 'refuse';
    const names = Array.from({ length: 1_001 }, (_, index) => `p${index}`);
    await listAll({ pods: names.map((name) => apiPod(name)) });
    const pages = asked('pods').filter(({ verb }) => verb === 'list');
    assert.deepEqual(
      pages.map(({ query }) => [query.get('limit'), query.has('continue')]),
      [
        ['500', false],
        ['500', true],
        ['500', true],
      ],
    );
    assert.equal(watch.snapshot().pods.size, 1_001);
    put('pods', apiPod('later'));
    await until(() => watch.snapshot().pods.has('x/later'), 'the watch');
  });

  for (const form of ['stream', 'http'] as const)
    it(`fault: what happened while no watch was open is found though the server has forgotten it (410 by ${form})`, async () => {
      await listAll({ pods: [apiPod('gone'), apiPod('stays')], nodes: [node()], namespaces: [namespace] });
      server.faults.goneForm = form;
      server.faults.refuseConnections();
      await until(() => clock.sleeping === KINDS.length, 'four back-offs');
      remove('pods', apiPod('gone'));
      put('pods', apiPod('new'));
      server.compact();
      await server.faults.acceptConnections();
      for (let round = 0; round < 20 && lists('pods') < 2; round++) {
        clock.advance(2_000);
        await settle();
      }
      await until(() => [...watch.snapshot().pods.keys()].sort().join(' ') === 'x/new x/stays', 'the list');
      assert.ok(restarts.includes('pods gone'), restarts.join());
      const [first, resumed, again] = asked('pods').map(({ query }) => query.get('resourceVersion'));
      assert.deepEqual([first, again], [null, null]);
      assert.ok(Number(resumed) > 0, 'the watch is resumed first');
    });

  it('refuses to be started twice, so no watch is ever open twice', async () => {
    watch.start(stop.signal);
    assert.throws(() => watch.start(stop.signal), /started twice/);
    await settle();
    assert.equal(server.requests.recent().length, KINDS.length);
  });

  it('a listener that throws is counted and harms neither the watch nor the other listeners', async () => {
    watch.onChange(() => {
      throw new Error('a listener');
    });
    watch.onSync(() => {
      throw new Error('a sync listener');
    });
    const after: string[] = [];
    watch.onChange(({ key }) => after.push(key));
    let synced = false;
    watch.onSync(() => {
      synced = true;
    });
    await listAll({ pods: [apiPod('a'), apiPod('b')] });
    assert.ok(synced);
    assert.deepEqual(after, ['x/a', 'x/b']);
    assert.deepEqual(told.slice(0, 2), ['failed pods', 'failed pods']);
    assert.equal(told.length, 3);
  });

  it('fault: uses a rotated token at once when the old one is refused', async () => {
    await listAll({ pods: [apiPod('a')] });
    const version = server.store.storage.version;
    await writeFile(join(directory, 'token'), 'second');
    tokens.shift();
    server.faults.endWatches('end', 'pods');
    await clock.passSleep();
    await until(() => server.openWatches('pods') === 1, 'the next watch');
    const [, refused, accepted] = asked('pods');
    assert.deepEqual(
      [refused, accepted].map((request) => request?.query.get('resourceVersion')),
      [`${version}`, `${version}`],
    );
    assert.equal(clock.sleeping, 0);
    put('pods', apiPod('b'));
    await until(() => watch.snapshot().pods.size === 2, 'the next pod');
    assert.equal(watch.status()[0]?.problem, undefined);
  });

  it('fault: asks often for a server that is away, and when one watch has found it the others do not wait', async () => {
    await listAll();
    random = () => 0.999;
    server.faults.refuseConnections();
    for (let round = 0; round < 20; round++) {
      await until(() => clock.sleeping === KINDS.length, 'four back-offs');
      clock.advance(2_000);
    }
    assert.deepEqual(new Set(clock.slept.slice(-8)), new Set([1_999]), 'an outage of any length');
    await until(() => clock.sleeping === KINDS.length, 'four back-offs');
    random = () => (clock.sleeping === 0 ? 0 : 0.999);
    const oneSleepsLess = async (): Promise<void> => {
      server.faults.refuseConnections();
      await until(() => clock.sleeping === KINDS.length, 'four back-offs');
      clock.advance(2_000);
      await until(() => clock.sleeping === KINDS.length, 'four back-offs');
      assert.ok(clock.slept.slice(-KINDS.length).includes(800));
      await server.faults.acceptConnections();
    };
    await oneSleepsLess();
    const silent = server.faults.add({ action: { kind: 'hang' } });
    server.requests.reset();
    clock.advance(800);
    await until(() => server.requests.recent().length > 0, 'the first');
    await settle();
    assert.equal(server.requests.recent().length, 1, 'the others wait until it is answered');
    silent();
    await oneSleepsLess();
    clock.advance(800);
    await until(() => server.openWatches() === KINDS.length, 'all watches');
    assert.equal(clock.sleeping, 0);
  });

  it('fault: a node knocks about once a second at a server that is away, not once for each kind', async () => {
    let seed = 1;
    random = () => {
      seed = (seed * 16_807) % 2_147_483_647;
      return seed / 2_147_483_647;
    };
    let opens = 0;
    const open = connection.open.bind(connection);
    connection.open = (request) => {
      opens++;
      return open(request);
    };
    await listAll();
    server.faults.refuseConnections();
    opens = 0;
    for (let step = 0; step < 600; step++) {
      clock.advance(100);
      // A refused connection takes a little real time.
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    assert.ok(opens > 30 && opens < 120, `${opens} in a minute`);
  });

  it('fault: survives a server that comes back with another CA', async () => {
    await listAll({ pods: [apiPod('a')] });
    const { port, store } = server;
    await server.close();
    server = await startApiServer({ tokens, store, port });
    const unsigned = (): boolean => watch.status().every(({ problem }) => problem?.includes('not signed by the CA'));
    while (!unsigned()) {
      clock.advance(1_600);
      await settle();
    }
    assert.equal(watch.inSync, true);
    assert.equal(watch.snapshot().pods.size, 1);
    assert.ok(watch.status().every(({ connected }) => !connected));
    await writeFile(join(directory, 'ca.crt'), server.caPem);
    while (server.openWatches('pods') === 0) {
      clock.advance(1_600);
      await settle();
    }
    remove('pods', apiPod('a'));
    await until(() => watch.snapshot().pods.size === 0, 'the deletion');
  });

  describe('fault: a list that is empty although objects are known', () => {
    const everything: Objects = {
      pods: [apiPod('a'), apiPod('b')],
      namespaces: [namespace],
      networkpolicies: [denyAll],
      nodes: [node()],
    };
    const counts = (): number[] => watch.status().map(({ objects }) => objects);
    /** They are gone, and no watch tells: it ends, and each kind is listed. */
    const lose = (...kinds: readonly Always[]): void => {
      server.faults.stalled = true;
      for (const kind of kinds) remove(kind, ...(everything[kind] ?? []));
      for (const kind of kinds) server.faults.failWatches(410, 'too old resource version', kind);
      server.faults.stalled = false;
    };

    it('of policies: kept until three lists in a row say the same', async () => {
      await listAll(everything);
      lose('networkpolicies');
      await clock.passSleep();
      for (let round = 0; round < 2; round++) {
        await until(() => lists('networkpolicies') === 2 + round, 'an empty list');
        await until(() => watch.status()[2]!.doubtsEmpty, 'the doubt');
        assert.deepEqual(counts(), [2, 1, 1, 1, 0]);
        assert.match(watch.status()[2]!.problem!, /networkpolicies: .*empty although 1 are known/);
        await settle();
        clock.advance(2_000);
      }
      await until(() => counts()[2] === 0, 'the belief');
      assert.equal(lists('networkpolicies'), 4);
      assert.deepEqual([watch.status()[2]!.doubtsEmpty, watch.status()[2]!.problem], [false, undefined]);
    });

    it('of everything (a store restored from nothing): never believed', async () => {
      await listAll(everything);
      lose(...KINDS);
      await until(() => clock.sleeping === KINDS.length, 'all back-offs');
      clock.advance(2_000);
      await until(() => counts()[3] === 0, "the node: what that means is the agent's to say");
      for (let round = 0; round < 6; round++) {
        const before = KINDS.map(lists);
        await settle();
        clock.advance(60_000);
        await until(() => KINDS.slice(0, 3).every((kind, index) => lists(kind) > before[index]!), 'three lists');
      }
      await settle();
      assert.deepEqual(counts(), [2, 1, 1, 0, 0]);
      const believed = ['nodes', 'clusternetworkpolicies'];
      assert.ok(watch.status().every(({ kind, doubtsEmpty }) => doubtsEmpty !== believed.includes(kind)));
    });

    it('a deletion told by the watch is believed at once', async () => {
      await listAll(everything);
      remove('networkpolicies', denyAll);
      await until(() => counts()[2] === 0, 'the deletion');
    });
  });

  it('stops for good', async () => {
    await listAll();
    stop.abort();
    await until(() => server.openWatches() === 0, 'every watch to be closed');
    clock.advance(3_600_000);
    await settle();
    assert.equal(server.requests.recent().length, KINDS.length);
    assert.equal(clock.timers + clock.sleeping, 0);
    assert.ok(watch.status().every(({ connected }) => !connected));
  });
});
