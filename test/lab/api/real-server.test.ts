/** What a Kubernetes 1.34 API server takes, stores and refuses, as a client sees it. */
import assert from 'node:assert/strict';
import { type ApiServer, startApiServer } from '../../../lab/api/api-server.ts';
import { type Any, Client, policy, type Reply } from './client.ts';

const POLICIES = '/apis/networking.k8s.io/v1/namespaces/default/networkpolicies';
const CONFIGMAPS = '/api/v1/namespaces/default/configmaps';
const APPLY = { type: 'application/apply-patch+yaml' };

describe('the API server, as a Kubernetes 1.34 API server', () => {
  let server: ApiServer;
  let client: Client;
  let count = 0;

  before(async () => {
    server = await startApiServer();
    client = new Client(server);
  });
  after(async () => {
    client.close();
    await server.close();
  });

  const newName = (): string => {
    count += 1;
    return `p${count}`;
  };
  const create = (spec: unknown, query = ''): Promise<Reply> => {
    const { spec: _spec, ...rest } = policy(newName()) as Any;
    return client.call('POST', `${POLICIES}${query}`, spec === undefined ? rest : { ...rest, spec });
  };
  const causesOf = ({ body }: Reply): string[] =>
    (body.details?.causes ?? []).map((cause: Any) => `${cause.reason} ${cause.field}`);

  describe('fault: what may be left out', () => {
    for (const [why, spec, stored] of [
      ['no spec', undefined, { podSelector: {}, policyTypes: ['Ingress'] }],
      ['spec null', null, { podSelector: {}, policyTypes: ['Ingress'] }],
      ['an empty rule item', { ingress: [null] }, { podSelector: {}, policyTypes: ['Ingress'], ingress: [{}] }],
      [
        'an empty port item',
        { egress: [{ ports: [null] }] },
        { podSelector: {}, policyTypes: ['Ingress', 'Egress'], egress: [{ ports: [{ protocol: 'TCP' }] }] },
      ],
      [
        'a label without a value',
        { podSelector: { matchLabels: { app: null } } },
        { podSelector: { matchLabels: { app: '' } }, policyTypes: ['Ingress'] },
      ],
    ] as const) {
      it(`takes ${why}`, async () => {
        const reply = await create(spec);
        assert.equal(reply.code, 201, JSON.stringify(reply.body));
        assert.deepEqual(reply.body.spec, stored);
      });
    }

    for (const [why, spec, causes] of [
      ['an empty peer item', { ingress: [{ from: [null] }] }, ['FieldValueRequired spec.ingress[0].from[0]']],
      [
        'an empty expression item',
        { podSelector: { matchExpressions: [null] } },
        [
          'FieldValueInvalid spec.podSelector.matchExpressions[0].key',
          'FieldValueNotSupported spec.podSelector.matchExpressions[0].operator',
        ],
      ],
      [
        'an empty except item',
        { ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8', except: [null] } }] }] },
        ['FieldValueInvalid spec.ingress[0].from[0].ipBlock.except[0]'],
      ],
      ['an empty type item', { policyTypes: [null] }, ['FieldValueNotSupported spec.policyTypes[0]']],
    ] as const) {
      it(`refuses ${why}, field by field`, async () => {
        const reply = await create(spec);
        assert.equal(reply.code, 422, JSON.stringify(reply.body));
        assert.deepEqual(causesOf(reply), causes);
      });
    }
  });

  describe('fault: CIDRs are read as the API server reads them (S-29, S-31)', () => {
    const block = (cidr: string, ...except: string[]): object => ({
      ingress: [{ from: [{ ipBlock: { cidr, ...(except.length > 0 ? { except } : {}) } }] }],
    });

    for (const [cidr, except, warning] of [
      ['10.0.0.0/08', [], /later releases.*"10.0.0.0\/8"/],
      ['010.0.0.0/8', [], /later releases.*"10.0.0.0\/8"/],
      ['2001:00db8::/32', [], /later releases.*"2001:db8::\/32"/],
      ['2001:0db8::/32', [], /canonical.*"2001:db8::\/32"/],
      ['2001:DB8::/032', [], /later releases.*"2001:db8::\/32"/],
      ['::ffff:10.0.0.0/104', [], /later releases.*"10.0.0.0\/8"/],
      ['10.1.2.3/8', [], /bits set.*"10.0.0.0\/8"/],
      ['10.0.0.0/8', ['::ffff:10.1.0.0/112'], /except\[0\].*later releases.*"10.1.0.0\/16"/],
      ['0.0.0.0/0', ['::ffff:0:0/97'], /"0.0.0.0\/1"/],
      ['::ffff:10.0.0.0/104', ['::ffff:10.1.0.0/112'], /except\[0\]/],
    ] as const) {
      it(`takes ${cidr}${except.length > 0 ? ` except ${except.join()}` : ''}, with a warning`, async () => {
        const reply = await create(block(cidr, ...except));
        assert.equal(reply.code, 201, JSON.stringify(reply.body));
        assert.equal(reply.body.spec.ingress[0].from[0].ipBlock.cidr, cidr, 'stored as written');
        assert.match(String(reply.headers.warning), new RegExp(warning.source.replaceAll('"', '\\\\?"')));
      });
    }

    it('takes the canonical form without a warning', async () => {
      const reply = await create(block('2001:db8::/32', '2001:db8:1::/48'));
      assert.deepEqual([reply.code, reply.headers.warning], [201, undefined]);
    });

    for (const [cidr, ...except] of [
      ['10.0.0.0/33'],
      ['10.0.0.0/'],
      ['10.0.0.0/+8'],
      ['10.0.0/8'],
      ['10.0.0.256/8'],
      ['2001:10db8::/32'],
      ['::/129'],
      ['fe80::1%eth0/64'],
      ['10.0.0.0/8/8'],
      [' 10.0.0.0/8'],
      // The IPv4 block's length is less than 104, the mapped one's is not less than 16.
      ['::ffff:10.0.0.0/104', '10.1.0.0/16'],
      ['10.0.0.0/8', '::ffff:11.0.0.0/112'],
      ['10.0.0.0/8', '2001:db8::/48'],
      ['::/0', '10.0.0.0/8'],
    ] as const) {
      it(`refuses ${[cidr, ...except].join(' except ')}`, async () => {
        const reply = await create(block(cidr, ...except));
        assert.equal(reply.code, 422, JSON.stringify(reply.body));
        const field = except.length > 0 ? 'except[0]' : 'cidr';
        assert.deepEqual(causesOf(reply), [`FieldValueInvalid spec.ingress[0].from[0].ipBlock.${field}`]);
      });
    }
  });

  describe('fault: metadata', () => {
    const owner = { apiVersion: 'v1', kind: 'ConfigMap', name: 'o', uid: 'u' };
    const withMetadata = (metadata: object): Promise<Reply> =>
      client.call('POST', CONFIGMAPS, { metadata: { name: newName(), ...metadata } });

    for (const [why, metadata, causes] of [
      ['an owner without uid', { ownerReferences: [{ ...owner, uid: '' }] }, ['ownerReferences[0].uid']],
      [
        'an empty owner',
        { ownerReferences: [{}] },
        [
          'ownerReferences[0].apiVersion',
          'ownerReferences[0].kind',
          'ownerReferences[0].name',
          'ownerReferences[0].uid',
        ],
      ],
      [
        'an owner of no version',
        { ownerReferences: [{ ...owner, apiVersion: 'apps/' }] },
        ['ownerReferences[0].apiVersion'],
      ],
      ['an event as owner', { ownerReferences: [{ ...owner, kind: 'Event' }] }, ['ownerReferences[0]']],
      [
        'two controllers',
        {
          ownerReferences: [
            { ...owner, controller: true },
            { ...owner, uid: 'v', controller: true },
          ],
        },
        ['ownerReferences'],
      ],
      ['a finalizer without a domain', { finalizers: ['mine'] }, ['finalizers[0]']],
      ['a finalizer that is no name', { finalizers: ['example.com/a b'] }, ['finalizers']],
      ['both ways of deletion', { finalizers: ['orphan', 'foregroundDeletion'] }, ['finalizers']],
    ] as const) {
      it(`refuses ${why}`, async () => {
        const reply = await withMetadata(metadata);
        assert.equal(reply.code, 422, JSON.stringify(reply.body));
        assert.deepEqual(
          causesOf(reply),
          causes.map((field) => `FieldValueInvalid metadata.${field}`),
        );
      });
    }

    it('takes owners and finalizers that are right', async () => {
      const metadata = {
        ownerReferences: [
          { ...owner, controller: true },
          { ...owner, uid: 'v' },
        ],
        finalizers: ['example.com/x'],
      };
      assert.equal((await withMetadata(metadata)).code, 201);
    });

    it('refuses unknown fields and wrong types in an owner reference', async () => {
      const unknown = await client.call('POST', `${CONFIGMAPS}?fieldValidation=Strict`, {
        metadata: { name: newName(), ownerReferences: [{ ...owner, color: 'red' }] },
      });
      assert.equal(unknown.code, 400);
      assert.match(unknown.body.message, /strict decoding error: unknown field "metadata.ownerReferences\[0\].color"/);
      assert.equal((await withMetadata({ ownerReferences: [{ ...owner, controller: 'yes' }] })).code, 400);
    });

    it('refuses new finalizers on an object that is being deleted', async () => {
      const name = newName();
      await client.call('POST', CONFIGMAPS, { metadata: { name, finalizers: ['example.com/a'] } });
      await client.call('DELETE', `${CONFIGMAPS}/${name}`);
      const type = 'application/merge-patch+json';
      const more = { metadata: { finalizers: ['example.com/a', 'example.com/b'] } };
      const reply = await client.call('PATCH', `${CONFIGMAPS}/${name}`, more, { type });
      assert.deepEqual([reply.code, ...causesOf(reply)], [422, 'FieldValueForbidden metadata.finalizers']);
    });
  });

  describe('fault: the text of a request', () => {
    const text = (spec: string): string =>
      `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"${newName()}"},"spec":${spec}}`;

    for (const port of ['80.0', '8e1', '80.5']) {
      it(`refuses port ${port}: no integer`, async () => {
        const reply = await client.call('POST', POLICIES, text(`{"ingress":[{"ports":[{"port":${port}}]}]}`));
        assert.deepEqual([reply.code, reply.body.reason], [400, 'BadRequest']);
        assert.match(reply.body.message, /cannot be handled as a NetworkPolicy: .*spec.ingress\[0\].ports\[0\].port/);
      });
    }

    it('refuses endPort 81.0, in a PUT and in a merge patch too', async () => {
      const { name } = (await create({})).body.metadata;
      const spec = '{"ingress":[{"ports":[{"port":80,"endPort":81.0}]}]}';
      const put = text(spec).replace(/p\d+/, name);
      assert.equal((await client.call('PUT', `${POLICIES}/${name}`, put)).code, 400);
      const type = 'application/merge-patch+json';
      assert.equal((await client.call('PATCH', `${POLICIES}/${name}`, `{"spec":${spec}}`, { type })).code, 400);
    });

    it('takes 80.0 in YAML, which is turned into JSON first', async () => {
      const yaml = `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: ${newName()}}\nspec: {ingress: [{ports: [{port: 80.0}]}]}\n`;
      const reply = await client.call('POST', POLICIES, yaml, { type: 'application/yaml' });
      assert.deepEqual([reply.code, reply.body.spec?.ingress[0].ports[0].port], [201, 80]);
    });

    it('names keys given twice: refused under Strict, warned of by default, taken under Ignore', async () => {
      const doubled = (): string =>
        text('{"podSelector":{"matchLabels":{"a":"1","a":"2"}},"policyTypes":["Egress"],"policyTypes":["Ingress"]}');
      const strict = await client.call('POST', `${POLICIES}?fieldValidation=Strict`, doubled());
      assert.equal(strict.code, 400);
      assert.match(
        strict.body.message,
        /strict decoding error: duplicate field "spec.podSelector.matchLabels.a", duplicate field "spec.policyTypes"/,
      );
      const warned = await client.call('POST', POLICIES, doubled());
      assert.deepEqual([warned.code, warned.body.spec.policyTypes], [201, ['Ingress']]);
      assert.match(String(warned.headers.warning), /duplicate field \\"spec.policyTypes\\"/);
      const ignored = await client.call('POST', `${POLICIES}?fieldValidation=Ignore`, doubled());
      assert.deepEqual([ignored.code, ignored.headers.warning], [201, undefined]);
    });

    it('names keys given twice in YAML by their line', async () => {
      const yaml = `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: ${newName()}}\nspec: {}\nspec: {egress: [{}]}\n`;
      const reply = await client.call('POST', `${POLICIES}?fieldValidation=Strict`, yaml, { type: 'application/yaml' });
      assert.equal(reply.code, 400);
      assert.match(reply.body.message, /strict decoding error: line 5: key already set/);
    });
  });

  describe('fault: server-side apply', () => {
    const apply = (name: string, body: object, query = ''): Promise<Reply> =>
      client.call('PATCH', `${POLICIES}/${name}?fieldManager=me${query}`, body, APPLY);
    const config = (name: string | undefined, more: object = {}, spec: object = {}): object => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { ...(name === undefined ? {} : { name }), ...more },
      spec,
    });

    for (const validation of ['', '&fieldValidation=Ignore', '&fieldValidation=Warn']) {
      it(`refuses unknown fields ${validation}`, async () => {
        const name = newName();
        const reply = await apply(name, config(name, {}, { ingres: [] }), validation);
        assert.equal(reply.code, 500);
        assert.equal(
          reply.body.message,
          `failed to create typed patch object (default/${name}; networking.k8s.io/v1, Kind=NetworkPolicy): .spec.ingres: field not declared in schema`,
        );
        assert.ok(!('reason' in reply.body));
        assert.equal((await client.get(`${POLICIES}/${name}`)).code, 404);
      });
    }

    it('refuses a new object without a name or with another one, and one of another kind or version', async () => {
      const missing = await apply('x1', config(undefined));
      assert.deepEqual([missing.code, missing.body.reason], [400, 'BadRequest']);
      assert.match(missing.body.message, /the name of the object \(x1 based on URL\) was undeterminable/);
      const other = await apply('x1', config('x2'));
      assert.equal(other.code, 400);
      assert.match(other.body.message, /\(x2\) does not match the name on the URL \(x1\)/);
      assert.equal((await apply('x1', { ...config('x1'), apiVersion: 'networking.k8s.io/v1beta1' })).code, 400);
      assert.equal((await apply('x1', { ...config('x1'), kind: 'Pod' })).code, 500);
      assert.equal((await client.get(`${POLICIES}/x1`)).code, 404);
    });

    it('takes a configuration without a name for an object that is there', async () => {
      const name = newName();
      await apply(name, config(name));
      assert.equal((await apply(name, config(undefined, { labels: { a: 'b' } }))).code, 200);
    });

    it('refuses a foreign uid, of a new object and of one that is there', async () => {
      const name = newName();
      const fresh = await apply(name, config(name, { uid: 'abc' }));
      assert.deepEqual([fresh.code, fresh.body.reason], [409, 'Conflict']);
      assert.match(fresh.body.message, /uid mismatch: the provided object specified uid abc, and no existing object/);
      assert.equal((await apply(name, config(name))).code, 201);
      const present = await apply(name, config(name, { uid: 'abc' }));
      assert.deepEqual([present.code, present.body.reason], [409, 'Conflict']);
      assert.match(present.body.message, /Precondition failed: UID in precondition: abc/);
    });

    it('refuses managedFields in the configuration', async () => {
      const name = newName();
      const reply = await apply(name, config(name, { managedFields: [{ operation: 'Apply' }] }));
      assert.deepEqual([reply.code, reply.body.message], [400, 'metadata.managedFields must be nil']);
    });

    it('refuses to take a field from its manager, unless it is forced', async () => {
      const name = newName();
      await apply(name, config(name, { labels: { a: '1', b: '1' } }, { podSelector: {} }));
      const other = (query: string, labels: object, spec: object): Promise<Reply> =>
        client.call('PATCH', `${POLICIES}/${name}?fieldManager=other${query}`, config(name, { labels }, spec), APPLY);
      const refused = await other('', { a: '2', c: '1' }, { podSelector: { matchLabels: { x: 'y' } } });
      assert.deepEqual([refused.code, refused.body.reason], [409, 'Conflict']);
      assert.match(
        refused.body.message,
        /^Apply failed with 2 conflicts: conflict with "me" using networking.k8s.io\/v1: /,
      );
      assert.deepEqual(causesOf(refused), [
        'FieldManagerConflict .spec.podSelector',
        'FieldManagerConflict .metadata.labels.a',
      ]);
      assert.equal(
        (await other('', { a: '1', c: '1' }, { podSelector: {} })).code,
        200,
        'the same values are no conflict',
      );
      assert.equal((await other('&force=true', { a: '2' }, {})).body.metadata.labels.a, '2');
    });

    it('wants a manager, and force only where it means something', async () => {
      const name = newName();
      await apply(name, config(name));
      const nobody = await client.call('PATCH', `${POLICIES}/${name}`, config(name), APPLY);
      assert.deepEqual([nobody.code, ...causesOf(nobody)], [422, 'FieldValueRequired fieldManager']);
      const type = 'application/merge-patch+json';
      const forced = await client.call('PATCH', `${POLICIES}/${name}?force=true`, {}, { type });
      assert.deepEqual([forced.code, ...causesOf(forced)], [422, 'FieldValueForbidden force']);
    });

    it('replaces a selector as a whole', async () => {
      const name = newName();
      await client.call('POST', POLICIES, policy(name, { podSelector: { matchLabels: { a: '1' } } }));
      const reply = await apply(name, config(name, {}, { podSelector: { matchLabels: { b: '1' } } }), '&force=true');
      assert.deepEqual(reply.body.spec.podSelector, { matchLabels: { b: '1' } });
    });
  });

  describe('fault: managedFields', () => {
    const entriesOf = ({ body }: Reply): string[] =>
      body.metadata.managedFields.map((entry: Any) => `${entry.manager} ${entry.operation}`);
    const fieldsOf = ({ body }: Reply, manager: string): Any =>
      body.metadata.managedFields.find((entry: Any) => entry.manager === manager)?.fieldsV1;

    it('a POST notes its writer and what it wrote', async () => {
      const object = policy(newName(), { podSelector: { matchLabels: { a: 'b' } }, egress: [{}] }) as Any;
      object.metadata.labels = { app: 'x' };
      const reply = await client.call('POST', `${POLICIES}?fieldManager=kubectl-create`, object);
      const [entry] = reply.body.metadata.managedFields;
      const { time, ...rest } = entry;
      assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
      assert.deepEqual(rest, {
        manager: 'kubectl-create',
        operation: 'Update',
        apiVersion: 'networking.k8s.io/v1',
        fieldsType: 'FieldsV1',
        fieldsV1: {
          'f:metadata': { 'f:labels': { '.': {}, 'f:app': {} } },
          'f:spec': { 'f:egress': {}, 'f:podSelector': {}, 'f:policyTypes': {} },
        },
      });
      assert.equal((await client.get(`${POLICIES}/${object.metadata.name}`)).body.metadata.managedFields.length, 1);
    });

    it('a PUT takes over what it changes, and no more', async () => {
      const name = newName();
      const first = await client.call('POST', `${POLICIES}?fieldManager=one`, policy(name, { egress: [{}] }));
      const changed = { ...first.body, spec: { ...first.body.spec, podSelector: { matchLabels: { a: 'b' } } } };
      const reply = await client.call('PUT', `${POLICIES}/${name}?fieldManager=two`, changed);
      assert.deepEqual(entriesOf(reply).sort(), ['one Update', 'two Update']);
      assert.deepEqual(fieldsOf(reply, 'one'), { 'f:spec': { 'f:egress': {}, 'f:policyTypes': {} } });
      assert.deepEqual(fieldsOf(reply, 'two'), { 'f:spec': { 'f:podSelector': {} } });
    });

    it('a write that changes nothing changes no entry and no version', async () => {
      const name = newName();
      const first = await client.call('POST', `${POLICIES}?fieldManager=one`, policy(name));
      const again = await client.call('PUT', `${POLICIES}/${name}?fieldManager=two`, first.body);
      assert.deepEqual(again.body, first.body);
    });

    it('apply owns what it names; patches and status have entries of their own; an item is known by its keys', async () => {
      const name = newName();
      const pods = '/api/v1/namespaces/default/pods';
      const pod = {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name },
        spec: { containers: [{ name: 'c', image: 'i', ports: [{ containerPort: 80 }] }] },
      };
      await client.call('PATCH', `${pods}/${name}?fieldManager=me`, pod, APPLY);
      await client.call(
        'PATCH',
        `${pods}/${name}?fieldManager=labeller`,
        { metadata: { labels: { a: 'b' } } },
        { type: 'application/merge-patch+json' },
      );
      const type = 'application/strategic-merge-patch+json';
      const reply = await client.call(
        'PATCH',
        `${pods}/${name}/status?fieldManager=kubelet`,
        { status: { phase: 'Running' } },
        { type },
      );
      assert.deepEqual(entriesOf(reply), ['me Apply', 'kubelet Update', 'labeller Update']);
      assert.deepEqual(fieldsOf(reply, 'me')['f:spec']['f:containers'], {
        'k:{"name":"c"}': {
          '.': {},
          'f:name': {},
          'f:image': {},
          'f:ports': { 'k:{"containerPort":80,"protocol":"TCP"}': { '.': {}, 'f:containerPort': {} } },
        },
      });
      assert.deepEqual(fieldsOf(reply, 'labeller'), { 'f:metadata': { 'f:labels': { '.': {}, 'f:a': {} } } });
      assert.deepEqual(fieldsOf(reply, 'kubelet'), { 'f:status': { 'f:phase': {} } });
      assert.equal(reply.body.metadata.managedFields[1].subresource, 'status');
    });

    it('a client without a field manager is known by its program', async () => {
      const reply = await create({});
      assert.equal(reply.body.metadata.managedFields[0].operation, 'Update');
    });

    it('a client may reset them, and is told what is no entry', async () => {
      const name = newName();
      const first = await client.call('POST', `${POLICIES}?fieldManager=one`, policy(name));
      const reset = { ...first.body, metadata: { ...first.body.metadata, managedFields: [{}] } };
      const reply = await client.call('PUT', `${POLICIES}/${name}?fieldManager=two`, reset);
      assert.deepEqual([reply.code, reply.body.metadata.managedFields], [200, undefined]);
      const wrong = { ...first.body, metadata: { name, managedFields: [{ operation: 'Write' }] } };
      const refused = await client.call('PUT', `${POLICIES}/${name}`, wrong);
      assert.deepEqual(
        [refused.code, ...causesOf(refused)],
        [422, 'FieldValueInvalid metadata.managedFields[0].operation'],
      );
    });

    it('a name of a manager that is too long or cannot be printed is refused', async () => {
      assert.equal((await create({}, `?fieldManager=${'x'.repeat(129)}`)).code, 422);
      assert.equal((await create({}, '?fieldManager=a%01b')).code, 422);
    });
  });

  it('an Event is in the namespace of its object, and in default where that has none', async () => {
    const create = (involved: object, namespace: string): Promise<Reply> =>
      client.call('POST', `/api/v1/namespaces/${namespace}/events`, {
        metadata: { name: newName() },
        involvedObject: { kind: 'Namespace', name: 'kube-system', ...involved },
      });
    assert.equal((await create({}, 'default')).code, 201);
    assert.equal((await create({ namespace: 'kube-system' }, 'kube-system')).code, 201);
    for (const refused of [await create({}, 'kube-system'), await create({ namespace: 'default' }, 'kube-system')])
      assert.deepEqual([refused.code, causesOf(refused)], [422, ['FieldValueInvalid involvedObject.namespace']]);
  });
});
