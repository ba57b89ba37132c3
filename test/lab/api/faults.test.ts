import assert from 'node:assert/strict';
import { type ApiServer, startApiServer } from '../../../lab/api/api-server.ts';
import { Client, pod, until } from './client.ts';

describe('injected faults', () => {
  let server: ApiServer;
  let client: Client;
  beforeEach(async () => {
    server = await startApiServer({ bookmarkIntervalMs: 10 });
    client = new Client(server, false);
  });
  afterEach(async () => {
    client.close();
    await server.close();
  });

  const LIST = '/api/v1/pods';
  const WATCH = '/api/v1/pods?watch=true&allowWatchBookmarks=true';

  it('answers with a code, as often as told, only where told', async () => {
    server.faults.add({
      verb: 'list',
      resource: 'pods',
      times: 1,
      action: { kind: 'status', code: 429, retryAfterSeconds: 3 },
    });
    assert.equal((await client.get('/api/v1/nodes')).code, 200);
    const limited = await client.get(LIST);
    assert.deepEqual(
      [limited.code, limited.headers['retry-after'], limited.body.reason, limited.body.details.retryAfterSeconds],
      [429, '3', 'TooManyRequests', 3],
    );
    assert.equal((await client.get(LIST)).code, 200);
    const remove = server.faults.add({ action: { kind: 'status', code: 503 } });
    assert.deepEqual([(await client.get(LIST)).code, (await client.get('/version')).code], [503, 503]);
    remove();
    assert.equal((await client.get(LIST)).code, 200);
  });

  it('delays, resets and hangs', async () => {
    server.faults.add({ times: 1, action: { kind: 'delay', ms: 40 } });
    const started = performance.now();
    assert.equal((await client.get(LIST)).code, 200);
    assert.ok(performance.now() - started >= 39);
    server.faults.add({ times: 1, action: { kind: 'reset' } });
    await assert.rejects(client.get(LIST), { code: 'ECONNRESET' });
    server.faults.add({ times: 1, action: { kind: 'hang' } });
    const hanging = client.get(LIST);
    const outcome = await Promise.race([hanging, new Promise((resolve) => setTimeout(resolve, 40, 'silence'))]);
    assert.equal(outcome, 'silence');
    server.faults.dropConnections();
    await assert.rejects(hanging);
  });

  it('drops every connection and takes new ones', async () => {
    const watch = await client.watch(WATCH);
    server.faults.dropConnections();
    assert.equal(await watch.ended, 'cut');
    assert.equal((await client.get(LIST)).code, 200);
  });

  it('refuses connections until it accepts them again, on the same port', async () => {
    const watch = await client.watch(WATCH);
    server.faults.refuseConnections();
    assert.equal(await watch.ended, 'cut');
    await assert.rejects(client.get(LIST), { code: 'ECONNREFUSED' });
    await server.faults.acceptConnections();
    assert.equal((await client.get(LIST)).code, 200);
    server.faults.refuseConnections();
    await server.faults.acceptConnections();
    assert.equal((await client.get(LIST)).code, 200, 'also a second time');
  });

  it('stalls silently and goes on', async () => {
    const watch = await client.watch(WATCH);
    await watch.atLeast(1);
    server.faults.stalled = true;
    const before = watch.events.length;
    server.store.create('pods', pod('a'));
    await new Promise((resolve) => setTimeout(resolve, 40));
    assert.equal(watch.events.length, before, 'neither events nor bookmarks');
    assert.equal(server.openWatches(), 1);
    server.faults.stalled = false;
    await until(() => watch.summary().includes('ADDED a'), 'the event that was held back');
    server.faults.stalled = true;
    const quiet = await client.watch('/api/v1/pods?watch=true');
    server.faults.stalled = false;
    await until(() => quiet.events.length === 1, 'also without bookmarks to wake the watch');
  });

  for (const how of ['reset-mid-line', 'end-mid-line'] as const) {
    it(`ends a watch by ${how}`, async () => {
      server.faults.bookmarks = false;
      const watch = await client.watch(WATCH);
      server.faults.endWatches(how, 'pods');
      server.store.create('pods', pod('a'));
      assert.equal(await watch.ended, 'cut');
      assert.match(watch.rest, /^\{"type":"ADDED"/);
      assert.equal(watch.response.complete, how === 'end-mid-line');
      assert.equal(watch.events.length, 0);
    });
  }

  it('ends watches cleanly, of one resource only', async () => {
    const pods = await client.watch(WATCH);
    const nodes = await client.watch('/api/v1/nodes?watch=true');
    server.faults.endWatches('end', 'pods');
    assert.equal(await pods.ended, 'clean');
    assert.equal(server.openWatches('nodes'), 1);
    nodes.close();
  });

  it('sends an ERROR into running watches', async () => {
    const watch = await client.watch('/api/v1/pods?watch=true');
    server.faults.failWatches(500, 'etcd leader changed');
    assert.equal(await watch.ended, 'clean');
    assert.deepEqual(
      watch.events.map(({ type, object }) => [type, object.code, object.message]),
      [['ERROR', 500, 'etcd leader changed']],
    );
  });

  it('is back to normal after clear', async () => {
    server.faults.add({ action: { kind: 'status', code: 500 } });
    server.faults.streamingLists = 'refuse';
    server.faults.stalled = true;
    server.faults.clear();
    assert.equal((await client.get(LIST)).code, 200);
    assert.deepEqual([server.faults.streamingLists, server.faults.stalled], ['serve', false]);
  });
});

describe('closing the API server', () => {
  it('ends watches and connections, whatever hangs', async () => {
    const server = await startApiServer();
    const client = new Client(server);
    const watch = await client.watch('/api/v1/pods?watch=true');
    server.faults.add({ action: { kind: 'hang' } });
    const hanging = client.get('/api/v1/pods').catch((error: Error) => error);
    await until(() => server.requests.count('list') === 1, 'the request is there');
    await server.close();
    await watch.ended;
    assert.ok((await hanging) instanceof Error);
    assert.equal(server.openConnections(), 0);
    client.close();
  });
});
