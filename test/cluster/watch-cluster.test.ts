import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Connection, loadConnection } from '../../src/cluster/connection.ts';
import { type ClusterChange, type ClusterWatch, createClusterWatch } from '../../src/cluster/watch-cluster.ts';
import { makeCertificate } from './certificates.ts';
import { type Exchange, FakeApiServer } from './fake-api-server.ts';
import { settle, until, VirtualClock } from '../support/virtual-clock.ts';
import { apiPod, apiPolicy, rulesOf } from '../support/api-objects.ts';

const PATHS = ['/api/v1/pods', '/api/v1/namespaces', '/apis/networking.k8s.io/v1/networkpolicies', '/api/v1/nodes'];

const denyAll = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace: 'x', name: 'deny', uid: 'p1', resourceVersion: '3' },
  spec: { podSelector: {}, policyTypes: ['Ingress'] },
};
const node = (mode?: string): object => ({
  metadata: { name: 'node-1', uid: 'n1', ...(mode ? { annotations: { 'portcullis.dev/mode': mode } } : {}) },
  status: { addresses: [{ type: 'InternalIP', address: '203.0.113.250' }] },
});

describe('cluster watch', () => {
  let directory: string;
  let server: FakeApiServer;
  let connection: Connection;
  let watch: ClusterWatch;
  let stop: AbortController;
  let clock: VirtualClock;
  let tls: { key: string; cert: string };
  let caPem: string;
  let random: () => number;
  const told: string[] = [];
  const changes: ClusterChange[] = [];

  before(async () => {
    const ca = await makeCertificate('ca');
    caPem = ca.cert;
    tls = await makeCertificate('server', ca);
  });

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'watch-'));
    await writeFile(join(directory, 'token'), 'first');
    await writeFile(join(directory, 'ca.crt'), caPem);
    server = await new FakeApiServer(tls).start();
    clock = new VirtualClock();
    connection = await loadConnection({
      serviceAccountDir: directory,
      env: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: `${server.port}` },
      clock,
    });
    stop = new AbortController();
    told.splice(0);
    changes.splice(0);
    random = () => 0;
    watch = createClusterWatch({
      connection,
      nodeName: 'node-1',
      clock,
      random: () => random(),
      observer: {
        onListenerFailed: (kind) => void told.push(`failed ${kind}`),
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
    await server.stop();
    await rm(directory, { recursive: true });
  });

  /** Streams the four kinds, `objects` by path, each to its end bookmark. */
  const listAll = async (objects: Readonly<Record<string, readonly object[]>>): Promise<Record<string, Exchange>> => {
    const exchanges: Record<string, Exchange> = {};
    for (const path of PATHS) {
      const exchange = (await server.next(path)).accept();
      for (const object of objects[path] ?? []) exchange.event('ADDED', object);
      exchanges[path] = exchange.bookmark('10', true);
    }
    return exchanges;
  };

  it('keeps pods of this node that wait for an address, and no others (S-77)', async () => {
    watch.start(stop.signal);
    const waiting = (name: string, nodeName: string, spec: object = {}, status: object = {}): object => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { namespace: 'x', name, uid: name, resourceVersion: '4' },
      spec: { nodeName, containers: [], ...spec },
      status: { phase: 'Pending', ...status },
    });
    const far = waiting('far', 'node-2');
    const host = waiting('host', 'node-1', { hostNetwork: true });
    const done = waiting('done', 'node-1', {}, { phase: 'Succeeded' });
    await listAll({ '/api/v1/pods': [waiting('new', 'node-1'), far, host, done] });
    await until(() => watch.inSync, 'sync');
    assert.deepEqual([...watch.snapshot().pods.keys()], ['x/new']);
  });

  it('is in sync once every kind is listed, and tells so once', async () => {
    let synced = 0;
    watch.onSync(() => synced++);
    watch.start(stop.signal);
    for (const path of PATHS.slice(1)) (await server.next(path)).accept().bookmark('5', true);
    await until(() => watch.status().filter(({ presence }) => presence === 'listed').length === 3, 'three kinds');
    assert.equal(watch.inSync, false);
    assert.equal(synced, 0);
    const pods = (await server.next(PATHS[0])).accept().event('ADDED', apiPod('a')).bookmark('5', true);
    await until(() => watch.inSync, 'sync');
    assert.equal(synced, 1);
    watch.onSync(() => synced++);
    assert.equal(synced, 2, 'who comes late is told at once');
    pods.event('ERROR', { code: 410 });
    await clock.passSleep();
    (await server.next(PATHS[0])).accept().bookmark('6', true);
    await until(() => watch.snapshot().pods.size === 0, 'the relist');
    assert.equal(watch.inSync, true);
    assert.equal(synced, 2);
  });

  it('fault: a policy over the limit of its namespace allows nothing, and is listed again once there is room', async () => {
    watch.start(stop.signal);
    const policies = [1, 2, 3, 4, 5].map((created) =>
      apiPolicy(`p${created}`, { created, spec: { ingress: rulesOf(900_000, created) } }),
    );
    const exchanges = await listAll({ [PATHS[2]!]: policies });
    await until(() => watch.inSync, 'sync');
    const rules = (name: string): number | undefined => watch.snapshot().policies.get(`x/${name}`)?.ingress.length;
    assert.deepEqual([rules('p4'), rules('p5')], [1, 0]);
    assert.equal(watch.snapshot().policies.get('x/p5')?.isolates.ingress, true);
    assert.deepEqual(
      watch.snapshot().problems.map(({ object }) => object.name),
      ['p5'],
    );

    exchanges[PATHS[2]!]!.event('DELETED', policies[0]);
    await until(() => watch.snapshot().policies.size === 4, 'the deletion');
    assert.equal(rules('p5'), 0, 'what was dropped is not there');
    clock.advance(60_000);
    exchanges[PATHS[2]!]!.bookmark('11');
    await clock.passSleep();
    const again = (await server.next(PATHS[2])).accept();
    assert.equal(again.query.get('sendInitialEvents'), 'true');
    for (const policy of policies.slice(1)) again.event('ADDED', policy);
    again.bookmark('12', true);
    await until(() => rules('p5') === 1, 'the rules');
    assert.deepEqual(watch.snapshot().problems, []);
  });

  it('shows one snapshot of four kinds, live, with the problems of all', async () => {
    watch.start(stop.signal);
    const exchanges = await listAll({
      [PATHS[0]!]: [apiPod('a', { ip: 'nonsense' })],
      [PATHS[1]!]: [{ metadata: { name: 'x', uid: 'n' } }],
      [PATHS[2]!]: [denyAll],
      [PATHS[3]!]: [node('audit'), { metadata: { name: 'another' } }],
    });
    await until(() => watch.inSync, 'sync');
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
    assert.equal(server.seen.find(({ path }) => path === PATHS[3])?.query.get('fieldSelector'), 'metadata.name=node-1');
    assert.equal(
      server.seen.find(({ path }) => path === PATHS[0])?.query.get('fieldSelector'),
      'status.phase!=Succeeded,status.phase!=Failed,spec.hostNetwork=false',
    );
    assert.equal(server.seen.find(({ path }) => path === PATHS[2])?.query.has('fieldSelector'), false);
    changes.splice(0);
    exchanges[PATHS[3]!]!.event('MODIFIED', node('enforce'));
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
      ],
    );
    assert.equal(watch.status()[0]?.lastHeardMs, clock.wallTime());
  });

  it('refuses to be started twice, so no watch is ever open twice', async () => {
    watch.start(stop.signal);
    assert.throws(() => watch.start(stop.signal), /started twice/);
    await settle();
    assert.equal(server.seen.length, PATHS.length);
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
    watch.start(stop.signal);
    await listAll({ [PATHS[0]!]: [apiPod('a'), apiPod('b')] });
    await until(() => synced, 'sync');
    assert.deepEqual(after, ['x/a', 'x/b']);
    assert.deepEqual(told.slice(0, 2), ['failed pods', 'failed pods']);
    assert.equal(told.length, 3);
  });

  it('fault: uses a rotated token at once when the old one is refused', async () => {
    watch.start(stop.signal);
    const exchanges = await listAll({ [PATHS[0]!]: [apiPod('a')] });
    await until(() => watch.inSync, 'sync');
    await writeFile(join(directory, 'token'), 'second');
    exchanges[PATHS[0]!]!.end();
    await clock.passSleep();
    const refused = await server.next(PATHS[0]);
    assert.equal(refused.headers.authorization, 'Bearer first');
    refused.refuse(401, 'Unauthorized', 'Unauthorized');
    const accepted = await server.next(PATHS[0]);
    assert.equal(accepted.headers.authorization, 'Bearer second');
    assert.equal(accepted.query.get('resourceVersion'), '10');
    assert.equal(clock.sleeping, 0);
    accepted.accept().event('ADDED', apiPod('b'));
    await until(() => watch.snapshot().pods.size === 2, 'the next pod');
    assert.equal(watch.status()[0]?.problem, undefined);
  });

  it('fault: asks often for a server that is away, and when one watch has found it the others do not wait', async () => {
    watch.start(stop.signal);
    await listAll({});
    await until(() => watch.inSync, 'sync');
    random = () => 0.999;
    const { port } = server;
    await server.stop();
    for (let round = 0; round < 20; round++) {
      await until(() => clock.sleeping === PATHS.length, 'four back-offs');
      clock.advance(2_000);
    }
    assert.deepEqual(new Set(clock.slept.slice(-8)), new Set([1_999]), 'an outage of any length');
    await until(() => clock.sleeping === PATHS.length, 'four back-offs');
    random = () => (clock.sleeping === 0 ? 0 : 0.999);
    clock.advance(2_000);
    await until(() => clock.sleeping === PATHS.length, 'four back-offs');
    assert.ok(clock.slept.slice(-4).includes(800));
    server = await new FakeApiServer(tls).start(port);
    clock.advance(800);
    const first = await server.next();
    await settle();
    assert.equal(server.seen.length, 1);
    first.accept();
    for (const path of PATHS) if (path !== first.path) await server.next(path);
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
    watch.start(stop.signal);
    await listAll({});
    await until(() => watch.inSync, 'sync');
    await server.stop();
    opens = 0;
    for (let step = 0; step < 600; step++) {
      clock.advance(100);
      // A refused connection takes a little real time.
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    assert.ok(opens > 30 && opens < 100, `${opens} in a minute`);
    server = await new FakeApiServer(tls).start();
  });

  it('fault: survives a server that comes back with another CA', async () => {
    watch.start(stop.signal);
    await listAll({ [PATHS[0]!]: [apiPod('a')] });
    await until(() => watch.inSync, 'sync');
    const { port } = server;
    await server.stop();
    const otherCa = await makeCertificate('other');
    server = await new FakeApiServer(await makeCertificate('server', otherCa)).start(port);
    const unsigned = (): boolean => watch.status().every(({ problem }) => problem?.includes('not signed by the CA'));
    while (!unsigned()) {
      clock.advance(1_600);
      await settle();
    }
    assert.equal(watch.inSync, true);
    assert.equal(watch.snapshot().pods.size, 1);
    assert.ok(watch.status().every(({ connected }) => !connected));
    await writeFile(join(directory, 'ca.crt'), otherCa.cert);
    while (!server.seen.some(({ path }) => path === PATHS[0])) {
      clock.advance(1_600);
      await settle();
    }
    const again = await server.next(PATHS[0]);
    again.accept().event('DELETED', apiPod('a'));
    await until(() => watch.snapshot().pods.size === 0, 'the deletion');
  });

  describe('fault: a list that is empty although objects are known', () => {
    const everything = {
      [PATHS[0]!]: [apiPod('a'), apiPod('b')],
      [PATHS[1]!]: [{ metadata: { name: 'x', uid: 'n' } }],
      [PATHS[2]!]: [denyAll],
      [PATHS[3]!]: [node()],
    };
    const counts = (): number[] => watch.status().map(({ objects }) => objects);
    /** The next list of `path` names nothing. */
    const emptyList = async (path: string, version: string): Promise<Exchange> => {
      const exchange = await server.next(path);
      assert.ok(exchange.query.has('sendInitialEvents'), `${path} is listed`);
      return exchange.accept().bookmark(version, true);
    };

    it('of policies: kept until three lists in a row say the same', async () => {
      watch.start(stop.signal);
      const exchanges = await listAll(everything);
      await until(() => watch.inSync, 'sync');
      exchanges[PATHS[2]!]!.event('ERROR', { code: 410 });
      await clock.passSleep();
      for (let round = 0; round < 2; round++) {
        await emptyList(PATHS[2]!, `${20 + round}`);
        await until(() => watch.status()[2]!.doubtsEmpty, 'the doubt');
        assert.deepEqual(counts(), [2, 1, 1, 1]);
        assert.match(watch.status()[2]!.problem!, /networkpolicies: .*empty although 1 are known/);
        await settle();
        clock.advance(2_000);
      }
      await emptyList(PATHS[2]!, '22');
      await until(() => counts()[2] === 0, 'the belief');
      assert.deepEqual([watch.status()[2]!.doubtsEmpty, watch.status()[2]!.problem], [false, undefined]);
    });

    it('of everything (a store restored from nothing): never believed', async () => {
      watch.start(stop.signal);
      const exchanges = await listAll(everything);
      await until(() => watch.inSync, 'sync');
      for (const path of PATHS) exchanges[path]!.event('ERROR', { code: 410 });
      await until(() => clock.sleeping === 4, 'four back-offs');
      clock.advance(2_000);
      const open = new Map<string, Exchange>();
      for (const path of PATHS) open.set(path, await emptyList(path, '1'));
      await until(() => counts()[3] === 0, "the node: what that means is the agent's to say");
      for (let round = 0; round < 6; round++) {
        await settle();
        clock.advance(60_000);
        for (const path of PATHS.slice(0, 3)) {
          await until(() => open.get(path)!.closed, 'the end of the last list');
          open.set(path, await emptyList(path, '1'));
        }
      }
      await settle();
      assert.deepEqual(counts(), [2, 1, 1, 0]);
      assert.ok(watch.status().every(({ kind, doubtsEmpty }) => doubtsEmpty === (kind !== 'nodes')));
    });

    it('a deletion told by the watch is believed at once', async () => {
      watch.start(stop.signal);
      const exchanges = await listAll(everything);
      await until(() => watch.inSync, 'sync');
      exchanges[PATHS[2]!]!.event('DELETED', denyAll);
      await until(() => counts()[2] === 0, 'the deletion');
    });
  });

  it('stops for good', async () => {
    watch.start(stop.signal);
    const exchanges = await listAll({});
    await until(() => watch.inSync, 'sync');
    stop.abort();
    await until(() => Object.values(exchanges).every(({ closed }) => closed), 'every watch to be closed');
    clock.advance(3_600_000);
    await settle();
    assert.equal(server.seen.length, PATHS.length);
    assert.equal(clock.timers + clock.sleeping, 0);
    assert.ok(watch.status().every(({ connected }) => !connected));
  });
});
