import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ApiServer, startApiServer } from '../../lab/api/api-server.ts';
import { runProgram } from '../../src/cli/program.ts';
import { redact } from '../../src/cli/redact.ts';
import { namespaceObject, podObject } from '../support/api-objects.ts';
import { policyObject } from '../support/builders.ts';

const API_TOKEN = 'token-of-the-api-0123456789';
const HTTP_TOKEN = 'token-of-the-pages-0123456789';
const PLANTED = 'planted-in-an-annotation-0123';

interface Bundle {
  readonly version: number;
  readonly about: { readonly portcullis: string };
  readonly config: Readonly<Record<string, unknown>>;
  readonly pages: Readonly<Record<string, { readonly found?: string; readonly problem?: string }>>;
  readonly commands: Readonly<Record<string, { readonly found?: string; readonly problem?: string }>>;
  readonly objects: {
    readonly found?: Readonly<Record<string, readonly Record<string, unknown>[]>>;
    readonly problem?: string;
  };
}

describe('portcullis bundle', () => {
  let folder: string;
  let api: ApiServer;
  let pages: Server;
  let env: Record<string, string>;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-bundle-'));
    api = await startApiServer({ tls: false, tokens: [{ token: API_TOKEN }] });
    const annotations = { secret: PLANTED };
    api.store.create('namespaces', { ...namespaceObject('x'), metadata: { name: 'x', annotations } });
    api.store.create('networkpolicies', policyObject('x/p', { ingress: [] }, { annotations }));
    const spec = {
      nodeName: 'node-1',
      containers: [{ name: 'm', image: 'i', env: [{ name: 'PASSWORD', value: PLANTED }] }],
    };
    api.store.create('pods', podObject('x/a', { labels: { app: 'a' }, metadata: { annotations }, spec }));
    writeFileSync(join(folder, 'kubeconfig'), api.kubeconfig);
    writeFileSync(join(folder, 'http-token'), `${HTTP_TOKEN}\n`);
    // What an agent might print although it should not.
    pages = createServer((request, response) => {
      if (request.headers.authorization !== `Bearer ${HTTP_TOKEN}`) response.writeHead(401).end('no');
      else response.end(`${request.url}: ${API_TOKEN} Authorization: Bearer abcdefgh.ijk`);
    });
    await new Promise<void>((resolve) => pages.listen(0, '127.0.0.1', resolve));
    env = {
      NODE_NAME: 'node-1',
      KUBECONFIG: join(folder, 'kubeconfig'),
      PORTCULLIS_HTTP_ADDRESS: `127.0.0.1:${(pages.address() as AddressInfo).port}`,
      PORTCULLIS_HTTP_TOKEN_FILE: join(folder, 'http-token'),
      PORTCULLIS_MODE: 'audit',
    };
  });

  afterEach(async () => {
    pages.closeAllConnections();
    pages.close();
    await api.close();
    rmSync(folder, { recursive: true });
  });

  async function bundle(
    ...flags: string[]
  ): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
    const said = { out: '', err: '' };
    const code = await runProgram(['bundle', ...flags], {
      env,
      version: '1.2.3',
      signal: new AbortController().signal,
      out: (text) => {
        said.out += text;
      },
      err: (text) => {
        said.err += text;
      },
      load: { agent: () => assert.fail() },
    });
    return { code, ...said };
  }

  it('is one file with versions, settings, pages, rules and objects, that only its owner may read', async () => {
    const file = join(folder, 'bundle.json');
    const { code, out, err } = await bundle(`--file=${file}`);
    assert.equal(err, '');
    assert.match(out, /bundle\.json: \d+ KiB, of node node-1\n$/);
    assert.equal(code, 0);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const found = JSON.parse(readFileSync(file, 'utf8')) as Bundle;
    assert.deepEqual([found.version, found.about.portcullis, found.config.mode], [1, '1.2.3', 'audit']);
    assert.deepEqual(Object.keys(found.pages), ['/readyz?verbose', '/status', '/metrics', '/plan', '/denials', '/log']);
    assert.match(found.pages['/status']!.found!, /^\/status: /);
    const [policy] = found.objects.found!.policies!;
    assert.deepEqual([policy!.namespace, policy!.name, policy!.generation], ['x', 'p', 1]);
    assert.deepEqual(Object.keys(policy!.spec as object).sort(), ['podSelector', 'policyTypes']);
    assert.deepEqual(
      found.objects.found!.pods!.map(({ name, labels }) => [name, labels]),
      [['a', { app: 'a' }]],
    );
    for (const each of Object.values(found.commands)) assert.ok(each.found !== undefined || each.problem !== undefined);
  });

  it('holds no token, no environment and no annotation', async () => {
    const { out } = await bundle();
    for (const secret of [API_TOKEN, HTTP_TOKEN, PLANTED, 'abcdefgh.ijk']) assert.ok(!out.includes(secret), secret);
    assert.ok(out.includes('[redacted]'), 'what the agent printed was cleaned');
  });

  it('fault: the agent, the API server or a tool cannot be asked: what is there is in it, and why the rest is not', async () => {
    await api.close();
    pages.close();
    pages.closeAllConnections();
    const { code, out } = await bundle();
    assert.equal(code, 0);
    const found = JSON.parse(out) as Bundle;
    assert.match(found.pages['/status']!.problem!, /ECONNREFUSED/);
    assert.match(found.objects.problem!, /refused/);
    assert.equal(found.config['node-name'], 'node-1');
  });

  it('fault: the file cannot be written', async () => {
    const { code, err } = await bundle('--file=/nonexistent/bundle.json');
    assert.equal(code, 1);
    assert.match(err, /^portcullis bundle: .*\/nonexistent\/bundle\.json/);
  });
});

describe('redact', () => {
  it('takes out what is known, and what looks like a secret', () => {
    const key = '-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----';
    const jwt = 'eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlIn0.c2ln';
    assert.equal(
      redact(`a known-secret b ${jwt} c ${key}`, ['known-secret']),
      'a [redacted] b [redacted] c [redacted]',
    );
    assert.equal(redact('Authorization: bearer abcdef123', []), 'Authorization: bearer [redacted]');
    assert.equal(redact('the bearer is gone', ['the']), 'the bearer is gone');
  });
});
