/** What people may write as one end of a flow, over manifests as they are before anything runs. */
import assert from 'node:assert/strict';
import { parseCidr } from '../../src/net/cidr.ts';
import { type FlowEnd, resolveEnd } from '../../src/cluster/flow-ends.ts';
import { ASSUMED_NODE, inventoryOf, type Inventory } from '../../src/cluster/inventory.ts';
import { parseManifests } from '../../src/cluster/read-manifests.ts';

const MANIFESTS = `
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: ops}}
---
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.10}, {type: InternalIP, address: '2001:db8::10'}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: shop, name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, tier: front}}
    spec: {containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {namespace: shop, name: db}
spec:
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c}]}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {namespace: ops, name: backup}
spec: {jobTemplate: {spec: {template: {metadata: {labels: {job: backup}}, spec: {containers: [{name: c}]}}}}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: db-0, labels: {app: db, app.kubernetes.io/name: db}}
spec: {nodeName: node-1, containers: [{name: c}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.5}, {ip: 'fd00::5'}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: done, labels: {app: job}}
spec: {nodeName: node-1, containers: [{name: c}]}
status: {phase: Succeeded, podIPs: [{ip: 10.0.0.6}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: ops, name: agent, labels: {app: agent}}
spec: {nodeName: node-1, hostNetwork: true, containers: [{name: c}]}
status: {phase: Running, podIPs: [{ip: 192.0.2.10}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}, {name: plain, port: 81, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: headless-by-hand}
spec: {ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: p}
spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}, {ipBlock: {cidr: 0.0.0.0/0}}]}]}
`;

function inventory(text: string = MANIFESTS): Inventory {
  const { objects, problems } = parseManifests(text, 'app.yaml');
  assert.deepEqual(problems, []);
  return inventoryOf(objects, { defaultNamespace: 'shop', podCidr: parseCidr('198.18.0.0/15')! });
}

const all = inventory();
const ends = (text: string, side: 'source' | 'destination' = 'destination'): readonly FlowEnd[] => {
  const resolved = resolveEnd(text, side, all, 'shop');
  assert.ok('ends' in resolved, JSON.stringify(resolved));
  return resolved.ends;
};
const names = (text: string): string[] => ends(text).map(({ name }) => name);
const problem = (text: string, side: 'source' | 'destination' = 'destination'): string => {
  const resolved = resolveEnd(text, side, all, 'shop');
  assert.ok('problem' in resolved, JSON.stringify(resolved));
  return resolved.problem;
};

describe('what manifests hold to ask about', () => {
  it('of a workload that has no pods one, as its template says, with an address and a node that are assumed', () => {
    const [end] = ends('deployment/web');
    const { pod } = end!;
    assert.deepEqual([{ ...pod?.labels }, pod?.nodeName], [{ app: 'web', tier: 'front' }, ASSUMED_NODE]);
    assert.deepEqual(pod?.namedPorts, [{ name: 'http', protocol: 'TCP', port: 8080 }]);
    assert.ok(all.assumed.has(end!.addresses[4]!));
    assert.equal(all.assumed.has('10.0.0.5'), false);
  });

  it('of a workload that has pods those and no other', () => {
    assert.deepEqual(names('statefulset/db'), ['shop/db-0']);
  });

  it('no pod twice: neither by the ReplicaSet of a Deployment, nor under a name that is taken', () => {
    const owned = MANIFESTS.replace('kind: CronJob', 'kind: Job').concat(`---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {namespace: shop, name: web-1, ownerReferences: [{kind: Deployment, name: web}]}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: web, labels: {app: other}}}
`);
    const found = inventory(owned);
    assert.deepEqual([...found.snapshot.pods.keys()].filter((key) => key.startsWith('shop/web')).sort(), [
      'shop/web',
      'shop/web-deployment',
    ]);
  });

  it('no address that a pod shows is assumed for another', () => {
    const { objects } = parseManifests(MANIFESTS, 'app.yaml');
    const narrow = inventoryOf(objects, { defaultNamespace: 'shop', podCidr: parseCidr('10.0.0.4/30')! });
    assert.deepEqual([...narrow.assumed], []);
    const wide = inventoryOf(objects, { defaultNamespace: 'shop', podCidr: parseCidr('10.0.0.4/29')! });
    assert.ok(!wide.assumed.has('10.0.0.5') && wide.assumed.size > 0);
  });
});

describe('an end of a flow', () => {
  it('is a pod by name, in its namespace or the default one', () => {
    assert.deepEqual(names('db-0'), ['shop/db-0']);
    assert.deepEqual(names('shop/db-0'), ['shop/db-0']);
    assert.deepEqual(names('shop/pod/db-0'), ['shop/db-0']);
    assert.deepEqual(ends('db-0')[0]!.addresses, { 4: '10.0.0.5', 6: 'fd00::5' });
  });

  it('is a workload, a Service, pods by labels, a node', () => {
    assert.deepEqual(names('ops/cronjob/backup'), ['ops/backup']);
    assert.deepEqual(names('svc/web'), ['shop/web']);
    assert.deepEqual(names('app=db'), ['shop/db-0']);
    assert.deepEqual(names('shop/app.kubernetes.io/name=db,app!=web'), ['shop/db-0']);
    assert.deepEqual(names('app.kubernetes.io/name=db'), ['shop/db-0']);
    const [node] = ends('node/node-1');
    assert.deepEqual([node!.node, node!.addresses], ['node-1', { 4: '192.0.2.10', 6: '2001:db8::10' }]);
  });

  it('is an address, whosever it is', () => {
    assert.deepEqual(names('10.0.0.5'), ['10.0.0.5 (shop/db-0)']);
    assert.deepEqual(names('2001:DB8::10'), ['2001:db8::10 (node/node-1)']);
    assert.deepEqual([names('203.0.113.9'), ends('203.0.113.9')[0]!.pod], [['203.0.113.9'], undefined]);
  });

  it('external is in no block that can be avoided', () => {
    assert.deepEqual(names('external'), ['external (198.51.100.1)']);
  });

  it('of the host network is its node (S-64)', () => {
    const [end] = ends('ops/agent');
    assert.deepEqual([end!.node, end!.pod, end!.addresses[4]], ['node-1', undefined, '192.0.2.10']);
  });

  it('that is not there is named, with what is', () => {
    assert.equal(problem('shop/db-1'), 'there is no pod shop/db-1; did you mean shop/db-0?');
    assert.equal(problem('shpo/x'), 'there is no namespace shpo; did you mean shop?');
    assert.equal(problem('node/other'), 'there is no node other; there are node-1');
    assert.equal(problem('deployment/wbe'), 'there is no Deployment shop/wbe; did you mean shop/web?');
    assert.match(problem('shop/widget/web'), /names no kind that can be an end: widget/);
    assert.match(problem('a/b/c/d'), /is none of /);
    assert.match(problem('app=none'), /no pod of namespace shop matches it/);
    assert.match(problem('done'), /pod shop\/done has no pod that can send or receive: .*finished/);
  });

  it('cannot be a Service that sends, nor one whose backends nobody can tell', () => {
    assert.match(problem('svc/web', 'source'), /a Service sends nothing/);
    assert.match(problem('svc/headless-by-hand'), /has no selector/);
  });
});
