import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { buildKustomization } from '../../lab/kustomize.ts';
import { CHART, chartFiles } from '../../scripts/helm-chart.ts';
import { schemaProblems } from '../support/published-schemas.ts';

interface Applied {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
  readonly spec?: { readonly template?: { readonly metadata: { readonly labels: Readonly<Record<string, string>> } } };
}

const MANIFESTS = fileURLToPath(new URL('../../manifests/', import.meta.url));

describe('the Helm chart', () => {
  it('is what scripts/helm-chart.ts makes of the manifests', () => {
    const written = globSync('**', { cwd: CHART, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(CHART.length + 1));
    const files = chartFiles();
    assert.deepEqual(written.sort(), Object.keys(files).sort());
    for (const [path, text] of Object.entries(files)) {
      assert.equal(readFileSync(join(CHART, path), 'utf8'), text, `${path}: run node scripts/helm-chart.ts`);
    }
  });

  it('leaves no mark of the generator in a template', () => {
    for (const [path, text] of Object.entries(chartFiles())) {
      if (path.startsWith('templates/')) assert.doesNotMatch(text, /@\w+@|kube-system|INDENT/, path);
    }
  });
});

describe('the Helm chart, rendered by helm', function () {
  this.timeout(60_000);

  function helm(...args: readonly string[]): string {
    return execFileSync('helm', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 20_000 });
  }

  before(function () {
    try {
      helm('version');
    } catch (error) {
      console.log(`      skipped: no helm: ${(error as Error).message.split('\n')[0]}`);
      this.skip();
    }
  });

  function render(...set: readonly string[]): readonly Applied[] {
    const values = set.flatMap((each) => ['--set', each]);
    const text = helm('template', 'portcullis', CHART, '-n', 'kube-system', '--kube-version', '1.34.0', ...values);
    return parseAllDocuments(text).map((document) => {
      assert.deepEqual(document.errors, []);
      return document.toJS() as Applied;
    });
  }

  /** Without what tells who applied it. */
  function common(objects: readonly unknown[]): Readonly<Record<string, unknown>> {
    return Object.fromEntries(
      (objects as readonly Applied[]).map((object) => {
        const copy = JSON.parse(JSON.stringify(object)) as Applied;
        for (const labels of [copy.metadata.labels, copy.spec?.template?.metadata.labels ?? {}] as Record<
          string,
          string
        >[]) {
          for (const name of ['app.kubernetes.io/instance', 'app.kubernetes.io/managed-by', 'helm.sh/chart'])
            delete labels[name];
        }
        return [`${object.kind} ${object.metadata.name}`, inOrder(copy)];
      }),
    );
  }

  for (const [folder, ...set] of [
    ['base'],
    ['overlays/audit', 'settings.PORTCULLIS_MODE=audit'],
    ['overlays/eks', 'settings.PORTCULLIS_MODE=audit', 'vpcCniCheckpoint=true'],
    ['overlays/monitored', 'metrics.podMonitor=true', 'metrics.rules=true', 'metrics.dashboard=true'],
  ] as const) {
    it(`is ${folder} with ${set.length === 0 ? 'its own values' : set.join(', ')}`, async () => {
      const rendered = render(...set);
      const built = buildKustomization(join(MANIFESTS, folder)).map(({ object }) => object);
      assert.deepEqual(common(rendered), common(built));
      assert.deepEqual(await schemaProblems(rendered), []);
    });
  }

  it('passes the linter, and says who manages the objects', () => {
    assert.match(helm('lint', CHART), /0 chart\(s\) failed/);
    for (const { metadata } of render()) assert.equal(metadata.labels['app.kubernetes.io/managed-by'], 'Helm');
  });

  it('takes an image by digest, secrets to pull it, more variables and labels', async () => {
    const rendered = render(
      'image.repository=r.example/p',
      'image.digest=sha256:11',
      'imagePullSecrets[0].name=s',
      'extraEnv[0].name=NODE_IP',
      'extraEnv[0].valueFrom.fieldRef.fieldPath=status.hostIP',
      'podAnnotations.a=b',
      'metrics.podMonitor=true',
      'metrics.labels.release=kps',
    );
    assert.deepEqual(await schemaProblems(rendered), []);
    const text = JSON.stringify(rendered);
    assert.match(text, /"image":"r\.example\/p@sha256:11"/);
    assert.match(text, /"imagePullSecrets":\[\{"name":"s"\}\]/);
    assert.match(text, /"name":"NODE_IP","valueFrom":\{"fieldRef":\{"fieldPath":"status.hostIP"\}\}/);
    assert.match(text, /"annotations":\{"a":"b"\}/);
    assert.equal(rendered.find(({ kind }) => kind === 'PodMonitor')!.metadata.labels.release, 'kps');
  });
});

/** Variables, volumes and mounts by name: their order means nothing here, and overlays add at the end. */
function inOrder(value: unknown): unknown {
  if (Array.isArray(value)) {
    const items = value.map(inOrder) as readonly { readonly name?: string }[];
    const isNamed = items.every((item) => typeof item === 'object' && item !== null && 'name' in item);
    return isNamed ? items.toSorted((a, b) => (a.name! < b.name! ? -1 : 1)) : items;
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, inOrder(field)]));
}
