import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentLog } from '../../../lab/agent-log.ts';
import { type ApiServer, startApiServer } from '../../../lab/api/api-server.ts';
import { Client, until } from './client.ts';

const NOW_MS = Date.parse('2026-01-01T00:01:00Z');

describe('logs of pods', () => {
  let server: ApiServer;
  let client: Client;
  let present: AgentLog;
  let previous: AgentLog | undefined;

  beforeEach(async () => {
    present = new AgentLog();
    previous = undefined;
    server = await startApiServer({
      tokens: [{ token: 'all' }, { token: 'blind', user: 'blind', deny: [{ resource: 'pods/log', verb: 'get' }] }],
      containerLogs: (pod, container, run) => {
        if (container !== 'agent') return undefined;
        assert.equal(pod.metadata.name, 'agent-1');
        return run === 'present' ? present : previous;
      },
    });
    client = new Client(server, false);
    for (const [name, containers] of [
      ['agent-1', ['agent', 'side']],
      ['web', ['main']],
    ] as const)
      server.store.create('pods', {
        metadata: { name },
        spec: { containers: containers.map((container) => ({ name: container, image: 'i' })) },
      });
    for (const [index, text] of ['one', 'two', 'three'].entries())
      present.add({ atMs: NOW_MS - 30_000 + index * 10_000, text });
  });
  afterEach(async () => {
    client.close();
    await server.close();
  });

  const get = (query: string, pod = 'agent-1') => client.get(`/api/v1/namespaces/default/pods/${pod}/log?${query}`);

  it('are what the container printed', async () => {
    const { code, body, headers } = await get('container=agent');
    assert.deepEqual([code, headers['content-type'], body], [200, 'text/plain', 'one\ntwo\nthree\n']);
  });

  it('are cut by lines, bytes and time, and show times', async () => {
    assert.equal((await get('container=agent&tailLines=2')).body, 'two\nthree\n');
    assert.equal((await get('container=agent&tailLines=0')).body, '');
    assert.equal((await get('container=agent&limitBytes=5')).body, 'one\nt');
    assert.equal((await get('container=agent&sinceTime=2026-01-01T00:00:45Z')).body, 'three\n');
    assert.equal((await get('container=agent&tailLines=1&timestamps=true')).body, '2026-01-01T00:00:50.000Z three\n');
    const refused = await get('container=agent&tailLines=-1');
    assert.deepEqual([refused.code, refused.body.details.causes[0].field], [422, 'tailLines']);
  });

  it('of the run before are apart', async () => {
    const none = await get('container=agent&previous=true');
    assert.deepEqual(
      [none.code, none.body.message],
      [400, 'previous terminated container "agent" in pod "agent-1" not found'],
    );
    previous = present;
    previous.end();
    present = new AgentLog();
    assert.equal((await get('container=agent&previous=true')).body, 'one\ntwo\nthree\n');
    assert.equal((await get('container=agent')).body, '');
  });

  it('are followed until the container ends', async () => {
    const response = await client.open(
      'GET',
      '/api/v1/namespaces/default/pods/agent-1/log?container=agent&follow=true&tailLines=1',
    );
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    const ended = new Promise((resolve) => response.on('end', resolve));
    await until(() => text === 'three\n', 'the last line');
    present.add({ atMs: NOW_MS, text: 'four' });
    await until(() => text === 'three\nfour\n', 'the new line');
    present.end();
    await ended;
    // What is over is not waited for.
    assert.equal((await get('container=agent&follow=true')).body, 'one\ntwo\nthree\nfour\n');
  });

  it('name what is wrong: the pod, the container, a pod that runs nothing, who may not', async () => {
    const answers = [
      await get('', 'none'),
      await get(''),
      await get('container=x'),
      await get('', 'web'),
      await client.get('/api/v1/namespaces/default/pods/agent-1/log?container=agent', { token: 'blind' }),
      await client.call('POST', '/api/v1/namespaces/default/pods/agent-1/log', {}),
    ];
    assert.deepEqual(
      answers.map(({ code, body }) => [code, body.message]),
      [
        [404, 'pods "none" not found'],
        [400, 'a container name must be specified for pod agent-1, choose one of: [agent side]'],
        [400, 'container x is not valid for pod agent-1'],
        [
          400,
          'container "main" in pod "web" has no log: the lab runs no containers, its pods only answer on their ports; agents are the exception',
        ],
        [
          403,
          'pods "agent-1" is forbidden: User "blind" cannot get resource "pods/log" in API group "" in the namespace "default"',
        ],
        [405, 'the server does not allow this method on the requested resource'],
      ],
    );
  });

  it('can be read with kubectl', async function () {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-logs-'));
    try {
      writeFileSync(join(folder, 'config'), server.kubeconfig);
      const env = { ...process.env, HOME: folder, KUBECONFIG: join(folder, 'config') };
      const [error, out] = await new Promise<[{ readonly code?: unknown } | null, string]>((resolve) => {
        execFile(
          'kubectl',
          ['logs', 'agent-1', '-c', 'agent', '--tail=1'],
          { env, timeout: 20_000 },
          (failure, stdout) => resolve([failure, stdout]),
        );
      });
      if (error?.code === 'ENOENT') this.skip();
      assert.deepEqual([error, out], [null, 'three\n']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('AgentLog', () => {
  it('is bounded: the oldest lines go', () => {
    const log = new AgentLog();
    const text = 'x'.repeat(1024 * 1024);
    for (let atMs = 0; atMs < 40; atMs += 1) log.add({ atMs, text });
    assert.ok(log.lines.length <= 8 && log.lines.length >= 4, String(log.lines.length));
    assert.equal(log.lines.at(-1)?.atMs, 39);
  });

  it('tells nothing to who has gone', () => {
    const log = new AgentLog();
    const heard: string[] = [];
    const stop = log.follow(
      ({ text }) => heard.push(text),
      () => heard.push('end'),
    );
    log.add({ atMs: 0, text: 'a' });
    stop();
    log.add({ atMs: 0, text: 'b' });
    log.end();
    assert.deepEqual(heard, ['a']);
  });
});
