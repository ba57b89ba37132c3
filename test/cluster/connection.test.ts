import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Connection, connect, loadConnection } from '../../src/cluster/connection.ts';
import { ConnectionProblem, parseServer } from '../../src/cluster/credentials.ts';
import { type Certificate, makeCertificate } from './certificates.ts';
import { type Exchange, ScriptedServer, type TlsMaterial } from './scripted-server.ts';
import { plainConnection } from './plain-connection.ts';
import { until, VirtualClock } from '../support/virtual-clock.ts';

const never = new AbortController().signal;

/** Sends one request and lets `reply` answer it. Result: status and body. */
async function ask(
  connection: Connection,
  server: ScriptedServer,
  reply: (exchange: Exchange) => void = (exchange) => exchange.answer(200, 'ok'),
): Promise<{ status: number; body: string; exchange: Exchange }> {
  const answer = connection.open({ path: '/api/v1/pods?limit=1', signal: never });
  const exchange = await Promise.race([server.next(), answer.then(() => assert.fail('answered by nobody'))]);
  reply(exchange);
  const response = await answer;
  const parts: Buffer[] = [];
  for await (const chunk of response.body) parts.push(chunk);
  return { status: response.status, body: Buffer.concat(parts).toString(), exchange };
}

async function problemOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => assert.fail('no error'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof ConnectionProblem, String(error));
  return error.message;
}

describe('connection', function () {
  this.timeout(20_000);
  let directory: string;
  let ca: Certificate;
  let serving: TlsMaterial;
  let server: ScriptedServer;
  const servers: ScriptedServer[] = [];
  const connections: Connection[] = [];

  const serve = async (tls?: TlsMaterial): Promise<ScriptedServer> => {
    const started = await new ScriptedServer(tls).start();
    servers.push(started);
    return started;
  };
  const load = async (...args: Parameters<typeof loadConnection>): Promise<Connection> => {
    const connection = await loadConnection(...args);
    connections.push(connection);
    return connection;
  };

  before(async () => {
    ca = await makeCertificate('ca');
    serving = await makeCertificate('server', ca);
  });

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'connection-'));
    server = await serve(serving);
  });

  afterEach(async () => {
    for (const connection of connections.splice(0)) connection.close();
    for (const started of servers.splice(0)) await started.stop();
    await rm(directory, { recursive: true });
  });

  describe('in a pod', () => {
    const clock = new VirtualClock();
    const warnings: string[] = [];
    const options = () => ({
      serviceAccountDir: directory,
      env: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: `${server.port}` },
      clock,
      onWarning: (message: string) => void warnings.push(message),
    });

    beforeEach(async () => {
      warnings.splice(0);
      await writeFile(join(directory, 'token'), 'first\n');
      await writeFile(join(directory, 'ca.crt'), ca.cert);
    });

    it('speaks TLS with the CA and the token of its service account, over one connection', async () => {
      const connection = await load(options());
      assert.equal(connection.server, server.url);
      for (let round = 0; round < 10; round++) {
        const { status, body, exchange } = await ask(connection, server);
        assert.deepEqual([status, body], [200, 'ok']);
        assert.equal(exchange.headers.authorization, 'Bearer first');
        assert.equal(exchange.path, '/api/v1/pods');
        assert.equal(exchange.query.get('limit'), '1');
      }
      assert.equal(server.connections, 1);
    });

    it('fault: goes to another address when its own leads nowhere, and asks for the same certificate there', async () => {
      const { port } = server;
      const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: '1' };
      const connection = await load({ ...options(), env });
      assert.match(
        await problemOf(connection.open({ path: '/', signal: never })),
        /127\.0\.0\.1:1: connection refused/,
      );
      connection.setAlternates([
        { host: '127.0.0.1', port: 2 },
        { host: '127.0.0.1', port },
      ]);
      const { status, exchange } = await ask(connection, server);
      assert.equal(status, 200);
      assert.equal(exchange.headers.host, '127.0.0.1:1', 'the name it is known by');
      await server.stop();
      const message = await problemOf(connection.open({ path: '/', signal: never }));
      assert.match(message, /127\.0\.0\.1:1: connection refused/, 'what people know');
    });

    it('fault: trusts nobody at another address who cannot prove to be the API server', async () => {
      // The certificate is that of 127.0.0.1, and the service is another address.
      const env = { KUBERNETES_SERVICE_HOST: '127.0.0.7', KUBERNETES_SERVICE_PORT: '1' };
      const connection = await load({ ...options(), env });
      connection.setAlternates([{ host: '127.0.0.1', port: server.port }]);
      assert.match(await problemOf(connection.open({ path: '/', signal: never })), /certificate is for another name/);
      const stranger = await serve(await makeCertificate('server', await makeCertificate('stranger')));
      const second = await load({ ...options(), env: { ...env, KUBERNETES_SERVICE_HOST: '127.0.0.1' } });
      second.setAlternates([{ host: '127.0.0.1', port: stranger.port }]);
      assert.match(await problemOf(second.open({ path: '/', signal: never })), /not signed by the CA/);
    });

    it('does not load the client library', () => {
      const url = (file: string): string => new URL(`../../src/cluster/${file}`, import.meta.url).href;
      const script = `
        import { registerHooks } from 'node:module';
        registerHooks({ resolve(name, context, next) {
          if (name.includes('client-node')) throw new Error('loaded ' + name);
          return next(name, context);
        } });
        const { loadConnection } = await import('${url('connection.ts')}');
        await import('${url('watch-cluster.ts')}');
        await loadConnection({ serviceAccountDir: '${directory}', env: { KUBERNETES_SERVICE_HOST: '127.0.0.1' } });
        const loaded = await import('${url('kubeconfig.ts')}').catch((error) => error.message);
        if (!String(loaded).startsWith('loaded @kubernetes/client-node')) throw new Error('the hook catches nothing');`;
      const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
        encoding: 'utf8',
      });
      assert.equal(status, 0, stderr);
    });

    it('fault: reads the token again after 60 s, and at once when told that it was refused', async () => {
      const connection = await load(options());
      await writeFile(join(directory, 'token'), 'second');
      assert.equal((await ask(connection, server)).exchange.headers.authorization, 'Bearer first');
      clock.advance(59_000);
      assert.equal((await ask(connection, server)).exchange.headers.authorization, 'Bearer first');
      clock.advance(1_000);
      assert.equal((await ask(connection, server)).exchange.headers.authorization, 'Bearer second');
      await writeFile(join(directory, 'token'), 'third');
      connection.refreshCredentials();
      assert.equal((await ask(connection, server)).exchange.headers.authorization, 'Bearer third');
    });

    it('fault: keeps the last good token and CA while the files are away', async () => {
      const connection = await load(options());
      await rm(join(directory, 'token'));
      await rm(join(directory, 'ca.crt'));
      connection.refreshCredentials();
      assert.equal((await ask(connection, server)).exchange.headers.authorization, 'Bearer first');
      assert.match(
        warnings.sort().join('\n'),
        /^service account CA: file .* does not exist; the last good one.*\nservice account token/,
      );
      await writeFile(join(directory, 'token'), 'back');
      assert.equal((await ask(connection, server)).exchange.headers.authorization, 'Bearer back');
    });

    it('fault: trusts a new CA as soon as the file changes, without breaking what is open', async () => {
      const connection = await load(options());
      const open = connection.open({ path: '/watch', signal: never });
      const watch = (await server.next()).accept();
      const lines = (await open).body[Symbol.asyncIterator]();
      const otherCa = await makeCertificate('other');
      const other = await serve(await makeCertificate('server', otherCa));
      const moved = await load({ ...options(), env: { ...options().env, KUBERNETES_SERVICE_PORT: `${other.port}` } });
      assert.match(
        await problemOf(moved.open({ path: '/', signal: never })),
        /certificate is not signed by the CA from .*ca\.crt/,
      );
      await writeFile(join(directory, 'ca.crt'), `${otherCa.cert}\n${ca.cert}`);
      await utimes(join(directory, 'ca.crt'), 1, 1);
      assert.equal((await ask(moved, other)).status, 200);
      assert.equal((await ask(connection, server)).status, 200);
      watch.raw('still here');
      assert.equal(String((await lines.next()).value), 'still here');
      watch.end();
      assert.equal((await lines.next()).done, true);
      assert.equal((await ask(connection, server)).status, 200);
      assert.equal(server.connections, 2, 'one of the old agent, one of the new');
    });

    it('says what is wrong at the start', async () => {
      await rm(join(directory, 'token'));
      assert.equal(await problemOf(load(options())), `service account token: file ${directory}/token does not exist`);
      await writeFile(join(directory, 'token'), ' \n');
      assert.match(await problemOf(load(options())), /token is empty/);
      await rm(join(directory, 'token'));
      await mkdir(join(directory, 'token'));
      assert.match(await problemOf(load(options())), /is a directory, not a file/);
      await rm(join(directory, 'token'), { recursive: true });
      await writeFile(join(directory, 'token'), 'first');
      await writeFile(join(directory, 'ca.crt'), 'nothing');
      assert.match(await problemOf(load(options())), /ca\.crt holds no PEM certificate/);
      const env = { KUBERNETES_SERVICE_HOST: 'not a host', KUBERNETES_SERVICE_PORT: '1' };
      assert.match(
        await problemOf(load({ ...options(), env })),
        /KUBERNETES_SERVICE_HOST.*"https:\/\/not a host:1" is not a server URL/,
      );
    });

    it('takes an IPv6 address', async () => {
      const env = { KUBERNETES_SERVICE_HOST: '2001:db8::1', KUBERNETES_SERVICE_PORT: '' };
      assert.equal((await load({ ...options(), env })).server, 'https://[2001:db8::1]');
    });
  });

  describe('with a kubeconfig', () => {
    const write = async (cluster: object, user: object | undefined, name = 'config'): Promise<string> => {
      const file = join(directory, name);
      const config = {
        apiVersion: 'v1',
        kind: 'Config',
        'current-context': 'here',
        clusters: [{ name: 'cluster', cluster: { server: server.url, ...cluster } }],
        contexts: [{ name: 'here', context: { cluster: 'cluster', user: user ? 'me' : '' } }],
        users: user ? [{ name: 'me', user }] : [],
      };
      await writeFile(file, JSON.stringify(config));
      return file;
    };
    const base64 = (text: string): string => Buffer.from(text).toString('base64');
    const env = {};

    it('uses a token and an inline CA, and wins over the service account', async () => {
      const kubeconfig = await write({ 'certificate-authority-data': base64(ca.cert) }, { token: 'secret' });
      const connection = await load({ kubeconfig, env: { KUBERNETES_SERVICE_HOST: '192.0.2.1' } });
      for (let round = 0; round < 5; round++)
        assert.equal((await ask(connection, server)).exchange.headers.authorization, 'Bearer secret');
      assert.equal(server.connections, 1);
    });

    it('uses client certificates, and files relative to its own directory', async () => {
      const user = await makeCertificate('me', ca);
      server = await serve({ ...serving, clientCa: ca.cert });
      await writeFile(join(directory, 'ca.pem'), ca.cert);
      const certificates = { 'client-certificate-data': base64(user.cert), 'client-key-data': base64(user.key) };
      const connection = await load({
        kubeconfig: await write({ 'certificate-authority': 'ca.pem' }, certificates),
        env,
      });
      assert.equal((await ask(connection, server)).status, 200);
      const without = await load({ kubeconfig: await write({ 'certificate-authority': 'ca.pem' }, {}), env });
      await problemOf(without.open({ path: '/', signal: never }));
    });

    it('runs exec plugins, once for all requests, and again after a refusal', async () => {
      const plugin = join(directory, 'plugin');
      const credential =
        '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"run-%s"}}';
      await writeFile(
        plugin,
        `#!/bin/sh\necho >> ${directory}/runs\nprintf '${credential}' "$(wc -l < ${directory}/runs)"\n`,
      );
      await chmod(plugin, 0o755);
      const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: plugin, interactiveMode: 'Never' };
      const kubeconfig = await write({ 'certificate-authority-data': base64(ca.cert) }, { exec });
      const connection = await load({ kubeconfig, env });
      const token = async (): Promise<unknown> => (await ask(connection, server)).exchange.headers.authorization;
      assert.deepEqual([await token(), await token()], ['Bearer run-1', 'Bearer run-1']);
      connection.refreshCredentials();
      assert.equal(await token(), 'Bearer run-2');
      await writeFile(plugin, '#!/bin/sh\necho "please log in" >&2\nexit 1\n');
      connection.refreshCredentials();
      const problem = await problemOf(connection.open({ path: '/', signal: never }));
      assert.match(problem, /credentials of user me: please log in/);
    });

    it('talks http, with basic authentication, below a path, and without a user', async () => {
      server = await serve();
      const basic = await load({
        kubeconfig: await write({ server: `${server.url}/clusters/a/` }, { username: 'u', password: 'p' }),
        env,
      });
      const { exchange } = await ask(basic, server);
      assert.equal(exchange.headers.authorization, `Basic ${base64('u:p')}`);
      assert.equal(exchange.path, '/clusters/a/api/v1/pods');
      const anonymous = await load({ kubeconfig: await write({}, undefined), env });
      assert.equal((await ask(anonymous, server)).exchange.headers.authorization, undefined);
    });

    it('an anonymous user still trusts the CA of the file', async () => {
      const kubeconfig = await write({ 'certificate-authority-data': base64(ca.cert) }, undefined);
      assert.equal((await ask(await load({ kubeconfig, env }), server)).status, 200);
    });

    it('skips verification only when told to', async () => {
      const trusting = await load({
        kubeconfig: await write({ 'insecure-skip-tls-verify': true }, { token: 't' }),
        env,
      });
      assert.equal((await ask(trusting, server)).status, 200);
      const careful = await load({ kubeconfig: await write({}, { token: 't' }), env });
      assert.match(await problemOf(careful.open({ path: '/', signal: never })), /not signed by the CA from kubeconfig/);
    });

    it('merges the files of KUBECONFIG; the first context wins, missing ones are skipped', async () => {
      const first = await write({ 'insecure-skip-tls-verify': true }, { token: 'first' }, 'one');
      const second = await write({ server: 'https://192.0.2.9' }, { token: 'second' }, 'two');
      const connection = await load({ env: { KUBECONFIG: `${join(directory, 'none')}:${first}:${second}` } });
      assert.equal((await ask(connection, server)).exchange.headers.authorization, 'Bearer first');
    });

    it('says what is wrong', async () => {
      const missing = join(directory, 'missing');
      assert.equal(await problemOf(load({ kubeconfig: missing, env })), `kubeconfig: file ${missing} does not exist`);
      assert.match(await problemOf(load({ env: { HOME: directory } })), /no API server to talk to: not in a pod/);
      const broken = join(directory, 'broken');
      await writeFile(broken, '{');
      assert.match(await problemOf(load({ kubeconfig: broken, env })), /^kubeconfig .*broken: /);
      await writeFile(broken, 'current-context: nowhere\nclusters: []\nusers: []\ncontexts: []\n');
      assert.match(await problemOf(load({ kubeconfig: broken, env })), /current-context "nowhere" names no cluster/);
      const badServer = await write({ server: '127.0.0.1:6443' }, {});
      assert.match(
        await problemOf(load({ kubeconfig: badServer, env })),
        /cluster cluster: server: "127\.0\.0\.1:6443" is not a server URL/,
      );
      const noCa = await write({ 'certificate-authority': 'none.pem' }, undefined);
      assert.match(await problemOf(load({ kubeconfig: noCa, env })), /CA: file .*none\.pem does not exist/);
    });
  });

  describe('failures', () => {
    const plain = (url: string): Connection => {
      const connection = plainConnection(url);
      connections.push(connection);
      return connection;
    };

    it('are told in words', async () => {
      const { port } = server;
      assert.match(
        await problemOf(plain(`http://127.0.0.1:${port}`).open({ path: '/', signal: never })),
        /connection closed|closed in the middle|hang up/,
      );
      const clear = await serve();
      assert.match(
        await problemOf(plain(`https://127.0.0.1:${clear.port}`).open({ path: '/', signal: never })),
        /does not speak TLS/,
      );
      await server.stop();
      servers.splice(servers.indexOf(server), 1);
      assert.match(
        await problemOf(plain(`https://127.0.0.1:${port}`).open({ path: '/', signal: never })),
        /connection refused: is the API server running/,
      );
    });

    it('fault: a broken body throws, an aborted one too, and the socket is closed', async () => {
      server = await serve();
      const connection = plain(server.url);
      const read = async (signal: AbortSignal, end: (exchange: Exchange) => void): Promise<Exchange> => {
        const opened = connection.open({ path: '/', signal });
        const exchange = (await server.next()).accept().raw('a');
        const { body } = await opened;
        await assert.rejects(async () => {
          for await (const _ of body) end(exchange);
        });
        await until(() => exchange.closed, 'the socket to close');
        return exchange;
      };
      await read(never, (exchange) => exchange.reset());
      const stop = new AbortController();
      await read(stop.signal, () => stop.abort());
      await assert.rejects(connection.open({ path: '/', signal: stop.signal }), { name: 'AbortError' });
    });

    it('a reader that stops in the middle closes the socket', async () => {
      server = await serve();
      const opened = plain(server.url).open({ path: '/', signal: never });
      const exchange = (await server.next()).accept().raw('a');
      for await (const _ of (await opened).body) break;
      await until(() => exchange.closed, 'the socket to close');
    });

    it('requests that begin together share one reading of the credentials', async () => {
      server = await serve();
      let reads = 0;
      const connection = connect({
        server: parseServer(server.url, 'test'),
        read: async () => {
          reads++;
          await new Promise((resolve) => setImmediate(resolve));
          return { headers: {}, tls: {}, tlsVersion: '', caName: 'test' };
        },
        refresh: () => {},
      });
      connections.push(connection);
      const opened = [1, 2, 3, 4].map(() => connection.open({ path: '/', signal: never }));
      for (const _ of opened) (await server.next()).answer(200);
      await Promise.all(opened);
      assert.equal(reads, 1);
      const again = connection.open({ path: '/', signal: never });
      (await server.next()).answer(200);
      await again;
      assert.equal(reads, 2);
    });

    it('an exec plugin that hangs does not hold up a stop', async () => {
      const stop = new AbortController();
      const connection = connect({
        server: parseServer('http://127.0.0.1:1', 'test'),
        read: () => new Promise(() => {}),
        refresh: () => {},
      });
      const opened = connection.open({ path: '/', signal: stop.signal });
      stop.abort();
      await assert.rejects(opened, { name: 'AbortError' });
    });
  });
});
