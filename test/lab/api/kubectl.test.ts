import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ApiServer, startApiServer } from '../../../lab/api/api-server.ts';
import { startInstantKubelet } from '../../../lab/controllers/instant-kubelet.ts';
import { type Controllers, startControllers } from '../../../lab/controllers/start-controllers.ts';
import type { Any } from './client.ts';

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function findKubectl(): string | undefined {
  try {
    execFileSync('kubectl', ['version', '--client'], { stdio: 'pipe', timeout: 10_000 });
    return undefined;
  } catch (error) {
    return (error as Error).message.split('\n')[0];
  }
}

const POLICY = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'web' },
  spec: {
    podSelector: { matchLabels: { app: 'web' } },
    ingress: [{ from: [{ podSelector: {} }], ports: [{ protocol: 'TCP', port: 80 }] }],
  },
};

const DEPLOYMENT = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web' },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: 'web' } },
    template: {
      metadata: { labels: { app: 'web' } },
      spec: { containers: [{ name: 'c', image: 'i:1', ports: [{ name: 'http', containerPort: 8080 }] }] },
    },
  },
};

const SERVICE = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web' },
  spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 'http' }] },
};

describe('kubectl', function () {
  this.timeout(60_000);
  let server: ApiServer;
  let controllers: Controllers;
  let folder: string;
  let address = 0;

  before(async function () {
    const missing = findKubectl();
    if (missing !== undefined) {
      console.log(`      skipped: kubectl cannot be run: ${missing}`);
      this.skip();
    }
    server = await startApiServer({
      tokens: [{ token: 'all' }, { token: 'blind', user: 'blind', deny: [{ resource: 'pods', verb: '*' }] }],
    });
    controllers = startControllers(server.store, { serviceCidrs: ['10.96.0.0/16', 'fd00:96::/112'], maxGraceMs: 50 });
    startInstantKubelet(server.store, () => {
      address += 1;
      return [`10.244.0.${address}`];
    });
    for (const name of ['node-1', 'node-2']) server.store.create('nodes', { metadata: { name } });
    folder = mkdtempSync(join(tmpdir(), 'portcullis-kubectl-'));
    writeFileSync(join(folder, 'config'), server.kubeconfig);
    writeFileSync(join(folder, 'blind'), server.kubeconfigFor('blind'));
  });
  after(async () => {
    controllers?.stop();
    await server?.close();
    if (folder) rmSync(folder, { recursive: true });
  });

  const environment = (config: string) => ({ ...process.env, HOME: folder, KUBECONFIG: join(folder, config) });

  function kubectl(args: string, config = 'config', more: readonly string[] = []): Promise<Run> {
    return new Promise((resolve) => {
      const options = { env: environment(config), timeout: 20_000 };
      execFile('kubectl', [...args.split(' '), ...more], options, (error, out, err) => {
        resolve({ code: error ? Number(error.code ?? 1) : 0, out, err });
      });
    });
  }

  async function works(args: string, ...more: string[]): Promise<string> {
    const { code, out, err } = await kubectl(args, 'config', more);
    assert.equal(code, 0, `kubectl ${args}: ${err}`);
    return out;
  }

  const file = (...objects: object[]): string => {
    const path = join(folder, 'objects.json');
    writeFileSync(
      path,
      JSON.stringify(objects.length === 1 ? objects[0] : { apiVersion: 'v1', kind: 'List', items: objects }),
    );
    return path;
  };

  it('applies, shows and describes policies, and leaves unchanged what did not change', async () => {
    assert.match(await works(`apply -f ${file(POLICY)}`), /networkpolicy.networking.k8s.io\/web created/);
    assert.match(await works(`apply -f ${file(POLICY)}`), /unchanged/);
    assert.match(await works('get netpol -A'), /^NAMESPACE +NAME +POD-SELECTOR +AGE\ndefault +web +app=web +\d+s\n$/);
    const described = await works('describe netpol web');
    assert.match(described, /To Port: 80\/TCP/);
    assert.match(described, /Not affecting egress traffic/);
    const json = JSON.parse(await works('get netpol web -o json')) as Any;
    assert.deepEqual(json.spec.policyTypes, ['Ingress']);
    const changed = { ...POLICY, spec: { podSelector: {}, egress: [{}] } };
    assert.match(await works(`apply -f ${file(changed)}`), /configured/);
    const { spec } = JSON.parse(await works('get netpol web -o json')) as Any;
    assert.deepEqual(spec, { podSelector: {}, egress: [{}], policyTypes: ['Ingress'] });
    assert.match(await works('delete netpol web'), /deleted/);
  });

  it('says which fields of a policy are wrong or unknown', async () => {
    const wrong = {
      ...POLICY,
      spec: { podSelector: {}, ingress: [{ ports: [{ port: 80, endPort: 70 }], from: [{}] }] },
    };
    const invalid = await kubectl(`apply -f ${file(wrong)}`);
    assert.equal(invalid.code, 1);
    assert.match(invalid.err, /The NetworkPolicy "web" is invalid:/);
    assert.match(
      invalid.err,
      /\* spec.ingress\[0\].ports\[0\].endPort: Invalid value: 70: must be greater than or equal/,
    );
    const unknown = { ...POLICY, spec: { podSelector: {}, ingres: [] } };
    const strict = await kubectl(`apply -f ${file(unknown)}`);
    assert.match(strict.err, /strict decoding error: unknown field "spec.ingres"/);
    const warned = await kubectl(`apply --validate=warn -f ${file(unknown)}`);
    assert.deepEqual([warned.code, warned.err], [0, 'Warning: unknown field "spec.ingres"\n']);
    await works('delete netpol web');
  });

  it('applies server-side and takes back what is applied no more', async () => {
    const labelled = { ...POLICY, metadata: { name: 'ssa', labels: { a: '1', b: '1' } } };
    assert.match(await works(`apply --server-side -f ${file(labelled)}`), /serverside-applied/);
    await works('label netpol ssa c=1');
    await works(`apply --server-side -f ${file({ ...labelled, metadata: { name: 'ssa', labels: { a: '2' } } })}`);
    const { metadata } = JSON.parse(await works('get netpol ssa -o json')) as Any;
    assert.deepEqual(metadata.labels, { a: '2', c: '1' });
    await works('delete netpol --all');
  });

  it('fault: shows who wrote which field, and goes from client-side to server-side apply', async () => {
    await works(`apply -f ${file({ ...POLICY, metadata: { name: 'owned' } })}`);
    await works('label netpol owned c=1');
    const managers = async (): Promise<string[]> => {
      const { metadata } = JSON.parse(await works('get netpol owned -o json --show-managed-fields')) as Any;
      return metadata.managedFields.map(({ manager, operation }: Any) => `${manager} ${operation}`);
    };
    assert.deepEqual(new Set(await managers()), new Set(['kubectl-client-side-apply Update', 'kubectl-label Update']));
    await works(`apply --server-side -f ${file({ ...POLICY, metadata: { name: 'owned' } })}`);
    assert.ok((await managers()).includes('kubectl Apply'));
    await works('delete netpol owned');
  });

  it('fault: an unknown field in a server-side apply is refused, whatever the validation', async () => {
    const wrong = { ...POLICY, metadata: { name: 'odd' }, spec: { podSelector: {}, ingres: [] } };
    const { code, err } = await kubectl(`apply --server-side --validate=ignore -f ${file(wrong)}`);
    assert.equal(code, 1);
    assert.match(
      err,
      /failed to create typed patch object \(default\/odd; .*: \.spec\.ingres: field not declared in schema/,
    );
  });

  it('runs a deployment with a service: wait, wide output, scale, new image, rollout, delete', async () => {
    await works('create namespace shop');
    await works(`-n shop apply -f ${file(DEPLOYMENT, SERVICE)}`);
    await works('-n shop rollout status deployment/web --timeout=10s');
    await works('-n shop wait --for=condition=Ready pod -l app=web --timeout=10s');
    const wide = await works('-n shop get pods -o wide');
    assert.match(wide, /^NAME +READY +STATUS +RESTARTS +AGE +IP +NODE/);
    assert.match(wide, /web-[a-z0-9]{10}-[a-z0-9]{5} +1\/1 +Running +0 +\d+s +10\.244\.0\.\d+ +node-[12]/);
    assert.match(await works('-n shop describe service web'), /Endpoints: +10\.244\.0\.\d+:8080,10\.244\.0\.\d+:8080/);
    assert.match(await works('-n shop get endpointslices'), /IPv4 +8080 +10\.244\.0\.\d+,10\.244\.0\.\d+/);
    await works('-n shop scale deployment web --replicas=4');
    await works('-n shop rollout status deployment/web --timeout=10s');
    assert.match(await works('-n shop get deployment web'), /web +4\/4 +4 +4/);
    await works('-n shop set image deployment/web c=i:2');
    await works('-n shop rollout status deployment/web --timeout=10s');
    await works('-n shop rollout undo deployment/web');
    await works('-n shop rollout status deployment/web --timeout=10s');
    const images = await works('-n shop get pods -o jsonpath={.items[*].spec.containers[0].image}');
    assert.equal(images, 'i:1 i:1 i:1 i:1');
    assert.match(
      await works('-n shop describe deployment web'),
      /Replicas: +4 desired \| 4 updated \| 4 total \| 4 available/,
    );
    await works('-n shop delete deployment web');
    await works('-n shop wait --for=delete pod -l app=web --timeout=10s');
    await works('delete namespace shop');
    assert.match((await kubectl('get namespace shop')).err, /namespaces "shop" not found/);
  });

  it('creates by command, labels, annotates, edits and patches', async () => {
    await works('create namespace tools');
    await works('-n tools run one --image=i --labels=app=one --port=80');
    await works('-n tools create deployment two --image=i --replicas=1 --port=81');
    await works('-n tools create configmap c --from-literal=a=b');
    await works('-n tools create service clusterip two --tcp=80:81');
    await works('-n tools label pod one tier=front');
    await works('-n tools annotate pod one note=x');
    await works('-n tools patch pod one --type=strategic -p', '{"spec":{"containers":[{"name":"one","image":"j"}]}}');
    await works('-n tools patch pod one --type=merge -p', '{"metadata":{"labels":{"app":null}}}');
    await works('-n tools patch pod one --type=json -p', '[{"op":"add","path":"/metadata/labels/z","value":"1"}]');
    const pod = JSON.parse(await works('-n tools get pod one -o json')) as Any;
    assert.deepEqual(
      [pod.metadata.labels, pod.metadata.annotations.note, pod.spec.containers[0].image],
      [{ tier: 'front', z: '1' }, 'x', 'j'],
    );
    assert.match(await works('-n tools describe pod one'), /Status: +Running/);
    assert.match(await works('get all -A'), /tools +pod\/one/);
    assert.match(await works('auth can-i create pods'), /yes/);
    await works('-n tools delete pod one --grace-period=0 --force');
    await works('-n tools delete pod -l app=two --now');
    await works('-n tools delete pods --all --wait=false');
    await works('delete namespace tools');
  });

  it('cordons and drains nodes', async () => {
    await works('run guest --image=i');
    await works('cordon node-1');
    assert.match(await works('get nodes'), /node-1 +NotReady,SchedulingDisabled/);
    await works('drain node-1 node-2 --force --timeout=10s');
    await works('uncordon node-1 node-2');
    assert.equal(server.store.list('pods', { namespace: 'default' }).length, 0);
    assert.match(await works('describe node node-1'), /Unschedulable: +false/);
  });

  it('follows changes with get --watch', async () => {
    const child = spawn('kubectl', ['get', 'netpol', '--watch', '--output-watch-events'], {
      env: environment('config'),
    });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
    });
    const seen = async (pattern: RegExp): Promise<void> => {
      const deadline = performance.now() + 10_000;
      while (!pattern.test(text)) {
        assert.ok(performance.now() < deadline, `${pattern} not in ${JSON.stringify(text)}`);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    try {
      while (server.openWatches('networkpolicies') === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      server.store.create('networkpolicies', POLICY);
      await seen(/ADDED +web +app=web/);
      server.store.delete('networkpolicies', { namespace: 'default', name: 'web' });
      await seen(/DELETED +web/);
    } finally {
      child.kill();
    }
  });

  it('reports what is forbidden and what is missing', async () => {
    const forbidden = await kubectl('get pods', 'blind');
    assert.deepEqual(
      [forbidden.code, /\(Forbidden\): pods is forbidden: User "blind"/.test(forbidden.err)],
      [1, true],
      forbidden.err,
    );
    assert.match(
      (await kubectl('get netpol nothing')).err,
      /\(NotFound\): networkpolicies.networking.k8s.io "nothing" not found/,
    );
  });
});
