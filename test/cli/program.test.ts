import assert from 'node:assert/strict';
import type { AgentConfig } from '../../src/cli/config.ts';
import { AGENT_FLAGS } from '../../src/cli/config.ts';
import { agentHelp } from '../../src/cli/help.ts';
import { type CommandLoaders, describeCrash, runProgram, wantsStack } from '../../src/cli/program.ts';

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly configs: readonly AgentConfig[];
  readonly moreArguments: readonly (readonly string[])[];
}

const NODE = ['agent', '--node-name=node-1'];

async function run(
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
  load: Partial<CommandLoaders> = {},
): Promise<Run> {
  const written = { out: '', err: '' };
  const configs: AgentConfig[] = [];
  const moreArguments: (readonly string[])[] = [];
  const code = await runProgram(argv, {
    env,
    version: '1.2.3',
    signal: new AbortController().signal,
    out: (text) => {
      written.out += text;
    },
    err: (text) => {
      written.err += text;
    },
    load: {
      agent: async () => ({
        runAgent: async (config) => {
          configs.push(config);
          return 1;
        },
      }),
      ...load,
    },
    more: [
      {
        name: 'more',
        summary: 'a command beside those of the product',
        run: async (args) => {
          moreArguments.push(args);
          return 0;
        },
      },
    ],
  });
  return { code, ...written, configs, moreArguments };
}

function failing(error: unknown): Partial<CommandLoaders> {
  return { agent: async () => ({ runAgent: () => Promise.reject(error) }) };
}

describe('portcullis', () => {
  it('prints help and version on stdout, exit code 0', async () => {
    for (const flag of ['--help', '-h']) {
      const { code, out, err } = await run([flag]);
      assert.equal(code, 0);
      assert.equal(err, '');
      assert.match(out, /^ {2}agent {2}enforce/m);
      assert.match(out, /^ {2}more {3}a command/m);
      assert.match(out, /0 {2}success\n {2}1 {2}failure.*\n {2}2 {2}wrong usage/);
    }
    assert.equal((await run(['--version'])).out, '1.2.3\n');
  });

  it('lists no command that it does not have', async () => {
    const { out } = await run(['--help']);
    const listed = [...out.matchAll(/^ {2}([a-z]+) {2}/gm)].map((found) => found[1]);
    assert.deepEqual(listed, ['agent', 'more']);
    for (const name of listed) assert.notEqual((await run([name!, '--help'])).code, 2);
  });

  it('without a command prints help on stderr, exit code 2', async () => {
    const { code, out, err } = await run([]);
    assert.deepEqual([code, out], [2, '']);
    assert.match(err, /Usage: portcullis <command>/);
  });

  it('names an unknown command and the known ones, exit code 2', async () => {
    const { code, err } = await run(['agnet']);
    assert.equal(code, 2);
    assert.equal(err, 'portcullis: no command "agnet"; there are agent, more\nSee portcullis --help\n');
  });

  it('hands a command its arguments', async () => {
    assert.deepEqual((await run(['more', '--demo', '--help'])).moreArguments, [['--demo', '--help']]);
  });
});

describe('portcullis agent', () => {
  it('reads flags and environment and returns the exit code of the agent', async () => {
    const { code, configs, out, err } = await run([...NODE, '--mode=audit'], { PORTCULLIS_LOG_LEVEL: 'warn' });
    assert.deepEqual([code, out, err], [1, '', '']);
    assert.deepEqual(
      configs.map((config) => [config.nodeName, config.mode, config.logLevel]),
      [['node-1', 'audit', 'warn']],
    );
  });

  it('reports wrong usage in one line and a hint, exit code 2, without loading the agent', async () => {
    const agent = (): never => assert.fail('loaded');
    const { code, err } = await run([...NODE, '--mode=x'], {}, { agent });
    assert.equal(code, 2);
    assert.equal(
      err,
      'portcullis agent: --mode: "x" is not one of enforce, audit, dry-run\nSee portcullis agent --help\n',
    );
  });

  it('--help shows every flag with its variable and default', async () => {
    const { code, out } = await run(['agent', '--mode=x', '--help']);
    assert.equal(code, 0);
    assert.equal(out, agentHelp());
    for (const flag of Object.values(AGENT_FLAGS)) {
      assert.ok(out.includes(`  --${flag.name} ${flag.placeholder}\n`), flag.name);
      assert.ok(out.includes(`environment ${flag.env})`), flag.env);
      if (flag.defaultText !== undefined) assert.ok(out.includes(`(default ${flag.defaultText}; `), flag.name);
    }
  });

  it('turns a crash into one line and exit code 1; with debug the stack follows', async () => {
    const error = new Error('no iptables here');
    const { code, err } = await run(NODE, {}, failing(error));
    assert.deepEqual([code, err], [1, 'portcullis agent: no iptables here\n']);
    for (const [argv, env] of [
      [[...NODE, '--log-level', 'debug'], {}],
      [[...NODE, '--log-level=debug'], {}],
      [NODE, { PORTCULLIS_LOG_LEVEL: 'debug' }],
    ] as const) {
      assert.match((await run(argv, env, failing(error))).err, /no iptables here\n {4}at .*program\.test/);
    }
  });
});

describe('describeCrash', () => {
  it('copes with what is no Error', () => assert.equal(describeCrash('gone', true), 'gone'));
});

describe('wantsStack', () => {
  it('is not led astray by another flag with the value debug', () => {
    assert.equal(wantsStack(['--mode', 'debug', '--log-level', 'info'], {}), false);
  });
});
