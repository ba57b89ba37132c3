/** The watch of a whole cluster against the lab's API server, whose store is replaced as after a restored backup. */
import assert from 'node:assert/strict';
import { type ClusterWatch, createClusterWatch } from '../../src/cluster/watch-cluster.ts';
import { type ApiServer, startApiServer } from '../../lab/api/api-server.ts';
import { ApiStore } from '../../lab/api/api-store.ts';
import { namespaceObject, nodeObject } from '../support/api-objects.ts';
import { policyObject } from '../support/builders.ts';
import { until } from '../support/agent-lab.ts';
import { plainConnection } from './plain-connection.ts';
import { fastClock } from './fast-clock.ts';

const TOKENS = [{ token: 'secret', user: 'agent' }];
/** Time of the watch runs so many times as fast as ours. */
const SPEED = 20;

const policy = (name: string) => policyObject(`default/${name}`, { podSelector: {}, policyTypes: ['Ingress'] });

describe('fault: a store restored from a backup', function () {
  this.timeout(30_000);
  let server: ApiServer;
  let watch: ClusterWatch;
  const stop = new AbortController();

  const serve = async (port: number, firstVersion: number, policies: readonly string[]): Promise<void> => {
    const store = new ApiStore({ firstVersion });
    for (const name of ['default', 'kube-system']) store.create('namespaces', namespaceObject(name));
    store.create('nodes', nodeObject('node-1'));
    for (const name of policies) store.create('networkpolicies', policy(name));
    server = await startApiServer({ tls: false, tokens: TOKENS, store, port, tooLargeWaitMs: 50 });
  };
  /** The same address, another past. */
  const restore = async (firstVersion: number, policies: readonly string[]): Promise<void> => {
    const { port } = server;
    await server.close();
    await serve(port, firstVersion, policies);
  };
  const known = (): string =>
    [...watch.snapshot().policies.keys()]
      .map((key) => key.split('/')[1])
      .sort((a, b) => (a! < b! ? -1 : 1))
      .join(' ');
  const knows = (names: string): Promise<number> =>
    until(
      () => known() === names,
      () => `${names}, knows ${known()}`,
      15_000,
    );

  before(async () => {
    await serve(0, 10_000, ['gone', 'stays']);
    watch = createClusterWatch({
      connection: plainConnection(server.url, TOKENS[0]!.token),
      nodeName: 'node-1',
      clock: fastClock(SPEED),
    });
    watch.start(stop.signal);
    await knows('gone stays');
  });

  after(async () => {
    stop.abort();
    await server.close();
  });

  // By a question, or on a busy machine by the list that follows a long outage: reflector.test.ts tells them apart.
  it('at a lower version: noticed', async () => {
    await restore(500, ['stays', 'unknown']);
    await knows('stays unknown');
    assert.ok(server.store.storage.version < 10_000);
  });

  it('at a version that passed the old one: noticed, though no version tells', async () => {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const before = server.store.storage.version;
    await restore(before - 5, ['other']);
    assert.ok(server.store.storage.version > before);
    await knows('other');
    server.store.create('networkpolicies', policy('later'));
    await knows('later other');
  });
});
