import assert from 'node:assert/strict';
import type { Connection } from '../../src/cluster/connection.ts';
import { API_KINDS, type ApiKinds } from '../../src/cluster/kinds.ts';
import { type ClusterWatch, createClusterWatch, type KindStatus } from '../../src/cluster/watch-cluster.ts';
import { informersReady } from '../../src/telemetry/readiness.ts';
import { type Exchange, ScriptedServer } from './scripted-server.ts';
import { plainConnection } from './plain-connection.ts';
import { settle, turns, until, VirtualClock } from '../support/virtual-clock.ts';
import { fastClock } from './fast-clock.ts';
import { until as eventually } from '../support/agent-lab.ts';
import { startApiServer } from '../../lab/api/api-server.ts';

const GROUP = '/apis/policy.networking.k8s.io/v1alpha2';
const KIND = 'clusternetworkpolicies';
const PATH = `${GROUP}/${KIND}`;
const REQUIRED = Object.values(API_KINDS).flatMap(({ path, optional, onDemand }) =>
  optional || onDemand ? [] : [path],
);

const KINDS = API_KINDS;

const object = (name: string, uid = name): object => ({ metadata: { name, uid, resourceVersion: '7' } });
const PLAIN = { 'content-type': 'text/plain; charset=utf-8' };

/** As a server answers where it has no handler. */
const plain404 = (exchange: Exchange): void => exchange.answer(404, '404 page not found\n', PLAIN);
const status404 = (exchange: Exchange): void =>
  exchange.refuse(404, 'NotFound', 'the server could not find the requested resource');
const html404 = (exchange: Exchange): void =>
  exchange.answer(404, '<html><h1>Not Found</h1></html>', { 'content-type': 'text/html' });

const groups = (...versions: string[]): object => ({
  kind: 'APIGroupList',
  groups: versions.map((groupVersion) => ({ name: groupVersion.split('/')[0], versions: [{ groupVersion }] })),
});
const resources = (...names: string[]): object => ({
  kind: 'APIResourceList',
  resources: names.map((name) => ({ name, namespaced: false })),
});

describe('optional kinds', () => {
  let server: ScriptedServer;
  let connection: Connection;
  let watch: ClusterWatch;
  let stop: AbortController;
  let clock: VirtualClock;
  const changes: string[] = [];
  const warnings: string[] = [];
  const infos: string[] = [];
  const restarts: string[] = [];

  beforeEach(async () => {
    server = await new ScriptedServer().start();
    clock = new VirtualClock();
    connection = plainConnection(server.url);
    stop = new AbortController();
    for (const list of [changes, warnings, infos, restarts]) list.splice(0);
    const note = (list: string[]) => (fields: object, message: string) => {
      if ((fields as { kind?: string }).kind === KIND) list.push(message);
    };
    watch = createClusterWatch({
      connection,
      nodeName: 'node-1',
      clock,
      random: () => 0.5,
      kinds: KINDS,
      log: { debug: () => {}, info: note(infos), warn: note(warnings) },
      observer: { onRestart: (kind, reason) => void ((kind as string) === KIND && restarts.push(reason)) },
    });
    watch.onChange(({ kind, key, type }) => void ((kind as string) === KIND && changes.push(`${type} ${key}`)));
    watch.start(stop.signal);
  });

  afterEach(async () => {
    stop.abort();
    connection.close();
    await server.stop();
  });

  const status = (): KindStatus => watch.status().find(({ kind }) => (kind as string) === KIND)!;
  const listRequired = async (): Promise<void> => {
    for (const path of REQUIRED) (await server.next(path)).accept().bookmark('10', true);
    await until(() => watch.status().filter(({ presence }) => presence === 'listed').length >= 4, 'four lists');
  };
  const listOptional = async (version: string, ...names: string[]): Promise<Exchange> => {
    const exchange = (await server.next(PATH)).accept();
    assert.equal(exchange.query.get('sendInitialEvents'), 'true');
    for (const name of names) exchange.event('ADDED', object(name));
    exchange.bookmark(version, true);
    await until(() => status().connected, 'the watch');
    return exchange;
  };
  /** Answers so many looks, and the questions of discovery beside them. */
  const refuse = async (times: number, answer: (exchange: Exchange) => void, first = true): Promise<void> => {
    for (let time = 0; time < times; time++) {
      if (time > 0 || !first) await clock.passSleep();
      answer(await server.next(PATH));
    }
  };
  const isAbsent = (): Promise<void> => until(() => status().presence === 'absent', 'absence');

  for (const [how, answer] of [
    ['a Status', status404],
    [
      'plain text, and discovery without the group',
      async (exchange: Exchange) => {
        plain404(exchange);
        plain404(await server.next(GROUP));
        (await server.next('/apis')).answer(200, groups('apps/v1', 'policy.networking.k8s.io/v1alpha1'));
      },
    ],
    [
      'plain text, and discovery of the group without the resource',
      async (exchange: Exchange) => {
        plain404(exchange);
        (await server.next(GROUP)).answer(200, resources('adminnetworkpolicies'));
      },
    ],
  ] as const)
    it(`fault: a kind that the server does not have holds up nothing (${how})`, async () => {
      await listRequired();
      assert.equal(watch.inSync, false);
      assert.match(informersReady(watch).reason ?? '', /not listed yet: clusternetworkpolicies/);
      await answer(await server.next(PATH));
      await until(() => watch.inSync, 'sync');
      assert.deepEqual(informersReady(watch), {
        ok: true,
        reason: 'all kinds were listed, of which the API server does not have clusternetworkpolicies',
      });
      const { presence, connected, objects, staleMs, problem } = status();
      assert.deepEqual([presence, connected, objects, staleMs, problem], ['absent', false, 0, 0, undefined]);
      clock.advance(44_000);
      assert.equal(status().staleMs, 0, 'nothing is missed');
      assert.deepEqual(infos, [`${KIND}: this API server does not serve ${PATH}; looked for again`]);
      assert.deepEqual(warnings, []);
    });

  it('N-3: looks for it every 30 to 60 s, says it once and counts it once', async () => {
    await listRequired();
    status404(await server.next(PATH));
    await isAbsent();
    for (let look = 0; look < 5; look++) {
      const seen = server.seen.length;
      // In steps, so that questions beside the other watches are answered meanwhile.
      for (let second = 0; second < 44; second++) {
        clock.advance(1_000);
        await turns();
      }
      assert.equal(server.seen.length, seen);
      clock.advance(1_000);
      status404(await server.next(PATH));
      await turns();
    }
    assert.equal(infos.length, 1);
    assert.deepEqual(restarts, ['not-served']);
    assert.equal(status().restarts, 1);
  });

  it('fault: a kind that appears, goes with its objects and comes back', async () => {
    await listRequired();
    status404(await server.next(PATH));
    await isAbsent();
    await clock.passSleep();
    const watched = await listOptional('20', 'a', 'b');
    assert.deepEqual(changes.splice(0), ['added a', 'added b']);
    assert.equal(watch.inSync, true);
    watched.event('ADDED', object('c')).end();
    await until(() => changes.length === 1, 'c');
    await refuse(3, status404, false);
    await isAbsent();
    assert.deepEqual(changes.splice(0), ['added c', 'deleted a', 'deleted b', 'deleted c']);
    assert.match(warnings.at(-1) ?? '', /does not serve .*; its 3 objects count no more; looked for again/);
    assert.deepEqual([status().staleMs, status().problem], [0, undefined]);
    await clock.passSleep();
    await listOptional('5', 'a');
    assert.deepEqual(changes.splice(0), ['added a'], 'listed, whatever the version was before');
    assert.equal(status().presence, 'listed');
  });

  it('fault: one answer that a kind is not there takes nothing away from it', async () => {
    await listRequired();
    const watched = await listOptional('20', 'a');
    for (let round = 0; round < 3; round++) {
      (round === 0 ? watched : await listOptional('21', 'a')).end();
      await refuse(2, status404, false);
      await clock.passSleep();
    }
    await listOptional('22', 'a', 'b');
    assert.deepEqual(changes, ['added a', 'added b']);
    assert.ok(warnings.some((text) => /asked again before it is believed/.test(text)));
  });

  for (const [how, answer] of [
    ['a proxy that does not know any page', html404],
    [
      'an aggregated API server that is away',
      (exchange: Exchange) => exchange.refuse(503, 'ServiceUnavailable', 'away'),
    ],
    ['a gateway', (exchange: Exchange) => exchange.answer(502, 'bad gateway', PLAIN)],
    ['nobody', (exchange: Exchange) => exchange.reset()],
  ] as const)
    it(`fault: what is known of a kind stays when its server's place is taken by ${how}`, async () => {
      await listRequired();
      (await listOptional('20', 'a')).end();
      for (let round = 0; round < 6; round++) {
        await clock.passSleep();
        const exchange = await server.next(PATH);
        answer(exchange);
        if (answer !== html404) continue;
        html404(await server.next(GROUP));
        html404(await server.next('/apis'));
      }
      await settle();
      assert.deepEqual([status().presence, status().objects], ['listed', 1]);
      assert.deepEqual(changes, ['added a']);
      assert.ok(status().staleMs > 0);
      assert.ok(status().problem);
    });

  it('fault: is not taken for absent while discovery names it: it holds up, and says so', async () => {
    await listRequired();
    plain404(await server.next(PATH));
    (await server.next(GROUP)).answer(200, resources(KIND, `${KIND}/status`));
    await until(() => status().problem !== undefined, 'the problem');
    assert.equal(status().presence, 'unknown');
    assert.equal(watch.inSync, false);
    assert.equal(await clock.passSleep(), 1_200);
    html404(await server.next(PATH));
    (await server.next(GROUP)).refuse(403, 'Forbidden', 'no');
    await clock.passSleep();
    await listOptional('20', 'a');
    assert.equal(watch.inSync, true);
  });

  it('fault: an optional kind that we may not list holds up: the server may have it', async () => {
    await listRequired();
    (await server.next(PATH)).refuse(403, 'Forbidden', 'not allowed');
    await until(() => status().problem !== undefined, 'the problem');
    clock.advance(4_000);
    (await server.next(PATH)).refuse(403, 'Forbidden', 'not allowed');
    await until(() => warnings.length > 0, 'the warning');
    assert.match(warnings[0] ?? '', /resources: \["clusternetworkpolicies"\]/);
    assert.equal(watch.inSync, false);
  });

  it('fault: a required kind that is missing holds up, whatever says so', async () => {
    for (const path of REQUIRED.slice(1)) (await server.next(path)).accept().bookmark('10', true);
    status404(await server.next(PATH));
    status404(await server.next(REQUIRED[0]));
    await isAbsent();
    await until(() => watch.status()[0]?.problem !== undefined, 'the problem');
    assert.equal(watch.status()[0]?.presence, 'unknown');
    assert.match(informersReady(watch).reason ?? '', /pods: .*does not serve \/api\/v1\/pods/);
    assert.equal(watch.inSync, false);
  });

  it('fault: a kind that is absent stays so while the server is away, and it shows', async () => {
    await listRequired();
    status404(await server.next(PATH));
    await isAbsent();
    await clock.passSleep();
    (await server.next(PATH)).refuse(500, 'InternalError', 'boom');
    await until(() => status().problem !== undefined, 'the problem');
    clock.advance(1_000);
    assert.equal(status().presence, 'absent');
    assert.ok(status().staleMs > 0);
    clock.advance(1_000);
    status404(await server.next(PATH));
    await until(() => status().problem === undefined, 'the answer');
    assert.equal(status().staleMs, 0);
    assert.equal(watch.inSync, true);
  });
});

function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 16_807) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

/** A kind of the lab's server, as if it were optional. */
const ROLES: ApiKinds = {
  ...API_KINDS,
  [KIND]: {
    ...API_KINDS[KIND],
    apiGroup: 'rbac.authorization.k8s.io',
    path: '/apis/rbac.authorization.k8s.io/v1/clusterroles',
  },
};

describe('fault: a kind that a server of the lab has and has not, in any order', function () {
  this.timeout(60_000);

  for (const seed of [1, 2, 3])
    it(`seed ${seed}`, async () => {
      const random = randomOf(seed);
      const server = await startApiServer({ tls: false, tokens: [{ token: 'secret', user: 'agent' }] });
      const watch = createClusterWatch({
        connection: plainConnection(server.url, 'secret'),
        nodeName: 'node-1',
        clock: fastClock(200),
        kinds: ROLES,
        random,
      });
      const known = new Map<string, string>();
      watch.onChange(({ kind, key, type, after }) => {
        if ((kind as string) !== KIND) return;
        assert.equal(known.has(key), type !== 'added', `${type} ${key}`);
        if (after && 'uid' in after) known.set(key, after.uid);
        else known.delete(key);
      });
      const stop = new AbortController();
      let serve: (() => void) | undefined;
      const hide = (): void => {
        serve ??= server.faults.add({ resource: 'clusterroles', action: { kind: 'status', code: 404 } });
      };
      const show = (): void => {
        serve?.();
        serve = undefined;
      };
      const role = (name: string): void => {
        if (server.store.get('clusterroles', { name })) server.store.delete('clusterroles', { name });
        else server.store.create('clusterroles', { metadata: { name } } as never);
      };
      const acts: readonly (() => unknown)[] = [
        hide,
        show,
        () => role('a'),
        () => role('b'),
        () => server.faults.endWatches('end', 'clusterroles'),
        () => server.faults.endWatches('reset', 'clusterroles'),
        () => new Promise((resolve) => setTimeout(resolve, random() * 300)),
      ];
      const wanted = (): string =>
        serve
          ? ''
          : server.store
              .list('clusterroles')
              .map(({ metadata }) => metadata.name)
              .join(' ');
      const isRight = (): boolean => [...known.keys()].sort().join(' ') === wanted();
      if (random() < 0.5) hide();
      watch.start(stop.signal);
      for (let round = 0; round < 4; round++) {
        for (let act = 0; act < 12; act++) await acts[Math.floor(random() * acts.length)]!();
        // A server that hides a kind ends its watches.
        if (serve) server.faults.endWatches('end', 'clusterroles');
        await eventually(isRight, () => `${wanted()} known, not ${[...known.keys()].join(' ')}`, 10_000);
        const status = watch.status().find(({ kind }) => (kind as string) === KIND)!;
        assert.equal(status.objects, known.size);
        await eventually(() => watch.inSync, 'sync');
      }
      stop.abort();
      await server.close();
    });
});
