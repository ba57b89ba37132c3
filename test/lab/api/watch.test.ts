import assert from 'node:assert/strict';
import { type ApiServer, startApiServer } from '../../../lab/api/api-server.ts';
import { ApiStore } from '../../../lab/api/api-store.ts';
import { Client, pod, policy, until } from './client.ts';

describe('watch', () => {
  let server: ApiServer;
  let client: Client;
  beforeEach(async () => {
    server = await startApiServer({ store: new ApiStore({ historyLimit: 50 }), bookmarkIntervalMs: 20 });
    client = new Client(server);
  });
  afterEach(async () => {
    client.close();
    await server.close();
  });

  const PODS = '/api/v1/pods?watch=true';
  const ref = (name: string) => ({ namespace: 'default', name });
  const version = (): number => server.store.storage.version;

  it('goes on from a version, exactly once and in order', async () => {
    server.store.create('pods', pod('old'));
    const from = version();
    server.store.create('pods', pod('a'));
    server.store.modify('pods', ref('a'), (draft) => {
      draft.metadata.labels = { x: 'y' };
    });
    const watch = await client.watch(`${PODS}&resourceVersion=${from}`);
    server.store.delete('pods', ref('old'));
    await watch.atLeast(3);
    assert.deepEqual(watch.summary(), ['ADDED a', 'MODIFIED a', 'DELETED old']);
    const versions = watch.events.map(({ object }) => Number(object.metadata.resourceVersion));
    assert.deepEqual(versions, [from + 1, from + 2, from + 3]);
    assert.equal(watch.events[0]?.object.kind, 'Pod');
  });

  it('starts with what is there without a version or from version 0', async () => {
    server.store.create('pods', pod('a'));
    for (const query of ['', '&resourceVersion=0']) {
      const watch = await client.watch(`${PODS}${query}`);
      server.store.create('pods', pod(`b${query.length}`));
      await watch.atLeast(2);
      assert.equal(watch.summary()[0], 'ADDED a');
      watch.close();
    }
  });

  it('streams the list and marks its end', async () => {
    server.store.create('pods', pod('a'));
    server.store.create('pods', pod('b'));
    const query = 'sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true';
    const watch = await client.watch(`${PODS}&${query}`);
    const events = await watch.atLeast(3);
    assert.deepEqual(watch.summary().slice(0, 3), ['ADDED a', 'ADDED b', 'BOOKMARK']);
    assert.deepEqual(events[2]?.object.metadata.annotations, { 'k8s.io/initial-events-end': 'true' });
    assert.equal(events[2]?.object.metadata.resourceVersion, String(version()));
    assert.equal(events[2]?.object.kind, 'Pod');
  });

  it('refuses streaming lists with 422 when told to, and asks for resourceVersionMatch', async () => {
    const path = `${PODS}&sendInitialEvents=true&allowWatchBookmarks=true`;
    assert.equal((await client.get(path)).code, 422);
    server.faults.streamingLists = 'refuse';
    const { code, body } = await client.get(`${path}&resourceVersionMatch=NotOlderThan`);
    assert.deepEqual([code, body.reason, body.details.causes[0].field], [422, 'Invalid', 'sendInitialEvents']);
  });

  it('sends bookmarks only when asked, with the version of the whole store', async () => {
    const silent = await client.watch(`${PODS}&resourceVersion=${version()}`);
    const watch = await client.watch(`${PODS}&resourceVersion=${version()}&allowWatchBookmarks=true`);
    server.store.create('networkpolicies', policy('other'));
    const events = await watch.atLeast(2);
    assert.deepEqual([events[0]?.type, events[1]?.object.metadata.resourceVersion], ['BOOKMARK', String(version())]);
    assert.equal(silent.events.length, 0);
    server.faults.bookmarks = false;
    const without = await client.watch(`${PODS}&resourceVersion=${version()}&allowWatchBookmarks=true`);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(without.events.length, 0);
  });

  it('turns what comes into a selection into ADDED and what leaves it into DELETED', async () => {
    const watch = await client.watch(
      `${PODS}&resourceVersion=${version()}&labelSelector=app%3Dx&fieldSelector=spec.nodeName%3Dn1`,
    );
    const label = (app: string) =>
      server.store.modify('pods', ref('a'), (draft) => {
        draft.metadata.labels = { app };
      });
    server.store.create('pods', pod('a', { labels: { app: 'x' } }));
    server.store.create('pods', pod('never', { labels: { app: 'y' } }));
    server.store.bind(ref('a'), 'n1');
    server.store.setStatus('pods', ref('a'), { phase: 'Running' });
    label('y');
    label('z');
    label('x');
    server.store.delete('pods', ref('a'), { gracePeriodSeconds: 0 });
    await watch.atLeast(5);
    assert.deepEqual(watch.summary(), ['ADDED a', 'MODIFIED a', 'DELETED a', 'ADDED a', 'DELETED a']);
    assert.deepEqual(watch.events[2]?.object.metadata.labels, { app: 'x' }, 'the last state that was selected');
  });

  it('sees only its namespace and its object', async () => {
    server.store.create('namespaces', { metadata: { name: 'other' } });
    const own = await client.watch(`/api/v1/namespaces/other/pods?watch=true`);
    const one = await client.watch(`/api/v1/namespaces/default/pods/b?watch=1`);
    server.store.create('pods', pod('a'));
    server.store.create('pods', pod('b'));
    server.store.create('pods', pod('c', { namespace: 'other' }));
    await own.atLeast(1);
    await one.atLeast(1);
    assert.deepEqual([own.summary(), one.summary()], [['ADDED c'], ['ADDED b']]);
  });

  it('answers 410 for forgotten versions, in the stream or as HTTP', async () => {
    const old = version();
    server.store.create('pods', pod('a'));
    server.compact();
    const watch = await client.watch(`${PODS}&resourceVersion=${old}`);
    const [event] = await watch.atLeast(1);
    assert.deepEqual([event?.type, event?.object.code, event?.object.reason], ['ERROR', 410, 'Expired']);
    assert.equal(await watch.ended, 'clean');
    server.faults.goneForm = 'http';
    assert.equal((await client.get(`${PODS}&resourceVersion=${old}`)).code, 410);
    const current = await client.watch(`${PODS}&resourceVersion=${version()}`);
    server.store.create('pods', pod('b'));
    assert.deepEqual((await current.atLeast(1)) && current.summary(), ['ADDED b']);
  });

  it('forgets the oldest changes by itself', async () => {
    const old = version();
    for (let index = 0; index < 120; index += 1) server.store.create('pods', pod(`p${index}`));
    const watch = await client.watch(`${PODS}&resourceVersion=${old}`);
    assert.equal((await watch.atLeast(1))[0]?.object.code, 410);
    const recent = await client.watch(`${PODS}&resourceVersion=${version() - 10}`);
    assert.equal((await recent.atLeast(10)).length, 10);
  });

  it('says nothing of the past to a client that comes from a longer past', async () => {
    const watch = await client.watch(`${PODS}&resourceVersion=${version() + 2}`);
    server.store.create('pods', pod('a'));
    server.store.create('pods', pod('b'));
    server.store.create('pods', pod('c'));
    await watch.atLeast(1);
    assert.deepEqual(watch.summary(), ['ADDED c']);
  });

  it('ends cleanly after timeoutSeconds', async () => {
    const watch = await client.watch(`${PODS}&resourceVersion=${version()}&timeoutSeconds=0.05`);
    assert.equal(server.openWatches('pods'), 1);
    assert.equal(await watch.ended, 'clean');
    assert.equal(server.openWatches(), 0);
  });

  it('forgets watches whose client went away', async () => {
    const watch = await client.watch(PODS);
    watch.close();
    await until(() => server.openWatches() === 0, 'the watch is closed');
  });

  it('writes tables', async () => {
    const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io';
    const watch = await client.watch(PODS, { accept });
    server.store.create('pods', pod('a'));
    const [event] = await watch.atLeast(1);
    assert.deepEqual([event?.object.kind, event?.object.rows[0].cells[0]], ['Table', 'a']);
  });

  it('ends a watch that reads too slowly with 410 instead of holding everything in memory', async () => {
    const padding = 'x'.repeat(60_000);
    server.store.create('configmaps', { metadata: { name: 'big' }, data: { padding } });
    const response = await client.open('GET', `/api/v1/configmaps?watch=true&resourceVersion=${version()}`);
    response.pause();
    for (let index = 0; index < 400; index += 1) {
      server.store.modify('configmaps', ref('big'), (draft) => {
        draft.data = { padding, index: String(index) };
      });
      if (index % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    let text = '';
    for await (const chunk of response as AsyncIterable<Buffer>) text += chunk.toString('utf8');
    const lines = text.trimEnd().split('\n');
    assert.ok(lines.length < 400, `${lines.length} lines`);
    assert.equal((JSON.parse(lines.at(-1) ?? '') as { object: { code: number } }).object.code, 410);
  });
});

describe('watch inside the process', () => {
  const store = (): ApiStore => {
    const made = new ApiStore();
    made.create('namespaces', { metadata: { name: 'default' } });
    return made;
  };

  it('tells of what is there, then of changes with their past, until it is stopped', () => {
    const kept = store();
    kept.create('pods', pod('a'));
    const seen: string[] = [];
    const stop = kept.watch('pods', ({ type, object, previous }) => {
      seen.push(`${type} ${object.metadata.name} ${previous?.status?.phase ?? '-'}`);
    });
    kept.setStatus('pods', { namespace: 'default', name: 'a' }, { phase: 'Running' });
    kept.create('configmaps', { metadata: { name: 'c' } });
    kept.delete('pods', { namespace: 'default', name: 'a' }, { gracePeriodSeconds: 0 });
    stop();
    kept.create('pods', pod('b'));
    assert.deepEqual(seen, ['ADDED a -', 'MODIFIED a Pending', 'DELETED a Running']);
  });

  it('keeps the order for every listener when listeners write', () => {
    const kept = store();
    const first: string[] = [];
    const second: string[] = [];
    kept.watch('pods', ({ type, object }) => {
      first.push(`${type} ${object.status?.phase}`);
      if (object.status?.phase === 'Pending')
        kept.setStatus('pods', { namespace: 'default', name: 'a' }, { phase: 'Running' });
    });
    kept.watch('pods', ({ type, object }) => {
      second.push(`${type} ${object.status?.phase}`);
    });
    kept.create('pods', pod('a'));
    assert.deepEqual(first, ['ADDED Pending', 'MODIFIED Running']);
    assert.deepEqual(second, first);
  });

  it('tells a listener that writes of what is there before of what it wrote', () => {
    const kept = store();
    kept.create('pods', pod('a'));
    kept.create('pods', pod('b'));
    const seen: string[] = [];
    kept.watch('pods', ({ type, object }) => {
      seen.push(`${type} ${object.metadata.name} ${object.status?.phase}`);
      if (type !== 'ADDED' || object.metadata.name !== 'a') return;
      kept.setStatus('pods', { namespace: 'default', name: 'b' }, { phase: 'Running' });
    });
    assert.deepEqual(seen, ['ADDED a Pending', 'ADDED b Pending', 'MODIFIED b Running']);
  });

  it('tells a listener that comes in the middle of a change of everything once', () => {
    const kept = store();
    const seen: string[] = [];
    const outer = kept.watch('pods', ({ object }) => {
      outer();
      kept.create('pods', pod(`${object.metadata.name}-2`));
      kept.watch('pods', ({ type, object: inner }) => {
        seen.push(`${type} ${inner.metadata.name}`);
      });
    });
    kept.create('pods', pod('a'));
    assert.deepEqual(seen, ['ADDED a', 'ADDED a-2']);
  });

  it('hands out objects nobody can change', () => {
    const kept = store();
    const created = kept.create('pods', pod('a', { labels: { x: 'y' } }));
    assert.throws(() => {
      (created.metadata.labels as Record<string, string>).x = 'z';
    }, TypeError);
  });
});

describe('fault: a watch of a real server', () => {
  let server: ApiServer;
  let client: Client;
  beforeEach(async () => {
    server = await startApiServer({ bookmarkLookMs: 20, progressIntervalMs: 300 });
    client = new Client(server);
  });
  afterEach(async () => {
    client.close();
    await server.close();
  });

  const version = (): number => server.store.storage.version;
  const watchFrom = (from: number) =>
    client.watch(`/api/v1/pods?watch=true&resourceVersion=${from}&allowWatchBookmarks=true`);

  it('gets a bookmark only when there is news: of its kind at the next look, of others when the store tells of them', async () => {
    const watch = await watchFrom(version());
    server.store.create('pods', pod('a'));
    await watch.atLeast(1);
    const told = version();
    server.store.create('networkpolicies', policy('other'));
    const started = performance.now();
    const events = await watch.atLeast(2);
    assert.ok(performance.now() - started > 30, 'not at the next look');
    assert.deepEqual([events[1]?.type, events[1]?.object.metadata.resourceVersion], ['BOOKMARK', `${told + 1}`]);
    await new Promise((resolve) => setTimeout(resolve, 400));
    assert.equal(watch.events.length, 2, 'nothing new, no bookmark');
  });

  it('from a version that is yet to come is accepted and silent; a list that must be as new is 504 after 3 s', async () => {
    server.store.create('pods', pod('a'));
    const future = version() + 100;
    const watch = await watchFrom(future);
    const path = `/api/v1/pods?limit=1&resourceVersion=${future}&resourceVersionMatch=NotOlderThan`;
    const started = performance.now();
    const { code, body } = await client.get(path);
    const ms = performance.now() - started;
    assert.deepEqual([code, body.reason, body.details.causes[0].reason], [504, 'Timeout', 'ResourceVersionTooLarge']);
    assert.ok(ms > 2_500 && ms < 6_000, `after ${ms} ms`);
    assert.equal(watch.events.length, 0);
  });

  it('a list that must be as new as the next change waits for it', async () => {
    server.store.create('pods', pod('a'));
    const path = `/api/v1/pods?limit=1&resourceVersion=${version() + 1}&resourceVersionMatch=NotOlderThan`;
    const asked = client.get(path);
    await new Promise((resolve) => setTimeout(resolve, 50));
    server.store.create('pods', pod('b'));
    const { code, body } = await asked;
    assert.deepEqual([code, body.items.length, body.metadata.remainingItemCount], [200, 1, 1]);
  });
});
