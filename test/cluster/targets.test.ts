import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '../../src/cluster/connection.ts';
import { SILENT_LOG } from '../../src/cluster/observe.ts';
import { ENDPOINTS_PATH, readEndpointCache, cacheEndpoints, targetsOf } from '../../src/cluster/endpoint-cache.ts';
import { parseTarget, type Target, targetsToTry, targetText } from '../../src/cluster/targets.ts';
import { FakeApiServer } from './fake-api-server.ts';
import { until, VirtualClock } from '../support/virtual-clock.ts';

const target = (text: string): Target => parseTarget(text)!;
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
      assert.deepEqual(found.map(targetText), tried);
      for (const each of found) assert.equal(each === primary, targetText(each) === SERVICE);
    });

  it('reads host:port and nothing else', () => {
    assert.deepEqual(parseTarget('[2001:db8::1]:443'), { host: '2001:db8::1', port: 443 });
    assert.equal(targetText({ host: '2001:db8::1', port: 443 }), '[2001:db8::1]:443');
    for (const text of ['', 'a', 'a:', ':1', 'a:0', 'a:65536', '2001:db8::1:443', 'a b:1', 'https://a:1', 'a:1/x'])
      assert.equal(parseTarget(text), undefined, text);
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
      assert.deepEqual(targetsOf(slice).map(targetText), ['192.0.2.1:6443', '192.0.2.3:6443']);
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

    it('keeps them in a file, through refusals and a file that cannot be read', async () => {
      const directory = await mkdtemp(join(tmpdir(), 'endpoints-'));
      const server = await new FakeApiServer().start();
      const stop = new AbortController();
      try {
        const file = join(directory, 'endpoints.json');
        assert.deepEqual(await readEndpointCache(file, SILENT_LOG), []);
        await writeFile(file, '{"endpoints": ["192.0.2.9:6443", "rm -rf", 7');
        assert.deepEqual(await readEndpointCache(file, SILENT_LOG), []);
        await writeFile(file, '{"endpoints": ["192.0.2.9:6443", "rm -rf", 7]}');
        assert.deepEqual((await readEndpointCache(file, SILENT_LOG)).map(targetText), ['192.0.2.9:6443']);

        const clock = new VirtualClock();
        const told: string[][] = [];
        const transport = connect({
          server: new URL(server.url),
          read: () => Promise.resolve({ headers: {}, tls: {}, tlsVersion: '', caName: 'none' }),
          refresh: () => {},
        });
        const done = cacheEndpoints(
          {
            transport,
            file,
            clock,
            random: () => 0.5,
            log: SILENT_LOG,
            onTargets: (targets) => void told.push(targets.map(targetText)),
          },
          stop.signal,
        );
        await clock.passSleep();
        (await server.next(ENDPOINTS_PATH)).refuse(403, 'Forbidden', 'no');
        assert.equal(await clock.passSleep(), 60_000);
        assert.deepEqual(told, []);
        (await server.next(ENDPOINTS_PATH)).answer(200, slice);
        assert.equal(await clock.passSleep(), 600_000);
        assert.deepEqual(told, [['192.0.2.1:6443', '192.0.2.3:6443']]);
        assert.deepEqual((await readEndpointCache(file, SILENT_LOG)).map(targetText), told[0]);
        await rm(directory, { recursive: true });
        (await server.next(ENDPOINTS_PATH)).answer(200, { ...slice, endpoints: [{ addresses: ['192.0.2.4'] }] });
        await until(() => told.length === 2, 'the new addresses, though they cannot be kept');
        stop.abort();
        await done;
        await assert.rejects(readFile(file));
      } finally {
        stop.abort();
        await server.stop();
        await rm(directory, { recursive: true, force: true });
      }
    });
  });
});
