import assert from 'node:assert/strict';
import { LAB_HELP, type LabCommandOptions, parseLabArguments } from '../../../lab/command/options.ts';

function options(...argv: readonly string[]): LabCommandOptions {
  const parsed = parseLabArguments(['-f', 'a.yaml', ...argv]);
  assert.equal(parsed.kind, 'run', parsed.kind === 'error' ? parsed.message : '');
  return (parsed as Extract<typeof parsed, { kind: 'run' }>).options;
}

function error(...argv: readonly string[]): string {
  const parsed = parseLabArguments(argv);
  assert.equal(parsed.kind, 'error');
  return (parsed as Extract<typeof parsed, { kind: 'error' }>).message;
}

describe('arguments of portcullis lab', () => {
  it('have defaults', () => {
    assert.deepEqual(options(), {
      files: ['a.yaml'],
      recursive: false,
      nodes: 2,
      wiring: 'routed',
      families: [4, 6],
      backend: 'iptables-nft',
      mode: 'enforce',
      ports: [],
      timeoutMs: 5000,
      keep: false,
      output: 'text',
      steps: true,
    } satisfies LabCommandOptions);
  });

  it('are read', () => {
    const read = options(
      ...['-f', 'b', '--file=-', '-R', '--nodes', '3', '--wiring=bridge', '--families=6', '--backend=iptables-legacy'],
      ...['--mode=audit', '--ports', 'tcp:80,UDP:53,sctp:9', '--timeout=7', '--keep', '-o', 'json', '--no-steps'],
    );
    assert.deepEqual(read, {
      files: ['a.yaml', 'b', '-'],
      recursive: true,
      nodes: 3,
      wiring: 'bridge',
      families: [6],
      backend: 'iptables-legacy',
      mode: 'audit',
      ports: [
        { protocol: 'TCP', port: 80 },
        { protocol: 'UDP', port: 53 },
        { protocol: 'SCTP', port: 9 },
      ],
      timeoutMs: 7000,
      keep: true,
      output: 'json',
      steps: false,
    });
  });

  it('take nothing from the network, and say how it gets there', () => {
    assert.match(
      error('-f', 'https://example.com/p.yaml'),
      /reads nothing from the network: curl -fsSL https:\/\/example\.com\/p\.yaml \| portcullis lab -f -$/,
    );
    assert.match(error('-f', 'HTTP://example.com/p.yaml'), /nothing from the network/);
    assert.match(error('-f', ''), /an empty path/);
  });

  it('need manifests, unless the lab stays up', () => {
    assert.match(error(), /nothing to bring up: .*-f/);
    assert.equal(parseLabArguments(['--keep']).kind, 'run');
  });

  it('tell a story instead of manifests, with a second for the policy', () => {
    const parsed = parseLabArguments(['--demo', 'live-download', '--wiring=bridge']);
    assert.ok(parsed.kind === 'run');
    assert.deepEqual(
      [parsed.options.demo, parsed.options.timeoutMs, parsed.options.files],
      ['live-download', 1_000, []],
    );
    assert.match(error('--demo', 'live-download', '-f', 'a'), /--demo brings its own pods/);
    assert.match(error('--demo', 'live-download', '--keep'), /--demo brings its own pods/);
    assert.match(error('--demo', 'movie'), /--demo: "movie" is not one of live-download/);
  });

  for (const [flag, value, expected] of [
    ['--nodes', '0', /--nodes: "0" is not a whole number 1\.\.20/],
    ['--nodes', '2.5', /--nodes: "2\.5"/],
    ['--nodes', '', /--nodes: ""/],
    ['--wiring', 'overlay', /--wiring: "overlay" is not one of routed, bridge/],
    ['--families', '4,5', /--families: "4,5" is not 4, 6 or 4,6/],
    ['--backend', 'nft', /--backend: "nft" is not one of iptables-nft, iptables-legacy/],
    ['--mode', 'off', /--mode: "off"/],
    ['--ports', 'tcp:0', /--ports: "tcp:0"/],
    ['--ports', '80', /--ports: "80"/],
    ['--ports', 'tcp:70000', /--ports: "tcp:70000"/],
    ['--ports', 'icmp:1', /--ports: "icmp:1"/],
    ['--timeout', '0', /--timeout: "0" is not a whole number 1\.\.600/],
    ['--output', 'yaml', /--output: "yaml"/],
  ] as const) {
    it(`refuse ${flag} ${JSON.stringify(value)}, naming the flag`, () => {
      assert.match(error('-f', 'a', flag, value), expected);
    });
  }

  it('refuse what they do not know', () => {
    assert.match(error('--frobnicate'), /--frobnicate/);
    assert.match(error('-f', 'a', 'b'), /'b'/);
  });

  it('have a help that names every flag and exit code, in 100 columns', () => {
    assert.equal(parseLabArguments(['--help', '--nodes', 'x']).kind, 'help');
    for (const flag of [
      'file',
      'nodes',
      'wiring',
      'families',
      'backend',
      'mode',
      'ports',
      'timeout',
      'keep',
      'no-steps',
      'output',
      'help',
    ])
      assert.ok(LAB_HELP.includes(`--${flag}`), flag);
    assert.match(LAB_HELP, /Exit codes: 0 .*1 .*2 /s);
    for (const line of LAB_HELP.split('\n')) assert.ok(line.length <= 100, line);
  });
});
