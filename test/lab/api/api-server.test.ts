import assert from 'node:assert/strict';
import { request as httpsRequest } from 'node:https';
import { type ApiServer, startApiServer } from '../../../lab/api/api-server.ts';
import { type Any, Client, pod, policy } from './client.ts';

describe('API server', () => {
  let server: ApiServer;
  let client: Client;
  before(async () => {
    server = await startApiServer({
      tokens: [
        { token: 'all', user: 'admin' },
        {
          token: 'few',
          user: 'reader',
          deny: [
            { resource: 'nodes', verb: 'list' },
            { resource: '*', verb: 'create', namespace: 'kube-system' },
          ],
        },
      ],
    });
    client = new Client(server);
  });
  after(async () => {
    client.close();
    await server.close();
  });
  afterEach(() => {
    for (const resource of ['pods', 'networkpolicies', 'services', 'configmaps'] as const) {
      server.store.deleteCollection(resource, {}, { gracePeriodSeconds: 0 });
    }
  });

  const NETPOL = '/apis/networking.k8s.io/v1/namespaces/default/networkpolicies';
  const PODS = '/api/v1/namespaces/default/pods';

  it('has a certificate its CA vouches for, and a kubeconfig with it', async () => {
    assert.match(server.url, /^https:\/\/127\.0\.0\.1:\d+$/);
    await assert.rejects(
      new Promise((resolve, reject) => {
        httpsRequest(`${server.url}/version`, resolve).on('error', reject).end();
      }),
      /certificate|CERT|self-signed|issuer/,
    );
    const config = JSON.parse(server.kubeconfig) as Any;
    assert.equal(
      Buffer.from(config.clusters[0].cluster['certificate-authority-data'], 'base64').toString(),
      server.caPem,
    );
    assert.equal(config.users[0].user.token, 'all');
    assert.equal((await client.get('/version')).body.major, '1');
  });

  it('serves plain HTTP when asked', async () => {
    const plain = await startApiServer({ tls: false });
    try {
      const reply = await fetch(`${plain.url}/api/v1/namespaces`, {
        headers: { authorization: `Bearer ${plain.token}` },
      });
      assert.equal(reply.status, 200);
    } finally {
      await plain.close();
    }
  });

  it('answers 401 without a good token, 403 by rule, and tells what may be done', async () => {
    for (const token of ['', 'wrong']) {
      const { code, body } = await client.get('/api/v1/pods', { token });
      assert.deepEqual([code, body.kind, body.reason], [401, 'Status', 'Unauthorized']);
    }
    const refused = await client.get('/api/v1/nodes', { token: 'few' });
    assert.equal(refused.code, 403);
    assert.equal(
      refused.body.message,
      'nodes is forbidden: User "reader" cannot list resource "nodes" in API group "" at the cluster scope',
    );
    assert.equal((await client.get('/api/v1/pods', { token: 'few' })).code, 200);
    const inSystem = await client.call(
      'POST',
      '/api/v1/namespaces/kube-system/pods',
      pod('p', { namespace: 'kube-system' }),
      { token: 'few' },
    );
    assert.equal(inSystem.code, 403);
    assert.equal((await client.call('POST', '/api/v1/namespaces/default/pods', pod('p'), { token: 'few' })).code, 201);
    const review = (verb: string, resource: string) =>
      client.call(
        'POST',
        '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
        { spec: { resourceAttributes: { verb, resource } } },
        { token: 'few' },
      );
    assert.equal((await review('list', 'nodes')).body.status.allowed, false);
    assert.equal((await review('watch', 'nodes')).body.status.allowed, true);
  });

  it('creates, reads, replaces and deletes', async () => {
    const created = await client.call('POST', NETPOL, policy('p'));
    assert.equal(created.code, 201);
    const { metadata, spec } = created.body;
    assert.match(metadata.uid, /^[0-9a-f-]{36}$/);
    assert.match(metadata.creationTimestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    assert.equal(metadata.generation, 1);
    assert.deepEqual(spec.policyTypes, ['Ingress']);
    assert.deepEqual((await client.get(`${NETPOL}/p`)).body, created.body);
    const replaced = await client.call('PUT', `${NETPOL}/p`, {
      ...created.body,
      spec: { podSelector: {}, egress: [{}] },
    });
    assert.deepEqual([replaced.code, replaced.body.metadata.generation], [200, 2]);
    assert.ok(Number(replaced.body.metadata.resourceVersion) > Number(metadata.resourceVersion));
    const stale = await client.call('PUT', `${NETPOL}/p`, created.body);
    assert.deepEqual([stale.code, stale.body.reason], [409, 'Conflict']);
    const same = await client.call('PUT', `${NETPOL}/p`, replaced.body);
    assert.equal(same.body.metadata.resourceVersion, replaced.body.metadata.resourceVersion, 'nothing changed');
    const deleted = await client.call('DELETE', `${NETPOL}/p`);
    assert.deepEqual([deleted.code, deleted.body.status, deleted.body.details.uid], [200, 'Success', metadata.uid]);
    const gone = await client.get(`${NETPOL}/p`);
    assert.deepEqual(
      [gone.code, gone.body.reason, gone.body.message, gone.body.details],
      [
        404,
        'NotFound',
        'networkpolicies.networking.k8s.io "p" not found',
        { name: 'p', group: 'networking.k8s.io', kind: 'networkpolicies' },
      ],
    );
  });

  it('refuses duplicates, missing namespaces, wrong names and wrong kinds', async () => {
    await client.call('POST', NETPOL, policy('p'));
    const again = await client.call('POST', NETPOL, policy('p'));
    assert.deepEqual([again.code, again.body.reason], [409, 'AlreadyExists']);
    const nowhere = await client.call('POST', '/api/v1/namespaces/nowhere/pods', {
      ...pod('p'),
      metadata: { name: 'p' },
    });
    assert.deepEqual([nowhere.code, nowhere.body.message], [404, 'namespaces "nowhere" not found']);
    assert.equal((await client.call('POST', '/api/v1/namespaces/kube-system/pods', pod('p'))).code, 400);
    assert.equal((await client.call('PUT', `${NETPOL}/q`, policy('p'))).code, 400);
    assert.equal((await client.call('POST', NETPOL, { ...policy('q'), kind: 'Pod' })).code, 400);
    assert.equal((await client.call('POST', NETPOL, '{nonsense')).code, 400);
    assert.equal((await client.call('POST', NETPOL, policy('q'), { type: 'text/plain' })).code, 415);
    assert.equal((await client.call('PATCH', `${NETPOL}/p`, {}, { type: 'application/json' })).code, 415);
    assert.equal((await client.get(`${NETPOL}/p`, { accept: 'application/vnd.kubernetes.protobuf' })).code, 406);
    assert.equal((await client.call('POST', `${NETPOL}/p`, policy('p'))).code, 405);
    assert.equal((await client.get('/apis/example.com/v1/things')).code, 404);
    const huge = { ...policy('q'), metadata: { name: 'q', annotations: { a: 'x'.repeat(4 * 1024 * 1024) } } };
    assert.equal((await client.call('POST', NETPOL, huge)).code, 413);
  });

  it('validates fields strictly, with a warning, or not at all, by fieldValidation', async () => {
    const wrong = policy('p', { podSelector: {}, ingres: [] });
    const strict = await client.call('POST', `${NETPOL}?fieldValidation=Strict`, wrong);
    assert.equal(strict.code, 400);
    assert.match(strict.body.message, /strict decoding error: unknown field "spec.ingres"/);
    const warned = await client.call('POST', `${NETPOL}?fieldValidation=Warn&dryRun=All`, wrong);
    assert.deepEqual([warned.code, warned.headers.warning], [201, '299 - "unknown field \\"spec.ingres\\""']);
    const ignored = await client.call('POST', `${NETPOL}?fieldValidation=Ignore`, wrong);
    assert.deepEqual([ignored.code, ignored.headers.warning], [201, undefined]);
  });

  it('does nothing in a dry run', async () => {
    const version = server.store.storage.version;
    assert.equal((await client.call('POST', `${NETPOL}?dryRun=All`, policy('p'))).code, 201);
    assert.equal((await client.get(`${NETPOL}/p`)).code, 404);
    assert.equal(server.store.storage.version, version);
  });

  it('patches in all four ways', async () => {
    await client.call('POST', PODS, pod('p', { labels: { a: '1' } }));
    const patch = (body: unknown, type: string, query = '') =>
      client.call('PATCH', `${PODS}/p${query}`, body, { type });
    const merge = await patch({ metadata: { labels: { a: null, b: '2' } } }, 'application/merge-patch+json');
    assert.deepEqual(merge.body.metadata.labels, { b: '2' });
    const containers = [{ name: 'c', image: 'j' }];
    const strategic = await patch({ spec: { containers } }, 'application/strategic-merge-patch+json');
    assert.equal(strategic.body.spec.containers[0].image, 'j');
    assert.equal(strategic.body.spec.containers[0].imagePullPolicy, 'IfNotPresent');
    const json = await patch(
      [{ op: 'replace', path: '/metadata/labels/b', value: '3' }],
      'application/json-patch+json',
    );
    assert.deepEqual(json.body.metadata.labels, { b: '3' });
    const yaml = 'apiVersion: v1\nkind: Pod\nmetadata: {labels: {c: "4"}}\n';
    const applied = await patch(yaml, 'application/apply-patch+yaml', '?fieldManager=me&force=true');
    assert.deepEqual([applied.code, applied.body.metadata.labels], [200, { b: '3', c: '4' }]);
    assert.equal((await patch(yaml, 'application/apply-patch+yaml')).code, 422, 'fieldManager is required');
    const made = await client.call('PATCH', `${NETPOL}/new?fieldManager=me`, JSON.stringify(policy('new')), {
      type: 'application/apply-patch+yaml',
    });
    assert.deepEqual([made.code, made.body.spec.policyTypes], [201, ['Ingress']]);
    const failed = await patch([{ op: 'test', path: '/metadata/name', value: 'x' }], 'application/json-patch+json');
    assert.equal(failed.code, 422);
    const moved = await patch({ metadata: { resourceVersion: '1' } }, 'application/merge-patch+json');
    assert.equal(moved.code, 409);
  });

  it('keeps spec and status apart', async () => {
    const created = await client.call('POST', PODS, { ...pod('p'), status: { phase: 'Running' } });
    assert.equal(created.body.status.phase, 'Pending');
    const merge = { type: 'application/merge-patch+json' };
    const main = await client.call('PATCH', `${PODS}/p`, { status: { phase: 'Running' } }, merge);
    assert.equal(main.body.status.phase, 'Pending');
    const change = {
      metadata: { labels: { a: 'b' } },
      spec: { nodeName: 'n' },
      status: { phase: 'Running', podIP: '203.0.113.7' },
    };
    const status = await client.call('PATCH', `${PODS}/p/status`, change, merge);
    assert.deepEqual(
      [status.body.status.phase, status.body.status.podIP, status.body.spec.nodeName],
      ['Running', '203.0.113.7', undefined],
    );
    const fixed = await client.call('PATCH', `${PODS}/p`, { spec: { hostNetwork: true } }, merge);
    assert.deepEqual([fixed.code, fixed.body.details.causes[0].reason], [422, 'FieldValueForbidden']);
  });

  it('binds pods to nodes once', async () => {
    await client.call('POST', PODS, pod('p'));
    const bind = () => client.call('POST', `${PODS}/p/binding`, { target: { name: 'node-1' } });
    assert.equal((await bind()).code, 201);
    assert.equal((await client.get(`${PODS}/p`)).body.spec.nodeName, 'node-1');
    assert.equal((await bind()).code, 409);
  });

  it('makes names from generateName', async () => {
    const generated = { ...pod('x'), metadata: { generateName: 'web-' } };
    const names = new Set<string>();
    for (let count = 0; count < 5; count += 1)
      names.add((await client.call('POST', PODS, generated)).body.metadata.name);
    assert.equal(names.size, 5);
    for (const name of names) assert.match(name, /^web-[a-z0-9]{5}$/);
  });

  it('gives pods on nodes time to go, others none', async () => {
    server.store.create('pods', pod('waiting'));
    server.store.create('pods', pod('running', { spec: { nodeName: 'n', terminationGracePeriodSeconds: 7 } }));
    const gone = await client.call('DELETE', `${PODS}/waiting`);
    assert.deepEqual([gone.code, gone.body.kind, (await client.get(`${PODS}/waiting`)).code], [200, 'Pod', 404]);
    const going = await client.call('DELETE', `${PODS}/running`, { propagationPolicy: 'Background' });
    assert.equal(going.body.metadata.deletionGracePeriodSeconds, 7);
    const left = Date.parse(going.body.metadata.deletionTimestamp) - Date.now();
    assert.ok(left > 5000 && left <= 7000, `${left} ms left`);
    assert.equal((await client.get(`${PODS}/running`)).code, 200);
    const wrong = { preconditions: { uid: 'someone-else' } };
    assert.equal((await client.call('DELETE', `${PODS}/running`, wrong)).code, 409);
    assert.equal((await client.call('DELETE', `${PODS}/running?gracePeriodSeconds=0`)).code, 200);
    assert.equal((await client.get(`${PODS}/running`)).code, 404);
  });

  it('deletes collections by selector', async () => {
    for (const [name, app] of [
      ['a', 'x'],
      ['b', 'x'],
      ['c', 'y'],
    ] as const)
      server.store.create('pods', pod(name, { labels: { app } }));
    const deleted = await client.call('DELETE', `${PODS}?labelSelector=app%3Dx`);
    assert.deepEqual([deleted.body.kind, deleted.body.items.length], ['PodList', 2]);
    assert.deepEqual(
      (await client.get(PODS)).body.items.map((item: Any) => item.metadata.name),
      ['c'],
    );
  });

  it('empties a namespace that is deleted', async () => {
    server.store.create('namespaces', { metadata: { name: 'gone' } });
    assert.equal(
      server.store.get('namespaces', { name: 'gone' })?.metadata.labels?.['kubernetes.io/metadata.name'],
      'gone',
    );
    server.store.create('pods', pod('p', { namespace: 'gone', spec: { nodeName: 'n' } }));
    server.store.create('configmaps', { metadata: { name: 'c', namespace: 'gone' } });
    const { body } = await client.call('DELETE', '/api/v1/namespaces/gone');
    assert.equal(body.status.phase, 'Terminating');
    assert.equal(server.store.list('configmaps', { namespace: 'gone' }).length, 0);
    const late = await client.call('POST', '/api/v1/namespaces/gone/pods', pod('q', { namespace: 'gone' }));
    assert.deepEqual([late.code, late.body.reason], [403, 'Forbidden']);
    await client.call('DELETE', '/api/v1/namespaces/gone/pods/p?gracePeriodSeconds=0');
    assert.equal((await client.get('/api/v1/namespaces/gone')).code, 404);
  });

  it('selects by labels and fields', async () => {
    server.store.create('pods', pod('a', { labels: { app: 'x', tier: 'front' }, spec: { nodeName: 'n1' } }));
    server.store.create('pods', pod('b', { labels: { app: 'y' }, spec: { nodeName: 'n2' } }));
    server.store.create('pods', pod('c'));
    const names = async (query: string): Promise<string> => {
      const { body } = await client.get(`/api/v1/pods?${query}`);
      return body.items?.map((item: Any) => item.metadata.name).join('') ?? body.message;
    };
    for (const [selector, expected] of [
      ['app=x', 'a'],
      ['app==x', 'a'],
      ['app!=x', 'bc'],
      ['app', 'ab'],
      ['!app', 'c'],
      ['app in (x, y),!tier', 'b'],
      ['app notin (x)', 'bc'],
      ['tier=front,app=x', 'a'],
    ] as const) {
      assert.equal(await names(`labelSelector=${encodeURIComponent(selector)}`), expected, selector);
    }
    for (const [selector, expected] of [
      ['spec.nodeName=n1', 'a'],
      ['spec.nodeName!=n1', 'bc'],
      ['spec.nodeName=', 'c'],
      ['metadata.name=b,metadata.namespace=default', 'b'],
      ['status.phase=Pending', 'abc'],
      ['status.phase!=Pending', ''],
    ] as const) {
      assert.equal(await names(`fieldSelector=${encodeURIComponent(selector)}`), expected, selector);
    }
    assert.equal(await names('fieldSelector=spec.color%3Dred'), 'field label not supported: spec.color');
    assert.match(await names('labelSelector=%3D%3D%3D'), /unable to parse/);
  });

  it('lists in pages that show one moment, and offers to go on when that moment is forgotten', async () => {
    for (let index = 0; index < 7; index += 1) server.store.create('pods', pod(`p${index}`));
    const page = (token: string) => client.get(`/api/v1/pods?limit=3&continue=${token}`);
    const first = await page('');
    assert.deepEqual([first.body.items.length, first.body.metadata.remainingItemCount], [3, 4]);
    assert.equal(first.body.items[0].kind, undefined, 'items of a list carry no kind');
    server.store.delete('pods', { namespace: 'default', name: 'p5' });
    server.store.create('pods', pod('p4a'));
    const second = await page(first.body.metadata.continue);
    const third = await page(second.body.metadata.continue);
    const namesOf = (reply: Any): string => reply.body.items.map((item: Any) => item.metadata.name).join();
    assert.deepEqual([namesOf(second), namesOf(third)], ['p3,p4,p5', 'p6']);
    assert.equal(third.body.metadata.resourceVersion, first.body.metadata.resourceVersion);
    assert.equal(third.body.metadata.continue, undefined);
    server.compact();
    const expired = await page(first.body.metadata.continue);
    assert.deepEqual([expired.code, expired.body.reason], [410, 'Expired']);
    const resumed = await page(expired.body.metadata.continue);
    assert.deepEqual([resumed.code, namesOf(resumed)], [200, 'p3,p4,p4a']);
    assert.equal((await page('rubbish')).code, 400);
  });

  it('answers 504 for a version it has not reached', async () => {
    const { code, body } = await client.get('/api/v1/pods?resourceVersion=999999&resourceVersionMatch=NotOlderThan');
    assert.deepEqual([code, body.details.causes[0].reason], [504, 'ResourceVersionTooLarge']);
    assert.equal((await client.get('/api/v1/pods?resourceVersion=0')).code, 200);
    assert.equal((await client.get('/api/v1/pods?resourceVersion=x')).code, 400);
  });

  it('writes tables with the columns people expect', async () => {
    server.store.create('pods', pod('p', { spec: { nodeName: 'n' } }));
    server.store.setStatus('pods', { namespace: 'default', name: 'p' }, { phase: 'Running', podIP: '203.0.113.9' });
    server.store.create('networkpolicies', policy('q', { podSelector: { matchLabels: { a: 'b' } } }));
    const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';
    const pods = (await client.get(PODS, { accept })).body;
    assert.deepEqual(
      pods.columnDefinitions.map((column: Any) => column.name.toUpperCase()),
      ['NAME', 'READY', 'STATUS', 'RESTARTS', 'AGE', 'IP', 'NODE', 'NOMINATED NODE', 'READINESS GATES'],
    );
    assert.deepEqual(pods.rows[0].cells.slice(0, 4), ['p', '0/1', 'Running', '0']);
    assert.deepEqual(pods.rows[0].cells.slice(5, 7), ['203.0.113.9', 'n']);
    assert.equal(pods.rows[0].object.kind, 'PartialObjectMetadata');
    const policies = (await client.get(`${NETPOL}/q`, { accept })).body;
    assert.deepEqual(policies.rows[0].cells.slice(0, 2), ['q', 'a=b']);
  });

  it('stores hostile objects past all rules', async () => {
    const hostile = {
      metadata: { name: 'h', namespace: 'default' },
      spec: { podSelector: {}, ingress: [{ from: [{}] }], future: 1 },
    };
    server.store.putUnchecked('networkpolicies', hostile);
    const { code, body } = await client.get(`${NETPOL}/h`);
    assert.deepEqual([code, body.kind, body.spec], [200, 'NetworkPolicy', hostile.spec]);
    const table = await client.get(NETPOL, { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' });
    assert.equal(table.code, 200);
  });

  it('counts requests by verb and resource', async () => {
    server.requests.reset();
    await client.get(PODS);
    await client.get(PODS);
    await client.get(NETPOL);
    assert.deepEqual(
      [server.requests.count('list', 'pods'), server.requests.count('list'), server.requests.count('watch')],
      [2, 3, 0],
    );
    assert.equal(server.requests.recent().length, 3);
  });

  it('is discovered in both forms', async () => {
    const accept = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json';
    const aggregated = await client.get('/apis', { accept });
    assert.match(String(aggregated.headers['content-type']), /as=APIGroupDiscoveryList/);
    const networking = aggregated.body.items.find((item: Any) => item.metadata.name === 'networking.k8s.io');
    assert.equal(networking.versions[0].resources[0].resource, 'networkpolicies');
    assert.deepEqual((await client.get('/api')).body.versions, ['v1']);
    const group = (await client.get('/apis')).body.groups.find((item: Any) => item.name === 'networking.k8s.io');
    assert.equal(group.preferredVersion.groupVersion, 'networking.k8s.io/v1');
    assert.deepEqual((await client.get('/apis/networking.k8s.io')).body.preferredVersion, group.preferredVersion);
    const { resources } = (await client.get('/apis/networking.k8s.io/v1')).body;
    assert.deepEqual(resources[0].shortNames, ['netpol']);
    assert.ok(resources[0].verbs.includes('watch') && resources[0].verbs.includes('deletecollection'));
    assert.equal((await client.get('/openapi/v3/apis/networking.k8s.io/v1')).code, 200);
    assert.ok('networking.k8s.io.v1.NetworkPolicy' in (await client.get('/openapi/v2')).body.definitions);
    assert.equal((await client.get('/openapi/v4')).code, 404);
    assert.equal((await client.get('/readyz')).body, 'ok');
  });
});
