import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ApiServer, startApiServer } from '../../../lab/api/api-server.ts';
import { Client } from './client.ts';

describe('the proxy to pods', () => {
  let folder: string;
  let api: ApiServer;
  let client: Client;
  let pod: Server;
  const asked: string[] = [];

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-proxy-'));
    pod = createServer((request, response) => {
      asked.push(
        `${request.method} ${request.url} ${request.headers.authorization ?? '-'} ${request.headers.host === undefined ? '-' : 'host'}`,
      );
      response.writeHead(418, { 'content-type': 'text/x' }).end('tea');
    });
    await new Promise<void>((resolve) => pod.listen(join(folder, 'pod'), resolve));
    api = await startApiServer({
      tokens: [{ token: 'all' }, { token: 'blind', user: 'blind', deny: [{ resource: 'pods/proxy', verb: 'get' }] }],
      podPorts: async ({ metadata }, port) => ({ path: join(folder, port === 80 ? metadata.name : 'nobody') }),
    });
    client = new Client(api, false);
    const ports = [{ containerPort: 80 }];
    for (const name of ['pod', 'bare'])
      api.store.create('pods', { metadata: { name }, spec: { containers: [{ name: 'm', image: 'i', ports }] } });
    api.store.setStatus('pods', { namespace: 'default', name: 'pod' }, { phase: 'Running', podIP: '192.0.2.1' });
  });

  after(async () => {
    client.close();
    pod.close();
    await api.close();
    rmSync(folder, { recursive: true });
  });

  const get = (name: string, rest = '') => client.get(`/api/v1/namespaces/default/pods/${name}/proxy${rest}`);

  it("hands on path, query and answer, and keeps the API server's credentials to itself", async () => {
    const { code, body, headers } = await get('pod:80', '/a/b%20c?x=1&y');
    assert.deepEqual([code, body, headers['content-type']], [418, 'tea', 'text/x']);
    await get('pod');
    assert.deepEqual(asked.splice(0), ['GET /a/b%20c?x=1&y= - host', 'GET / - host']);
  });

  it('refuses as real servers do', async () => {
    assert.equal((await get('gone:80')).code, 404);
    assert.equal((await get('pod:x')).code, 400);
    assert.equal((await get('bare:80')).code, 400);
    const refused = await get('pod:81');
    assert.equal(refused.code, 503);
    assert.match(refused.body.message, /error trying to reach service: dial tcp 192\.0\.2\.1:81/);
  });
});
