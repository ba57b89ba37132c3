import assert from 'node:assert/strict';
import { parseManifests } from '../../src/cluster/read-manifests.ts';
import { ApiStore } from '../../lab/api/api-store.ts';
import { ApiError } from '../../lab/api/errors.ts';
import { applyObject, checkManifests, noteText, orderForApply } from '../../lab/apply-manifests.ts';

const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';

function manifests(text: string) {
  const { objects, problems } = parseManifests(text, 'file.yaml');
  assert.deepEqual(problems, []);
  return objects;
}

const POD = 'apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: x}\nspec: {containers: [{name: c, image: i}]}\n';
const POLICY = 'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {}}\n';

describe('orderForApply', () => {
  it('puts what others need first, keeps the written order, and policies apart', () => {
    const kinds = ['NetworkPolicy', 'Pod', 'Service', 'Deployment', 'Namespace', 'Node'];
    const text = kinds.map((kind) => `apiVersion: v1\nkind: ${kind}\nmetadata: {name: a}\n`).join('---\n');
    const { others, policies } = orderForApply(manifests(text));
    const kindsOf = (list: typeof others): unknown[] => list.map(({ object }) => (object as { kind: unknown }).kind);
    assert.deepEqual(kindsOf(others), ['Namespace', 'Node', 'Service', 'Pod', 'Deployment']);
    assert.deepEqual(kindsOf(policies), ['NetworkPolicy']);
  });
});

describe('checkManifests', () => {
  it('passes what the API server takes', () => {
    const { others, policies, errors, skipped } = checkManifests(manifests(`${POLICY}---\n${POD}`));
    assert.deepEqual([others.length, policies.length, errors, skipped], [1, 1, [], []]);
  });

  it('skips kinds the lab has no use for, naming them and where they are', () => {
    const text = `${POD}---\napiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w, namespace: x}\n`;
    const { others, errors, skipped } = checkManifests(manifests(text));
    assert.deepEqual([others.length, errors], [1, []]);
    assert.deepEqual(skipped.map(noteText), [
      'file.yaml:6: document 2: Widget x/w (example.com/v1): the lab has no use for this kind',
    ]);
  });

  it('refuses a policy of a group that no cluster serves, with what to write instead, and never skips it', () => {
    for (const [apiVersion, kind, message] of [
      [
        'extensions/v1beta1',
        'NetworkPolicy',
        'apiVersion: no cluster serves NetworkPolicy as extensions/v1beta1 since Kubernetes 1.16: write networking.k8s.io/v1, the fields are the same',
      ],
      [
        'networking.k8s.io/v1beta1',
        'NetworkPolicy',
        'apiVersion: no cluster serves NetworkPolicy as networking.k8s.io/v1beta1: write networking.k8s.io/v1, the fields are the same',
      ],
      [
        'policy/v1',
        'NetworkPolicy',
        'apiVersion: no cluster serves NetworkPolicy as policy/v1: write networking.k8s.io/v1, the fields are the same',
      ],
      [
        'v1',
        'NetworkPolicy',
        'apiVersion: no cluster serves NetworkPolicy as v1: write networking.k8s.io/v1, the fields are the same',
      ],
      [
        'extensions/v1beta1',
        'Deployment',
        'apiVersion: no cluster serves Deployment as extensions/v1beta1 since Kubernetes 1.16: write apps/v1',
      ],
      ['apps/v1beta2', 'DaemonSet', 'apiVersion: no cluster serves DaemonSet as apps/v1beta2: write apps/v1'],
      [
        'networking.k8s.io/v1',
        'Networkpolicy',
        'kind: no such kind in networking.k8s.io/v1; did you mean NetworkPolicy?',
      ],
      [
        'networking.k8s.io/v1',
        'NetworkPolicies',
        'kind: no such kind in networking.k8s.io/v1; did you mean NetworkPolicy?',
      ],
    ] as const) {
      const text = `${POD}---\napiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: w, namespace: x}\n`;
      const { errors, skipped } = checkManifests(manifests(text));
      assert.deepEqual(errors.map(noteText), [`file.yaml:6: document 2: ${kind} x/w (${apiVersion}): ${message}`]);
      assert.deepEqual(skipped, []);
    }
  });

  it('skips what only shares a name, and says of policies of others that they count for nothing', () => {
    const texts = [
      'apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: w}\n',
      'apiVersion: events.k8s.io/v1\nkind: Event\nmetadata: {name: w}\n',
      'apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: w}\n',
      'apiVersion: crd.projectcalico.org/v1\nkind: NetworkPolicy\nmetadata: {name: w}\n',
      'apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: w}\n',
    ];
    const { errors, skipped } = checkManifests(manifests(texts.join('---\n')));
    assert.deepEqual(errors, []);
    assert.deepEqual(
      skipped.map(({ message }) => /no use|enforced by others/.exec(message)?.[0]),
      ['no use', 'no use', 'no use', 'enforced by others', 'enforced by others'],
    );
  });

  it('says at the line of the field that YAML made something else of a text', () => {
    const text = `${POD}---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: b\n  labels:\n    app: web\n    enabled: yes\nspec: {containers: [{name: c, image: i}]}\n`;
    const { errors } = checkManifests(manifests(text));
    assert.deepEqual(errors.map(noteText), [
      'file.yaml:12: document 2: Pod b (v1): Pod in version "v1" cannot be handled as a Pod: metadata.labels.enabled: ' +
        'expected a string, found boolean (YAML reads yes, no, on, off, y, n and 010 as no text: put it in quotes)',
    ]);
  });

  it('takes RBAC and the like without a word', () => {
    const text = 'apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r}\nrules: []\n';
    const { others, skipped } = checkManifests(manifests(text));
    assert.deepEqual([others.length, skipped], [1, []]);
  });

  it('finds all errors at once: line, object and field', () => {
    const wrong = POLICY.replace('{podSelector: {}}', '{podSelector: {}, ingress: [{ports: [{port: 70000}]}]}');
    const unknown = POLICY.replace('{podSelector: {}}', '{podSelector: {}, ingres: []}');
    const text = [wrong, unknown, 'just text\n', 'kind: Pod\n', 'apiVersion: v1\n', 'apiVersion: v1\nkind: Pod\n'];
    const errors = checkManifests(manifests(text.join('---\n')))
      .errors.map(noteText)
      .sort();
    assert.equal(errors.length, 6);
    const find = (line: number): string => errors.find((error) => error.startsWith(`file.yaml:${line}:`)) ?? '';
    assert.match(find(4), /document 1: .*"p" is invalid: spec\.ingress\[0\]\.ports\[0\]\.port: .*70000/);
    assert.match(find(9), /document 2: NetworkPolicy p .*spec\.ingres/);
    assert.match(find(11), /not an object: "just text"/);
    assert.match(find(13), /Pod: apiVersion: is missing/);
    assert.match(find(15), /kind: is missing/);
    assert.match(find(17), /Pod: metadata\.name: is missing/);
  });
});

describe('fault: what the API server stores is what the lab goes by', () => {
  const stored = (text: string): unknown => {
    const { policies, errors } = checkManifests(manifests(text));
    assert.deepEqual(errors, []);
    return (policies[0]!.stored.object as { spec: unknown }).spec;
  };

  it('a policy without spec, and empty items of lists', () => {
    assert.deepEqual(stored(POLICY.replace(/^spec:.*$/m, '')), { podSelector: {}, policyTypes: ['Ingress'] });
    assert.deepEqual(stored(POLICY.replace(/^spec:.*$/m, 'spec:')), { podSelector: {}, policyTypes: ['Ingress'] });
    const items = POLICY.replace('{podSelector: {}}', '\n  ingress:\n  -\n  egress:\n  - ports:\n    -\n');
    assert.deepEqual(stored(items), {
      podSelector: {},
      policyTypes: ['Ingress', 'Egress'],
      ingress: [{}],
      egress: [{ ports: [{ protocol: 'TCP' }] }],
    });
  });

  it('a label without a value is the empty one', () => {
    const spec = stored(POLICY.replace('{podSelector: {}}', '{podSelector: {matchLabels: {app: }}}'));
    assert.deepEqual(spec, { podSelector: { matchLabels: { app: '' } }, policyTypes: ['Ingress'] });
  });

  it('a second manifest of a name is merged into the first, as it will be', () => {
    const second = POLICY.replace('{podSelector: {}}', '{policyTypes: [Egress]}');
    const { policies } = checkManifests(manifests(`${POLICY}---\n${second}`));
    assert.deepEqual(
      policies.map(({ stored: { object } }) => (object as { spec: { policyTypes: unknown } }).spec.policyTypes),
      [['Ingress'], ['Egress']],
    );
  });

  for (const [why, text] of [
    ['metadata that is text', 'apiVersion: v1\nkind: Pod\nmetadata: x\n'],
    ['a name that is a number', 'apiVersion: v1\nkind: Pod\nmetadata: {name: 5}\n'],
    ['a namespace that is a list', 'apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: []}\n'],
    ['annotations that are text', 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: ab}\n'],
    ['labels that are a list', 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: [x]}\n'],
    ['a spec that is a list', POLICY.replace('{podSelector: {}}', '[]')],
    ['an empty peer', POLICY.replace('{podSelector: {}}', '{ingress: [{from: [null]}]}')],
    ['an empty document in a List', 'apiVersion: v1\nkind: List\nitems:\n-\n'],
    ['a pod without containers', 'apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [null]}\n'],
    ['a Deployment without spec', 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n'],
  ] as const) {
    it(`${why}: an error with its line, no crash`, () => {
      const { errors } = checkManifests(manifests(text));
      assert.equal(errors.length, 1, JSON.stringify(errors.map(noteText)));
      assert.match(noteText(errors[0]!), /^file\.yaml:\d+: ./);
    });
  }

  it('an empty namespace is the default one', () => {
    const { errors, others } = checkManifests(manifests(POD.replace('namespace: x', "namespace: ''")));
    assert.deepEqual([errors.length, others.length], [0, 1]);
  });
});

describe('applyObject', () => {
  it('makes the namespaces an object mentions', () => {
    const store = new ApiStore();
    const [pod] = manifests(POD);
    assert.equal(applyObject(store, pod!).name, 'x/a');
    assert.equal(store.get('namespaces', { name: 'x' })?.metadata.name, 'x');
    assert.equal(store.get('pods', { namespace: 'x', name: 'a' })?.spec.containers[0]?.image, 'i');
  });

  it('puts what names no namespace into default', () => {
    assert.equal(applyObject(new ApiStore(), manifests(POLICY)[0]!).name, 'default/p');
  });

  it('changes an object that is there, and keeps what others wrote on it', () => {
    const store = new ApiStore();
    applyObject(store, manifests(POD)[0]!);
    store.patch('pods', { namespace: 'x', name: 'a' }, 'merge', { metadata: { labels: { by: 'hand' } } });
    applyObject(store, manifests(POD.replace('namespace: x', 'namespace: x, labels: {app: a}'))[0]!);
    assert.deepEqual(store.get('pods', { namespace: 'x', name: 'a' })?.metadata.labels, { by: 'hand', app: 'a' });
  });

  it('leaves the note by which kubectl apply knows what was applied', () => {
    const { object } = applyObject(new ApiStore(), manifests(POLICY)[0]!);
    const noted = JSON.parse(object.metadata.annotations?.[LAST_APPLIED] ?? '') as unknown;
    assert.deepEqual(noted, {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { annotations: {}, name: 'p', namespace: 'default' },
      spec: { podSelector: {} },
    });
  });

  it('refuses kinds it does not know', () => {
    const [widget] = manifests('apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n');
    assert.throws(() => applyObject(new ApiStore(), widget!), ApiError);
  });
});
