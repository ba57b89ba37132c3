/**
 * manifests/base, the overlay eks and the component metrics -> manifests/helm, the same as a Helm chart. Templates hold no logic but the
 * values of values.yaml, so that what is applied can be read in the base. `node scripts/helm-chart.ts` writes the chart anew.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse, stringify } from 'yaml';
import { buildKustomization } from '../lab/kustomize.ts';

interface Named {
  readonly name: string;
}
interface Variable extends Named {
  readonly value?: string;
}
interface Container extends Named {
  readonly env: readonly Variable[];
  readonly volumeMounts: readonly Named[];
}
interface DaemonSet extends ManifestObject {
  readonly spec: {
    readonly updateStrategy: object;
    readonly template: {
      readonly metadata: object;
      readonly spec: {
        readonly containers: readonly [Container & Readonly<Record<string, unknown>>];
        readonly volumes: readonly Named[];
        readonly tolerations: readonly object[];
        readonly affinity: object;
      };
    };
  };
}
interface ManifestObject {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

const MANIFESTS = join(import.meta.dirname, '../manifests');
export const CHART = join(MANIFESTS, 'helm');
const HEAD = '# Generated from manifests/base by scripts/helm-chart.ts; change those.\n';
/** A comment of YAML would be a document of its own where the rest renders to nothing. */
const TEMPLATE_HEAD = '{{- /* Generated from manifests/base by scripts/helm-chart.ts; change those. */ -}}\n';
/** Of the objects: what the chart puts in its place is the namespace of the release. */
const NAMESPACE = 'kube-system';
const WIDE = { lineWidth: 0 } as const;

const HELPERS = `{{- define "portcullis.labels" -}}
app.kubernetes.io/name: portcullis
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: portcullis
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
{{- define "portcullis.agentLabels" -}}
{{ include "portcullis.labels" . }}
app.kubernetes.io/component: agent
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
`;

/** The chart's files by path. */
export function chartFiles(): Readonly<Record<string, string>> {
  const { version, description, license } = JSON.parse(
    readFileSync(join(import.meta.dirname, '../package.json'), 'utf8'),
  ) as Readonly<Record<'version' | 'description' | 'license', string>>;
  const objects = buildKustomization(join(MANIFESTS, 'base')).map(({ object }) => object as ManifestObject);
  const daemonSet = objects.find(({ kind }) => kind === 'DaemonSet') as DaemonSet;
  const chart = {
    apiVersion: 'v2',
    name: 'portcullis',
    description,
    type: 'application',
    version,
    appVersion: version,
    kubeVersion: '>=1.25.0-0',
    annotations: { 'artifacthub.io/license': license },
  };
  return {
    'Chart.yaml': HEAD + stringify(chart, WIDE),
    'values.yaml': HEAD + valuesText(daemonSet),
    'templates/_helpers.tpl': HELPERS,
    'templates/rbac.yaml':
      HEAD +
      objects
        .filter((object) => object !== daemonSet)
        .map(rightsText)
        .join('---\n'),
    'templates/daemonset.yaml': TEMPLATE_HEAD + daemonSetText(daemonSet),
    'templates/metrics.yaml': TEMPLATE_HEAD + metricsText(),
    'files/rules.yaml': HEAD + stringify(component('prometheus-rule.yaml').spec, WIDE),
    'files/dashboard.json': readFileSync(join(MANIFESTS, 'components/metrics/dashboard.json'), 'utf8'),
  };
}

function valuesText({ spec }: DaemonSet): string {
  const { containers, tolerations, affinity } = spec.template.spec;
  const [{ env, resources, image, imagePullPolicy }] = containers;
  const settings = Object.fromEntries(env.flatMap(({ name, value }) => (value === undefined ? [] : [[name, value]])));
  const [repository] = String(image).split(':');
  return `
# Where your nodes can pull it. tag: the chart's appVersion if empty. digest wins over tag.
${stringify({ image: { repository, tag: '', digest: '', pullPolicy: imagePullPolicy }, imagePullSecrets: [] })}
# Environment of the agent; every flag has a variable (README, Flags). PORTCULLIS_MODE: audit is the way to begin on a cluster in use.
${stringify({ settings })}
# More variables, as in a container (\`valueFrom\` and all).
${stringify({ extraEnv: [] })}
# EKS: reads the VPC CNI's checkpoint, so that a new pod is programmed before its first packet (docs/eks.md).
${stringify({ vpcCniCheckpoint: false })}
# For the Prometheus operator and Grafana's sidecar. labels: what your Prometheus selects monitors and rules by.
${stringify({ metrics: { podMonitor: false, rules: false, dashboard: false, labels: {} } })}
${stringify({ podAnnotations: {}, resources, updateStrategy: spec.updateStrategy, tolerations, affinity })}`;
}

/** Marks, in text of objects, what a template puts in their place. */
const MARKS = {
  agentLabels: '{{- include "portcullis.agentLabels" . | nindent INDENT }}',
  labels: '{{- include "portcullis.labels" . | nindent INDENT }}',
  resources: '{{- toYaml .Values.resources | nindent INDENT }}',
  updateStrategy: '{{- toYaml .Values.updateStrategy | nindent INDENT }}',
  tolerations: '{{- toYaml .Values.tolerations | nindent INDENT }}',
  affinity: '{{- toYaml .Values.affinity | nindent INDENT }}',
  rules: '{{- .Files.Get "files/rules.yaml" | nindent INDENT }}',
} as const;

const mark = (name: keyof typeof MARKS): string => `@${name}@`;

/** A block of template lines among the items of a list: `- '@@name@@'`. */
type Blocks = Readonly<Record<string, readonly string[]>>;

/** The object as text, marks and blocks replaced by what the template says there. */
function templateText(object: unknown, blocks: Blocks = {}): string {
  const lines = stringify(object, { ...WIDE, aliasDuplicateObjects: false }).split('\n');
  const made = lines.flatMap((line) => {
    const [, indent = '', item] = /^( *)- "@@(\w+)@@"$/.exec(line) ?? [];
    if (item !== undefined) return blocks[item]!.map((each) => indent + each);
    const [, start, name] = /^(.*): "@(\w+)@"$/.exec(line) ?? [];
    if (name === undefined || !(name in MARKS)) return [line.replaceAll('"@namespace@"', '{{ .Release.Namespace }}')];
    const depth = /^ */.exec(start!)![0].length + 2;
    const text = MARKS[name as keyof typeof MARKS].replace('INDENT', String(depth));
    return [`${start}:`, ' '.repeat(depth) + text];
  });
  return made.join('\n');
}

function placed<T extends { readonly namespace?: string }>(metadata: T, labels: keyof typeof MARKS): object {
  const namespace = metadata.namespace === NAMESPACE ? { namespace: '@namespace@' } : {};
  return { ...metadata, ...namespace, labels: mark(labels) };
}

function rightsText(object: ManifestObject): string {
  const { subjects } = object as { readonly subjects?: readonly object[] };
  const moved = subjects?.map((subject) => ({ ...subject, namespace: '@namespace@' }));
  return templateText({
    ...object,
    metadata: placed(object.metadata, 'agentLabels'),
    ...(moved ? { subjects: moved } : {}),
  });
}

/** Only where the value says so. */
const onEks = (item: object): readonly string[] => [
  '{{- if .Values.vpcCniCheckpoint }}',
  ...listItem(item),
  '{{- end }}',
];

function listItem(item: object): readonly string[] {
  return stringify([item], WIDE).trimEnd().split('\n');
}

function daemonSetText(daemonSet: DaemonSet): string {
  const { template } = daemonSet.spec;
  const [container] = template.spec.containers;
  const eks = parse(readFileSync(join(MANIFESTS, 'overlays/eks/daemonset.yaml'), 'utf8')) as DaemonSet;
  const { containers, volumes } = eks.spec.template.spec;
  const blocks: Blocks = {
    settings: [
      '{{- range $name, $value := .Values.settings }}',
      '- name: {{ $name }}',
      '  value: {{ $value | quote }}',
      '{{- end }}',
      '{{- with .Values.extraEnv }}',
      '{{- toYaml . | nindent 12 }}',
      '{{- end }}',
    ],
    eksEnv: onEks(containers[0].env[0]!),
    eksMount: onEks(containers[0].volumeMounts[0]!),
    eksVolume: onEks(volumes[0]!),
  };
  const agent = {
    ...container,
    image: '@image@',
    imagePullPolicy: '@pullPolicy@',
    env: [...container.env.filter(({ value }) => value === undefined), '@@settings@@', '@@eksEnv@@'],
    resources: mark('resources'),
    volumeMounts: [...container.volumeMounts, '@@eksMount@@'],
  };
  const spec = {
    ...template.spec,
    tolerations: mark('tolerations'),
    affinity: mark('affinity'),
    containers: [agent],
    volumes: [...template.spec.volumes, '@@eksVolume@@'],
  };
  const text = templateText(
    {
      ...daemonSet,
      metadata: placed(daemonSet.metadata, 'agentLabels'),
      spec: {
        ...daemonSet.spec,
        updateStrategy: mark('updateStrategy'),
        template: { metadata: { labels: mark('agentLabels'), annotations: '@annotations@' }, spec },
      },
    },
    blocks,
  );
  return ONCE.reduce((sofar, [from, to]) => sofar.replace(from, to), text);
}

/** What stands in the DaemonSet once. */
const ONCE: readonly (readonly [from: string, to: string])[] = [
  [
    '      annotations: "@annotations@"\n',
    '      {{- with .Values.podAnnotations }}\n      annotations:\n        {{- toYaml . | nindent 8 }}\n      {{- end }}\n',
  ],
  [
    '      containers:\n',
    '      {{- with .Values.imagePullSecrets }}\n      imagePullSecrets:\n        {{- toYaml . | nindent 8 }}\n      {{- end }}\n      containers:\n',
  ],
  [
    '"@image@"',
    '"{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}"',
  ],
  ['"@pullPolicy@"', '{{ .Values.image.pullPolicy }}'],
];

function component(file: string): ManifestObject & { readonly spec: object } {
  return parse(readFileSync(join(MANIFESTS, 'components/metrics', file), 'utf8')) as ManifestObject & {
    readonly spec: object;
  };
}

function metricsText(): string {
  const monitor = component('pod-monitor.yaml');
  const rule = component('prometheus-rule.yaml');
  const { configMapGenerator } = parse(
    readFileSync(join(MANIFESTS, 'components/metrics/kustomization.yaml'), 'utf8'),
  ) as {
    readonly configMapGenerator: readonly [{ readonly name: string; readonly options: { readonly labels: object } }];
  };
  const [{ name, options }] = configMapGenerator;
  const more = (labels: object): string => stringify(labels).trimEnd().replaceAll(/^/gm, '    ');
  const part = (value: string, text: string, labels: object, operator: boolean): string => {
    const own = operator
      ? '\n    {{- with .Values.metrics.labels }}\n    {{- toYaml . | nindent 4 }}\n    {{- end }}'
      : '';
    const labelled = text.replace(/( +)(\{\{- include "portcullis.labels".*\}\})\n/, `$1$2\n${more(labels)}${own}\n`);
    return `{{- if .Values.metrics.${value} }}\n---\n${labelled.trimEnd()}\n{{- end }}\n`;
  };
  const monitoring = { 'app.kubernetes.io/component': 'monitoring' };
  const { metadata } = monitor;
  const withoutLabels = { name: metadata.name, namespace: NAMESPACE };
  const board = { apiVersion: 'v1', kind: 'ConfigMap', metadata: placed({ name, namespace: NAMESPACE }, 'labels') };
  const data = 'data:\n  dashboard.json: |\n    {{- .Files.Get "files/dashboard.json" | nindent 4 }}\n';
  return [
    part('podMonitor', templateText({ ...monitor, metadata: placed(withoutLabels, 'labels') }), monitoring, true),
    part(
      'rules',
      templateText({ ...rule, metadata: placed(withoutLabels, 'labels'), spec: mark('rules') }),
      monitoring,
      true,
    ),
    part('dashboard', templateText(board) + data, options.labels, false),
  ].join('');
}

if (import.meta.main) {
  rmSync(CHART, { recursive: true, force: true });
  for (const [path, text] of Object.entries(chartFiles())) {
    const file = join(CHART, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    console.log(file);
  }
}
