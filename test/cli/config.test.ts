import assert from 'node:assert/strict';
import type { Environment } from '../../src/cli/flags.ts';

import { AGENT_FLAGS, type AgentConfig, describeConfig, readAgentConfig } from '../../src/cli/config.ts';
import { agentCommand } from '../../src/cli/program.ts';
import { countContiguousBits } from '../../src/cli/read-value.ts';
import { UsageProblem } from '../../src/cli/flags.ts';
import { givenBy } from '../support/command-line.ts';

const NODE = ['--node-name', 'node-1'];
const EXCESS = "too many arguments for 'agent'. Expected 0 arguments but got 1: audit.";

const AGENT = agentCommand(() => assert.fail('loaded'));

async function configOf(argv: readonly string[], env: Environment = {}): Promise<AgentConfig> {
  return readAgentConfig(await givenBy(AGENT, argv), env);
}

async function errorOf(argv: readonly string[], env: Environment = {}): Promise<string> {
  try {
    const config = await configOf(argv, env);
    assert.fail(`accepted: ${JSON.stringify(config)}`);
  } catch (error) {
    if (error instanceof UsageProblem) return error.message;
    throw error;
  }
}

interface FlagRow {
  readonly flag: keyof typeof AGENT_FLAGS;
  /** Text -> what the configuration holds then. */
  readonly good: readonly (readonly [text: string, of: (config: AgentConfig) => unknown, value: unknown])[];
  readonly bad: readonly string[];
  /** Must be part of every error. */
  readonly allowed: RegExp;
  readonly defaultValue?: readonly [of: (config: AgentConfig) => unknown, value: unknown];
}

const mode = (config: AgentConfig): unknown => config.mode;
const backend = (config: AgentConfig): unknown => config.backend;
const http = (config: AgentConfig): unknown => config.httpAddress;
const access = (config: AgentConfig): unknown => config.apiAccess;
const mask = (config: AgentConfig): unknown => config.connmarkMask;

const ROWS: readonly FlagRow[] = [
  {
    flag: 'nodeName',
    good: [
      ['ip-203-0-113-7.example.internal', (config) => config.nodeName, 'ip-203-0-113-7.example.internal'],
      ['a'.repeat(253), (config) => config.nodeName, 'a'.repeat(253)],
    ],
    bad: ['Node-1', 'a b', 'a/b', '-a', 'a-', 'a..b', 'a'.repeat(254)],
    allowed: /the name of a Node/,
  },
  {
    flag: 'kubeconfig',
    good: [['/etc/k.conf', access, { kind: 'kubeconfig', path: '/etc/k.conf' }]],
    bad: [],
    allowed: /./,
  },
  {
    flag: 'serviceAccountDir',
    good: [['/sa', access, { kind: 'service-account', dir: '/sa' }]],
    bad: [],
    allowed: /./,
    defaultValue: [access, { kind: 'service-account', dir: '/var/run/secrets/kubernetes.io/serviceaccount' }],
  },
  {
    flag: 'apiServer',
    good: [
      ['192.0.2.1:6443', (config) => config.apiServers, [{ host: '192.0.2.1', port: 6443 }]],
      [
        '[2001:db8::1]:443,api.example.org:6443',
        (config) => config.apiServers,
        [
          { host: '2001:db8::1', port: 443 },
          { host: 'api.example.org', port: 6443 },
        ],
      ],
    ],
    bad: [
      '192.0.2.1',
      'https://192.0.2.1:6443',
      '192.0.2.1:0',
      '192.0.2.1:6443,',
      '192.0.2.1:6443 192.0.2.2:6443',
      '192.0.2.300:6443',
      '2001:db8::1:6443',
    ],
    allowed: /host:port, or several .*: .* (has no port|is no .*|is not in 1 to 65535)$/,
    defaultValue: [(config) => config.apiServers, []],
  },
  {
    flag: 'apiServerEndpointsFile',
    good: [
      ['/run/x.json', (config) => config.apiServerEndpointsFile, '/run/x.json'],
      ['off', (config) => config.apiServerEndpointsFile, null],
    ],
    bad: ['x.json'],
    allowed: /an absolute path or off$/,
    defaultValue: [(config) => config.apiServerEndpointsFile, '/var/lib/portcullis/api-server-endpoints.json'],
  },
  {
    flag: 'mode',
    good: [
      ['enforce', mode, 'enforce'],
      ['audit', mode, 'audit'],
      ['dry-run', mode, 'dry-run'],
    ],
    bad: ['off', 'Enforce', 'enforce '],
    allowed: /one of enforce, audit, dry-run$/,
    defaultValue: [mode, 'enforce'],
  },
  {
    flag: 'dataplane',
    good: [
      ['auto', (config) => config.dataplane, 'auto'],
      ['iptables', (config) => config.dataplane, 'iptables'],
      ['nftables', (config) => config.dataplane, 'nftables'],
    ],
    bad: ['nft', 'iptables-nft'],
    allowed: /auto, nftables, iptables/,
    defaultValue: [(config) => config.dataplane, 'auto'],
  },
  {
    flag: 'backend',
    good: [
      ['auto', backend, 'auto'],
      ['iptables-nft', backend, 'iptables-nft'],
      ['iptables-legacy', backend, 'iptables-legacy'],
    ],
    bad: ['nft', 'legacy'],
    allowed: /one of auto, iptables-nft, iptables-legacy$/,
    defaultValue: [backend, 'auto'],
  },
  {
    flag: 'httpAddress',
    good: [
      ['203.0.113.9:80', http, { host: '203.0.113.9', port: 80 }],
      ['[2001:db8::1]:65535', http, { host: '2001:db8::1', port: 65535 }],
      // What `$(NODE_IP):9847` becomes on an IPv6 node: the port is always given, so it is what follows the last colon.
      ['2001:db8::1:9847', http, { host: '2001:db8::1', port: 9847 }],
      ['fd00:1:2:3:4:5:6:7:9847', http, { host: 'fd00:1:2:3:4:5:6:7', port: 9847 }],
      ['::1:9847', http, { host: '::1', port: 9847 }],
      [':::9847', http, { host: '::', port: 9847 }],
      ['[2001:0DB8:0:0::1]:80', http, { host: '2001:db8::1', port: 80 }],
      [':9847', http, { host: '', port: 9847 }],
      ['localhost:1', http, { host: 'localhost', port: 1 }],
      ['unix:/run/portcullis/status.sock', http, { path: '/run/portcullis/status.sock' }],
      ['off', http, null],
    ],
    bad: [
      'unix:',
      'unix:x.sock',
      `unix:/${'x'.repeat(107)}`,
      '9847',
      ':0',
      ':',
      '127.0.0.1',
      '127.0.0.1:',
      '127.0.0.1:0',
      '127.0.0.1:65536',
      '2001:db8::1',
      '::9847',
      '::1:beef',
      '1:2:9847',
      '[::1]',
      'a b:1',
      '192.0.2.300:9847',
      '[1::2::3]:9847',
    ],
    allowed:
      /host:port .* or off: .* (has no port|is no .*|is not in 1 to 65535)$|unix: and a path of at most 107 bytes$/,
    defaultValue: [http, { host: '127.0.0.1', port: 9847 }],
  },
  {
    flag: 'metricsAddress',
    good: [
      [':9100', (config) => config.metricsAddress, { host: '', port: 9100 }],
      ['2001:db8::1:9100', (config) => config.metricsAddress, { host: '2001:db8::1', port: 9100 }],
      ['off', (config) => config.metricsAddress, null],
    ],
    bad: [':65536', '9100'],
    allowed: /host:port .*, :port, .* or off: /,
    defaultValue: [(config) => config.metricsAddress, null],
  },
  {
    flag: 'httpTokenFile',
    good: [
      ['/run/token', (config) => config.httpTokenFile, '/run/token'],
      ['none', (config) => config.httpTokenFile, null],
    ],
    bad: ['token', './token'],
    allowed: /absolute path of a file, or none$/,
    defaultValue: [(config) => config.httpTokenFile, null],
  },
  {
    flag: 'readyMaxStaleness',
    good: [['120', (config) => config.readyMaxStalenessMs, 120_000]],
    bad: ['86401', '1m', '-1'],
    allowed: /a whole number from 0 to 86400 seconds$/,
    defaultValue: [(config) => config.readyMaxStalenessMs, 0],
  },
  {
    flag: 'logLevel',
    good: [['debug', (config) => config.logLevel, 'debug']],
    bad: ['trace', 'DEBUG', '10'],
    allowed: /one of debug, info, warn, error$/,
    defaultValue: [(config) => config.logLevel, 'info'],
  },
  {
    flag: 'trunkInterfacePrefix',
    good: [['trunk-', (config) => config.trunkInterfacePrefix, 'trunk-']],
    bad: ['+', 'vlan+', 'a/b', 'a b', 'a'.repeat(15)],
    allowed: /beginning of an interface name/,
    defaultValue: [(config) => config.trunkInterfacePrefix, 'vlan.eth.'],
  },
  {
    flag: 'newPods',
    good: [['closed', (config) => config.newPods, 'closed']],
    bad: ['Closed', 'yes', '1'],
    allowed: /one of open, closed$/,
    defaultValue: [(config) => config.newPods, 'open'],
  },
  {
    flag: 'vpcCniCheckpoint',
    good: [['/var/run/aws-node/ipam.json', (config) => config.vpcCniCheckpoint, '/var/run/aws-node/ipam.json']],
    bad: [],
    allowed: /./,
    defaultValue: [(config) => config.vpcCniCheckpoint, null],
  },
  {
    flag: 'podInterfacePrefix',
    good: [
      ['eni', (config) => config.podInterfacePrefixes, ['eni']],
      ['eni, veth', (config) => config.podInterfacePrefixes, ['eni', 'veth']],
    ],
    bad: ['eni,', 'eni/', ',', 'a'.repeat(15)],
    allowed: /the beginning of an interface name/,
    defaultValue: [(config) => config.podInterfacePrefixes, ['eni', 'vlan', 'veth', 'cali']],
  },
  {
    flag: 'connmarkMask',
    good: [
      ['0x7', mask, 7],
      ['0xFF000000', mask, 0xff000000],
      ['0xffffffff', mask, 0xffffffff],
      ['0x00f00000', mask, 0x00f00000],
      ['none', mask, null],
    ],
    bad: ['0', '0x0', '0x3', '0xc0000000', '0x5', '0xff0000ff', '255', '0x1ffffffff', '0xfg', 'ff000000', 'None'],
    allowed: /at least 3 bits in a row .* or none$/,
    defaultValue: [mask, 0xff000000],
  },
  {
    flag: 'nflogGroup',
    good: [
      ['0', (config) => config.nflogGroup, 0],
      ['65535', (config) => config.nflogGroup, 65535],
    ],
    bad: ['65536', '-1', '1.5', 'x', '1e3'],
    allowed: /a whole number from 0 to 65535$/,
    defaultValue: [(config) => config.nflogGroup, 9847],
  },
  {
    flag: 'dropLog',
    good: [
      ['true', (config) => config.dropLog, true],
      ['false', (config) => config.dropLog, false],
    ],
    bad: ['on', '0'],
    allowed: /true or false/,
    defaultValue: [(config) => config.dropLog, true],
  },
  {
    flag: 'dropLogRate',
    good: [['0', (config) => config.dropLogRatePerSecond, 0]],
    bad: ['10001', '-1', '10/s'],
    allowed: /a whole number from 0 to 10000 per second$/,
    defaultValue: [(config) => config.dropLogRatePerSecond, 10],
  },
  {
    flag: 'resyncInterval',
    good: [['5', (config) => config.resyncIntervalMs, 5000]],
    bad: ['0', '86401', '1m', '99999999999'],
    allowed: /a whole number from 1 to 86400 seconds$/,
    defaultValue: [(config) => config.resyncIntervalMs, 60_000],
  },
  {
    flag: 'syncShare',
    good: [['100', (config) => config.syncShare, 1]],
    bad: ['0', '101', '20%', '0.2'],
    allowed: /a whole number from 1 to 100 percent$/,
    defaultValue: [(config) => config.syncShare, 0.2],
  },
  {
    flag: 'minGap',
    good: [['0', (config) => config.minGapMs, 0]],
    bad: ['60001', 'x'],
    allowed: /a whole number from 0 to 60000 milliseconds$/,
    defaultValue: [(config) => config.minGapMs, 0],
  },
  {
    flag: 'xtablesLockWait',
    good: [['300', (config) => config.xtablesLockWaitSeconds, 300]],
    bad: ['0', '301'],
    allowed: /a whole number from 1 to 300 seconds$/,
    defaultValue: [(config) => config.xtablesLockWaitSeconds, 5],
  },
  {
    flag: 'policyCounters',
    good: [
      ['true', (config) => config.policyCounters, true],
      ['false', (config) => config.policyCounters, false],
    ],
    bad: ['on', '0'],
    allowed: /true or false/,
    defaultValue: [(config) => config.policyCounters, true],
  },
  {
    flag: 'policyCountersFile',
    good: [
      ['/x/y', (config) => config.policyCountersFile, '/x/y'],
      ['off', (config) => config.policyCountersFile, null],
    ],
    bad: ['counts', './counts'],
    allowed: /an absolute path or off/,
    defaultValue: [(config) => config.policyCountersFile, '/run/portcullis/policy-counters.json'],
  },
  {
    flag: 'events',
    good: [
      ['true', (config) => config.events, true],
      ['false', (config) => config.events, false],
    ],
    bad: ['no', '0'],
    allowed: /true or false/,
    defaultValue: [(config) => config.events, true],
  },
  {
    flag: 'allowKubeProxyIpvs',
    good: [
      ['true', (config) => config.allowKubeProxyIpvs, true],
      ['false', (config) => config.allowKubeProxyIpvs, false],
    ],
    bad: ['yes', '1', 'TRUE'],
    allowed: /true or false/,
    defaultValue: [(config) => config.allowKubeProxyIpvs, false],
  },
];

describe('readAgentConfig', () => {
  it('has a row below for every flag', async () => {
    assert.deepEqual(
      ROWS.map((row) => row.flag),
      Object.keys(AGENT_FLAGS),
    );
  });

  for (const row of ROWS) {
    const { name, env } = AGENT_FLAGS[row.flag];
    const rest = row.flag === 'nodeName' ? [] : NODE;

    describe(`--${name}`, () => {
      for (const [text, of, value] of row.good) {
        it(`takes ${text} from the flag, joined or apart, and from ${env}`, async () => {
          assert.deepEqual(of(await configOf([...rest, `--${name}`, text])), value);
          assert.deepEqual(of(await configOf([...rest, `--${name}=${text}`])), value);
          assert.deepEqual(of(await configOf(rest, { [env]: text })), value);
        });
      }
      for (const text of row.bad) {
        it(`refuses ${JSON.stringify(text)} and names where it came from`, async () => {
          const byFlag = await errorOf([...rest, `--${name}=${text}`]);
          assert.match(byFlag, row.allowed);
          assert.ok(byFlag.startsWith(`--${name}: ${JSON.stringify(text)} is not `), byFlag);
          const byEnv = await errorOf(rest, { [env]: text });
          assert.match(byEnv, row.allowed);
          assert.ok(byEnv.startsWith(`${env}: `), byEnv);
        });
      }
      it('wants a value', async () => {
        assert.equal(await errorOf([...rest, `--${name}`]), `--${name}: needs a value`);
        assert.equal(await errorOf([...rest, `--${name}=`]), `--${name}: needs a value`);
        assert.equal(await errorOf([`--${name}`, ...NODE]), `--${name}: needs a value`);
      });
      const { defaultValue } = row;
      if (defaultValue) {
        it('has its default, also when the variable is empty', async () => {
          const [of, value] = defaultValue;
          assert.deepEqual(of(await configOf(NODE)), value);
          assert.deepEqual(of(await configOf(NODE, { [env]: '' })), value);
        });
      }
    });
  }

  it('prefers a flag to its variable, and does not look at a variable it does not need', async () => {
    assert.equal(
      (await configOf(['--node-name=b', '--mode=audit'], { NODE_NAME: 'a', PORTCULLIS_MODE: '?' })).mode,
      'audit',
    );
    assert.equal((await configOf(['--node-name=b'], { NODE_NAME: 'a' })).nodeName, 'b');
  });

  it('lets the last of a repeated flag count', async () => {
    assert.equal((await configOf([...NODE, '--mode=audit', '--mode', 'dry-run'])).mode, 'dry-run');
  });

  it('says how to give the node name', async () => {
    assert.equal(await errorOf([]), '--node-name: required; give the flag or set NODE_NAME');
    assert.equal(await errorOf([], { NODE_NAME: '' }), '--node-name: required; give the flag or set NODE_NAME');
  });

  it('refuses what it does not know', async () => {
    assert.equal(await errorOf([...NODE, '--moed=audit']), "unknown flag '--moed' (Did you mean --mode?)");
    assert.equal(await errorOf([...NODE, '-v']), "unknown flag '-v'");
    assert.equal(await errorOf([...NODE, 'audit']), EXCESS);
    assert.equal(await errorOf([...NODE, '--', 'audit']), EXCESS);
  });

  it('chooses between kubeconfig and service account by where they were given', async () => {
    const both = ['--kubeconfig=/k', '--service-account-dir=/s'];
    const bothEnv = { KUBECONFIG: '/k', PORTCULLIS_SERVICE_ACCOUNT_DIR: '/s' };
    assert.equal(
      await errorOf([...NODE, ...both]),
      '--kubeconfig and --service-account-dir exclude each other: give one',
    );
    assert.equal(
      await errorOf(NODE, bothEnv),
      'KUBECONFIG and PORTCULLIS_SERVICE_ACCOUNT_DIR exclude each other: give one',
    );
    assert.equal((await configOf([...NODE, both[1]!], { KUBECONFIG: '/k' })).apiAccess.kind, 'service-account');
    assert.equal(
      (await configOf([...NODE, both[0]!], { PORTCULLIS_SERVICE_ACCOUNT_DIR: '/s' })).apiAccess.kind,
      'kubeconfig',
    );
  });

  it('gives a value that cannot be changed', async () => {
    const config = await configOf(NODE);
    assert.ok(Object.isFrozen(config) && Object.isFrozen(config.apiAccess) && Object.isFrozen(config.httpAddress));
  });
});

describe('describeConfig', () => {
  it('writes a configuration so that it reads back as the same', async () => {
    for (const argv of [
      NODE,
      [...NODE, '--http-address=:9847', '--metrics-address=[2001:db8::1]:9100'],
      [...NODE, '--connmark-mask=none', '--http-address=off', '--kubeconfig=/k', '--resync-interval=7'],
      [...NODE, '--connmark-mask=0x7', '--http-address=[2001:db8::1]:80', '--service-account-dir=/s'],
      [...NODE, '--api-server=192.0.2.1:6443,[2001:db8::1]:443', '--api-server-endpoints-file=off'],
    ]) {
      const config = await configOf(argv);
      const flags = Object.entries(describeConfig(config)).map(([name, value]) => `--${name}=${value}`);
      assert.deepEqual(await configOf(flags), config);
    }
  });
});

describe('countContiguousBits', () => {
  it('is 0 unless all set bits are neighbours', async () => {
    const table = [
      [0, 0],
      [1, 1],
      [0x80000000, 1],
      [0xff000000, 8],
      [0xffffffff, 32],
      [0b101, 0],
      [0xf000000f, 0],
      [0x7ffffffe, 30],
    ] as const;
    for (const [value, bits] of table) assert.equal(countContiguousBits(value), bits, value.toString(16));
  });
});
