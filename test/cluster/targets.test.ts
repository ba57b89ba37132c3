import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SILENT_LOG } from '../../src/cluster/observe.ts';
import { readEndpointCache, cacheEndpoints, targetsOf } from '../../src/cluster/endpoint-cache.ts';
import { type HostPort, hostPortText, parseHostPort } from '../../src/net/host-port.ts';
import { targetsToTry } from '../../src/cluster/targets.ts';
import { startApiServer } from '../../lab/api/api-server.ts';
import { plainConnection } from './plain-connection.ts';
import { until, VirtualClock } from '../support/virtual-clock.ts';

const target = (text: string): HostPort => parseHostPort(text) as HostPort;
const SERVICE = '203.0.113.1:443';
const OWN = ['192.0.2.1:6443', '192.0.2.2:6443', '192.0.2.3:6443'] as const;

describe('fault: where the API server is', () => {
  const rows: readonly (readonly [
    why: string,
    others: readonly string[],
    failedBefore: Record<string, number>,
    tried: readonly string[],
  ])[] = [
    ['nothing else is known', [], {}, [SERVICE]],
    ['nothing else is known, and it failed', [], { [SERVICE]: 1 }, [SERVICE]],
    ['its service address first', OWN, {}, [SERVICE, OWN[0], OWN[1]]],
    ['not first what failed just now', OWN, { [SERVICE]: 1 }, OWN],
    ['first again after half a minute', OWN, { [SERVICE]: 30 }, [SERVICE, OWN[0], OWN[1]]],
    [
      'of all that failed the longest ago first',
      OWN.slice(0, 2),
      { [SERVICE]: 1, [OWN[0]]: 3, [OWN[1]]: 2 },
      [OWN[0], OWN[1], SERVICE],
    ],
    ['each once', [SERVICE, OWN[0], OWN[0]], {}, [SERVICE, OWN[0]]],
  ];
  for (const [why, others, failedBefore, tried] of rows)
    it(why, () => {
      const now = 1_000_000;
      const failedAt = new Map(Object.entries(failedBefore).map(([text, seconds]) => [text, now - seconds * 1_000]));
      const primary = target(SERVICE);
      const found = targetsToTry(primary, others.map(target), failedAt, now);
      assert.deepEqual(found.map(hostPortText), tried);
      for (const each of found) assert.equal(each === primary, hostPortText(each) === SERVICE);
    });

  describe('from the EndpointSlice', () => {
    const slice = {
      addressType: 'IPv4',
      endpoints: [
        { addresses: ['192.0.2.1'], conditions: { ready: true } },
        { addresses: ['192.0.2.2'], conditions: { ready: false } },
        { addresses: ['192.0.2.3'] },
      ],
      ports: [{ name: 'https', port: 6443, protocol: 'TCP' }],
    };

    it('takes ready addresses, whatever else is there', () => {
      assert.deepEqual(targetsOf(slice).map(hostPortText), ['192.0.2.1:6443', '192.0.2.3:6443']);
      for (const strange of [
        undefined,
        [],
        'x',
        {},
        { endpoints: [{}], ports: [] },
        { ...slice, ports: [{ port: 'x' }] },
      ])
        assert.deepEqual(targetsOf(strange), []);
      assert.deepEqual(targetsOf({ ...slice, endpoints: [null, { addresses: [7, '', 'a b'] }] }), []);
    });

    /** Of which the API server writes its own addresses. */
    const KUBERNETES_SLICE = {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { namespace: 'default', name: 'kubernetes' },
    };

    it('keeps them in a file, through refusals and a file that cannot be read', async () => {
      const directory = await mkdtemp(join(tmpdir(), 'endpoints-'));
      const server = await startApiServer({ tls: false, tokens: [{ token: 'secret' }] });
      const stop = new AbortController();
      try {
        const file = join(directory, 'endpoints.json');
        assert.deepEqual(await readEndpointCache(file, SILENT_LOG), []);
        await writeFile(file, '{"endpoints": ["192.0.2.9:6443", "rm -rf", 7');
        assert.deepEqual(await readEndpointCache(file, SILENT_LOG), []);
        await writeFile(file, '{"endpoints": ["192.0.2.9:6443", "rm -rf", 7]}');
        assert.deepEqual((await readEndpointCache(file, SILENT_LOG)).map(hostPortText), ['192.0.2.9:6443']);

        const clock = new VirtualClock();
        const told: string[][] = [];
        const transport = plainConnection(server.url, 'secret');
        const done = cacheEndpoints(
          {
            transport,
            file,
            clock,
            random: () => 0.5,
            log: SILENT_LOG,
            onTargets: (targets) => void told.push(targets.map(hostPortText)),
          },
          stop.signal,
        );
        server.store.create('endpointslices', { ...slice, ...KUBERNETES_SLICE });
        server.faults.add({ resource: 'endpointslices', times: 1, action: { kind: 'status', code: 403 } });
        await clock.passSleep();
        assert.equal(await clock.passSleep(), 60_000);
        assert.equal(server.requests.count('get', 'endpointslices'), 1);
        assert.deepEqual(told, []);
        await until(() => clock.sleeping === 1, 'the next answer');
        assert.deepEqual(told, [['192.0.2.1:6443', '192.0.2.3:6443']]);
        assert.deepEqual((await readEndpointCache(file, SILENT_LOG)).map(hostPortText), told[0]);
        await rm(directory, { recursive: true });
        server.store.update('endpointslices', {
          ...slice,
          ...KUBERNETES_SLICE,
          endpoints: [{ addresses: ['192.0.2.4'] }],
        });
        assert.equal(await clock.passSleep(), 600_000);
        await until(() => told.length === 2, 'the new addresses, though they cannot be kept');
        assert.deepEqual(told[1], ['192.0.2.4:6443']);
        stop.abort();
        await done;
        await assert.rejects(readFile(file));
      } finally {
        stop.abort();
        await server.close();
        await rm(directory, { recursive: true, force: true });
      }
    });
  });
});
