import assert from 'node:assert/strict';
import { request } from 'node:http';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  formatListenAddress,
  ListenFailed,
  type StatusProviders,
  type StatusServer,
  startStatusServer,
} from '../../src/telemetry/health.ts';

import type { TracePage } from '../../src/telemetry/trace-page.ts';
import type { StatusPage } from '../../src/telemetry/status-page.ts';

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

const PROVIDERS: StatusProviders = {
  ready: () => [],
  metrics: async () => ({ contentType: 'text/plain; version=0.0.4', body: 'portcullis_rules 1\n' }),
  status: (filter) => ({ filter }) as unknown as StatusPage,
  plan: () => ({ text: '-A PCL-FWD -j RETURN\n', value: { steps: 1 } }),
  trace: async () => undefined,
  denials: () => ({ reader: 'reading', denials: [] }),
  flows: async () => ({ version: 1, node: 'n', connections: 0, flows: [], leftOut: 0, truncated: false }),
  log: () => '{"message":"starting"}\n',
};

function tcp({ address }: StatusServer): { readonly host: string; readonly port: number } {
  assert.ok('port' in address);
  return address;
}

function socketOf({ address }: StatusServer): object {
  return 'path' in address ? { socketPath: address.path } : address;
}

describe('status server', () => {
  const servers: StatusServer[] = [];

  afterEach(async () => {
    await Promise.all(servers.splice(0).map((server) => server.close()));
  });

  async function start(providers: Partial<StatusProviders> = {}): Promise<StatusServer> {
    const server = await startStatusServer({ host: '127.0.0.1', port: 0, providers: { ...PROVIDERS, ...providers } });
    servers.push(server);
    return server;
  }

  function ask(server: StatusServer, path: string, method = 'GET', headers = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const sent = request({ ...socketOf(server), path, method, headers, agent: false }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          body += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
      });
      sent.on('error', reject).end();
    });
  }

  it('/healthz answers whatever the rest is doing', async () => {
    const server = await start({ ready: () => [{ name: 'informers-synced', ok: false, reason: 'no' }] });
    const { status, body } = await ask(server, '/healthz');
    assert.deepEqual([status, body], [200, 'ok\n']);
  });

  it('/readyz?verbose adds details, which decide nothing', async () => {
    const watches = [{ kind: 'pods', staleSeconds: 34 }];
    const server = await start({
      ready: () => [{ name: 'watches-open', ok: true, reason: 'x' }],
      details: () => ({ watches }),
    });
    const plain = await ask(server, '/readyz');
    assert.deepEqual([plain.status, Object.keys(JSON.parse(plain.body) as object)], [200, ['ready', 'conditions']]);
    for (const query of ['verbose', 'verbose=1', 'x=y&verbose']) {
      const { status, body } = await ask(server, `/readyz?${query}`);
      assert.deepEqual([status, (JSON.parse(body) as { watches: unknown }).watches], [200, watches]);
    }
  });

  it('/readyz is 503 until every condition holds, and gives each with its reason', async () => {
    const informers = { name: 'informers-synced', ok: true, reason: 'all listed' };
    const commit = { name: 'first-commit', ok: false, reason: 'waiting' };
    let conditions = [informers, commit];
    const server = await start({ ready: () => conditions });
    const before = await ask(server, '/readyz');
    assert.equal(before.status, 503);
    assert.deepEqual(JSON.parse(before.body), { ready: false, conditions });
    conditions = [informers, { ...commit, ok: true }];
    const after = await ask(server, '/readyz');
    assert.equal(after.status, 200);
    assert.deepEqual(JSON.parse(after.body), { ready: true, conditions });
    conditions = [{ ...informers, ok: false }];
    assert.equal((await ask(server, '/readyz')).status, 503);
  });

  it('/metrics hands on page and content type', async () => {
    const { headers, body } = await ask(await start(), '/metrics');
    assert.equal(headers['content-type'], 'text/plain; version=0.0.4');
    assert.equal(body, 'portcullis_rules 1\n');
  });

  it('serves on all addresses of the host, and only the pages it is told', async () => {
    const server = await startStatusServer({ host: '', port: 0, providers: PROVIDERS, only: ['/healthz', '/metrics'] });
    servers.push(server);
    const { port } = tcp(server);
    for (const host of ['127.0.0.1', '127.0.0.2']) {
      const found = await Promise.all(
        ['/metrics', '/healthz', '/plan', '/readyz', '/constructor'].map(async (path) => {
          const answer = await fetch(`http://${host}:${port}${path}`);
          return [answer.status, await answer.text()] as const;
        }),
      );
      assert.deepEqual(
        found.map(([status]) => status),
        [200, 200, 404, 404, 404],
      );
      assert.equal(found[2]![1], 'no such page; there are /healthz, /metrics\n');
    }
  });

  it('/trace asks about flows as they are written, and says what is wrong with a question', async () => {
    const server = await start({
      trace: async (flows) => ({
        version: 1,
        node: 'n',
        mode: { inForce: 'enforce', source: 'default' },
        settled: true,
        flows: flows.map((flow) => ({ ...flow, verdict: 'passes', why: null, path: [], others: [], decided: [] })),
      }),
    });
    const { status, body } = await ask(server, '/trace?flow=TCP,10.0.0.1,10.0.0.2,80&flow=UDP,fd00:0::1,fd00::2,53');
    assert.equal(status, 200);
    assert.deepEqual(
      (JSON.parse(body) as TracePage).flows.map(({ protocol, source, port }) => [protocol, source, port]),
      [
        ['TCP', '10.0.0.1', 80],
        ['UDP', 'fd00::1', 53],
      ],
    );
    const wrong = [
      '',
      'flow=',
      'flow=TCP,10.0.0.1,10.0.0.2',
      'flow=TCP,10.0.0.1,10.0.0.2,0',
      'flow=TCP,10.0.0.1,10.0.0.2,65536',
    ];
    const more = ['flow=ICMP,10.0.0.1,10.0.0.2,8', 'flow=TCP,10.0.0.1,fd00::1,80', 'flow=TCP,10.0.0.1,10.0.0.2,80,1'];
    const many = 'flow=TCP,10.0.0.1,10.0.0.2,80&'.repeat(65);
    for (const query of [...wrong, ...more, many]) {
      const refused = await ask(server, `/trace?${query}`);
      assert.equal(refused.status, 400, query);
      assert.match(refused.body, /PROTOCOL,SOURCE,DESTINATION,PORT/);
    }
    const busy = await ask(await start(), '/trace?flow=TCP,10.0.0.1,10.0.0.2,80');
    assert.equal(busy.status, 429);
  });

  it('/status is JSON, of all policies, of one, or of those not as written', async () => {
    const server = await start();
    for (const [query, filter] of [
      ['', { which: 'all' }],
      ['?policy=x/p', { which: 'none', also: 'x/p' }],
      ['?policies=unsettled', { which: 'unsettled' }],
      ['?policies=unsettled&policy=x/p', { which: 'unsettled', also: 'x/p' }],
      ['?policies=other', { which: 'all' }],
    ] as const) {
      const { status, headers, body } = await ask(server, `/status${query}`);
      assert.deepEqual([status, headers['content-type']], [200, 'application/json']);
      assert.deepEqual((JSON.parse(body) as { filter: unknown }).filter, filter);
    }
  });

  it('/plan is text, or JSON by query or Accept; the query wins', async () => {
    const server = await start();
    const accept = { accept: 'text/html, application/json;q=0.9' };
    assert.equal((await ask(server, '/plan')).body, '-A PCL-FWD -j RETURN\n');
    assert.deepEqual(JSON.parse((await ask(server, '/plan?format=json')).body), { steps: 1 });
    assert.deepEqual(JSON.parse((await ask(server, '/plan', 'GET', accept)).body), { steps: 1 });
    assert.equal((await ask(server, '/plan?format=text', 'GET', accept)).body, '-A PCL-FWD -j RETURN\n');
  });

  it('/plan is 503 before the first sync, in the form asked for', async () => {
    const server = await start({ plan: () => undefined });
    const asText = await ask(server, '/plan');
    assert.equal(asText.status, 503);
    assert.match(asText.body, /no plan yet/);
    const asJson = await ask(server, '/plan?format=json');
    assert.equal(asJson.status, 503);
    assert.match((JSON.parse(asJson.body) as { error: string }).error, /no plan yet/);
  });

  it('HEAD sends the headers of GET and no body', async () => {
    const server = await start();
    const { status, headers, body } = await ask(server, '/plan', 'HEAD');
    assert.deepEqual([status, headers['content-length'], body], [200, '21', '']);
  });

  it('refuses other methods and paths', async () => {
    const server = await start();
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      const { status, headers } = await ask(server, '/plan', method);
      assert.deepEqual([status, headers.allow], [405, 'GET, HEAD'], method);
    }
    for (const path of ['/', '/plan/', '/constructor', '/__proto__', '/../healthz', '//healthz']) {
      assert.equal((await ask(server, path)).status, 404, path);
    }
    assert.match((await ask(server, '/nothing')).body, /\/healthz, \/readyz, \/status, \/metrics, \/plan/);
  });

  it('answers 500 when a provider throws, tells its owner, and goes on', async () => {
    const seen: unknown[] = [];
    const failure = new Error('store is gone');
    const server = await startStatusServer({
      host: '127.0.0.1',
      port: 0,
      providers: { ...PROVIDERS, metrics: () => Promise.reject(failure) },
      onError: (path, error) => seen.push([path, error]),
    });
    servers.push(server);
    const { status, body } = await ask(server, '/metrics');
    assert.deepEqual([status, body], [500, 'store is gone\n']);
    assert.deepEqual(seen, [['/metrics', failure]]);
    assert.equal((await ask(server, '/healthz')).status, 200);
  });

  it('says which address is taken and which flag changes it', async () => {
    const { port } = tcp(await start());
    const second = startStatusServer({ host: '127.0.0.1', port, providers: PROVIDERS });
    await assert.rejects(second, (error: Error) => {
      assert.ok(error instanceof ListenFailed);
      assert.match(error.message, new RegExp(`^cannot listen on 127\\.0\\.0\\.1:${port}: another program already`));
      assert.match(error.message, /--http-address/);
      assert.match(new ListenFailed('x', 'y', 'metrics-address').message, /--metrics-address=off$/);
      return true;
    });
  });

  it('says that the host does not have the address', async () => {
    const started = startStatusServer({ host: '203.0.113.77', port: 9847, providers: PROVIDERS });
    await assert.rejects(started, /cannot listen on 203\.0\.113\.77:9847: this host does not have that address/);
  });

  it('fault: many clients that send nothing, or never read, keep nobody from an answer', async () => {
    const server = await start({ metrics: async () => ({ contentType: 'text/plain', body: 'x'.repeat(1_000_000) }) });
    const stuck = Array.from({ length: 100 }, (_, index) => {
      const client = connect(tcp(server));
      client.on('error', () => {});
      client.pause();
      client.write(index % 2 === 0 ? 'GET /healthz HT' : 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n');
      return client;
    });
    for (let round = 0; round < 20; round++) assert.equal((await ask(server, '/healthz')).status, 200);
    for (const client of stuck) client.destroy();
  });

  it('fault: with a token, what tells of policies is shown to nobody without it; health is', async () => {
    let token = () => Promise.resolve('s3cret');
    const seen: unknown[] = [];
    const server = await startStatusServer({
      host: '127.0.0.1',
      port: 0,
      providers: PROVIDERS,
      readToken: () => token(),
      onError: (path, error) => seen.push([path, String(error)]),
    });
    servers.push(server);
    const status = async (path: string, authorization?: string): Promise<number> =>
      (await ask(server, path, 'GET', authorization === undefined ? {} : { authorization })).status;
    for (const path of ['/metrics', '/status', '/plan', '/plan?format=json', '/denials', '/flows', '/log']) {
      assert.equal(await status(path), 401, path);
      for (const wrong of ['', 'Bearer', 'Bearer ', 'Bearer s3cre', 'Bearer s3crets', 'Basic s3cret', 's3cret'])
        assert.equal(await status(path, wrong), 401, `${path} ${wrong}`);
      assert.equal(await status(path, 'Bearer s3cret'), 200, path);
    }
    assert.equal((await ask(server, '/plan', 'POST')).status, 401);
    assert.equal((await ask(server, '/metrics')).headers['www-authenticate'], 'Bearer');
    for (const path of ['/healthz', '/readyz']) assert.equal(await status(path), 200, path);
    token = () => Promise.resolve('renewed');
    assert.equal(await status('/plan', 'Bearer s3cret'), 401);
    assert.equal(await status('/plan', 'Bearer renewed'), 200);
    for (const broken of [() => Promise.resolve(''), () => Promise.reject(new Error('no such file'))]) {
      token = broken;
      assert.equal(await status('/plan', 'Bearer '), 503);
      assert.equal(await status('/plan'), 503);
    }
    assert.match(JSON.stringify(seen), /token file is empty.*no such file/);
  });

  it('serves on a Unix socket for root alone, and replaces one that an ended process left', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'portcullis-status-'));
    const path = join(directory, 'status.sock');
    try {
      const server = await startStatusServer({ path, providers: PROVIDERS });
      assert.equal((await ask(server, '/healthz')).status, 200);
      assert.equal(statSync(path).mode & 0o777, 0o600);
      await assert.rejects(startStatusServer({ path, providers: PROVIDERS }), /another program already listens there/);
      await server.close();
      // Closed in order it takes its socket away; a killed process does not.
      const program = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
      spawnSync(process.execPath, ['-e', program]);
      assert.ok(existsSync(path));
      const next = await startStatusServer({ path, providers: PROVIDERS });
      assert.equal((await ask(next, '/healthz')).status, 200);
      await next.close();
      writeFileSync(join(directory, 'file'), '');
      await assert.rejects(startStatusServer({ path: join(directory, 'file'), providers: PROVIDERS }), ListenFailed);
      assert.ok(existsSync(join(directory, 'file')));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('close frees the port even while a client is in the middle of a request', async () => {
    const server = await start();
    const client = connect(tcp(server));
    client.on('error', () => {});
    await new Promise((resolve) => client.write('GET /healthz HTTP/1.1\r\n', resolve));
    const ended = new Promise((resolve) => client.on('close', resolve));
    servers.length = 0;
    await server.close();
    await ended;
    await assert.rejects(ask(server, '/healthz'), /ECONNREFUSED/);
  });
});

describe('formatListenAddress', () => {
  it('puts brackets around IPv6 only', () => {
    assert.equal(formatListenAddress({ host: '2001:db8::1', port: 1 }), '[2001:db8::1]:1');
    assert.equal(formatListenAddress({ host: '127.0.0.1', port: 1 }), '127.0.0.1:1');
  });
});
