import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { buildKustomization, KustomizeFailed } from '../../lab/kustomize.ts';

type Fields = Record<string, unknown>;

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

const POD = `apiVersion: v1
kind: Pod
metadata: { name: a, namespace: x, labels: { app: a } }
spec:
  containers:
    - { name: main, image: 'registry.example:5000/app:1', env: [{ name: A, value: '1' }, { name: B, value: '2' }] }
    - { name: side, image: app }
`;
const MONITOR = `apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: { name: m, namespace: x }
spec: { podMetricsEndpoints: [{ port: a }, { port: b }], selector: {} }
`;
const DEPLOYMENT = `apiVersion: apps/v1
kind: Deployment
metadata: { name: d, namespace: x }
spec:
  selector: { matchLabels: { app: d } }
  template:
    metadata: { labels: { app: d } }
    spec: { containers: [{ name: main, image: 'app:1@sha256:00' }] }
`;

describe('buildKustomization', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-kustomize-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  /** Files by path; those of the root come first. */
  function write(files: Readonly<Record<string, string>>): void {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(folder, dirname(path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
  }

  function build(files: Readonly<Record<string, string>>, path = '.'): readonly Fields[] {
    write(files);
    return buildKustomization(join(folder, path)).map(({ object }) => object as Fields);
  }

  function failure(files: Readonly<Record<string, string>>): string {
    write(files);
    try {
      buildKustomization(folder);
    } catch (error) {
      assert.ok(error instanceof KustomizeFailed, String(error));
      return error.message.replaceAll(folder, '.');
    }
    return assert.fail('built');
  }

  it('takes files and folders as resources', () => {
    const objects = build({
      'kustomization.yaml': 'resources: [pod.yaml, more]\n',
      'pod.yaml': POD,
      'more/kustomization.yml': 'kind: Kustomization\nresources: [d.yaml]\n',
      'more/d.yaml': `${DEPLOYMENT}---\n${MONITOR}`,
    });
    assert.deepEqual(
      objects.map(({ kind }) => kind),
      ['Pod', 'Deployment', 'PodMonitor'],
    );
  });

  it('patches: strategic for kinds of the API, merge for others, JSON patch for lists', () => {
    const [pod, monitor, deployment] = build({
      'kustomization.yaml': `resources: [all.yaml]
patches:
  - path: patch.yaml
  - target: { kind: PodMonitor }
    patch: '{ spec: { podMetricsEndpoints: [{ port: c }] } }'
  - target: { group: apps, version: v1, kind: Deployment, name: d, namespace: x }
    patch: '[{ op: replace, path: /spec/selector/matchLabels/app, value: e }]'
`,
      'all.yaml': [POD, MONITOR, DEPLOYMENT].join('---\n'),
      'patch.yaml': `apiVersion: v1
kind: Pod
metadata: { name: a, namespace: x }
spec: { containers: [{ name: main, env: [{ name: A, value: '3' }, { name: B, $patch: delete }] }] }
`,
    }) as [Fields, Fields, Fields];
    const { containers } = pod.spec as { containers: readonly Fields[] };
    assert.deepEqual(containers[0]!.env, [{ name: 'A', value: '3' }]);
    assert.equal(containers[1]!.image, 'app');
    assert.deepEqual((monitor.spec as Fields).podMetricsEndpoints, [{ port: 'c' }]);
    assert.deepEqual((deployment.spec as Fields).selector, { matchLabels: { app: 'e' } });
  });

  it('sets images by their name, labels in objects and templates and no selector', () => {
    const [pod, deployment] = build({
      'kustomization.yaml': `resources: [all.yaml]
labels: [{ pairs: { team: t }, includeTemplates: true }]
images:
  - { name: app, newName: mirror.example/app, newTag: '2' }
  - { name: registry.example:5000/app, digest: sha256:11 }
`,
      'all.yaml': `${POD}---\n${DEPLOYMENT}`,
    }) as [Fields, Fields];
    const { containers } = pod.spec as { containers: readonly Fields[] };
    assert.deepEqual(
      containers.map(({ image }) => image),
      ['registry.example:5000/app@sha256:11', 'mirror.example/app:2'],
    );
    assert.deepEqual(pod.metadata, { name: 'a', namespace: 'x', labels: { app: 'a', team: 't' } });
    const { template, selector } = deployment.spec as { template: Fields; selector: Fields };
    assert.deepEqual((template.metadata as Fields).labels, { app: 'd', team: 't' });
    assert.deepEqual(selector, { matchLabels: { app: 'd' } });
    assert.equal((template.spec as { containers: Fields[] }).containers[0]!.image, 'mirror.example/app:2');
  });

  it('a component changes what was there before it, and adds its own; ConfigMaps are made of files', () => {
    const objects = build({
      'kustomization.yaml': 'resources: [pod.yaml]\ncomponents: [part]\nimages: [{ name: app, newTag: v9 }]\n',
      'pod.yaml': POD,
      'part/kustomization.yaml': `kind: Component
resources: [monitor.yaml]
patches: [{ target: { kind: Pod }, patch: '{ metadata: { labels: { app: null, is: patched } } }' }]
configMapGenerator:
  - { name: c, namespace: y, files: [data.json], options: { disableNameSuffixHash: true, labels: { l: '1' } } }
`,
      'part/monitor.yaml': MONITOR,
      'part/data.json': '{"a": 1}\n',
    });
    const [pod, monitor, configMap] = objects as readonly [Fields, Fields, Fields];
    assert.deepEqual((pod.metadata as Fields).labels, { is: 'patched' });
    assert.equal((pod.spec as { containers: readonly Fields[] }).containers[1]!.image, 'app:v9');
    assert.equal(monitor.kind, 'PodMonitor');
    assert.deepEqual(configMap, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'c', namespace: 'y', labels: { l: '1' } },
      data: { 'data.json': '{"a": 1}\n' },
    });
  });

  const start = 'kustomization.yaml';
  for (const [what, files, expected] of [
    ['a folder without the file', {}, /^\.: no kustomization.yaml$/],
    [
      'a field that is not known',
      { [start]: 'namePrefix: a-\n' },
      /^\.\/kustomization.yaml: namePrefix: not known here/,
    ],
    [
      'a part of a field',
      { [start]: 'labels: [{ includeSelectors: true }]\n' },
      /labels.includeSelectors: not known here/,
    ],
    ['another kind', { [start]: 'kind: Component\n' }, /kind: expected Kustomization, found "Component"/],
    ['a file that is not there', { [start]: 'resources: [a.yaml]\n' }, /ENOENT.*a\.yaml/],
    ['a resource elsewhere', { [start]: 'resources: [https://example.com/a]\n' }, /https.* is not on this machine/],
    [
      'an object twice',
      { [start]: 'resources: [a.yaml, b.yaml]\n', 'a.yaml': POD, 'b.yaml': POD },
      /Pod x\/a \(v1\) is in .*a.yaml too/,
    ],
    [
      'a patch of nothing',
      { [start]: "patches: [{ target: { kind: Job }, patch: '{}' }]\n" },
      /no object matches {"kind":"Job"}/,
    ],
    ['a patch without a name', { [start]: "patches: [{ patch: 'a: 1' }]\n" }, /names kind and metadata.name/],
    ['no YAML', { [start]: 'resources: [\n' }, /is not valid YAML/],
  ] as const) {
    it(`refuses ${what}, naming it`, () => assert.match(failure(files), expected));
  }
});

// As the API reads them, their order has no meaning but where a patch adds: kustomize puts that ahead.
function inOrder(value: unknown): unknown {
  if (Array.isArray(value)) {
    const items = value.map(inOrder);
    const byName = items.every((item) => typeof item === 'object' && item !== null && 'name' in item);
    return byName ? items.sort((a, b) => ((a as Fields).name! < (b as Fields).name! ? -1 : 1)) : items;
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, inOrder(field)]));
}

function byIdentity(objects: readonly unknown[]): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    objects.map((object) => {
      const { kind, metadata } = object as { readonly kind: string; readonly metadata: Fields };
      return [`${kind} ${String(metadata.namespace)}/${String(metadata.name)}`, inOrder(object)];
    }),
  );
}

describe('buildKustomization, beside kustomize', function () {
  this.timeout(60_000);
  before(function () {
    try {
      execFileSync('kubectl', ['kustomize', join(ROOT, 'manifests')], { stdio: 'pipe', timeout: 20_000 });
    } catch (error) {
      console.log(`      skipped: no kubectl that builds kustomizations: ${(error as Error).message.split('\n')[0]}`);
      this.skip();
    }
  });

  for (const folder of ['manifests', 'overlays/audit', 'overlays/eks', 'overlays/kind', 'overlays/monitored']) {
    it(`builds ${folder} as kubectl does`, () => {
      const path = join(ROOT, folder === 'manifests' ? folder : `manifests/${folder}`);
      const text = execFileSync('kubectl', ['kustomize', path], { encoding: 'utf8', timeout: 20_000 });
      const expected = parseAllDocuments(text).map((document) => document.toJS() as unknown);
      const built = buildKustomization(path).map(({ object }) => object);
      assert.ok(built.length >= 6);
      assert.deepEqual(byIdentity(built), byIdentity(expected));
    });
  }
});
