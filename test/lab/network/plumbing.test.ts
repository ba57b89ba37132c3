import assert from 'node:assert/strict';
import { hardwareAddress, hostInterface, nodeNetns, podNetns } from '../../../lab/network/names.ts';
import {
  attachPod,
  fabricPodRoutes,
  type LabWiring,
  nodeScript,
  type PodWiring,
  podScript,
  scriptText,
} from '../../../lab/network/plumbing.ts';

const lab = (wiring: LabWiring['wiring'], families: LabWiring['families'] = [4, 6]): LabWiring => ({
  wiring,
  families,
  fabric: 'pcl-t-fabric',
});
const node = { index: 1, netns: 'pcl-t-node_b', fabricPort: 'n1' };
const pod: PodWiring = {
  netns: 'pcl-t-pod_x_a',
  node,
  hostInterface: 'eni01234567890',
  addresses: ['10.244.1.2', 'fd00:10:244:1::2'],
};

describe('names in the lab', () => {
  it('name interfaces as AWS VPC CNI does, within the kernel limit', () => {
    // printf default.web-0 | sha1sum
    assert.equal(hostInterface('routed', 'default', 'web-0'), 'eni0d7763386da');
    assert.equal(hostInterface('bridge', 'default', 'web-0').length, 15);
  });

  it('never call two things the same', () => {
    const long = 'p'.repeat(253);
    const names = [podNetns('pcl-t-', 'x', long), podNetns('pcl-t-', 'y', long), nodeNetns('pcl-t-', long)];
    assert.equal(new Set(names).size, 3);
    for (const name of names) assert.ok(name.length <= 255, name);
    assert.notEqual(podNetns('pcl-t-', 'a', 'b.c'), podNetns('pcl-t-', 'a.b', 'c'));
  });

  it('give unicast, locally administered hardware addresses', () => {
    assert.match(hardwareAddress('a'), /^02(:[0-9a-f]{2}){5}$/);
    assert.notEqual(hardwareAddress('a'), hardwareAddress('b'));
  });
});

describe('plumbing', () => {
  it('wires a routed pod with host addresses, a gateway nobody else knows and a standing neighbour', () => {
    const lines = podScript(lab('routed'), pod).ip;
    const mac = hardwareAddress('pcl-t-node_b eni01234567890');
    for (const line of [
      `link add eth0 address ${hardwareAddress(pod.netns)} type veth peer name eni01234567890 address ${mac} netns pcl-t-node_b`,
      'addr add 10.244.1.2/32 dev eth0',
      'addr add fd00:10:244:1::2/128 dev eth0 nodad',
      'route replace default via 169.254.1.1 dev eth0',
      'route replace default via fe80::1 dev eth0',
      `neigh replace 169.254.1.1 lladdr ${mac} dev eth0 nud permanent`,
      `neigh replace fe80::1 lladdr ${mac} dev eth0 nud permanent`,
    ]) {
      assert.ok(lines.map((written) => written.trim()).includes(line), `${line}\nnot in\n${lines.join('\n')}`);
    }
    assert.deepEqual(attachPod(lab('routed'), pod), [
      'link set eni01234567890 up',
      'route replace 10.244.1.2/32 dev eni01234567890 src 10.0.0.12',
      'route replace fd00:10:244:1::2/128 dev eni01234567890 src fd00:10::c',
    ]);
    assert.equal(fabricPodRoutes(lab('routed'), pod).length, 2);
  });

  it('wires a bridged pod into its pod CIDR, with hairpin on its port', () => {
    const lines = podScript(lab('bridge'), pod).ip.map((line) => line.trim());
    assert.ok(lines.includes('addr add 10.244.1.2/24 dev eth0'));
    assert.ok(lines.includes('route replace default via 10.244.1.1 dev eth0'));
    assert.ok(lines.includes('route replace default via fd00:10:244:1::1 dev eth0'));
    assert.ok(!lines.some((line) => line.startsWith('neigh')));
    const port = attachPod(lab('bridge'), pod);
    assert.ok(port.includes('link set eni01234567890 master cni0'));
    assert.ok(port.includes('link set eni01234567890 type bridge_slave hairpin on'));
    assert.deepEqual(fabricPodRoutes(lab('bridge'), pod), []);
  });

  it('sends bridged packets through iptables, on bridge nodes only', () => {
    const sysctls = (wiring: LabWiring['wiring']): string[] =>
      nodeScript(lab(wiring), node).sysctls.map(([path]) => path);
    assert.ok(sysctls('bridge').includes('net/bridge/bridge-nf-call-iptables'));
    assert.ok(!sysctls('routed').some((path) => path.includes('bridge')));
  });

  it('switches IPv6 off in a lab that has none', () => {
    const script = nodeScript(lab('routed', [4]), node);
    assert.ok(script.sysctls.some(([path, value]) => path === 'net/ipv6/conf/all/disable_ipv6' && value === '1'));
    assert.ok(!script.ip.some((line) => line.includes('::')), script.ip.join('\n'));
  });

  it('becomes a shell script: sysctls first, one ip process for the rest', () => {
    const text = scriptText({
      netns: 'n',
      sysctls: [['net/ipv4/ip_forward', '1']],
      ip: ['link set lo up', 'link set eth0 up'],
    });
    assert.equal(
      text,
      "set -e\necho 1 > /proc/sys/net/ipv4/ip_forward\nip -batch - <<'END'\nlink set lo up\nlink set eth0 up\nEND\n",
    );
    assert.equal(scriptText({ netns: 'n', sysctls: [], ip: [] }), 'set -e\n');
  });
});
