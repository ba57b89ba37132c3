import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { checkManifests, noteText } from '../../lab/apply-manifests.ts';
import { buildKustomization } from '../../lab/kustomize.ts';
import { AGENT_FLAGS, readAgentConfig } from '../../src/cli/config.ts';
import { ENDPOINTS_PATH } from '../../src/cluster/endpoint-cache.ts';
import { API_KINDS } from '../../src/cluster/kinds.ts';
import { schemaProblems } from '../support/published-schemas.ts';

type Json = { readonly [key: string]: Json } & readonly Json[];

interface Container {
  readonly name: string;
  readonly image: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

const ROOT = new URL('../../', import.meta.url);

function read(path: string): string {
  return readFileSync(new URL(path, ROOT), 'utf8');
}

function pathOf(folder: string): string {
  return fileURLToPath(new URL(folder, ROOT));
}

function built(folder: string): readonly Json[] {
  return buildKustomization(pathOf(folder)).map(({ object }) => object as Json);
}

const OBJECTS = built('manifests');
const { version: VERSION } = JSON.parse(read('package.json')) as { readonly version: string };

function only(kind: string): Json {
  const found = OBJECTS.filter((object) => String(object.kind) === kind);
  assert.equal(found.length, 1, kind);
  return found[0]!;
}

function podSpec(): Json {
  return only('DaemonSet').spec!.template!.spec!;
}

function agentContainer(): Container {
  const { containers } = podSpec() as unknown as { readonly containers: readonly Container[] };
  assert.equal(containers.length, 1);
  return containers[0]!;
}

function environment(): Readonly<Record<string, string>> {
  return Object.fromEntries(agentContainer().env.map(({ name, value }) => [name, value ?? 'node-1']));
}

describe('manifests: RBAC', () => {
  it('lets the agent get, list and watch each kind it watches, write Events, and nothing else', () => {
    const rules = only('ClusterRole').rules as unknown as {
      apiGroups: string[];
      resources: string[];
      verbs: string[];
    }[];
    const granted = rules.flatMap(({ apiGroups, resources, verbs }) =>
      apiGroups.flatMap((group) => resources.map((resource) => `${group}/${resource}: ${verbs.toSorted().join(' ')}`)),
    );
    const needed = Object.values(API_KINDS).map(
      ({ apiGroup, path }) => `${apiGroup}/${path.split('/').at(-1)}: get list watch`,
    );
    assert.deepEqual(granted.sort(), [...new Set(needed), '/events: create patch'].sort());
  });

  it('lets it read where the API server is, and no other EndpointSlice', () => {
    const role = only('Role');
    const [, path] = /namespaces\/(.*)$/.exec(ENDPOINTS_PATH)!;
    assert.deepEqual(role.rules, [
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], resourceNames: ['kubernetes'], verbs: ['get'] },
    ]);
    assert.equal(`${String(role.metadata!.namespace)}/endpointslices/kubernetes`, path);
    const binding = only('RoleBinding');
    assert.deepEqual([binding.metadata!.namespace, binding.roleRef!.name], ['default', role.metadata!.name]);
    assert.deepEqual(binding.subjects, only('ClusterRoleBinding').subjects);
  });

  it('binds that role to the service account the pods run under', () => {
    const account = only('ServiceAccount').metadata!;
    const binding = only('ClusterRoleBinding');
    assert.deepEqual(binding.subjects, [{ kind: 'ServiceAccount', name: account.name, namespace: account.namespace }]);
    assert.equal(binding.roleRef!.name, only('ClusterRole').metadata!.name);
    assert.equal(podSpec().serviceAccountName, account.name);
    assert.equal(only('DaemonSet').metadata!.namespace, account.namespace);
  });
});

describe('manifests: DaemonSet', () => {
  it('selects the pods it makes, by a label that never changes', () => {
    const { selector, template } = only('DaemonSet').spec!;
    const { labels } = template!.metadata as unknown as { readonly labels: Readonly<Record<string, string>> };
    const selected = { 'app.kubernetes.io/name': 'portcullis' };
    assert.deepEqual(selector, { matchLabels: selected });
    assert.equal(labels['app.kubernetes.io/name'], 'portcullis');
  });

  it('leaves every setting to the environment, which an overlay can change: a flag would win over it', () => {
    const { args } = agentContainer();
    assert.deepEqual(args, ['agent']);
    for (const { env } of Object.values(AGENT_FLAGS)) {
      const names = agentContainer().env.filter(({ name }) => name === env);
      assert.ok(names.length <= 1, env);
    }
    assert.equal(readAgentConfig(new Map(), { ...environment(), PORTCULLIS_MODE: 'audit' }).mode, 'audit');
  });

  it('names the port of the metrics address, and serves /plan to the node alone', () => {
    const { metricsAddress, httpAddress } = readAgentConfig(new Map(), environment());
    const { ports } = agentContainer() as unknown as Json;
    assert.ok(metricsAddress && 'port' in metricsAddress && httpAddress && 'host' in httpAddress);
    assert.deepEqual(ports, [
      { name: 'metrics', containerPort: metricsAddress.port, hostPort: metricsAddress.port, protocol: 'TCP' },
    ]);
    assert.equal(metricsAddress.host, '');
    assert.equal(httpAddress.host, '127.0.0.1');
  });

  it('gives arguments and environment that the agent understands', () => {
    const { args, env } = agentContainer();
    assert.equal(args[0], 'agent');
    const known = new Set<string>(Object.values(AGENT_FLAGS).map((flag) => flag.env));
    for (const { name } of env) assert.ok(known.has(name), name);
    assert.equal(readAgentConfig(new Map(), environment()).mode, 'enforce');
  });

  it('probes the address the agent serves on: liveness never by readiness', () => {
    const { httpAddress } = readAgentConfig(new Map(), environment());
    const container = agentContainer() as unknown as Json;
    for (const [probe, path] of [
      ['readinessProbe', '/readyz'],
      ['livenessProbe', '/healthz'],
    ] as const) {
      const { host, port, path: asked } = container[probe]!.httpGet!;
      assert.deepEqual({ host, port }, httpAddress, probe);
      assert.equal(asked, path);
    }
    assert.equal(container.startupProbe, undefined);
  });

  it('runs in the host network with two capabilities and a read-only root', () => {
    const { securityContext } = agentContainer() as unknown as Json;
    assert.deepEqual(securityContext, {
      runAsUser: 0,
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'NET_RAW'] },
      seccompProfile: { type: 'RuntimeDefault' },
    });
    const { hostNetwork, hostPID, dnsPolicy, priorityClassName, tolerations } = podSpec();
    assert.deepEqual([hostNetwork, hostPID, dnsPolicy], [true, undefined, 'Default']);
    assert.equal(priorityClassName, 'system-node-critical');
    assert.deepEqual(tolerations, [{ operator: 'Exists' }]);
  });

  it("shares the host's xtables lock, and mounts only volumes that exist", () => {
    const volumes = podSpec().volumes as unknown as { name: string; hostPath: { path: string; type?: string } }[];
    const { volumeMounts } = agentContainer();
    assert.deepEqual(volumeMounts.map(({ name }) => name).sort(), volumes.map(({ name }) => name).sort());
    const lock = volumes.find(({ hostPath }) => hostPath.path === '/run/xtables.lock');
    assert.equal(lock?.hostPath.type, 'FileOrCreate');
    assert.equal(volumeMounts.find(({ name }) => name === lock?.name)?.mountPath, '/run/xtables.lock');
  });

  it('keeps what it remembers where the default of the flag says, on the host', () => {
    const { path } = { path: AGENT_FLAGS.apiServerEndpointsFile.defaultText! };
    const { volumeMounts } = agentContainer();
    const mount = volumeMounts.find(({ mountPath }) => path.startsWith(`${mountPath}/`));
    const volumes = podSpec().volumes as unknown as { name: string; hostPath: { path: string; type?: string } }[];
    const volume = volumes.find(({ name }) => name === mount?.name);
    assert.deepEqual(volume?.hostPath, { path: mount?.mountPath, type: 'DirectoryOrCreate' });
  });

  it('fault: names the version of each fieldRef, as the API server stores it', () => {
    const refs = JSON.stringify(OBJECTS).match(/"fieldRef":\{[^}]*\}/g) ?? [];
    assert.ok(refs.length > 0);
    for (const ref of refs) assert.match(ref, /"apiVersion":"v1"/);
  });

  it('has memory request = limit and no CPU limit', () => {
    const { resources } = agentContainer() as unknown as Json;
    assert.equal(resources!.requests!.memory, resources!.limits!.memory);
    assert.equal(resources!.limits!.cpu, undefined);
  });

  it('uses the image in the version of package.json, and says so in its labels', () => {
    assert.equal(agentContainer().image, `portcullis:${VERSION}`);
    assert.ok(read('Dockerfile').startsWith(`# docker build -t portcullis:${VERSION} .\n`));
    assert.ok(read('docs/kind.md').includes(`kind load docker-image portcullis:${VERSION}`));
  });

  it('asks for no folder that a node may not have, but for those that are made', () => {
    const volumes = podSpec().volumes as unknown as { name: string; hostPath: { path: string; type?: string } }[];
    const other = volumes.filter(({ hostPath }) => !hostPath.type?.endsWith('OrCreate'));
    // A mount point of the kernel's; it is there, empty or not.
    assert.deepEqual(
      other.map(({ hostPath }) => hostPath.path),
      ['/sys/fs/bpf'],
    );
  });
});

const VARIANTS = [
  'manifests',
  ...readdirSync(new URL('manifests/overlays', ROOT)).map((name) => `manifests/overlays/${name}`),
];

/** Kinds of what the component `metrics` adds. */
const FOR_MONITORS: ReadonlySet<string> = new Set(['PodMonitor', 'PrometheusRule', 'ConfigMap']);

function daemonSetOf(folder: string): Json {
  return built(folder).find((object) => String(object.kind) === 'DaemonSet')!;
}

describe('manifests: variants', () => {
  for (const folder of VARIANTS) {
    it(`${folder}: every object carries the recommended labels`, () => {
      const always = { 'app.kubernetes.io/name': 'portcullis', 'app.kubernetes.io/part-of': 'portcullis' };
      const ofAgent = { ...always, 'app.kubernetes.io/component': 'agent', 'app.kubernetes.io/version': VERSION };
      for (const object of built(folder)) {
        const { name, labels } = object.metadata as unknown as { readonly name: string; readonly labels: object };
        const isOfAgent = !FOR_MONITORS.has(String(object.kind));
        const dashboard = isOfAgent ? {} : { grafana_dashboard: '1' };
        const expected = isOfAgent ? ofAgent : { ...always, 'app.kubernetes.io/component': 'monitoring' };
        assert.deepEqual(
          labels,
          String(object.kind) === 'ConfigMap' ? { ...expected, ...dashboard } : expected,
          `${String(object.kind)} ${name}`,
        );
      }
    });

    it(`${folder}: the agent understands its settings`, () => {
      const { containers } = daemonSetOf(folder).spec!.template!.spec as unknown as {
        readonly containers: readonly Container[];
      };
      const env = Object.fromEntries(containers[0]!.env.map(({ name, value }) => [name, value ?? 'node-1']));
      const { mode, vpcCniCheckpoint } = readAgentConfig(new Map(), env);
      const isTrial = ['manifests/overlays/audit', 'manifests/overlays/eks'].includes(folder);
      assert.equal(mode, isTrial ? 'audit' : 'enforce');
      const checkpoint = folder.endsWith('/eks') ? '/var/run/aws-node/ipam.json' : null;
      assert.equal(vpcCniCheckpoint, checkpoint);
    });

    it(`${folder}: the API server of the lab takes all of it`, () => {
      const { others, skipped, errors } = checkManifests(buildKustomization(pathOf(folder)));
      assert.deepEqual(errors.map(noteText), []);
      for (const { message } of skipped) assert.match(message, /^PodMonitor|^PrometheusRule/);
      assert.ok(others.length >= 6);
    });
  }

  it('eks: the folder of the checkpoint is mounted, read-only', () => {
    const { volumes, containers } = daemonSetOf('manifests/overlays/eks').spec!.template!.spec as unknown as {
      readonly volumes: readonly { readonly name: string; readonly hostPath: { readonly path: string } }[];
      readonly containers: readonly { readonly volumeMounts: readonly { readonly name: string }[] }[];
    };
    const { name } = volumes.find(({ hostPath }) => hostPath.path === '/var/run/aws-node')!;
    const mount = containers[0]!.volumeMounts.find((each) => each.name === name);
    assert.deepEqual(mount, { name, mountPath: '/var/run/aws-node', readOnly: true });
  });

  it('kind: never pulls an image of that name from elsewhere', () => {
    const { containers } = daemonSetOf('manifests/overlays/kind').spec!.template!.spec as unknown as {
      readonly containers: readonly { readonly imagePullPolicy: string }[];
    };
    assert.equal(containers[0]!.imagePullPolicy, 'Never');
  });
});

describe('manifests: published schemas', function () {
  this.timeout(60_000);

  it('know every field of every object, and take its value', async () => {
    const objects = VARIANTS.flatMap((folder) => built(folder));
    const problems = await schemaProblems(objects);
    assert.deepEqual(problems, []);
  });

  it('refuse a field that is misspelt, a value of another type, and one that is missing', async () => {
    const [daemonSet] = [daemonSetOf('manifests')] as unknown as [
      { spec: { template: { spec: { containers: object[]; volumes: object[] } } } },
    ];
    const { template } = daemonSet.spec;
    const with_ = (container: object) => ({
      ...daemonSet,
      spec: { ...daemonSet.spec, template: { ...template, spec: { ...template.spec, containers: [container] } } },
    });
    const [container] = template.spec.containers;
    const problems = await schemaProblems([
      with_({ ...container, volumeMount: [] }),
      with_({ ...container, image: 4 }),
      with_({ ...container, name: undefined }),
    ]);
    assert.match(problems.join('\n'), /'"volumeMount"' does not exist/);
    assert.match(problems.join('\n'), /image must be string/);
    assert.match(problems.join('\n'), /must have required property name/);
  });
});

describe('kind-config.yaml', () => {
  it("leaves out kind's own CNI, which enforces policies by itself", () => {
    const config = parse(read('kind-config.yaml')) as Json;
    assert.equal(config.kind, 'Cluster');
    assert.equal(config.networking!.disableDefaultCNI, true);
  });
});

describe('Dockerfile', () => {
  it('copies only what .dockerignore lets through', () => {
    const allowed = read('.dockerignore')
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1));
    const copies = [...read('Dockerfile').matchAll(/^COPY (?!--from)(.+) \S+$/gm)];
    const sources = copies.flatMap(([, list]) => list!.split(' '));
    assert.ok(sources.length > 3);
    for (const source of sources) assert.ok(allowed.includes(source), source);
  });
});

describe('package-lock.json', () => {
  it('holds every package it names, so that npm ci takes it: also those for other platforms', () => {
    const { packages } = JSON.parse(read('package-lock.json')) as {
      readonly packages: Readonly<Record<string, { readonly optionalDependencies?: Readonly<Record<string, string>> }>>;
    };
    const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
      Object.keys(optionalDependencies).filter(
        (name) => !packages[`node_modules/${name}`] && !packages[`${path}/node_modules/${name}`],
      ),
    );
    assert.deepEqual(missing, []);
  });

  it('repeats the dependencies of package.json', () => {
    const own = JSON.parse(read('package.json')) as Json;
    const locked = (JSON.parse(read('package-lock.json')) as Json).packages!['']!;
    for (const list of ['dependencies', 'devDependencies', 'optionalDependencies']) {
      assert.deepEqual(locked[list], own[list], list);
    }
  });
});
